//! The programs that join the fabric device and the pair of vhost0 while there is no dataplane.

use super::SteerOptions;
use crate::{
    error::SteerError,
    pins::Pins,
    tc::{self, Ingress},
};
use aya::Ebpf;
use steer_abi::program;

/// Both programs. Dropping it leaves pinned ones on their devices.
pub(super) struct Join {
    to_host: Ingress,
    from_host: Ingress,
}

/// Attaches both if there is a pair; else removes what a predecessor may have left on the fabric device.
pub(super) fn attach(
    object: &mut Ebpf,
    fabric: &str,
    options: &SteerOptions,
    fabric_pins: Option<&Pins>,
) -> Result<Option<Join>, SteerError> {
    let Some(pair) = &options.pair else {
        return fabric_pins.map_or(Ok(()), |pins| tc::clear(fabric, pins)).map(|()| None);
    };
    let pins =
        |device: &str| Pins::of(options.persistence, options.bpffs.as_deref(), &options.instance, device);
    let from_host = Ingress::attach(object, program::FROM_HOST, pair, options.hook, pins(pair)?)?;
    match Ingress::attach(object, program::TO_HOST, fabric, options.hook, pins(fabric)?) {
        Ok(to_host) => Ok(Some(Join { to_host, from_host })),
        Err(error) => {
            from_host.detach()?;
            Err(error)
        }
    }
}

impl Join {
    /// Takes both programs off their devices.
    pub(super) fn detach(self) -> Result<(), SteerError> {
        self.to_host.detach()?;
        self.from_host.detach()
    }
}

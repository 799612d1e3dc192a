//! How interfaces get their ports.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vr_io::Port;
use vr_tables::control::{AttachError, Attached, DeviceTotals};
use vr_tables::vif::Vif;
use vr_types::{Mac, VifId};

/// One queue of an interface, to be polled by one worker.
pub struct Queue {
    /// Receives and sends.
    pub port: Box<dyn Port>,
    /// Whether packets for the interface may be sent by this queue.
    pub sends: bool,
    /// Address of the kernel's network device behind the port: unicast frames are sent under it, because the
    /// kernel drops those for others (control.md 4.3).
    pub kernel_mac: Option<KernelMac>,
    /// How the device is used and why so, for people.
    pub detail: String,
}

impl Queue {
    /// A queue that sends frames as they are.
    #[must_use]
    pub fn new(port: Box<dyn Port>) -> Self {
        Self { port, sends: true, kernel_mac: None, detail: String::new() }
    }
}

/// The address of a network device, which may change while a worker sends to it.
#[derive(Clone, Debug)]
pub struct KernelMac(Arc<AtomicU64>);

impl KernelMac {
    /// The address as it is now.
    #[must_use]
    pub fn new(mac: Mac) -> Self {
        Self(Arc::new(AtomicU64::new(to_number(mac))))
    }

    /// The device has another address.
    pub fn set(&self, mac: Mac) {
        self.0.store(to_number(mac), Ordering::Relaxed);
    }

    /// The address that was set last.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Mac {
        let [.., a, b, c, d, e, f] = self.0.load(Ordering::Relaxed).to_be_bytes();
        Mac([a, b, c, d, e, f])
    }
}

fn to_number(Mac([a, b, c, d, e, f]): Mac) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// An interface's port.
#[derive(Default)]
pub struct Opened {
    /// Its queues; none for an interface that uses another one's port.
    pub queues: Vec<Queue>,
    /// What the device says about itself.
    pub device: Attached,
}

/// Opens ports. The daemon's looks at type, transport and device; tests use memory.
pub trait PortFactory {
    /// Opens the port of a new interface.
    ///
    /// # Errors
    /// [`AttachError`] when there is none, or the system refuses.
    fn open(&mut self, vif: &Vif) -> Result<Opened, AttachError>;

    /// What [`PortFactory::open`] will say of the device of a new interface, as far as that is known without opening
    /// its port.
    ///
    /// # Errors
    /// [`AttachError`] when there will be none.
    fn probe(&mut self, _vif: &Vif) -> Result<Attached, AttachError> {
        Ok(Attached::default())
    }

    /// Whether the device that the port of an interface was opened on is gone, whoever may have its name now.
    fn has_lost_device(&self, _vif: VifId) -> bool {
        false
    }

    /// Interfaces have other numbers: old and new ones.
    fn renumbered(&mut self, _moves: &[(VifId, VifId)]) {}

    /// What the network device of an interface of the fabric has counted.
    fn device_totals(&self, _vif: VifId) -> DeviceTotals {
        DeviceTotals::default()
    }

    /// An interface was changed.
    fn changed(&mut self, _vif: &Vif) {}

    /// The queues of an interface are closed.
    fn closed(&mut self, vif: VifId);
}

#[cfg(test)]
mod tests {
    use super::KernelMac;
    use vr_types::Mac;

    #[test]
    fn an_address_comes_out_as_it_was_put_in() {
        let shared = KernelMac::new(Mac([1, 2, 3, 4, 5, 6]));
        assert_eq!(shared.get(), Mac([1, 2, 3, 4, 5, 6]));
        shared.clone().set(Mac([0xfe, 0, 0, 0, 0, 0xff]));
        assert_eq!(shared.get(), Mac([0xfe, 0, 0, 0, 0, 0xff]));
    }
}

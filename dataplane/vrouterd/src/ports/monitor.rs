//! Interfaces that show the frames of another one to programs such as `tcpdump` (control.md 4.3).

use vr_io::{TapConfig, TapPort};
use vr_runtime::{Opened, Queue};
use vr_tables::vif::Vif;

use super::error::OpenError;
use super::single;

/// Opens a TAP device that goes with its interface. Nobody can send by it: what comes from it is dropped.
pub(super) fn open(vif: &Vif) -> Result<Opened, OpenError> {
    let ports = TapPort::open(&TapConfig { silent: true, ..TapConfig::new(&vif.details.name) })?;
    let detail = format!("copies of the frames of interface {}", vif.details.os_index);
    let queue = |port| Queue { detail, ..Queue::new(Box::new(port)) };
    Ok(ports.into_iter().next().map_or_else(Opened::default, |port| single(queue(port))))
}

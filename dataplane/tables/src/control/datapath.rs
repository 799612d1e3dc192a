use vr_types::{FlowIndex, Mac, VifId};

use crate::vif::Vif;

/// Why no port could be attached to a new interface; the control protocol answers with an errno.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no device of that name.
    #[error("there is no network device {0}")]
    NoDevice(String),
    /// Interfaces of this kind or transport have no port.
    #[error("no port fits an interface of this type and transport")]
    Unsupported,
    /// Buffers or descriptors ran out.
    #[error("not enough memory for the port: {0}")]
    NoMemory(String),
    /// The system refused.
    #[error("{0}")]
    Refused(String),
}

/// What the device of a new interface says about itself, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// MTU with Ethernet header; that of an interface whose request names none.
    pub mtu: Option<u32>,
    /// Address; that of an interface whose request names none (control.md 7.4).
    pub mac: Option<Mac>,
}

/// What the control thread asks of the side that moves packets. Implemented by the daemon over its workers,
/// and by tests in process.
pub trait Datapath {
    /// Opens the port of a new interface and hands it to a worker. Called before the interface is published.
    /// Returns what the device says about itself.
    ///
    /// # Errors
    /// [`AttachError`]; the interface is then not added.
    fn attach(&mut self, vif: &Vif) -> Result<Attached, AttachError>;

    /// An interface that has a port was changed. Called before the change is published.
    fn changed(&mut self, _vif: &Vif) {}

    /// Closes the port of an interface that was removed. Called after the removal was published.
    fn detach(&mut self, vif: VifId);

    /// An entry was set or removed: packets held for it are to be looked at again.
    fn flow_changed(&mut self, flow: FlowIndex);

    /// Waits until every worker works with what was published last, or is asleep.
    fn settle(&mut self);
}

//! How interfaces get their ports.

use vr_io::Port;
use vr_tables::control::AttachError;
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
    pub kernel_mac: Option<Mac>,
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

/// An interface's port.
#[derive(Default)]
pub struct Opened {
    /// Its queues; none for an interface that uses another one's port.
    pub queues: Vec<Queue>,
    /// MTU of the device with Ethernet header, if it is known.
    pub mtu: Option<u32>,
}

/// Opens ports. The daemon's looks at type, transport and device; tests use memory.
pub trait PortFactory {
    /// Opens the port of a new interface.
    ///
    /// # Errors
    /// [`AttachError`] when there is none, or the system refuses.
    fn open(&mut self, vif: &Vif) -> Result<Opened, AttachError>;

    /// The queues of an interface are closed.
    fn closed(&mut self, vif: VifId);
}

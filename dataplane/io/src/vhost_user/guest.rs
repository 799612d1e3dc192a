//! What is known of the guest behind an interface.

use std::sync::Arc;

use super::device::Device;
use super::protocol::feature;

/// A view of one interface, for any thread.
#[derive(Clone)]
pub struct VhostUserGuest {
    device: Arc<Device>,
}

impl VhostUserGuest {
    pub(super) fn new(device: &Arc<Device>) -> Self {
        Self { device: Arc::clone(device) }
    }

    /// Whether the guest that is there segments or takes super-frames of TCP. There is no bit for receive offload;
    /// the original takes these for it.
    #[must_use]
    pub fn wants_super_frames(&self) -> bool {
        let any = feature::HOST_TSO4 | feature::HOST_TSO6 | feature::GUEST_TSO4 | feature::GUEST_TSO6;
        self.device.features() & any != 0
    }

    /// Whether it takes one packet in several buffers.
    #[must_use]
    pub fn merges_buffers(&self) -> bool {
        self.device.features() & feature::MRG_RXBUF != 0
    }
}

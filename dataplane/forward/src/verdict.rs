//! How the processing of a packet ends. Every packet gets exactly one of these.

use vr_types::{DropReason, FlowIndex, Trap, VifId};

use crate::full::{Datagram, Resume};

/// The end of a packet's way through the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Freed and counted.
    Drop(DropReason),
    /// Given to the agent instead of being forwarded.
    Trap(Trap),
    /// Handed to an interface; its window is the frame to send.
    Send(VifId),
    /// Its content went on in other frames; this one is freed without being counted.
    Replaced,
    /// Kept until the agent has decided about its flow.
    Hold(FlowIndex, Resume),
    /// Kept until the first fragment of its datagram comes.
    AwaitFirstFragment(Datagram, Resume),
}

/// Result of a step that may end the packet's way.
pub(crate) type Step<T = ()> = Result<T, Stop>;

impl From<DropReason> for Stop {
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

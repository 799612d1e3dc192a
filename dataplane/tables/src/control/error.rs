use super::AttachError;
use crate::flow::InsertError;

/// Why a command was refused. The text says what is wrong, [`CommandError::errno`] what clients are told.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A number out of range, or contents that contradict each other.
    #[error("invalid request: {0}")]
    Invalid(&'static str),
    /// What the command is about is not there.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// An interface that the command needs is not there.
    #[error("there is no such {0}")]
    NoDevice(&'static str),
    /// There can be one only.
    #[error("{0} exists already")]
    Exists(&'static str),
    /// A table has no room.
    #[error("the {0} table is full")]
    NoMemory(&'static str),
    /// No port for a new interface.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The key of a flow is in use.
    #[error(transparent)]
    Flow(#[from] InsertError),
    /// The flow entry is being changed by someone else.
    #[error("the flow entry is busy")]
    Busy,
    /// The slot of a flow has had another user since.
    #[error("the flow entry has another generation")]
    StaleGeneration,
    /// The slot of a flow holds another key.
    #[error("the flow entry has another key")]
    OtherKey,
}

impl CommandError {
    /// The Linux error number of replies, positive (control.md 2.7).
    #[must_use]
    pub const fn errno(&self) -> i32 {
        match self {
            Self::Invalid(_) => libc::EINVAL,
            Self::NotFound(_) => libc::ENOENT,
            Self::NoDevice(_) | Self::Attach(AttachError::NoDevice(_)) => libc::ENODEV,
            Self::Exists(_) | Self::Flow(InsertError::Exists(_)) => libc::EEXIST,
            Self::NoMemory(_) | Self::Attach(AttachError::NoMemory(_)) => libc::ENOMEM,
            Self::Attach(AttachError::Unsupported | AttachError::Refused(_)) | Self::OtherKey => libc::EFAULT,
            Self::Flow(InsertError::Full) => libc::ENOSPC,
            Self::Flow(InsertError::Busy) | Self::Busy => libc::EBUSY,
            Self::StaleGeneration => libc::EBADF,
        }
    }
}

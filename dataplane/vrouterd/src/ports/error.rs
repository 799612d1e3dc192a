//! Why an interface gets no port.

use steer_loader::SteerError;
use vr_io::PortError;
use vr_tables::control::AttachError;

/// One sentence that says what to do; the control protocol answers with an errno.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// A device or a socket.
    #[error(transparent)]
    Port(#[from] PortError),
    /// An eBPF program.
    #[error(transparent)]
    Steer(#[from] SteerError),
}

impl From<OpenError> for AttachError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Port(PortError::NoSuchInterface(name))
            | OpenError::Steer(SteerError::NoSuchInterface(name)) => Self::NoDevice(name),
            OpenError::Port(PortError::Memlock { .. }) => Self::NoMemory(error.to_string()),
            error => Self::Refused(error.to_string()),
        }
    }
}

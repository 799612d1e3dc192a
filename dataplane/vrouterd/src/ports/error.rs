//! Why an interface gets no port.

use steer_loader::SteerError;
use vr_io::PortError;
use vr_tables::control::AttachError;

use super::host::VHOST0;
use crate::exit::Failure;

/// One sentence that says what to do; the control protocol answers with an errno.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// A device or a socket.
    #[error(transparent)]
    Port(#[from] PortError),
    /// An eBPF program.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// The host is connected already, by another device.
    #[error("the host's interface is `{ours}` and not `{0}`; name it so in the agent's configuration", ours = VHOST0)]
    HostName(String),
    /// No name for the device of the VLAN.
    #[error("{0}")]
    VlanName(String),
    /// Somebody else has made the device.
    #[error("`{0}` is there, and it is not a pair with `{1}`; remove it with `ip link delete {0}`")]
    ForeignHost(String, String),
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Port(error) => error.into(),
            OpenError::Steer(error) => error.into(),
            OpenError::HostName(_) | OpenError::VlanName(_) | OpenError::ForeignHost(..) => {
                Self::Other(error.into())
            }
        }
    }
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

//! Why the daemon ends, and the exit status that tells it.

use std::process::ExitCode;

use steer_loader::SteerError;
use vr_frame::ArenaError;
use vr_io::PortError;
use vr_runtime::StartError;
use vr_shim::ServerError;
use vr_tables::MapError;

use crate::compat::OptionError;
use crate::config::ConfigError;
use crate::lock::LockError;
use crate::preflight::Missing;

/// What `--help` says about exit statuses.
pub(crate) const HELP: &str = "Exit status: 0 ended as asked, 1 failed while running, 2 wrong arguments or configuration, \
                               3 this machine lacks something, 4 another daemon is there.";

/// Why the daemon ends. Each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An option of the original's command line is not usable.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Something is missing on this machine.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A device or socket cannot be used.
    #[error(transparent)]
    Port(#[from] PortError),
    /// eBPF programs cannot be used.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// There is no memory for packets.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// There is no memory, or no room, for tables.
    #[error(transparent)]
    Tables(#[from] MapError),
    /// Workers cannot be started.
    #[error(transparent)]
    Workers(#[from] StartError),
    /// Another daemon has the socket directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is no control socket.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// The exit status, as [`HELP`] says.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(_) | Self::Option(_) => 2,
            Self::Lock(LockError::InUse(_))
            | Self::Server(ServerError::InUse(_))
            | Self::Tables(MapError::HugeInUse(_)) => 4,
            Self::Missing(_)
            | Self::Port(_)
            | Self::Steer(_)
            | Self::Arena(_)
            | Self::Tables(_)
            | Self::Workers(_)
            | Self::Lock(LockError::Directory { .. })
            | Self::Server(
                ServerError::Directory { .. } | ServerError::Listen { .. } | ServerError::ListenTcp { .. },
            ) => 3,
            Self::Other(_) => 1,
        })
    }
}

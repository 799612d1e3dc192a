//! Why the daemon ends, and the exit status that tells it.

use std::panic;
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

/// The exit status of a daemon that cannot go on, as [`HELP`] says.
const FAILED: u8 = 1;

/// From now on the failure of any thread ends the daemon, with a sentence in the log. Nobody would receive for the ports
/// of a worker that is gone, and the control thread would wait for it.
pub(crate) fn end_with_any_thread() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        print(what);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("a thread");
        tracing::error!(
            "`{name}` has failed, and the daemon ends: {what}; this is a defect, please report it"
        );
        std::process::exit(i32::from(FAILED));
    }));
}

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
            Self::Other(_) => FAILED,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{FAILED, end_with_any_thread};
    use std::process::Command;
    use std::time::Duration;

    /// Says to this test that it is the process that fails.
    const VICTIM: &str = "VRX_TEST_FAILING_THREAD";

    #[test]
    fn a_failing_thread_ends_the_process() {
        if std::env::var_os(VICTIM).is_some() {
            tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
            end_with_any_thread();
            let worker = std::thread::Builder::new().name("worker7".to_owned());
            let worker = worker.spawn(|| panic!("for this test")).unwrap();
            // As the control thread would wait for its answer.
            while !worker.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
            return;
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        let name = "exit::tests::a_failing_thread_ends_the_process";
        let output = again.args([name, "--exact", "--nocapture"]).env(VICTIM, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(FAILED)));
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(messages.contains("`worker7` has failed, and the daemon ends: "), "{messages}");
        assert!(messages.contains("for this test"), "{messages}");
    }
}

//! Why a command ends without having done its work, and the exit status that says so.

use std::io::{self, Write};
use std::process::ExitCode;

/// Status of a program that a closed pipe has ended, as shells report it.
const BROKEN_PIPE: u8 = 141;

/// Why a command ends.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The vrouter refused, with this errno.
    Refused(i32),
    /// Everything was said; the exit status.
    Status(u8),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Of the output; other streams give their errors a context.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Status(BROKEN_PIPE),
            _ => Self::Other(anyhow::Error::new(error).context("cannot write")),
        }
    }
}

impl Failure {
    /// Says what there is to say; returns the exit status. The text of a refusal and its status are the ones
    /// of the original's utilities (control.md 2.7).
    pub(crate) fn report(&self, program: &str) -> ExitCode {
        match self {
            Self::Refused(errno) => {
                // Nobody is left to be told when this fails.
                let _ = writeln!(
                    io::stdout(),
                    "vRouter(Response): {} ({errno})",
                    crate::text::error_name(*errno)
                );
                ExitCode::from(*errno as u8)
            }
            Self::Status(status) => ExitCode::from(*status),
            Self::Other(error) => {
                let _ = writeln!(io::stderr(), "{program}: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

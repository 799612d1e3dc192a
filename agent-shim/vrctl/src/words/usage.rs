//! What wrong options are answered with: the texts that `docs/spec/utility-samples.txt` shows, where it does.

use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;

/// How a word explains itself after wrong options, and its exit status then.
pub(super) struct Usage {
    /// The text; without it clap's.
    pub(super) text: Option<&'static str>,
    /// Exit status.
    pub(super) status: u8,
}

impl Usage {
    /// For words of which no sample tells.
    pub(super) const PLAIN: Self = Self { text: None, status: EINVAL };
}

/// -EINVAL as exit status.
pub(super) const EINVAL: u8 = 234;

/// Tells what is wrong.
pub(super) fn report(name: &str, usage: &Usage, error: &clap::Error) -> Failure {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return print(error).map_or_else(Failure::from, |()| Failure::Status(0));
    }
    let text = match usage.text {
        Some(text) => told(name, text, error),
        None => print(error),
    };
    text.map_or_else(Failure::from, |()| Failure::Status(usage.status))
}

fn print(error: &clap::Error) -> io::Result<()> {
    error.print()
}

/// An unknown option is named first, as getopt does.
fn told(name: &str, text: &str, error: &clap::Error) -> io::Result<()> {
    if let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && option.starts_with('-')
    {
        writeln!(io::stderr(), "{name}: unrecognized option '{option}'")?;
    }
    write!(io::stdout(), "{text}")
}

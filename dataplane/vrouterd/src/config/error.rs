use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}; name one with --config FILE")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in the file is not understood.
    #[error("{path}, line {line}: {what}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where, from 1 on.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

impl ConfigError {
    pub(super) fn parse(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let what = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        Self::Parse { path: path.to_owned(), line, what }
    }
}

/// The line, from 1 on, in which the first of some keys that is there stands, in a table of its own or in an inline
/// one.
pub(super) fn line_of(text: &str, keys: &[&str]) -> usize {
    let of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let sets = |line: &str, key: &str| {
        let line = line.split('#').next().unwrap_or("");
        line.match_indices(key).any(|(at, _)| {
            !line[..at].ends_with(of_word) && line[at + key.len()..].trim_start().starts_with('=')
        })
    };
    keys.iter().find_map(|key| text.lines().position(|line| sets(line, key))).map_or(1, |line| line + 1)
}

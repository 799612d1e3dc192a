//! `vrctl replay`.
use crate::failure::Failure;
use std::path::{Path, PathBuf};
/// x
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    file: PathBuf,
}
pub(crate) fn run(_r: &Replay, _d: &Path) -> Result<(), Failure> {
    Ok(())
}

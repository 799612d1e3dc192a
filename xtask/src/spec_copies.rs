//! Copies of the specification's tables, which crates need at hand to build on their own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::build_ebpf::repository;

/// Where the specification is, relative to the repository.
const SPEC: &str = "docs/spec";

/// Folders that have sources, relative to the repository.
const SOURCES: [&str; 6] = ["agent-shim", "benches", "dataplane", "ebpf", "tests", "xtask"];

/// Files that are named like one of the specification and differ from it.
pub(crate) fn check() -> anyhow::Result<Vec<String>> {
    let root = repository()?;
    let mut sources = Vec::new();
    for folder in SOURCES {
        list(&root.join(folder), &mut sources)?;
    }
    differing(&root.join(SPEC), &sources)
}

fn differing(spec: &Path, sources: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut originals = Vec::new();
    list(spec, &mut originals)?;
    ensure!(!originals.is_empty(), "no specification in {}", spec.display());
    let mut faults = Vec::new();
    for copy in sources {
        let same_name = |original: &&PathBuf| original.file_name() == copy.file_name();
        let Some(original) = originals.iter().find(same_name) else { continue };
        if read(copy)? != read(original)? {
            faults.push(format!("{} differs from {}", copy.display(), original.display()));
        }
    }
    Ok(faults)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        } else if entry.file_type()?.is_dir() && entry.file_name() != "target" {
            list(&entry.path(), files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{SPEC, differing, repository};
    use std::fs;

    #[test]
    fn a_copy_that_differs_is_found() {
        let spec = repository().unwrap().join(SPEC);
        let folder = std::env::temp_dir().join(format!("vrx-spec-copies-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let copy = folder.join("constants.tsv");
        fs::copy(spec.join("constants.tsv"), &copy).unwrap();
        let same = differing(&spec, std::slice::from_ref(&copy)).unwrap();
        fs::write(&copy, "changed").unwrap();
        let changed = differing(&spec, std::slice::from_ref(&copy)).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(same.is_empty(), "{same:?}");
        assert_eq!(changed.len(), 1);
    }
}

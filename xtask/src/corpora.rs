//! Fuzz targets and their corpora.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::build_ebpf::repository;
use crate::harness::is_named;

/// Folder of the fuzz targets, relative to the repository.
pub(crate) const FOLDER: &str = "tests/fuzz";

/// Names of all fuzz targets.
pub(crate) fn targets() -> anyhow::Result<Vec<String>> {
    let names = names_in(&repository()?.join(FOLDER).join("fuzz_targets"))?;
    let mut targets: Vec<String> =
        names.iter().filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect();
    targets.sort();
    Ok(targets)
}

/// Folder of the inputs collected for a target.
pub(crate) fn corpus(target: &str) -> anyhow::Result<PathBuf> {
    Ok(repository()?.join(FOLDER).join("corpus").join(target))
}

/// What is wrong if these tests are all that passed: a target without inputs, or whose inputs no test replayed.
pub(crate) fn faults(passed: &[String]) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for target in targets()? {
        if names_in(&corpus(&target)?).unwrap_or_default().is_empty() {
            faults.push(format!("the fuzz target {target} has no inputs in {FOLDER}/corpus/{target}"));
        }
        if !is_replayed(&target, passed) {
            faults.push(format!("no test {target}_corpus replayed the inputs of the fuzz target {target}"));
        }
    }
    Ok(faults)
}

fn is_replayed(target: &str, passed: &[String]) -> bool {
    let test = format!("{target}_corpus");
    passed.iter().any(|path| is_named(path, &test))
}

fn names_in(folder: &std::path::Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::{faults, is_replayed, targets};

    #[test]
    fn a_target_that_no_test_replayed_is_a_fault() {
        let targets = targets().unwrap();
        assert!(targets.contains(&"sandesh_decode".to_owned()), "{targets:?}");
        let found = faults(&[]).unwrap();
        for target in &targets {
            assert!(
                found.iter().any(|fault| fault.contains(&format!("no test {target}_corpus"))),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_replay_is_known_by_its_name() {
        assert!(is_replayed("wire", &["corpus::wire_corpus".to_owned()]));
        assert!(!is_replayed("wire", &["corpus::other_wire_corpus".to_owned()]));
    }
}

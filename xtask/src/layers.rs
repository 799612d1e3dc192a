//! The direction of dependencies: nothing points upward.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

/// What each crate may depend on of the others. It may also use whatever the crates that it names may use.
/// Dependencies of tests are free.
const ALLOWED: &[(&str, &[&str])] = &[
    ("vr-types", &[]),
    ("vr-wire", &["vr-types"]),
    ("vr-frame", &["vr-types"]),
    ("vr-tables", &["vr-wire"]),
    ("vr-forward", &["vr-wire", "vr-frame", "vr-tables"]),
    ("vr-io", &["vr-frame", "vr-wire"]),
    ("steer-abi", &[]),
    ("steer-loader", &["steer-abi"]),
    ("vr-observe", &[]),
    ("vr-runtime", &["vr-forward", "vr-io", "vr-observe"]),
    ("sandesh", &[]),
    ("vr-shim", &["sandesh", "vr-tables"]),
    ("vrctl", &["sandesh", "vr-observe"]),
    ("vrouterd", &["vr-runtime", "vr-shim", "steer-loader", "vr-observe"]),
    ("agent-sim", &[]),
    ("xtask", &[]),
];

/// Crates that test and measure; they may use anything and nothing may use them.
const OUTSIDE: &[&str] = &["vr-tests", "vr-benches"];

fn may_use(from: &str, to: &str) -> bool {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == from) else { return false };
    allowed.iter().any(|name| *name == to || may_use(name, to))
}

/// Dependencies that point the wrong way.
fn faults(dependencies: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let ours = |name: &str| dependencies.contains_key(name);
    let mut faults = Vec::new();
    for (from, list) in dependencies {
        if OUTSIDE.contains(&from.as_str()) {
            continue;
        }
        if !ALLOWED.iter().any(|(name, _)| name == from) {
            faults.push(format!("{from} has no place in the layers; give it one in xtask/src/layers.rs"));
            continue;
        }
        for to in list.iter().filter(|to| ours(to) && !may_use(from, to)) {
            faults.push(format!("{from} must not depend on {to}"));
        }
    }
    faults
}

/// Checks the workspace.
pub(crate) fn check() -> anyhow::Result<Vec<String>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    let mut dependencies = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let list = package["dependencies"].as_array().into_iter().flatten();
        let built = list.filter(|dependency| dependency["kind"] != "dev");
        let names = built.filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned())).collect();
        dependencies.insert(package["name"].as_str().unwrap_or_default().to_owned(), names);
    }
    Ok(faults(&dependencies))
}

#[cfg(test)]
mod tests {
    use super::faults;
    use std::collections::BTreeMap;

    fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        edges
            .iter()
            .map(|(from, to)| ((*from).to_owned(), to.iter().map(|t| (*t).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn downward_is_allowed_also_over_several_layers() {
        assert!(faults(&graph(&[("vr-types", &[]), ("vr-forward", &["vr-types", "anyhow"])])).is_empty());
    }

    #[test]
    fn upward_sideways_and_unknown_are_not() {
        let found = faults(&graph(&[
            ("vr-types", &["vr-wire"]),
            ("vr-wire", &[]),
            ("vr-frame", &["vr-wire"]),
            ("new", &[]),
        ]));
        assert_eq!(found.len(), 3, "{found:?}");
    }
}

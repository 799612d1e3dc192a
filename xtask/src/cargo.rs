//! What cargo has built, read from its messages.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::build_ebpf::repository;

/// Makes cargo say on standard output what it has built; errors stay readable on standard error.
pub(crate) const MESSAGES: &str = "--message-format=json-render-diagnostics";

/// A program that cargo has built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) package: String,
    /// Name of the target in its package.
    pub(crate) target: String,
    /// `lib`, `bin`, `test`, `bench` or `example`.
    pub(crate) kind: String,
    /// It was built with the test harness.
    pub(crate) is_test: bool,
    pub(crate) file: PathBuf,
    /// Folder of the package.
    pub(crate) folder: PathBuf,
}

impl Program {
    /// For people.
    pub(crate) fn title(&self) -> String {
        match self.kind.as_str() {
            "test" => format!("{} tests/{}", self.package, self.target),
            "bin" => format!("{} program {}", self.package, self.target),
            _ => self.package.clone(),
        }
    }
}

/// Reads cargo's messages.
pub(crate) fn programs(messages: &str) -> Vec<Program> {
    messages.lines().filter_map(|line| program(&serde_json::from_str(line).ok()?)).collect()
}

fn program(message: &Value) -> Option<Program> {
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    Some(Program {
        package: package_name(message["package_id"].as_str()?)?.to_owned(),
        target: message["target"]["name"].as_str()?.to_owned(),
        kind: message["target"]["kind"][0].as_str()?.to_owned(),
        is_test: message["profile"]["test"].as_bool()?,
        file: message["executable"].as_str()?.into(),
        folder,
    })
}

/// The name in `path+file:///folder#name@1.0.0`, or `path+file:///name#1.0.0` where the two are the same.
fn package_name(id: &str) -> Option<&str> {
    let (folder, version) = id.rsplit_once('#')?;
    version.split_once('@').map_or_else(|| folder.rsplit('/').next(), |(name, _)| Some(name))
}

/// Builds packages for release, showing cargo's progress, and returns their programs.
pub(crate) fn build_release(packages: &[&str]) -> anyhow::Result<Vec<Program>> {
    println!("Building {} for release", packages.join(", "));
    let mut command = Command::new("cargo");
    command.args(["build", "--release", MESSAGES]).current_dir(repository()?).stderr(Stdio::inherit());
    command.args(packages.iter().flat_map(|package| ["-p", package]));
    let output = command.output().context("cannot start cargo")?;
    ensure!(output.status.success(), "the build failed");
    Ok(programs(&String::from_utf8_lossy(&output.stdout)))
}

#[cfg(test)]
mod tests {
    use super::{package_name, programs};

    #[test]
    fn executables_are_found_among_the_messages() {
        let messages = r#"
{"reason":"compiler-artifact","package_id":"path+file:///src/xtask#0.1.0","manifest_path":"/src/xtask/Cargo.toml","target":{"kind":["lib"],"name":"xtask"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","package_id":"path+file:///src/tests#vr-tests@0.1.0","manifest_path":"/src/tests/Cargo.toml","target":{"kind":["test"],"name":"demo"},"profile":{"test":true},"executable":"/target/demo-1"}
{"reason":"build-finished","success":true}
"#;
        let found = programs(messages);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].title(), "vr-tests tests/demo");
        assert!(found[0].is_test);
        assert_eq!(found[0].folder.to_str(), Some("/src/tests"));
    }

    #[test]
    fn package_names() {
        assert_eq!(package_name("path+file:///src/xtask#0.1.0"), Some("xtask"));
        assert_eq!(package_name("path+file:///src/io#vr-io@0.1.0"), Some("vr-io"));
        assert_eq!(package_name("nonsense"), None);
    }
}

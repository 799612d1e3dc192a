//! What tests must not leave behind.

use std::path::Path;
use std::process::Command;

/// Names of everything that tests and demo make start like this.
const PREFIX: &str = "vrx-";

fn names_in(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// What is left; namespaces and files are removed as they are found.
pub(crate) fn find() -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    for name in names_in("/run/netns").into_iter().filter(|name| name.starts_with(PREFIX)) {
        left.push(format!("the network namespace {name}"));
        Command::new("ip").args(["netns", "delete", &name]).status()?;
    }
    for name in names_in("/tmp").into_iter().filter(|name| name.starts_with(PREFIX)) {
        left.push(format!("/tmp/{name}"));
        let path = Path::new("/tmp").join(&name);
        if path.is_dir() {
            std::fs::remove_dir_all(&path)?;
        } else {
            std::fs::remove_file(&path)?;
        }
    }
    for name in names_in("/sys/fs/bpf/vrouter-xdp") {
        left.push(format!("the pinned objects /sys/fs/bpf/vrouter-xdp/{name}"));
    }
    Ok(left)
}

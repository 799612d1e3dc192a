//! What tests must not leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Folders where our things have names of their own, and how these begin.
const PLACES: [(&str, &str); 5] = [
    (NAMESPACES, "vrx-"),
    (DEVICES, "vrx-"),
    ("/dev/shm", "vrx-"),
    ("/tmp", "vrx-"),
    ("/sys/fs/bpf/vrouter-xdp", ""),
];
const NAMESPACES: &str = "/run/netns";
const DEVICES: &str = "/sys/class/net";

/// How long a process may take to end after the test that started it.
const GRACE: Duration = Duration::from_secs(1);

/// Watches what the suites leave behind, and removes it.
pub(crate) struct Leftovers {
    /// What was there before, which is somebody else's.
    before: BTreeSet<PathBuf>,
    /// Where tests have their temporary files.
    temporary: PathBuf,
    found: Vec<String>,
}

impl Leftovers {
    /// Begins to watch; processes that lose their parents become children of this one.
    pub(crate) fn begin() -> anyhow::Result<Self> {
        set_child_subreaper(true)?;
        let temporary = Path::new("/tmp").join(format!("vrx-test-{}", std::process::id()));
        fs::create_dir(&temporary).with_context(|| format!("creating {}", temporary.display()))?;
        let before = things();
        for thing in before.iter().filter(|thing| **thing != temporary) {
            println!("There already, and not touched: {}", thing.display());
        }
        Ok(Self { before, temporary, found: Vec::new() })
    }

    /// Folder for the temporary files of tests.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Notes and removes what `suite` has left.
    pub(crate) fn after(&mut self, suite: &str) -> anyhow::Result<()> {
        for process in orphans(GRACE)? {
            self.found.push(format!("after {suite}: the process {process}"));
        }
        for thing in things().difference(&self.before).cloned().chain(entries(&self.temporary, "")) {
            let kept = remove(&thing).err().map(|error| format!(", not removed: {error:#}"));
            self.found.push(format!("after {suite}: {}{}", thing.display(), kept.unwrap_or_default()));
        }
        Ok(())
    }

    /// Everything noted so far.
    pub(crate) fn found(&self) -> &[String] {
        &self.found
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // An interrupted suite has left things too.
        let cleaned = self.after("the end").and_then(|()| Ok(fs::remove_dir(&self.temporary)?));
        if let Err(error) = cleaned {
            eprintln!("xtask: not everything could be cleaned up: {error:#}");
        }
    }
}

fn things() -> BTreeSet<PathBuf> {
    PLACES.iter().flat_map(|(folder, prefix)| entries(Path::new(folder), prefix)).collect()
}

fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    ours.map(|entry| entry.path()).collect()
}

fn remove(thing: &Path) -> anyhow::Result<()> {
    let name = thing.file_name().unwrap_or_default();
    if thing.starts_with(NAMESPACES) {
        Command::new("ip").args(["netns", "delete"]).arg(name).output()?;
    } else if thing.starts_with(DEVICES) {
        Command::new("ip").args(["link", "delete", "dev"]).arg(name).output()?;
    } else if thing.is_dir() {
        fs::remove_dir_all(thing)?;
    } else {
        fs::remove_file(thing)?;
    }
    // The other end of a pair of devices goes with the first.
    ensure!(!thing.is_symlink() && !thing.exists(), "it is still there");
    Ok(())
}

/// Ends the processes that outlive `grace`; their names.
fn orphans(grace: Duration) -> anyhow::Result<Vec<String>> {
    let start = Instant::now();
    let mut ended = Vec::new();
    loop {
        let mut alive = false;
        for child in children() {
            // It is reaped if it has ended by itself.
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            alive = true;
            if start.elapsed() >= grace {
                ended.push(format!("{} ({child})", name.trim()));
                kill(child, Signal::SIGKILL)?;
                waitpid(child, None)?;
            }
        }
        // The children of those that were ended are ours now, so look again until there are none.
        if !alive {
            return Ok(ended);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The children of this process.
fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let mut children = Vec::new();
    for process in entries(Path::new("/proc"), "") {
        let Some(Ok(pid)) = process.file_name().map(|name| name.to_string_lossy().parse()) else { continue };
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        // The name, in parentheses, may contain anything; state and parent follow.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if after_name.split_whitespace().nth(1) == Some(&own) {
            children.push(Pid::from_raw(pid));
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use super::{children, entries, remove};
    use nix::unistd::Pid;
    use std::fs;
    use std::process::Command;

    #[test]
    fn children_are_found() {
        let mut sleeper = Command::new("sleep").arg("100").spawn().unwrap();
        let found = children().contains(&Pid::from_raw(sleeper.id().cast_signed()));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(found);
    }

    #[test]
    fn files_and_folders_are_found_by_prefix_and_removed() {
        let folder = std::env::temp_dir().join(format!("vrx-leftovers-{}", std::process::id()));
        fs::create_dir_all(folder.join("vrx-folder/inner")).unwrap();
        fs::write(folder.join("vrx-file"), "").unwrap();
        fs::write(folder.join("other"), "").unwrap();
        let found = entries(&folder, "vrx-");
        let removed: Vec<_> = found.iter().map(|thing| remove(thing)).collect();
        let kept = entries(&folder, "");
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.len(), 2);
        assert!(removed.iter().all(Result::is_ok), "{removed:?}");
        assert_eq!(kept, [folder.join("other")]);
    }
}

//! Where an instance keeps its programs and maps so that they outlive it.

use crate::{
    bpf::{LinkState, detach_pinned_link, pinned_link_state},
    error::SteerError,
};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// How long a program stays on its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Persistence {
    /// Until it is detached: it is pinned, and the next process of the same instance takes it over.
    #[default]
    Pinned,
    /// As long as the process lives.
    Process,
}

/// Where the kernel's administrators expect a bpffs.
const SYSTEM_BPFFS: &str = "/sys/fs/bpf";

/// Where we mount one if there is none, as under `ip netns exec`, which hides the system's.
const OWN_BPFFS: &str = "/run/vrouter-xdp/bpf";

/// Our folder in a bpffs.
pub(crate) const FOLDER: &str = "vrouter-xdp";

/// Refuses instance names that are no names of folders.
pub(crate) fn check_instance(instance: &str) -> Result<(), SteerError> {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&instance.len()) && instance.bytes().all(usable) {
        return Ok(());
    }
    Err(SteerError::BadInstance(instance.to_owned()))
}

/// The device that a folder of [`Pins`] belongs to.
pub(crate) fn device_of(folder: &str) -> String {
    folder.replace("%2e", ".").replace("%25", "%")
}

/// Where there is a bpffs to look for pins.
pub(crate) fn places(bpffs: Option<&Path>) -> Vec<PathBuf> {
    let candidates = bpffs.map_or_else(|| vec![SYSTEM_BPFFS.as_ref(), OWN_BPFFS.as_ref()], |path| vec![path]);
    candidates.into_iter().filter(|path: &&Path| is_bpffs(path)).map(Path::to_owned).collect()
}

/// The folder of one device of one instance: `<bpffs>/vrouter-xdp/<instance>/<device>`.
#[derive(Debug)]
pub(crate) struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// Finds or mounts a bpffs and makes the folder. `bpffs` is where to look; `None` looks at the system's
    /// place, then at ours.
    pub(crate) fn open(bpffs: Option<&Path>, instance: &str, interface: &str) -> Result<Self, SteerError> {
        check_instance(instance)?;
        // A bpffs reserves names with a dot.
        let device = interface.replace('%', "%25").replace('.', "%2e");
        let folder = find_bpffs(bpffs)?.join(FOLDER).join(instance).join(device);
        fs::create_dir_all(&folder).map_err(|error| pin_error(&folder, &error))?;
        Ok(Self { folder })
    }

    /// As [`Pins::open`], for programs that shall outlive the process; none for others.
    pub(crate) fn of(
        persistence: Persistence,
        bpffs: Option<&Path>,
        instance: &str,
        interface: &str,
    ) -> Result<Option<Self>, SteerError> {
        match persistence {
            Persistence::Pinned => Self::open(bpffs, instance, interface).map(Some),
            Persistence::Process => Ok(None),
        }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a pin.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// State of the link that a predecessor has pinned as `name`.
    pub(crate) fn link(&self, name: &str) -> Result<Option<LinkState>, SteerError> {
        let path = self.path(name);
        pinned_link_state(&path).map_err(|error| pin_error(&path, &error))
    }

    /// Removes a pin, if there is one.
    pub(crate) fn remove(&self, name: &str) -> Result<(), SteerError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(pin_error(&path, &error)),
            _ => Ok(()),
        }
    }

    /// Takes the program of a pinned link off its device, and removes the pin.
    pub(crate) fn detach_link(&self, name: &str) -> Result<(), SteerError> {
        let path = self.path(name);
        detach_pinned_link(&path).map_err(|error| pin_error(&path, &error))?;
        self.remove(name)
    }

    /// Removes the folder, and its parents as far as they are empty.
    pub(crate) fn remove_folders(&self) {
        for folder in self.folder.ancestors().take(3) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

/// The error for a pin at `path`.
pub(crate) fn pin_error(path: &Path, error: &dyn std::error::Error) -> SteerError {
    SteerError::Pin { path: path.to_owned(), reason: crate::object::with_causes(error) }
}

fn find_bpffs(wanted: Option<&Path>) -> Result<PathBuf, SteerError> {
    if wanted.is_none() && is_bpffs(Path::new(SYSTEM_BPFFS)) {
        return Ok(SYSTEM_BPFFS.into());
    }
    let path = wanted.unwrap_or(Path::new(OWN_BPFFS));
    mount_if_missing(path).map_err(|source| SteerError::NoBpffs { path: path.to_owned(), source })?;
    Ok(path.to_owned())
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|filesystem| filesystem.filesystem_type() == BPF_FS_MAGIC)
}

/// Several daemons may start at once; one mount on top of another would hide pins.
fn mount_if_missing(path: &Path) -> io::Result<()> {
    if is_bpffs(path) {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    let lock = Flock::lock(File::open(path)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    if !is_bpffs(path) {
        mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), Some("mode=0700"))?;
        warn_if_short_lived(path);
    }
    drop(lock);
    Ok(())
}

fn warn_if_short_lived(path: &Path) {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    if namespace("1") == namespace("thread-self") {
        tracing::info!(path = %path.display(), "mounted a bpffs");
    } else {
        tracing::warn!(
            path = %path.display(),
            "mounted a bpffs that ends with this mount namespace, and the pinned programs with it; mount one there \
             outside if they shall outlive the daemon"
        );
    }
}

//! Permissions of what clients connect to and map (`[control]` in docs/configuration.md).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::unistd::chown;

use crate::config::Control;

/// What the owner may always do with a table, and of the rest what is left: to read.
const TABLE: u32 = 0o600;
const READING: u32 = 0o044;

/// Gives sockets and tables the configured group and permissions.
pub(crate) fn grant(control: &Control, sockets: &[PathBuf], tables: &[PathBuf]) -> anyhow::Result<()> {
    for socket in sockets {
        set(control, socket, |mode| mode)?;
    }
    for table in tables {
        set(control, table, |mode| mode & READING | TABLE)?;
    }
    Ok(())
}

fn set(control: &Control, path: &Path, mode: impl Fn(u32) -> u32) -> anyhow::Result<()> {
    if let Some(group) = control.group {
        let name = path.display();
        chown(path, None, Some(group.gid())).with_context(|| format!("giving `{name}` its group"))?;
    }
    if let Some(configured) = control.mode {
        let permissions = fs::Permissions::from_mode(mode(configured.bits()));
        let name = path.display();
        fs::set_permissions(path, permissions).with_context(|| format!("giving `{name}` its mode"))?;
    }
    Ok(())
}

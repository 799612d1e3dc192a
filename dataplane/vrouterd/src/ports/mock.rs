//! Test mode: every interface is a vhost-user client (test-rig.md 3).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use vr_runtime::Opened;
use vr_tables::vif::Vif;

use super::Factory;
use super::error::OpenError;

/// Rigs of any user make their sockets in the directory.
const EVERYBODY: u32 = 0o777;

impl Factory {
    /// Opens an interface of any type at `uvh_vif_<name>`. Its MTU is what its type has, also that of the fabric.
    pub(super) fn open_mock(&mut self, vif: &Vif) -> Result<Opened, OpenError> {
        if let Err(error) = fs::set_permissions(&self.directory, Permissions::from_mode(EVERYBODY)) {
            tracing::warn!(directory = %self.directory.display(), %error, "only some users can make sockets here");
        }
        self.machines.open(vif, &self.directory)
    }
}

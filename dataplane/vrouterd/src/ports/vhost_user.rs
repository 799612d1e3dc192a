//! Virtual machines, by vhost-user.

use std::path::Path;

use vr_io::{PortError, VhostUser, VhostUserConfig, VhostUserRole};
use vr_runtime::{Opened, Queue};
use vr_tables::vif::Vif;

use super::error::OpenError;

/// Begin of the name of an interface's socket (control.md 4.3).
const PREFIX: &str = "uvh_vif_";

/// The vhost-user interfaces of the daemon; their thread runs from the first of them on.
pub(super) struct Machines {
    thread: Option<VhostUser>,
    role: VhostUserRole,
    /// Front ends are test rigs.
    mock: bool,
    workers: u32,
}

impl Machines {
    pub(super) const fn new(role: VhostUserRole, mock: bool, workers: u32) -> Self {
        Self { thread: None, role, mock, workers }
    }

    /// Opens the socket of an interface in `directory`: a port for each worker, so that each may send.
    pub(super) fn open(&mut self, vif: &Vif, directory: &Path) -> Result<Opened, OpenError> {
        let name = &vif.details.name;
        if name.is_empty() || name.contains('/') {
            return Err(PortError::BadName(name.clone()).into());
        }
        let config = VhostUserConfig {
            path: directory.join(format!("{PREFIX}{name}")),
            role: self.role,
            ports: self.workers as usize,
            mock: self.mock,
        };
        let thread = match &mut self.thread {
            Some(thread) => thread,
            none => none.insert(VhostUser::start()?),
        };
        let detail = format!("{} at {}", role_name(self.role), config.path.display());
        let queue = |port| Queue { detail: detail.clone(), ..Queue::new(Box::new(port)) };
        let queues = thread.open(&config)?.into_iter().map(queue).collect();
        Ok(Opened { queues, ..Opened::default() })
    }
}

const fn role_name(role: VhostUserRole) -> &'static str {
    match role {
        VhostUserRole::Client => "client",
        VhostUserRole::Server => "server",
    }
}

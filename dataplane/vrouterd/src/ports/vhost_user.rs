//! Virtual machines, by vhost-user.

use std::path::{Path, PathBuf};

use vr_io::{PortError, VhostUser, VhostUserConfig, VhostUserGuest, VhostUserRole};
use vr_runtime::{Opened, Queue};
use vr_tables::vif::{Vif, VifFlags};
use vr_types::VifId;

use super::error::OpenError;
use crate::config::Config;

/// Begin of the name of an interface's socket (control.md 4.3).
const PREFIX: &str = "uvh_vif_";

/// The vhost-user interfaces of the daemon; their thread runs from the first of them on.
pub(super) struct Machines {
    thread: Option<VhostUser>,
    role: VhostUserRole,
    /// Front ends are test rigs.
    mock: bool,
    workers: u32,
    /// Where features are kept.
    features: PathBuf,
    guests: Vec<(VifId, VhostUserGuest)>,
}

impl Machines {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            thread: None,
            role: config.vhost_user_role().into(),
            mock: config.mock,
            workers: config.workers.count.get(),
            features: config.vhost_user.features.path().to_owned(),
            guests: Vec::new(),
        }
    }

    /// Opens the socket of an interface in `directory`: a port for each worker, so that each may send.
    pub(super) fn open(&mut self, vif: &Vif, directory: &Path) -> Result<Opened, OpenError> {
        let name = &vif.details.name;
        if name.is_empty() || name.contains('/') {
            return Err(PortError::BadName(name.clone()).into());
        }
        let mut config = VhostUserConfig {
            ports: self.workers as usize,
            mock: self.mock,
            ..VhostUserConfig::new(directory.join(format!("{PREFIX}{name}")), self.role)
        };
        if !self.mock {
            config.features = Some(self.features.join(name));
            config.announced = Some(name.clone());
        }
        let thread = match &mut self.thread {
            Some(thread) => thread,
            none => none.insert(VhostUser::start()?),
        };
        let detail = format!("{} at {}", role_name(self.role), config.path.display());
        let ports = thread.open(&config)?;
        self.guests.extend(ports.first().map(|port| (vif.id, port.guest())));
        let queue = |port| Queue { detail: detail.clone(), ..Queue::new(Box::new(port)) };
        Ok(Opened { queues: ports.into_iter().map(queue).collect(), ..Opened::default() })
    }

    /// The interfaces, and the flags that follow from what their guests have negotiated.
    pub(super) fn negotiated(&self) -> impl Iterator<Item = (VifId, VifFlags)> + '_ {
        self.guests.iter().map(|(vif, guest)| {
            let mut flags = VifFlags::empty();
            flags.set(VifFlags::GRO_NEEDED, guest.wants_super_frames());
            flags.set(VifFlags::MRG_RXBUF, guest.merges_buffers());
            (*vif, flags)
        })
    }

    /// Interfaces have other numbers.
    pub(super) fn renumber(&mut self, of: impl Fn(VifId) -> VifId) {
        self.guests.iter_mut().for_each(|(vif, _)| *vif = of(*vif));
    }

    /// The interface is removed.
    pub(super) fn closed(&mut self, vif: VifId) {
        self.guests.retain(|(own, _)| *own != vif);
    }
}

const fn role_name(role: VhostUserRole) -> &'static str {
    match role {
        VhostUserRole::Client => "client",
        VhostUserRole::Server => "server",
    }
}

//! Whether the program of the agent is there.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use vr_io::Pkt0Port;
use vr_types::VifId;

/// Looks after the socket of an agent that has added its interface.
///
/// An agent that dies takes nothing back, and its interface stays until the next one comes. The host must not depend
/// on that (forwarding.md 1.7).
pub(super) struct AgentWatch {
    vif: VifId,
    socket: PathBuf,
    /// It has been there: an agent may add its interface first and make its socket then.
    seen: bool,
}

impl AgentWatch {
    pub(super) fn new(vif: VifId, directory: &Path) -> Self {
        Self { vif, socket: directory.join(Pkt0Port::AGENTS), seen: false }
    }

    /// Whether it watches over the agent of this interface.
    pub(super) fn is_of(&self, vif: VifId) -> bool {
        self.vif == vif
    }

    /// Interfaces have other numbers.
    pub(super) fn renumber(&mut self, of: impl Fn(VifId) -> VifId) {
        self.vif = of(self.vif);
    }

    /// Whether the agent was there and is no longer.
    pub(super) fn is_lost(&mut self) -> bool {
        let there = self.answers();
        self.seen |= there;
        self.seen && !there
    }

    /// Whether anybody has the socket. One that is connected to ours refuses everybody else, in another way than one
    /// that nobody has.
    fn answers(&self) -> bool {
        let tried = UnixDatagram::unbound().and_then(|probe| probe.connect(&self.socket));
        tried
            .err()
            .is_none_or(|error| !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused))
    }
}

#[cfg(test)]
mod tests {
    use super::AgentWatch;
    use std::os::unix::net::UnixDatagram;
    use vr_io::Pkt0Port;
    use vr_types::VifId;

    #[test]
    fn an_agent_is_lost_once_it_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let [agents, ours] = [Pkt0Port::AGENTS, Pkt0Port::OURS].map(|name| directory.path().join(name));
        let mut watch = AgentWatch::new(VifId(2), directory.path());
        assert!(!watch.is_lost(), "not yet there");
        let agent = UnixDatagram::bind(&agents).unwrap();
        assert!(!watch.is_lost());
        let _daemon = UnixDatagram::bind(&ours).unwrap();
        agent.connect(&ours).unwrap();
        assert!(!watch.is_lost(), "connected to us, as real agents are");
        drop(agent);
        assert!(watch.is_lost(), "the file is left");
        std::fs::remove_file(&agents).unwrap();
        assert!(watch.is_lost());
        let _again = UnixDatagram::bind(&agents).unwrap();
        assert!(!watch.is_lost());
    }
}

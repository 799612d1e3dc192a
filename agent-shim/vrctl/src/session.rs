//! What a word works with: the way to the vrouter, and the output.

use std::io::{self, BufWriter, Stdout};
use std::path::{Path, PathBuf};

use anyhow::Context;
use sandesh::constants::netlink::GENL_ID_VROUTER;

use crate::client::Client;
use crate::failure::Failure;

/// Where the agent looks for the socket.
pub(crate) const DIRECTORY: &str = "/var/run/vrouter";
/// The agent's configuration, which tells utilities which forwarder there is.
const AGENT_CONFIG: &str = "/etc/contrail/contrail-vrouter-agent.conf";

/// The environment of a word.
pub(crate) struct Session {
    directory: PathBuf,
    test_rig: bool,
    client: Option<Client>,
    pub(crate) out: BufWriter<Stdout>,
}

impl Session {
    /// `rig` is the directory that the word was given as `--sock-dir`, as test rigs do; `directory` the one
    /// that `vrctl` was given.
    pub(crate) fn new(rig: Option<PathBuf>, directory: Option<PathBuf>) -> Self {
        let test_rig = rig.is_some();
        let directory = rig.or(directory).unwrap_or_else(|| PathBuf::from(DIRECTORY));
        Self { directory, test_rig, client: None, out: BufWriter::new(io::stdout()) }
    }

    /// Whether this is a node with the DPDK forwarder's interface, as opposed to a test rig
    /// (test-rig.md 6): some output differs.
    pub(crate) fn is_node(&self) -> bool {
        !self.test_rig
    }

    /// The connection, made when it is first needed.
    pub(crate) fn client(&mut self) -> Result<&mut Client, Failure> {
        Ok(self.parts()?.0)
    }

    /// The connection and the output.
    pub(crate) fn parts(&mut self) -> Result<(&mut Client, &mut BufWriter<Stdout>), Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => connect(&self.directory, self.test_rig)?,
        };
        Ok((self.client.insert(client), &mut self.out))
    }
}

fn connect(directory: &Path, test_rig: bool) -> anyhow::Result<Client> {
    let message_type = if test_rig { 0 } else { GENL_ID_VROUTER };
    let client = Client::connect(directory, message_type);
    if client.is_err() && !test_rig && std::fs::read_to_string(AGENT_CONFIG).is_ok_and(|text| !is_dpdk(&text))
    {
        return client
            .context(format!("{AGENT_CONFIG} has no `platform = dpdk`: the agent uses the kernel module"));
    }
    client
}

/// Whether the section `[DEFAULT]` says `platform = dpdk`.
fn is_dpdk(config: &str) -> bool {
    let mut default = false;
    config.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            default = line == "[DEFAULT]";
        }
        let setting = line.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        default && setting == Some(("platform", "dpdk"))
    })
}

#[cfg(test)]
mod tests {
    use super::is_dpdk;

    #[test]
    fn platform_is_read_from_its_section() {
        assert!(is_dpdk("# x\n[DEFAULT]\nlog_level=1\nplatform = dpdk\n[FLOWS]\n"));
        assert!(is_dpdk("[DEFAULT]\nplatform=dpdk"));
        assert!(!is_dpdk("[DEFAULT]\n#platform=dpdk\n"));
        assert!(!is_dpdk("[OTHER]\nplatform=dpdk\n[DEFAULT]\nplatform=default\n"));
    }
}

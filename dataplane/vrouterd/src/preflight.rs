//! What has to be there before anything is changed: each missing thing is one sentence that says what to do.

use vr_io::{PortError, afxdp, netdev};

use crate::config::{Backend, Config};
use crate::exit::Failure;

/// Something that this machine or process lacks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    /// Privileges.
    #[error("vrouterd needs {0}; run it as root, or grant these capabilities to the service")]
    Capabilities(String),
    /// The fabric device of the configuration.
    #[error(
        "the fabric device `{0}` is not in this network namespace; correct `device` in [fabric], or see `ip link` for \
         those that are there"
    )]
    Fabric(String),
}

/// What the daemon does needs these, by their numbers in `linux/capability.h`.
const NEEDED: [(&str, u32); 4] =
    [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
/// Does instead of the last two.
const SYS_ADMIN: u32 = 21;

/// Looks whether everything is there. Changes nothing.
pub(crate) fn check(config: &Config) -> Result<(), Failure> {
    if let Some(directory) = &config.tables.hugetlbfs {
        vr_tables::huge::check(directory.path())?;
    }
    if config.mock {
        // Sockets and memory are all it needs.
        return Ok(());
    }
    if config.fabric.backend == Backend::XskRs && !cfg!(feature = "xsk-rs") {
        return Err(PortError::NoXskRs.into());
    }
    capabilities()?;
    if let Some(device) = &config.fabric.device {
        match netdev::index(device.as_str()) {
            Ok(_) => {}
            Err(PortError::NoSuchInterface(name)) => return Err(Missing::Fabric(name).into()),
            Err(error) => return Err(error.into()),
        }
    }
    if config.fabric.backend != Backend::Packet {
        afxdp::probe()?;
        steer_loader::probe()?;
    }
    Ok(())
}

fn capabilities() -> Result<(), Missing> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let missing = lacking(&status);
    if missing.is_empty() { Ok(()) } else { Err(Missing::Capabilities(missing.join(", "))) }
}

/// What a process with this `/proc/.../status` lacks. One that does not tell is presumed to have everything: what it
/// then lacks is said where it is needed.
fn lacking(status: &str) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX);
    let has = |bit: u32| held & 1 << bit != 0;
    let lacks = |bit: u32| !(has(bit) || bit > SYS_ADMIN && has(SYS_ADMIN));
    NEEDED.iter().filter(|(_, bit)| lacks(*bit)).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::lacking;

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(lacking("CapEff:\t000001ffffffffff\n"), [""; 0]);
        assert_eq!(lacking("CapPrm:\t0\nCapEff:\t0000000000000000\n").len(), 4);
        assert_eq!(lacking("CapEff:\t0000000000203000\n"), [""; 0], "CAP_SYS_ADMIN stands for the eBPF ones");
        assert_eq!(lacking("CapEff:\t0000008000003000\n"), ["CAP_PERFMON"]);
        assert_eq!(lacking("nothing"), [""; 0]);
    }
}

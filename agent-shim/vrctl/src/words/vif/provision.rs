//! `vif --create`: the host's end of the pair of devices that the daemon attaches to.
//!
//! The original asks its kernel module for a device. Ours is a veth pair, as the daemon makes it itself when
//! it is missing: the kernel has the end NAME, the daemon takes the other one.

use std::process::Command;

use anyhow::{Context, anyhow, bail};

use crate::failure::Failure;
use crate::text;

/// Longest name of a network device, without its NUL.
const LONGEST_NAME: usize = 15;
/// End of the name of the daemon's end.
const OUR_END: &str = "-dp";

/// Makes the pair, unless it is there, and gives its end the MAC address.
pub(super) fn create(name: &str, mac: Option<&str>) -> Result<(), Failure> {
    let mac = mac.map(text::parse_mac).transpose().map_err(|error| anyhow!("--mac: {error}"))?;
    if name.is_empty() || name.len() > LONGEST_NAME || name.starts_with('-') || name.contains(['/', ' ']) {
        return Err(anyhow!("`{name}` is no name of a network device").into());
    }
    if text::device_index(name).is_none() {
        ip(&["link", "add", name, "type", "veth", "peer", "name", &our_end(name)])?;
    }
    if let Some(mac) = mac {
        ip(&["link", "set", name, "address", &text::mac(&mac)])?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run `ip` (package iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Name of the daemon's end, as the daemon chooses it.
fn our_end(name: &str) -> String {
    let kept = name.len().min(LONGEST_NAME - OUR_END.len());
    format!("{}{OUR_END}", &name[..name.floor_char_boundary(kept)])
}

#[cfg(test)]
mod tests {
    use super::our_end;

    #[test]
    fn the_other_end_is_the_one_that_the_daemon_looks_for() {
        assert_eq!(our_end("vhost0"), "vhost0-dp");
        assert_eq!(our_end("a-long-name-012"), "a-long-name--dp");
    }
}

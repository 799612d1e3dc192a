//! Interfaces that the host's kernel sees: `vhost0` and gateways.

use vr_io::{TapConfig, TapPort, netdev};
use vr_runtime::{Opened, Queue};
use vr_tables::vif::Vif;

use super::error::OpenError;
use super::{Factory, guest, single};
use crate::config::HostMode;

/// The host's interface in every agent's configuration.
pub(super) const VHOST0: &str = "vhost0";
/// Longest name of a network device, without its NUL.
const LONGEST_NAME: usize = 15;
/// End of the name of the dataplane's end of the `vhost0` pair.
const OUR_END: &str = "-dp";

impl Factory {
    /// `vhost0` is a veth pair, of which the kernel has one end and the dataplane the other. It stays when its
    /// interface is removed, with all addresses and routes that the administrator has given it.
    pub(super) fn open_vhost0(&mut self, vif: &Vif) -> Result<Opened, OpenError> {
        let name = &vif.details.name;
        let mut opened = match self.fabric.host {
            HostMode::Nic => guest::open(vif.id, &self.make_pair(name)?, &mut self.pods)?,
            HostMode::Vhost0 if name != VHOST0 => return Err(OpenError::HostName(name.clone())),
            HostMode::Vhost0 => guest::open_shared(&self.make_pair(name)?)?,
        };
        for queue in &mut opened.queues {
            queue.kernel_mac = Some(netdev::mac(name)?);
            queue.detail = format!("veth pair {name}, {}", our_end(name));
        }
        self.fabrics.set_host(vif.id, name, vif.ip);
        Ok(opened)
    }

    /// Makes the pair `name` unless it is there, with address and MTU of the fabric device, and takes it up. Returns
    /// the name of our end.
    pub(super) fn make_pair(&self, name: &str) -> Result<String, OpenError> {
        let ours = our_end(name);
        if netdev::index(name).is_ok() {
            if netdev::index(&ours).is_err() {
                return Err(OpenError::ForeignHost(name.to_owned(), ours));
            }
        } else {
            netdev::create_veth(name, &ours, 1)?;
            if self.fabric.host == HostMode::Nic {
                ignore_foreign_arp(name);
            }
        }
        // The agent sends the virtual router's address for it, which is not the host's.
        if let Some(fabric) = &self.fabric_device {
            // Setting it again would make the kernel forget its neighbours.
            if netdev::mac(name)? != fabric.mac {
                netdev::set_mac(name, fabric.mac)?;
            }
            for end in [name, &ours] {
                netdev::set_mtu(end, fabric.mtu)?;
            }
        }
        for end in [name, &ours] {
            netdev::set_up(end, true)?;
        }
        Ok(ours)
    }
}

/// The gateway's device. It stays when its interface is removed, as `vhost0` does.
pub(super) fn open_tap(name: &str) -> Result<Opened, OpenError> {
    let ports = TapPort::open(&TapConfig { persistent: true, ..TapConfig::new(name) })?;
    let mac = netdev::mac(name)?;
    let queue = |port| Queue { kernel_mac: Some(mac), ..Queue::new(Box::new(port)) };
    Ok(ports.into_iter().next().map_or_else(Opened::default, |port| single(queue(port))))
}

fn our_end(name: &str) -> String {
    let kept = name.len().min(LONGEST_NAME - OUR_END.len());
    format!("{}{OUR_END}", &name[..name.floor_char_boundary(kept)])
}

/// The kernel would answer on `vhost0` for the addresses of all devices, and has answered on the fabric already.
fn ignore_foreign_arp(name: &str) {
    if let Err(error) = std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/arp_ignore"), "1") {
        tracing::warn!(name, %error, "ARP requests may be answered twice");
    }
}

#[cfg(test)]
mod tests {
    use super::our_end;

    #[test]
    fn our_end_has_a_name_that_fits() {
        assert_eq!(our_end("vhost0"), "vhost0-dp");
        assert_eq!(our_end("a-long-name-012"), "a-long-name--dp");
    }
}

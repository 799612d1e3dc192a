//! Interfaces that the host's kernel sees: `vhost0` and gateways.

use std::net::Ipv4Addr;

use vr_io::{TapConfig, TapPort, netdev};
use vr_runtime::{KernelMac, Opened, Queue};
use vr_tables::control::Attached;
use vr_tables::vif::Vif;
use vr_types::Mac;

use super::error::OpenError;
use super::fabric::FabricDevice;
use super::{Factory, guest};
use crate::config::HostMode;

/// The host's interface in every agent's configuration.
pub(super) const VHOST0: &str = "vhost0";
/// What the largest of the tunnels adds to an IP packet: VXLAN, with the inner Ethernet header.
const OVERHEAD: u32 = 50;
/// Longest name of a network device, without its NUL.
pub(super) const LONGEST_NAME: usize = 15;
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
        let address = self.kernel_mac(vif, netdev::mac(name)?);
        for queue in &mut opened.queues {
            queue.kernel_mac = Some(address.clone());
            queue.detail = format!("veth pair {name}, {}", our_end(name));
        }
        self.set_host(vif);
        Ok(opened)
    }

    /// Takes the addresses that the agent has named for the host.
    pub(super) fn set_host(&self, vif: &Vif) {
        let loopback = Ipv4Addr::from_bits(vif.details.loopback_ip);
        self.fabrics.set_host(vif.id, &vif.details.name, [vif.ip, loopback]);
    }

    /// The address of the interface's device, which is followed from now on.
    fn kernel_mac(&mut self, vif: &Vif, mac: Mac) -> KernelMac {
        let address = KernelMac::new(mac);
        self.kernel_macs.push((vif.id, vif.details.name.clone(), address.clone()));
        address
    }

    /// The gateway's device. It stays when its interface is removed, as `vhost0` does. A new one has the MTU that
    /// fits into every tunnel (forwarding.md 11.5).
    pub(super) fn open_tap(&mut self, vif: &Vif) -> Result<Opened, OpenError> {
        let name = &vif.details.name;
        let is_new = netdev::index(name).is_err();
        let fits = |fabric: FabricDevice| fabric.mtu.saturating_sub(OVERHEAD);
        let mtu = self.fabric_device.map(fits).filter(|_| is_new);
        let ports = TapPort::open(&TapConfig { persistent: true, mtu, ..TapConfig::new(name) })?;
        let mac = netdev::mac(name)?;
        let address = self.kernel_mac(vif, mac);
        let queues = ports
            .into_iter()
            .map(|port| Queue { kernel_mac: Some(address.clone()), ..Queue::new(Box::new(port)) });
        Ok(Opened { queues: queues.collect(), device: Attached { mac: Some(mac), mtu: None } })
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
        }
        // Before it is up: the kernel speaks first on a device with addresses of its own.
        netdev::set_ipv6_autoconfiguration(&ours, false)?;
        if self.fabric.host == HostMode::Nic {
            netdev::set_ipv6_autoconfiguration(name, false)?;
            be_a_facade(name);
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

pub(super) fn our_end(name: &str) -> String {
    let kept = name.len().min(LONGEST_NAME - OUR_END.len());
    format!("{}{OUR_END}", &name[..name.floor_char_boundary(kept)])
}

/// With the host's address on the NIC, copies of what the fabric sends to all come to `vhost0` as well. The kernel
/// has answered ARP requests already, and must not take a router's advertisement for a second way out.
fn be_a_facade(name: &str) {
    for (path, value) in [("ipv4", "arp_ignore", "1"), ("ipv6", "accept_ra", "0"), ("ipv6", "autoconf", "0")]
        .map(|(family, key, value)| (format!("/proc/sys/net/{family}/conf/{name}/{key}"), value))
    {
        match std::fs::write(&path, value) {
            // Without IPv6 there is nothing to turn off.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path, %error, "vhost0 answers for the fabric's device");
            }
            _ => {}
        }
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

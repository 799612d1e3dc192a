//! Interfaces that the host's kernel sees: `vhost0` and gateways.

use vr_io::{TapConfig, TapPort, netdev};
use vr_runtime::{Opened, Queue};
use vr_tables::vif::Vif;

use super::error::OpenError;
use super::{Factory, guest, single};

/// Longest name of a network device, without its NUL.
const LONGEST_NAME: usize = 15;
/// End of the name of the dataplane's end of the `vhost0` pair.
const OUR_END: &str = "-dp";

impl Factory {
    /// `vhost0` is a veth pair, of which the kernel has one end and the dataplane the other. It stays when its
    /// interface is removed, with all addresses and routes that the administrator has given it.
    pub(super) fn open_vhost0(&mut self, vif: &Vif) -> Result<Opened, OpenError> {
        let name = &vif.details.name;
        let ours = our_end(name);
        if netdev::index(name).is_err() {
            netdev::create_veth(name, &ours, 1)?;
            ignore_foreign_arp(name);
        }
        // The agent sends the virtual router's address for it, which is not the host's.
        if let Some(fabric) = &self.fabric_device {
            netdev::set_mac(name, fabric.mac)?;
            for end in [name, &ours] {
                netdev::set_mtu(end, fabric.mtu)?;
            }
        }
        netdev::set_up(name, true)?;
        let mut opened = guest::open(vif.id, &ours, &mut self.pods)?;
        for queue in &mut opened.queues {
            queue.kernel_mac = Some(netdev::mac(name)?);
            queue.detail = format!("veth pair {name}, {ours}");
        }
        self.fabrics.set_host(vif.id, vif.ip);
        Ok(opened)
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

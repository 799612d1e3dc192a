//! An underlay that is one VLAN of a device.

use vr_io::netdev;

use super::error::OpenError;
use super::host::LONGEST_NAME;
use super::{Factory, endpoints};
use crate::config::DeviceName;

impl Factory {
    /// Makes the kernel's device for the configured VLAN of `device`, unless it is there, and takes that for the
    /// underlay. What is not of the VLAN stays with the kernel: on `device`, or on the device that is configured for
    /// it.
    pub(super) fn enter_vlan(&mut self, device: DeviceName) -> Result<DeviceName, OpenError> {
        let Some(vlan) = self.fabric.vlan else { return Ok(device) };
        let (parent, vlan) = (device.as_str(), vlan.get() as u16);
        let name = name_of(parent, vlan);
        if netdev::index(&name).is_err() {
            netdev::create_vlan(&name, parent, vlan)?;
        }
        if let Some(others) = self.fabric.others.as_ref().map(DeviceName::as_str) {
            make_others(others, parent)?;
        }
        netdev::set_up(parent, true)?;
        netdev::set_up(&name, true)?;
        let device = DeviceName::try_from(name).map_err(OpenError::VlanName)?;
        tracing::info!(device = device.as_str(), vlan, "the underlay is a VLAN");
        self.fabric.device = Some(device.clone());
        Ok(device)
    }
}

/// Makes the device that gets everything from `parent` that is not of the VLAN. A parent with addresses keeps it all,
/// or the host would be cut off.
fn make_others(name: &str, parent: &str) -> Result<(), OpenError> {
    if netdev::index(name).is_ok() {
        return Ok(());
    }
    if endpoints::of_device(parent).iter().any(std::net::IpAddr::is_ipv4) {
        tracing::warn!(
            parent,
            name,
            "the device has addresses, and keeps what is not of the VLAN; take them off it to have it on the other"
        );
        return Ok(());
    }
    netdev::create_macvlan(name, parent)?;
    netdev::set_up(name, true)?;
    Ok(())
}

fn name_of(parent: &str, vlan: u16) -> String {
    let end = format!(".{vlan}");
    let kept = parent.len().min(LONGEST_NAME - end.len());
    format!("{}{end}", &parent[..parent.floor_char_boundary(kept)])
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn its_name_says_what_it_is() {
        assert_eq!(name_of("eth0", 7), "eth0.7");
        assert_eq!(name_of("a-long-name-012", 4094), "a-long-nam.4094");
    }
}

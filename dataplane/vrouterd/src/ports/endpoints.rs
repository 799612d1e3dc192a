//! The addresses to which tunnels are for this node.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// The addresses of a device, IPv4 and IPv6; none when the kernel does not tell.
pub(super) fn of_device(device: &str) -> BTreeSet<IpAddr> {
    let Ok(all) = getifaddrs() else { return BTreeSet::new() };
    all.filter(|entry| entry.interface_name == device)
        .filter_map(|entry| {
            let address = entry.address?;
            let inet = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            inet.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::of_device;

    #[test]
    fn a_device_that_is_not_there_has_no_address() {
        assert!(of_device("no-such-device").is_empty());
    }
}

//! Values as people read them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

/// The system's words for an errno.
pub(crate) fn error_name(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Six bytes as `00:1b:21:bb:f9:48`; other lengths likewise.
pub(crate) fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// `00:1b:21:bb:f9:48` to bytes; leading zeros may be absent.
pub(crate) fn parse_mac(text: &str) -> Result<Vec<u8>, String> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes.filter(|bytes| bytes.len() == 6).ok_or_else(|| "six bytes in hex with colons are needed".to_owned())
}

/// Bytes as `00 1b `, each with a space behind it.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).flat_map(|byte| [byte, " ".to_owned()]).collect()
}

/// An IPv4 address that travels as it lies in memory (control.md 1.3).
pub(crate) fn raw_inet(raw: u32) -> Ipv4Addr {
    Ipv4Addr::from(raw.to_le_bytes())
}

/// The number in which an IPv4 address travels.
pub(crate) fn to_raw_inet(address: Ipv4Addr) -> u32 {
    u32::from_le_bytes(address.octets())
}

/// The two numbers in which an address of a flow key travels: the upper one is 0 for IPv4.
pub(crate) fn to_raw_halves(address: IpAddr) -> (u64, u64) {
    match address {
        IpAddr::V4(address) => (0, u64::from(to_raw_inet(address))),
        IpAddr::V6(address) => {
            let [upper, lower] =
                [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|i| address.octets()[at + i])));
            (upper, lower)
        }
    }
}

/// An IPv6 address from the two numbers in which it travels.
pub(crate) fn raw_inet6(upper: u64, lower: u64) -> Ipv6Addr {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&upper.to_le_bytes());
    bytes[8..].copy_from_slice(&lower.to_le_bytes());
    Ipv6Addr::from(bytes)
}

/// An address from its 4 or 16 bytes in network order.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The bytes of an address in network order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address family of constants.tsv.
pub(crate) fn family(address: IpAddr) -> i32 {
    match address {
        IpAddr::V4(_) => sandesh::constants::family::AF_INET,
        IpAddr::V6(_) => sandesh::constants::family::AF_INET6,
    }
}

/// Text that ends with a NUL.
pub(crate) fn c_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The names of those bits that are set, one behind the other.
pub(crate) fn bits(value: u32, names: &[(u32, &str)]) -> String {
    names.iter().filter(|(bit, _)| value & bit != 0).map(|(_, name)| *name).collect()
}

/// Index of the system's network device with this name.
pub(crate) fn device_index(name: &str) -> Option<i32> {
    let index = netdevice::name_to_index(any_socket()?, name).ok()?;
    i32::try_from(index).ok()
}

/// Name of the system's network device with this index.
pub(crate) fn device_name(index: i32) -> Option<String> {
    let index = u32::try_from(index).ok().filter(|index| *index > 0)?;
    netdevice::index_to_name(any_socket()?, index).ok()
}

/// Devices are asked for on a socket of any kind.
fn any_socket() -> Option<OwnedFd> {
    socket(AddressFamily::UNIX, SocketType::DGRAM, None).ok()
}

#[cfg(test)]
mod tests {
    use super::{
        address, device_index, device_name, error_name, mac, parse_mac, raw_inet, raw_inet6, to_raw_halves,
    };

    #[test]
    fn addresses_travel_as_they_lie_in_memory() {
        assert_eq!(raw_inet(0x0200_0008).to_string(), "8.0.0.2");
        let v6 = "2001:db8::1".parse().unwrap();
        let (upper, lower) = to_raw_halves(v6);
        assert_eq!(raw_inet6(upper, lower), v6);
        assert_eq!(address(&[1, 2, 3, 4]).unwrap().to_string(), "1.2.3.4");
        assert_eq!(address(&[1]), None);
    }

    #[test]
    fn macs_and_errors_have_names() {
        assert_eq!(mac(&parse_mac("0:1b:21:BB:f9:48").unwrap()), "00:1b:21:bb:f9:48");
        assert!(parse_mac("0:1:2:3:4").is_err() && parse_mac("100:1:2:3:4:5").is_err());
        assert_eq!(error_name(2), "No such file or directory");
    }

    #[test]
    fn devices_have_an_index_and_a_name() {
        let index = device_index("lo").unwrap();
        assert_eq!(device_name(index).as_deref(), Some("lo"));
        assert_eq!((device_index("no-such-device"), device_name(-1), device_name(0)), (None, None, None));
    }
}

//! Numbers of messages to values of tables and back (control.md 1.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vr_types::{MirrorId, NexthopId, VifId, VrfId};

/// An IPv4 address that lies in a number as it lies in memory.
pub(crate) fn inet(raw: u32) -> Ipv4Addr {
    Ipv4Addr::from(raw.to_le_bytes())
}

/// The number in which an IPv4 address lies as in memory.
pub(crate) fn raw_inet(address: Ipv4Addr) -> u32 {
    u32::from_le_bytes(address.octets())
}

/// An IPv6 address whose halves lie in two numbers as in memory.
pub(crate) fn inet6(upper: u64, lower: u64) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&upper.to_le_bytes());
    octets[8..].copy_from_slice(&lower.to_le_bytes());
    Ipv6Addr::from(octets)
}

/// The numbers in which the halves of an IPv6 address lie as in memory.
pub(crate) fn raw_inet6(address: Ipv6Addr) -> (u64, u64) {
    let [upper, lower] = [0, 8].map(|at| {
        let mut half = [0; 8];
        half.copy_from_slice(&address.octets()[at..at + 8]);
        u64::from_le_bytes(half)
    });
    (upper, lower)
}

/// An IPv4 address, `None` for zero.
pub(crate) fn end_inet(raw: u32) -> Option<IpAddr> {
    Some(inet(raw)).filter(|address| !address.is_unspecified()).map(IpAddr::V4)
}

/// An IPv6 address, `None` for a list of another length.
pub(crate) fn end_inet6(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// A port that lies in a number as in memory, in host order.
pub(crate) fn port(raw: i16) -> u16 {
    u16::from_be_bytes(raw.to_le_bytes())
}

/// The number in which a port lies as in memory.
pub(crate) fn raw_port(port: u16) -> i16 {
    i16::from_le_bytes(port.to_be_bytes())
}

/// An interface number; [`VifId::NONE`] for one that none can have.
pub(crate) fn vif(number: i32) -> VifId {
    u16::try_from(number).map_or(VifId::NONE, VifId)
}

/// An interface number, -1 for none.
pub(crate) fn vif_number(vif: VifId) -> i32 {
    if vif == VifId::NONE { -1 } else { i32::from(vif.0) }
}

/// A VRF; [`VrfId::NONE`], which is beyond every table, for a number that none can have.
pub(crate) fn vrf(number: i32) -> VrfId {
    u16::try_from(number).map_or(VrfId::NONE, VrfId)
}

/// A VRF where a negative number leaves it as it is.
pub(crate) fn changed_vrf(number: i32) -> Option<VrfId> {
    u16::try_from(number).ok().map(VrfId)
}

/// A nexthop; one that is beyond every table for a negative number.
pub(crate) fn nexthop(number: i32) -> NexthopId {
    NexthopId(u32::try_from(number).unwrap_or(u32::MAX))
}

/// A mirror; [`MirrorId::NONE`] for a number that none can have.
pub(crate) fn mirror(number: i16) -> MirrorId {
    u8::try_from(number).map_or(MirrorId::NONE, MirrorId)
}

/// First entry of a dump: the one behind the marker, -1 starts.
pub(crate) fn behind(marker: i32) -> usize {
    usize::try_from(marker).map_or(0, |marker| marker + 1)
}

#[cfg(test)]
mod tests {
    use super::{behind, inet, inet6, port, raw_inet, raw_inet6, raw_port, vif};
    use vr_types::VifId;

    #[test]
    fn values_of_the_recordings() {
        assert_eq!(inet(16_781_484).to_string(), "172.16.0.1");
        assert_eq!(raw_inet("172.16.0.1".parse().unwrap()), 16_781_484);
        assert_eq!(inet6(16_777_469, 1 << 56).to_string(), "fd00:1::1");
        assert_eq!(raw_inet6("fd00:1::1".parse().unwrap()), (16_777_469, 1 << 56));
        assert_eq!((port(0x3500), raw_port(53)), (53, 0x3500));
        assert_eq!((port(-1), raw_port(65_535)), (65_535, -1));
    }

    #[test]
    fn numbers_out_of_range_name_nothing() {
        assert_eq!((vif(-1), vif(70_000), vif(7)), (VifId::NONE, VifId::NONE, VifId(7)));
        assert_eq!((behind(-1), behind(0), behind(i32::MIN)), (0, 1, 0));
    }
}

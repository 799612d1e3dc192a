//! How entries of the flow table lie in its file (control.md 5.2).

use sandesh::constants::family::AF_INET6;
use sandesh::constants::flow_flag::VR_FLOW_FLAG_ACTIVE;
use sandesh::r220;

use super::Flow;
use crate::text;

/// One release's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Current,
    R220,
}

impl Layout {
    /// Bytes of an entry.
    pub(super) const fn entry_size(self) -> usize {
        match self {
            Self::Current => 256,
            Self::R220 => 128,
        }
    }

    /// The entry with these bytes, if it is in use.
    pub(super) fn read(self, index: u32, bytes: &[u8]) -> Option<Flow> {
        let entry = Entry(bytes);
        match self {
            Self::Current => current(index, entry),
            Self::R220 => old(index, entry),
        }
        .filter(|flow| flow.has(VR_FLOW_FLAG_ACTIVE))
    }
}

/// Bytes of an entry. What lies behind the end is zero.
#[derive(Clone, Copy)]
struct Entry<'a>(&'a [u8]);

impl Entry<'_> {
    fn bytes<const N: usize>(self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u8(self, at: usize) -> u8 {
        u8::from_le_bytes(self.bytes(at))
    }

    fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn port(self, at: usize) -> u16 {
        u16::from_be_bytes(self.bytes(at))
    }

    fn address(self, at: usize, length: usize) -> Option<std::net::IpAddr> {
        text::address(self.0.get(at..at + length)?)
    }
}

/// An entry of the current release.
fn current(index: u32, entry: Entry<'_>) -> Option<Flow> {
    let length = if entry.u8(24) == AF_INET6 as u8 { 16 } else { 4 };
    Some(Flow {
        index,
        ttl: entry.u8(21),
        qos_id: entry.u16(22) as i16,
        protocol: entry.u8(25),
        source: entry.address(36, length)?,
        destination: entry.address(36 + length, length)?,
        source_port: entry.port(28),
        destination_port: entry.port(30),
        key_nexthop: entry.u32(32),
        gen_id: entry.u8(69),
        tcp_flags: entry.u16(70),
        reverse: entry.u32(84) as i32,
        flags: entry.u16(88),
        flags1: entry.u16(90),
        action: entry.u16(92),
        vrf: entry.u16(94),
        next_vrf: entry.u16(96),
        mirrors: entry.bytes(98),
        source_nexthop: entry.u32(100),
        bytes: u64::from(entry.u32(104)) | u64::from(entry.u16(112)) << 32,
        packets: u64::from(entry.u32(108)) | u64::from(entry.u8(114)) << 32,
        ecmp: entry.u8(115) as i8,
        drop_reason: entry.u8(116),
        udp_source_port: entry.u16(118),
        source_info: entry.u32(120),
        underlay_ecmp: entry.u8(136) as i8,
    })
}

/// An entry of R2.20. What it does not know of is as the current release has it where it is not used.
fn old(index: u32, entry: Entry<'_>) -> Option<Flow> {
    Some(Flow {
        index,
        ttl: 0,
        qos_id: -1,
        protocol: entry.u8(37),
        source: entry.address(25, 4)?,
        destination: entry.address(29, 4)?,
        source_port: entry.port(21),
        destination_port: entry.port(23),
        key_nexthop: entry.u32(33),
        gen_id: 0,
        tcp_flags: entry.u16(40),
        reverse: entry.u32(58) as i32,
        flags: entry.u16(56),
        flags1: 0,
        action: entry.u16(54),
        vrf: entry.u16(62),
        next_vrf: entry.u16(64),
        mirrors: entry.bytes(68),
        source_nexthop: u32::from(entry.u16(66)),
        bytes: u64::from(entry.u32(70)) | u64::from(entry.u16(78)) << 32,
        packets: u64::from(entry.u32(74)) | u64::from(entry.u8(80)) << 32,
        ecmp: entry.u8(81) as i8,
        drop_reason: r220::drop_reason_to_current(entry.u8(82)),
        udp_source_port: entry.u16(84),
        source_info: 0,
        underlay_ecmp: -1,
    })
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[test]
    fn an_entry_is_read_at_the_offsets_of_the_specification() {
        let mut entry = [0; 256];
        assert_eq!(Layout::Current.read(5, &entry), None);
        for (at, byte) in entry.iter_mut().enumerate() {
            *byte = at as u8;
        }
        (entry[24], entry[88]) = (2, 0x59);
        let flow = Layout::Current.read(5, &entry).unwrap();
        assert_eq!((flow.protocol, flow.source_port, flow.key_nexthop), (25, 0x1c1d, 0x2322_2120));
        assert_eq!(
            (flow.source.to_string(), flow.destination.to_string()),
            ("36.37.38.39".to_owned(), "40.41.42.43".to_owned())
        );
        assert_eq!((flow.gen_id, flow.tcp_flags, flow.reverse), (69, 0x4746, 0x5756_5554));
        assert_eq!((flow.bytes, flow.packets), (0x7170_6b6a_6968, 0x72_6f6e_6d6c));
        assert_eq!((flow.udp_source_port, flow.underlay_ecmp), (0x7776, 136_u8 as i8));
    }

    #[test]
    fn an_entry_of_r220_too() {
        let mut entry = [0; 128];
        assert_eq!(Layout::R220.read(5, &entry), None);
        for (at, byte) in entry.iter_mut().enumerate() {
            *byte = at as u8;
        }
        (entry[56], entry[82]) = (0x39, 0x0f);
        let flow = Layout::R220.read(5, &entry).unwrap();
        assert_eq!((flow.protocol, flow.source_port, flow.destination_port), (37, 0x1516, 0x1718));
        assert_eq!(
            (flow.source.to_string(), flow.destination.to_string()),
            ("25.26.27.28".to_owned(), "29.30.31.32".to_owned())
        );
        assert_eq!((flow.key_nexthop, flow.tcp_flags, flow.action), (0x2423_2221, 0x2928, 0x3736));
        assert_eq!((flow.reverse, flow.vrf, flow.next_vrf), (0x3d3c_3b3a, 0x3f3e, 0x4140));
        assert_eq!((flow.source_nexthop, flow.mirrors, flow.ecmp), (0x4342, [68, 69], 81));
        assert_eq!((flow.bytes, flow.packets), (0x4f4e_4948_4746, 0x50_4d4c_4b4a));
        assert_eq!((flow.drop_reason, flow.udp_source_port), (0x17, 0x5554));
    }
}

//! Socket filters (classic BPF) for devices whose traffic belongs to the kernel but for a part.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys;

/// Which frames of a device a port receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketFilter {
    /// All of them.
    #[default]
    Everything,
    /// Those that resolve addresses: ARP, and neighbour discovery (RFC 4861).
    Neighbours,
    /// The same, and packets of tunnels over IPv4: GRE, and UDP to the ports of MPLS (6635, 51234) and VXLAN (4789).
    Tunnels,
}

/// Offsets in a frame without tags.
const ETHERTYPE: u32 = 12;
const INET_FRAGMENT: u32 = 20;
const INET_PROTOCOL: u32 = 23;
/// Relative to the end of the IPv4 header, whose length is in X.
const UDP_DESTINATION: u32 = 14 + 2;
const INET6_NEXT_HEADER: u32 = 20;
const ICMPV6_TYPE: u32 = 54;

const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const LOAD_HALF_AT_X: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const LOAD_HEADER_LENGTH: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// One instruction: if it is a jump, `yes` and `no` say how many to leave out.
const fn step(code: u16, value: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt: yes, jf: no, k: value }
}

/// The last two instructions: the whole frame, or nothing of it.
const ACCEPT: libc::sock_filter = step(RETURN, u32::MAX, 0, 0);
const REFUSE: libc::sock_filter = step(RETURN, 0, 0, 0);

const NEIGHBOURS: [libc::sock_filter; 10] = [
    step(LOAD_HALF, ETHERTYPE, 0, 0),
    step(IF_EQUAL, 0x0806, 6, 0),
    step(IF_EQUAL, 0x86dd, 0, 6),
    step(LOAD_BYTE, INET6_NEXT_HEADER, 0, 0),
    step(IF_EQUAL, 58, 0, 4),
    step(LOAD_BYTE, ICMPV6_TYPE, 0, 0),
    step(IF_AT_LEAST, 133, 0, 2),
    step(IF_ABOVE, 137, 1, 0),
    ACCEPT,
    REFUSE,
];

const TUNNELS: [libc::sock_filter; 21] = [
    step(LOAD_HALF, ETHERTYPE, 0, 0),
    step(IF_EQUAL, 0x0806, 17, 0),
    step(IF_EQUAL, 0x86dd, 0, 5),
    step(LOAD_BYTE, INET6_NEXT_HEADER, 0, 0),
    step(IF_EQUAL, 58, 0, 15),
    step(LOAD_BYTE, ICMPV6_TYPE, 0, 0),
    step(IF_AT_LEAST, 133, 0, 13),
    step(IF_ABOVE, 137, 12, 11),
    step(IF_EQUAL, 0x0800, 0, 11),
    step(LOAD_BYTE, INET_PROTOCOL, 0, 0),
    step(IF_EQUAL, 47, 8, 0),
    step(IF_EQUAL, 17, 0, 8),
    step(LOAD_HALF, INET_FRAGMENT, 0, 0),
    step(IF_SET, 0x3fff, 6, 0),
    step(LOAD_HEADER_LENGTH, 14, 0, 0),
    step(LOAD_HALF_AT_X, UDP_DESTINATION, 0, 0),
    step(IF_EQUAL, 6635, 2, 0),
    step(IF_EQUAL, 51234, 1, 0),
    step(IF_EQUAL, 4789, 0, 1),
    ACCEPT,
    REFUSE,
];

/// Lets the socket receive what the filter lets through.
pub(super) fn attach(fd: BorrowedFd<'_>, filter: PacketFilter) -> io::Result<()> {
    let program: &[libc::sock_filter] = match filter {
        PacketFilter::Everything => return Ok(()),
        PacketFilter::Neighbours => &NEIGHBOURS,
        PacketFilter::Tunnels => &TUNNELS,
    };
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    sys::set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

#[cfg(test)]
mod tests {
    use super::{PacketFilter, attach};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    /// A Unix datagram goes through the filter of the socket that receives it.
    fn passes(filter: PacketFilter, frame: &[u8]) -> bool {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        attach(receiver.as_fd(), filter).unwrap();
        receiver.set_nonblocking(true).unwrap();
        sender.send(frame).is_ok() && receiver.recv(&mut [0; 128]).is_ok()
    }

    /// A frame of 60 bytes with these bytes at these offsets.
    fn frame(bytes: &[(usize, &[u8])]) -> [u8; 60] {
        let mut frame = [0; 60];
        for (offset, bytes) in bytes {
            frame[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        frame
    }

    fn judge(frame: &[u8]) -> [bool; 3] {
        [PacketFilter::Everything, PacketFilter::Neighbours, PacketFilter::Tunnels].map(|f| passes(f, frame))
    }

    #[test]
    fn each_filter_lets_its_part_through() {
        let inet: (usize, &[u8]) = (12, &[8, 0, 0x45]);
        let inet6: (usize, &[u8]) = (12, &[0x86, 0xdd, 0x60]);
        let udp = |port: u16| frame(&[inet, (23, &[17]), (36, &port.to_be_bytes())]);
        let icmp6 = |kind| frame(&[inet6, (20, &[58]), (54, &[kind])]);
        assert_eq!(judge(&frame(&[(12, &[8, 6])])), [true; 3], "ARP");
        assert_eq!([133, 135, 136, 137].map(icmp6).map(|f| judge(&f)), [[true; 3]; 4], "neighbours");
        assert_eq!([128, 132, 138].map(icmp6).map(|f| judge(&f)), [[true, false, false]; 3], "other ICMPv6");
        assert_eq!([6635, 51234, 4789].map(udp).map(|f| judge(&f)), [[true, false, true]; 3], "tunnels");
        assert_eq!(judge(&udp(53)), [true, false, false], "another port");
        assert_eq!(judge(&frame(&[inet, (23, &[47])])), [true, false, true], "GRE");
        assert_eq!(judge(&frame(&[inet, (23, &[6])])), [true, false, false], "TCP");
        let options = frame(&[(12, &[8, 0, 0x46]), (23, &[17]), (40, &6635_u16.to_be_bytes())]);
        assert_eq!(judge(&options), [true, false, true], "a header with options");
        let fragment = frame(&[inet, (20, &[0x20, 0]), (23, &[17]), (36, &6635_u16.to_be_bytes())]);
        assert_eq!(judge(&fragment), [true, false, false], "a fragment");
        assert_eq!(judge(&[0; 13]), [true, false, false], "cut short");
    }
}

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
    /// What the agent has to see of an underlay that the kernel handles: ARP, neighbour discovery (RFC 4861), and
    /// ICMP errors about packets of our MPLS tunnels (forwarding.md 2.7).
    Control,
    /// The same, and packets of tunnels over IPv4: GRE, and UDP to the ports of MPLS (6635, 51234) and VXLAN (4789).
    Tunnels,
}

/// Offsets in a frame without tags.
const ETHERTYPE: u32 = 12;
const INET: u32 = 14;
const INET_FRAGMENT: u32 = INET + 6;
const INET_PROTOCOL: u32 = INET + 9;
const INET6_NEXT_HEADER: u32 = INET + 6;
const ICMPV6_TYPE: u32 = INET + 40;
/// Relative to the length of the IPv4 header, which is in X.
const UDP_DESTINATION: u32 = INET + 2;
const ICMP_TYPE: u32 = INET;
/// The same, in the packet that an ICMP error quotes; one that is ours has no IP options.
const QUOTED_PROTOCOL: u32 = INET + 8 + 9;
const QUOTED_DESTINATION: u32 = INET + 8 + 20 + 2;

const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_HALF_BEHIND: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const LOAD_BYTE_BEHIND: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
const LOAD_HEADER_LENGTH: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IF_ANY_SET: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const IF_ABOVE: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Where a jump leads.
#[derive(Clone, Copy)]
enum To {
    Next,
    /// So many instructions are left out.
    Over(u8),
    Accept,
    Refuse,
}

/// One instruction: what it does, with which number, and where to go on if a condition holds or not.
type Step = (u32, u32, To, To);

const fn load(code: u32, offset: u32) -> Step {
    (code, offset, To::Next, To::Next)
}

/// ARP and neighbour discovery; goes on with the ethertype, of IPv4 only, loaded.
const NEIGHBOURS: [Step; 9] = [
    load(LOAD_HALF, ETHERTYPE),
    (IF_EQUAL, 0x0806, To::Accept, To::Next),
    (IF_EQUAL, 0x86dd, To::Next, To::Over(5)),
    load(LOAD_BYTE, INET6_NEXT_HEADER),
    (IF_EQUAL, 58, To::Next, To::Refuse),
    load(LOAD_BYTE, ICMPV6_TYPE),
    (IF_AT_LEAST, 133, To::Next, To::Refuse),
    (IF_ABOVE, 137, To::Refuse, To::Accept),
    (IF_EQUAL, 0x0800, To::Next, To::Refuse),
];

/// Tunnels, but not later fragments of what might be one; goes on with anything else than GRE and UDP.
const TUNNELS: [Step; 10] = [
    load(LOAD_BYTE, INET_PROTOCOL),
    (IF_EQUAL, 47, To::Accept, To::Next),
    (IF_EQUAL, 17, To::Next, To::Over(7)),
    load(LOAD_HALF, INET_FRAGMENT),
    (IF_ANY_SET, 0x3fff, To::Refuse, To::Next),
    load(LOAD_HEADER_LENGTH, INET),
    load(LOAD_HALF_BEHIND, UDP_DESTINATION),
    (IF_EQUAL, 6635, To::Accept, To::Next),
    (IF_EQUAL, 51234, To::Accept, To::Next),
    (IF_EQUAL, 4789, To::Accept, To::Refuse),
];

/// ICMP errors about MPLS tunnels.
const ERRORS: [Step; 14] = [
    load(LOAD_BYTE, INET_PROTOCOL),
    (IF_EQUAL, 1, To::Next, To::Refuse),
    load(LOAD_HALF, INET_FRAGMENT),
    (IF_ANY_SET, 0x3fff, To::Refuse, To::Next),
    load(LOAD_HEADER_LENGTH, INET),
    load(LOAD_BYTE_BEHIND, ICMP_TYPE),
    (IF_EQUAL, 3, To::Over(1), To::Next),
    (IF_EQUAL, 11, To::Next, To::Refuse),
    load(LOAD_BYTE_BEHIND, QUOTED_PROTOCOL),
    (IF_EQUAL, 47, To::Accept, To::Next),
    (IF_EQUAL, 17, To::Next, To::Refuse),
    load(LOAD_HALF_BEHIND, QUOTED_DESTINATION),
    (IF_EQUAL, 6635, To::Accept, To::Next),
    (IF_EQUAL, 51234, To::Accept, To::Refuse),
];

/// The instructions with their jumps worked out. The last two accept the whole frame, and refuse it.
fn assemble(steps: &[Step]) -> Vec<libc::sock_filter> {
    let end = steps.len();
    let jump = |place: usize, to: To| match to {
        To::Next => 0,
        To::Over(count) => count,
        To::Accept => (end - place - 1) as u8,
        To::Refuse => (end - place) as u8,
    };
    let filter = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let placed = steps.iter().enumerate();
    let body =
        placed.map(|(place, (code, k, yes, no))| filter(*code, jump(place, *yes), jump(place, *no), *k));
    body.chain([filter(RETURN, 0, 0, u32::MAX), filter(RETURN, 0, 0, 0)]).collect()
}

/// Lets the socket receive what the filter lets through.
pub(super) fn attach(fd: BorrowedFd<'_>, filter: PacketFilter) -> io::Result<()> {
    let steps = match filter {
        PacketFilter::Everything => return Ok(()),
        PacketFilter::Control => [&NEIGHBOURS[..], &ERRORS].concat(),
        PacketFilter::Tunnels => [&NEIGHBOURS[..], &TUNNELS, &ERRORS].concat(),
    };
    let mut program = assemble(&steps);
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
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
        [PacketFilter::Everything, PacketFilter::Control, PacketFilter::Tunnels].map(|f| passes(f, frame))
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
        let error = |kind: u8, protocol: u8, port: u16| {
            let mut frame = [0; 80];
            frame[..60].copy_from_slice(&self::frame(&[
                inet,
                (23, &[1]),
                (34, &[kind]),
                (42, &[0x45]),
                (51, &[protocol]),
            ]));
            frame[64..66].copy_from_slice(&port.to_be_bytes());
            judge(&frame)
        };
        assert_eq!(error(3, 47, 0), [true; 3], "about GRE");
        assert_eq!([6635, 51234].map(|port| error(11, 17, port)), [[true; 3]; 2], "about MPLS in UDP");
        assert_eq!(error(3, 17, 4789), [true, false, false], "about another port");
        assert_eq!(error(3, 6, 6635), [true, false, false], "about TCP");
        assert_eq!(error(8, 47, 0), [true, false, false], "an echo request");
    }
}

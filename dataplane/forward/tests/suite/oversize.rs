//! Super-frames and oversized packets into the three kinds of tunnels.

use proptest::prelude::*;
use vr_frame::{GsoKind, Offload};
use vr_tables::flow::FlowAction;
use vr_types::{DropReason, Mac, TrapReason};
use vr_wire::checksum;

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, TCP, UDP, Wrap, unwrap};
use crate::world::{AGENT, FABRIC, GUEST_MAC, GUESTS, REMOTE_MAC, UNDERLAY_MTU};

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*bytes[at..].first_chunk().unwrap())
}

/// A guest's frame to a remote guest: routed, or bridged by the tunnel of that number.
#[derive(Clone, Copy, Debug)]
struct Route {
    far: usize,
    bridged: bool,
}

impl Route {
    /// VXLAN has bridged frames only here.
    fn any() -> impl Strategy<Value = Self> {
        (0..3usize, any::<bool>()).prop_map(|(far, bridged)| Self { far, bridged: bridged || far == 2 })
    }

    fn flow(self, protocol: u8) -> Flow {
        Flow { guest: 0, far: self.far, protocol, port: 1000, outwards: true }
    }

    fn lab(self, protocol: u8) -> Lab {
        let mut lab = Lab::new(true);
        let set = Change::SetFlow {
            flow: self.flow(protocol),
            action: FlowAction::Forward,
            ttl: 0,
            check_source: true,
        };
        lab.command(|tables, datapath| set.apply(tables, datapath));
        lab
    }

    fn frame(self, protocol: u8, fragment: u16, l4: Vec<u8>) -> Vec<u8> {
        let (ends, _) = self.flow(protocol).ends();
        let inet = Inet {
            source: ends[0],
            destination: ends[1],
            protocol,
            id: 500,
            fragment,
            ttl: 64,
            options: Vec::new(),
            payload: l4,
        };
        let mac = if self.bridged { REMOTE_MAC[self.far] } else { Mac::VIRTUAL_ROUTER };
        packets::ethernet(mac, GUEST_MAC[0], 0x0800, &inet.bytes())
    }

    /// The inner IPv4 packets of frames to the fabric; everything around them is checked.
    fn inner(self, sent: &[Traffic]) -> Vec<Vec<u8>> {
        let ports: Vec<_> = sent.iter().map(|traffic| unwrap(&traffic.bytes).source_port).collect();
        assert!(ports.windows(2).all(|pair| pair[0] == pair[1]), "one flow, one source port");
        sent.iter().map(|traffic| self.inner_of(traffic)).collect()
    }

    fn inner_of(self, traffic: &Traffic) -> Vec<u8> {
        assert_eq!(traffic.vif, FABRIC);
        assert_eq!(traffic.offload, Offload::NONE);
        assert!(traffic.bytes.len() <= 14 + UNDERLAY_MTU, "{} bytes do not fit", traffic.bytes.len());
        let unwrapped = unwrap(&traffic.bytes);
        match (self.far, unwrapped.wrap) {
            (0, Wrap::Udp(40)) | (1, Wrap::Gre(41)) | (2, Wrap::Vxlan(5001)) => {}
            other => panic!("a frame went the wrong way: {other:?}"),
        }
        let mut inner = unwrapped.payload;
        if self.bridged {
            let ethernet = packets::ethernet(REMOTE_MAC[self.far], GUEST_MAC[0], 0x0800, &[]);
            assert_eq!(inner[..14], ethernet);
            inner.drain(..14);
        }
        assert_eq!(inner[8], if self.bridged { 64 } else { 63 }, "inner TTL");
        assert!(checksum::is_valid(&inner[..20]), "inner header checksum");
        assert_eq!(usize::from(be16(&inner, 2)), inner.len(), "inner length");
        assert_eq!(be16(&traffic.bytes, 18), be16(&inner, 4), "the outer id is the inner one");
        inner
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn super_frame(gso: GsoKind, size: usize, csum_offset: u16) -> Offload {
    Offload {
        needs_csum: true,
        csum_valid: false,
        gso,
        gso_size: size as u16,
        csum_start: 14 + 20,
        csum_offset,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Segments of TCP fit the underlay, whatever the sender asked for, and make up what was sent.
    #[test]
    fn tcp_super_frames_are_segmented(
        route in Route::any(),
        len in 1..60_000usize,
        size in 100..9000usize,
        flags in prop_oneof![Just(0x10u8), Just(0x18), Just(0x19), Just(0x90)],
        dont_fragment: bool,
    ) {
        let (mut lab, data) = (route.lab(TCP), pattern(len));
        let (ends, ports) = route.flow(TCP).ends();
        let fragment = if dont_fragment { DONT_FRAGMENT } else { 0 };
        // The sender leaves a partial sum; its value does not matter.
        let mut l4 = packets::tcp(ends, ports, [u32::MAX - 3000, 9], flags, &data);
        l4[16..18].copy_from_slice(&[0xab, 0xcd]);
        let bytes = route.frame(TCP, fragment, l4);
        let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: super_frame(GsoKind::TcpV4, size, 16) }]);
        // A sender that changes the connection is looked at, not refused.
        let inner = route.inner(&sent);
        let mut received: Vec<u8> = Vec::new();
        for (number, packet) in inner.iter().enumerate() {
            let last = number + 1 == inner.len();
            let message = &packet[20..];
            prop_assert_eq!(be16(packet, 6), fragment);
            prop_assert_eq!(be16(packet, 4), 500 + number as u16);
            prop_assert!(checksum::inet_l4_is_valid(&ends[0], &ends[1], TCP, message), "TCP checksum");
            prop_assert_eq!(be32(message, 4), (u32::MAX - 3000).wrapping_add(received.len() as u32));
            let kept = if last { 0xff } else { !0x09 } & if number == 0 { 0xff } else { !0x80u8 };
            prop_assert_eq!(message[13], flags & kept);
            prop_assert!(message.len() - 20 <= size);
            received.extend(&message[20..]);
        }
        prop_assert_eq!(received, data);
        lab.close();
    }

    /// Datagrams keep the size that was asked for; those that do not fit are fragmented, or reported.
    #[test]
    fn udp_super_frames_are_cut_into_datagrams(
        route in Route::any(),
        len in 1..60_000usize,
        size in 100..3000usize,
        dont_fragment: bool,
    ) {
        let (mut lab, data) = (route.lab(UDP), pattern(len));
        let (ends, ports) = route.flow(UDP).ends();
        let fragment = if dont_fragment { DONT_FRAGMENT } else { 0 };
        let bytes = route.frame(UDP, fragment, packets::udp(ends, ports, &data));
        let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: super_frame(GsoKind::UdpL4, size, 6) }]);
        let longest = size.min(len) + 28;
        if longest > usable(route) && dont_fragment {
            prop_assert_eq!(sent.len(), 1);
            check_trap(&sent[0], route);
        } else {
            let datagrams = reassemble(&route.inner(&sent));
            prop_assert_eq!(datagrams.len(), len.div_ceil(size));
            let mut received: Vec<u8> = Vec::new();
            for datagram in &datagrams {
                prop_assert!(checksum::inet_l4_is_valid(&ends[0], &ends[1], UDP, datagram), "UDP checksum");
                prop_assert_eq!(usize::from(be16(datagram, 4)), datagram.len());
                received.extend(&datagram[8..]);
            }
            prop_assert_eq!(received, data);
        }
        lab.close();
    }

    /// Packets that are no super-frames: those that fit are sent as they are, others fragmented or reported.
    #[test]
    fn large_packets_are_fragmented_or_reported(
        route in Route::any(),
        len in prop_oneof![1300..1600usize, 1600..8900usize],
        dont_fragment: bool,
        partial: bool,
    ) {
        let (mut lab, data) = (route.lab(UDP), pattern(len));
        let (ends, ports) = route.flow(UDP).ends();
        let mut datagram = packets::udp(ends, ports, &data);
        let complete = datagram.clone();
        let mut offload = Offload::NONE;
        if partial {
            // What a kernel leaves: the folded sum of the pseudo header.
            let pseudo = checksum::fold(checksum::inet_pseudo(&ends[0], &ends[1], UDP, datagram.len()));
            datagram[6..8].copy_from_slice(&pseudo.to_be_bytes());
            offload = Offload { needs_csum: true, csum_start: 34, csum_offset: 6, ..Offload::NONE };
        }
        let fragment = if dont_fragment { DONT_FRAGMENT } else { 0 };
        let bytes = route.frame(UDP, fragment, datagram);
        let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload }]);
        if complete.len() + 20 > usable(route) && dont_fragment {
            prop_assert_eq!(sent.len(), 1);
            check_trap(&sent[0], route);
        } else {
            let inner = route.inner(&sent);
            prop_assert_eq!(inner.len() == 1, complete.len() + 20 <= usable(route));
            prop_assert_eq!(reassemble(&inner), vec![complete]);
        }
        lab.close();
    }
}

/// The longest inner IP packet that fits (forwarding.md 8.1).
fn usable(route: Route) -> usize {
    match (route.far, route.bridged) {
        (0, false) => 1468,
        (1, false) => 1472,
        (0, true) => 1454,
        (1, true) => 1458,
        _ => 1450,
    }
}

/// The agent is told the longest packet that fits, with the start of the packet.
fn check_trap(sent: &Traffic, route: Route) {
    assert_eq!(sent.vif, AGENT);
    let header = &sent.bytes[14..];
    assert_eq!(be16(header, 0), GUESTS[0].0);
    assert_eq!(be16(header, 4), TrapReason::HandleDf as u16);
    assert_eq!(be32(header, 6) as usize, usable(route));
    assert_ne!(be32(header, 10), u32::MAX, "the flow is named");
    assert_eq!(sent.bytes.len(), 44 + 190, "cut");
    assert_eq!(header[30 + 14 + 9], UDP);
}

/// Joins fragments that come in order to the payloads of the packets that they were.
pub(crate) fn reassemble(fragments: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut whole, mut payload, mut id) = (Vec::new(), Vec::new(), None);
    for fragment in fragments {
        let field = be16(fragment, 6);
        assert_eq!(usize::from(field & 0x1fff) * 8, payload.len(), "a gap before a fragment");
        assert!(id.is_none_or(|id| id == be16(fragment, 4)), "a fragment of another packet");
        payload.extend(&fragment[20..]);
        if field & MORE_FRAGMENTS == 0 {
            whole.push(std::mem::take(&mut payload));
            id = None;
        } else {
            id = Some(be16(fragment, 4));
        }
    }
    assert!(payload.is_empty(), "the last fragment is missing");
    whole
}

#[test]
fn super_frames_that_are_none_are_dropped_and_counted() {
    let route = Route { far: 0, bridged: false };
    let mut lab = route.lab(UDP);
    let (ends, ports) = route.flow(UDP).ends();
    let bytes = route.frame(UDP, 0, packets::udp(ends, ports, &pattern(3000)));
    let without_size = super_frame(GsoKind::TcpV4, 0, 16);
    let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: without_size }]);
    assert_eq!(sent, []);
    assert_eq!(lab.drops(DropReason::InvalidPacket), 1);
    lab.close();
}

#[test]
fn between_guests_super_frames_stay_whole() {
    let route = Route { far: 3, bridged: false };
    let mut lab = route.lab(TCP);
    let flow = route.flow(TCP);
    let back = Flow { guest: 1, far: 3, outwards: false, ..flow };
    let set = Change::SetFlow { flow: back, action: FlowAction::Forward, ttl: 0, check_source: false };
    lab.command(|tables, datapath| set.apply(tables, datapath));
    let (ends, ports) = flow.ends();
    let bytes = route.frame(TCP, 0, packets::tcp(ends, ports, [1, 1], 0x10, &pattern(20_000)));
    let offload = super_frame(GsoKind::TcpV4, 1400, 16);
    let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes: bytes.clone(), offload }]);
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].vif, sent[0].offload, sent[0].bytes.len()), (GUESTS[1], offload, bytes.len()));
    lab.close();
}

#[test]
fn super_frames_in_tiny_segments_leave_frames_to_others() {
    let route = Route { far: 0, bridged: false };
    let mut lab = route.lab(TCP);
    let (ends, ports) = route.flow(TCP).ends();
    let bytes = route.frame(TCP, 0, packets::tcp(ends, ports, [1, 1], 0x10, &pattern(60_000)));
    let frame = Traffic { vif: GUESTS[0], bytes, offload: super_frame(GsoKind::TcpV4, 100, 16) };
    // Of the 2,048 frames of the pool, a batch makes segments of half.
    assert_eq!(lab.receive(&vec![frame.clone(); 4]).len(), 600);
    assert_eq!(lab.drops(DropReason::NoMemory), 3);
    assert_eq!(lab.receive(&[frame]).len(), 600, "the next batch may again");
    lab.close();
}

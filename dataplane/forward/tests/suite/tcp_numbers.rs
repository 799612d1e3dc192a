//! Who can end a connection's flow: only somebody who knows its numbers.

use std::sync::atomic::Ordering::Relaxed;

use vr_frame::Offload;
use vr_tables::flow::TcpFlags;
use vr_tables::options::Options;
use vr_types::{FlowIndex, Mac, Release};

use crate::entries::{key, set_pair};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, TCP};
use crate::world::{GUEST_ADDRESS, GUEST_MAC, GUESTS, ROUTED};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The first sequence numbers of both guests.
const FIRST: [u32; 2] = [1000, u32::MAX - 2];

/// A connection from the first guest to the second.
struct Connection {
    lab: Lab,
    flows: [FlowIndex; 2],
}

/// A segment by sender: flags, sequence number, acknowledgement, length.
type Segment = (usize, u8, u32, u32, usize);

impl Connection {
    fn new() -> Self {
        Self::with_options(Options::default())
    }

    fn with_options(options: Options) -> Self {
        let mut lab = Lab::with_options(options, true);
        let ends = GUEST_ADDRESS;
        let keys =
            [key(TCP, ends, [5000, 80], ROUTED[0]), key(TCP, [ends[1], ends[0]], [80, 5000], ROUTED[1])];
        let flows = set_pair(&mut lab, keys, |_, _| {});
        Self { lab, flows }
    }

    /// After the handshake.
    fn established() -> Self {
        let mut connection = Self::new();
        connection.handshake();
        connection
    }

    fn handshake(&mut self) {
        let [a, b] = FIRST;
        self.send((0, SYN, a, 0, 0));
        self.send((1, SYN | ACK, b, a + 1, 0));
        self.send((0, ACK, a + 1, b.wrapping_add(1), 0));
        assert!(self.both(TcpFlags::ESTABLISHED | TcpFlags::ESTABLISHED_R));
    }

    /// Sends a segment; it has to arrive, whatever the flow thinks of it.
    fn send(&mut self, (from, flags, seq, ack, len): Segment) {
        let ends = if from == 0 { GUEST_ADDRESS } else { [GUEST_ADDRESS[1], GUEST_ADDRESS[0]] };
        let ports = if from == 0 { [5000, 80] } else { [80, 5000] };
        let packet = Inet {
            source: ends[0],
            destination: ends[1],
            protocol: TCP,
            id: 1,
            fragment: 0,
            ttl: 64,
            options: Vec::new(),
            payload: packets::tcp(ends, ports, [seq, ack], flags, &vec![0; len]),
        };
        let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[from], 0x0800, &packet.bytes());
        let sent = self.lab.receive(&[Traffic { vif: GUESTS[from], bytes, offload: Offload::NONE }]);
        assert_eq!(sent.iter().map(|frame| frame.vif).collect::<Vec<_>>(), [GUESTS[1 - from]]);
    }

    fn flags(&self, which: usize) -> TcpFlags {
        self.lab.table().shared(self.flows[which]).unwrap().tcp_flags()
    }

    fn both(&self, flags: TcpFlags) -> bool {
        self.flags(0).contains(flags) && self.flags(1).contains(flags)
    }

    fn is_dead(&self) -> bool {
        assert_eq!(self.flags(0).contains(TcpFlags::DEAD), self.flags(1).contains(TcpFlags::DEAD));
        self.flags(0).contains(TcpFlags::DEAD)
    }

    /// The acknowledgement that one side has sent last.
    fn acknowledged(&self, which: usize) -> u32 {
        self.lab.table().shared(self.flows[which]).unwrap().tcp_ack.load(Relaxed)
    }
}

#[test]
fn a_connection_that_both_sides_close_is_over() {
    let [a, b] = FIRST;
    let mut connection = Connection::established();
    for segment in [
        (0, ACK, a + 1, b.wrapping_add(1), 100),
        (1, ACK, b.wrapping_add(1), a + 101, 300),
        (0, FIN | ACK, a + 101, b.wrapping_add(301), 10),
        (1, ACK, b.wrapping_add(301), a + 112, 0),
        (1, FIN | ACK, b.wrapping_add(301), a + 112, 0),
    ] {
        connection.send(segment);
        assert!(!connection.is_dead(), "{segment:?}");
    }
    connection.send((0, ACK, a + 112, b.wrapping_add(302), 0));
    assert!(connection.is_dead());
}

#[test]
fn a_syn_that_is_refused_ends_the_connection() {
    let a = FIRST[0];
    let mut connection = Connection::new();
    connection.send((0, SYN, a, 0, 0));
    connection.send((1, RST | ACK, 0, a + 1, 0));
    assert!(connection.is_dead() && connection.both(TcpFlags::RST));
}

#[test]
fn resets_where_the_other_side_waits_end_the_connection() {
    let [a, b] = FIRST;
    for reset in
        [(0, RST, a + 51, 0), (0, RST | ACK, a + 51, b.wrapping_add(1)), (1, RST, b.wrapping_add(1), 0)]
    {
        let mut connection = Connection::established();
        connection.send((0, ACK, a + 1, b.wrapping_add(1), 50));
        connection.send((1, ACK, b.wrapping_add(1), a + 51, 0));
        let (from, flags, seq, ack) = reset;
        connection.send((from, flags, seq, ack, 0));
        assert!(connection.is_dead(), "{reset:?}");
    }
}

/// Resets that do not fit do nothing, whatever the state of the connection.
#[test]
fn other_resets_do_nothing() {
    let [a, b] = FIRST;
    let next = b.wrapping_add(1);
    let syn: &[Segment] = &[(0, SYN, a, 0, 0)];
    let answered: &[Segment] = &[(0, SYN, a, 0, 0), (1, SYN | ACK, b, a + 1, 0)];
    let open: &[Segment] = &[(0, SYN, a, 0, 0), (1, SYN | ACK, b, a + 1, 0), (0, ACK, a + 1, next, 0)];
    let attacks: &[(&str, &[Segment], Segment)] = &[
        ("a wrong acknowledgement of a SYN", syn, (1, RST | ACK, 0, a + 2, 0)),
        ("an acknowledgement of nothing", syn, (1, RST | ACK, 0, 0, 0)),
        ("no acknowledgement of a SYN", syn, (1, RST, 0, 0, 0)),
        ("no acknowledgement, with the number of the SYN", syn, (1, RST, a + 1, 0, 0)),
        ("of the side that has sent the SYN", syn, (0, RST, 0, 0, 0)),
        ("blind, before the handshake is over", answered, (0, RST, 0, 0, 0)),
        ("a wrong acknowledgement of the answer", answered, (0, RST | ACK, a + 1, next.wrapping_add(1), 0)),
        ("blind", open, (0, RST, 0, 0, 0)),
        ("one byte before", open, (0, RST, a, 0, 0)),
        ("one byte behind, in the window", open, (0, RST, a + 2, 0, 0)),
        ("far away", open, (0, RST, a + 0x8000_0000, 0, 0)),
        ("one byte behind, of the other side", open, (1, RST, next.wrapping_add(1), 0, 0)),
        ("outside, with the right acknowledgement", open, (0, RST | ACK, a + 5000, next, 0)),
        ("in place, with an acknowledgement of what is before all", open, (0, RST | ACK, a + 1, b, 0)),
    ];
    for (attack, before, reset) in attacks {
        let mut connection = Connection::new();
        before.iter().for_each(|segment| connection.send(*segment));
        let flags = [connection.flags(0), connection.flags(1)];
        connection.send(*reset);
        assert_eq!([connection.flags(0), connection.flags(1)], flags, "{attack}");
    }
}

#[test]
fn resets_are_believed_when_that_is_wanted_and_in_r220() {
    let wanted = Options { close_flow_on_rst: true, ..Options::default() };
    let old = Options { release: Release::R220, ..Options::default() };
    for (options, dead) in [(Options::default(), false), (wanted, true), (old, true)] {
        let mut connection = Connection::with_options(options);
        connection.send((1, RST, 77, 0, 0));
        assert_eq!(connection.is_dead(), dead);
    }
}

/// A FIN by itself ends nothing; and one that cannot be meant is not kept for an acknowledgement that comes by.
#[test]
fn forged_ends_do_nothing() {
    let [a, b] = FIRST;
    let next = b.wrapping_add(1);
    let attacks: &[(&str, &[Segment])] = &[
        ("a FIN", &[(0, FIN | ACK, a + 1, next, 0)]),
        (
            "a FIN of each side, neither of them acknowledged",
            &[(0, FIN | ACK, a + 1, next, 0), (1, FIN | ACK, next, a + 1, 0)],
        ),
        (
            "an acknowledgement beyond a FIN",
            &[(0, FIN | ACK, a + 1, next, 0), (1, FIN | ACK, next, a + 3, 0)],
        ),
        (
            "both sides outside, each acknowledged",
            &[
                (0, FIN | ACK, a + 0x7000_0000, next, 0),
                (1, FIN | ACK, next.wrapping_add(0x7000_0000), a + 0x7000_0001, 0),
                (0, ACK, a + 1, next.wrapping_add(0x7000_0001), 0),
            ],
        ),
        (
            "FINs of the past, each acknowledged",
            &[
                (0, FIN | ACK, a - 500, next, 0),
                (1, FIN | ACK, next.wrapping_sub(500), a - 499, 0),
                (0, ACK, a + 1, next.wrapping_sub(499), 0),
            ],
        ),
        ("a FIN with a SYN", &[(0, SYN | FIN, a + 1, 0, 0), (1, FIN | ACK, next, a + 2, 0)]),
    ];
    for (attack, segments) in attacks {
        let mut connection = Connection::established();
        segments.iter().for_each(|segment| connection.send(*segment));
        assert!(!connection.is_dead(), "{attack}");
    }
}

/// Half closed, the other side goes on.
#[test]
fn a_half_closed_connection_survives_what_one_side_forges() {
    let [a, b] = FIRST;
    let next = b.wrapping_add(1);
    let mut connection = Connection::established();
    connection.send((0, FIN | ACK, a + 1, next, 0));
    connection.send((1, ACK, next, a + 2, 0));
    assert!(connection.flags(0).contains(TcpFlags::HALF_CLOSE));
    for seq in [0, next.wrapping_sub(9), next.wrapping_add(1), next.wrapping_add(0x6000_0000)] {
        connection.send((1, FIN | ACK, seq, a + 2, 0));
        connection.send((0, ACK, a + 2, next, 0));
        assert!(!connection.is_dead(), "{seq}");
    }
    connection.send((1, ACK, next, a + 2, 500));
    connection.send((0, ACK, a + 2, next.wrapping_add(500), 0));
    connection.send((1, FIN | ACK, next.wrapping_add(500), a + 2, 0));
    connection.send((0, ACK, a + 2, next.wrapping_add(501), 0));
    assert!(connection.is_dead(), "the real end");
}

/// Only the acknowledgement of the very SYN makes a connection established: a flood that guesses stays half open.
#[test]
fn a_handshake_is_confirmed_by_its_own_number() {
    let [a, b] = FIRST;
    let mut connection = Connection::new();
    connection.send((0, SYN, a, 0, 0));
    connection.send((1, SYN | ACK, b, a, 0));
    assert!(!connection.flags(0).contains(TcpFlags::ESTABLISHED), "the SYN is not acknowledged");
    connection.send((1, SYN | ACK, b, a + 1, 0));
    let half_open = [connection.flags(0), connection.flags(1)];
    for ack in [b.wrapping_sub(1), b, b.wrapping_add(2), 0, b.wrapping_add(0x8000_0000)] {
        connection.send((0, ACK, a + 1, ack, 0));
        assert_eq!([connection.flags(0), connection.flags(1)], half_open, "{ack}");
    }
    connection.send((0, ACK, a + 1, b.wrapping_add(1), 0));
    assert!(connection.both(TcpFlags::ESTABLISHED | TcpFlags::ESTABLISHED_R));
}

/// As the agent reads it: also a reset that is not believed leaves its acknowledgement.
#[test]
fn acknowledgements_are_kept_whatever_they_say() {
    let mut connection = Connection::new();
    connection.send((0, SYN, FIRST[0], 0, 0));
    connection.send((1, RST | ACK, 0, 200, 0));
    assert_eq!((connection.acknowledged(0), connection.acknowledged(1)), (0, 200));
}

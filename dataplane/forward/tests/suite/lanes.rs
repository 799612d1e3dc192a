//! The fast lanes and the full path give the same frames, counters and flow entries, whatever comes in and however
//! the tables change between batches.

use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use vr_frame::{GsoKind, Offload};
use vr_tables::flow::{FlowAction, FlowFlags};
use vr_types::{Mac, VifId};

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, TCP, UDP, Wrap};
use crate::world::{self, FABRIC, GUEST_MAC, GUESTS, LABELS, PEER, PEER_MAC, REMOTE_MAC, VNI};

const ACK: u8 = 0x10;

/// How a frame is addressed.
#[derive(Clone, Copy, Debug)]
enum Way {
    Routed,
    Bridged,
    /// To a MAC that nobody has.
    Unknown,
    /// To everybody.
    Broadcast,
}

/// A frame of a flow, with what may be odd about it.
#[derive(Clone, Debug)]
struct FrameSpec {
    flow: Flow,
    way: Way,
    ttl: u8,
    tcp_flags: u8,
    fragment: u16,
    options: bool,
    tagged: bool,
    /// Where the partial checksum begins and, from there, its field; 0 for where they should be.
    partial_checksum: Option<(u16, u16)>,
    payload: usize,
    /// Frames from the fabric: which tunnel, the TTL of its label.
    wrap: u8,
    label_ttl: u8,
    /// Bytes cut off the end.
    cut: usize,
}

impl FrameSpec {
    fn inet(&self, id: u16) -> Vec<u8> {
        let (ends, ports) = self.flow.ends();
        let payload = vec![0x5a; self.payload];
        let l4 = match self.flow.protocol {
            TCP => packets::tcp(ends, ports, [1000, 2000], self.tcp_flags, &payload),
            _ => packets::udp(ends, ports, &payload),
        };
        Inet {
            source: ends[0],
            destination: ends[1],
            protocol: self.flow.protocol,
            id,
            fragment: self.fragment,
            ttl: self.ttl,
            options: if self.options { vec![1; 4] } else { Vec::new() },
            payload: l4,
        }
        .bytes()
    }

    fn ethernet(&self, id: u16, destination: Mac, source: Mac) -> Vec<u8> {
        let destination = match self.way {
            Way::Unknown => Mac([2, 9, 9, 9, 9, 9]),
            Way::Broadcast => Mac::BROADCAST,
            Way::Routed | Way::Bridged => destination,
        };
        let inet = self.inet(id);
        if !self.tagged {
            return packets::ethernet(destination, source, 0x0800, &inet);
        }
        let tagged = [[0, 5, 8, 0].to_vec(), inet].concat();
        packets::ethernet(destination, source, 0x8100, &tagged)
    }

    fn from_guest(&self, vif: VifId) -> Traffic {
        let near = GUEST_MAC[usize::from(vif == GUESTS[1])];
        let far = REMOTE_MAC.get(self.flow.far).copied().unwrap_or(GUEST_MAC[1 - self.flow.guest]);
        let destination = if matches!(self.way, Way::Routed) { Mac::VIRTUAL_ROUTER } else { far };
        let bytes = self.ethernet(vif.0, destination, near);
        let l4 = 14 + if self.tagged { 4 } else { 0 } + if self.options { 24 } else { 20 };
        let own_field = if self.flow.protocol == TCP { 16 } else { 6 };
        let offload = Offload {
            needs_csum: self.partial_checksum.is_some(),
            csum_start: self.partial_checksum.map_or(0, |(start, _)| if start == 0 { l4 } else { start }),
            csum_offset: self
                .partial_checksum
                .map_or(0, |(_, field)| if field == 0 { own_field } else { field }),
            gso: GsoKind::None,
            ..Offload::NONE
        };
        self.finish(vif, bytes, offload)
    }

    fn from_fabric(&self, stranger: bool) -> Traffic {
        let id = if stranger { 100 } else { 200 };
        let [routed, bridged] = LABELS[self.flow.guest];
        let far = REMOTE_MAC.get(self.flow.far).copied().unwrap_or(PEER_MAC);
        let (wrap, payload) = match (self.wrap, self.way) {
            (0, Way::Routed) => (Wrap::Udp(routed), self.inet(id)),
            (1, Way::Routed) => (Wrap::Gre(routed), self.inet(id)),
            (0, _) => (Wrap::Udp(bridged), self.ethernet(id, GUEST_MAC[self.flow.guest], far)),
            (1, _) => (Wrap::Gre(bridged), self.ethernet(id, GUEST_MAC[self.flow.guest], far)),
            _ => (Wrap::Vxlan(VNI), self.ethernet(id, GUEST_MAC[self.flow.guest], far)),
        };
        let source = if stranger { [172, 16, 0, 99] } else { PEER };
        let bytes = packets::from_peer(wrap, source, self.label_ttl, &payload);
        self.finish(FABRIC, bytes, Offload::NONE)
    }

    fn finish(&self, vif: VifId, mut bytes: Vec<u8>, offload: Offload) -> Traffic {
        bytes.truncate(bytes.len().saturating_sub(self.cut).max(1));
        Traffic { vif, bytes, offload }
    }
}

/// What happens to the node.
///
/// Fragments never wait for one that comes from elsewhere. All frames of a batch have one source and one direction, and a flow's frames one acknowledgement number: an entry
/// remembers the last packet's, and of a batch the packets that leave the lane count as its last ones.
#[derive(Clone, Debug)]
enum Event {
    FromGuest {
        guest: usize,
        outwards: bool,
        frames: Vec<FrameSpec>,
    },
    FromFabric {
        stranger: bool,
        outwards: bool,
        frames: Vec<FrameSpec>,
    },
    Change(Change),
    Pass(u64),
    /// The agent restarts and programs the same again, or exchanges the guests' devices; not in force yet.
    Restart {
        exchanged: bool,
    },
    /// What it has programmed is in force.
    Switch,
}

fn flow() -> impl Strategy<Value = Flow> {
    (0..2usize, 0..4usize, select(vec![TCP, UDP]), 1000..1002u16, any::<bool>())
        .prop_map(|(guest, far, protocol, port, outwards)| Flow { guest, far, protocol, port, outwards })
}

/// Mostly the first value.
fn mostly<T: Clone + std::fmt::Debug>(usual: T, other: impl Strategy<Value = T>) -> impl Strategy<Value = T> {
    prop_oneof![12 => Just(usual), 1 => other]
}

fn frame() -> impl Strategy<Value = FrameSpec> {
    let header = (
        flow(),
        prop_oneof![
            8 => Just(Way::Routed), 8 => Just(Way::Bridged), 1 => Just(Way::Unknown), 1 => Just(Way::Broadcast)
        ],
        mostly(64, select(vec![0u8, 1, 2])),
        mostly(ACK, select(vec![0u8, 0x02, 0x12, 0x11, 0x04, 0x14])),
        mostly(0u16, select(vec![0x4000u16, 0x2000, 0x2002, 0x0004, 0x8000])),
    );
    let partial = prop_oneof![
        6 => Just(None),
        6 => Just(Some((0, 0))),
        1 => (0..80u16, select(vec![0u16, 1, 16, 300, u16::MAX])).prop_map(Some),
    ];
    let odd = (mostly(false, Just(true)), mostly(false, Just(true)), partial);
    let rest = (
        prop_oneof![6 => 0..200usize, 1 => 1380..1480usize],
        0..3u8,
        mostly(64, select(vec![0u8, 1, 2])),
        mostly(0usize, 1..60usize),
    );
    (header, odd, rest).prop_map(
        |((flow, way, ttl, tcp_flags, fragment), (options, tagged, partial_checksum), rest)| {
            let (payload, wrap, label_ttl, cut) = rest;
            FrameSpec {
                flow,
                way,
                ttl,
                tcp_flags,
                fragment,
                options,
                tagged,
                partial_checksum,
                payload,
                wrap,
                label_ttl,
                cut,
            }
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let action =
        prop_oneof![8 => Just(FlowAction::Forward), 1 => Just(FlowAction::Drop), 1 => Just(FlowAction::Nat)];
    let set = (flow(), action, mostly(0u8, Just(33)), any::<bool>())
        .prop_map(|(flow, action, ttl, check_source)| Change::SetFlow { flow, action, ttl, check_source });
    let flags = vec(
        select(vec![FlowFlags::SNAT, FlowFlags::SPAT, FlowFlags::DNAT, FlowFlags::DPAT, FlowFlags::VRFT]),
        0..5,
    );
    let translate =
        (flow(), flow(), flags, mostly(true, Just(false))).prop_map(|(flow, by, flags, linked)| {
            let by = Flow { protocol: flow.protocol, outwards: !flow.outwards, ..by };
            Change::Translate { flow, by, flags: flags.into_iter().collect(), linked }
        });
    prop_oneof![
        12 => set,
        12 => translate,
        2 => flow().prop_map(Change::RemoveFlow),
        2 => (0..3usize, 0..3usize).prop_map(|(far, by)| Change::Tunnel { far, by }),
        1 => (0..3usize).prop_map(Change::RemoveRoute),
        1 => (0..3usize).prop_map(Change::RemoveBridge),
        1 => (0..2usize, any::<bool>()).prop_map(|(guest, on)| Change::Policy { guest, on }),
        1 => (0..2usize, any::<bool>(), any::<bool>())
            .prop_map(|(guest, bridged, there)| Change::Label { guest, bridged, there }),
        1 => (0..2usize, any::<bool>()).prop_map(|(guest, on)| Change::Mirror { guest, on }),
        1 => (0..2usize, any::<bool>()).prop_map(|(guest, on)| Change::Aggregate { guest, on }),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..2usize, mostly(true, Just(false)), vec(frame(), 1..24))
            .prop_map(|(guest, outwards, frames)| Event::FromGuest { guest, outwards, frames }),
        4 => (mostly(false, Just(true)), mostly(false, Just(true)), vec(frame(), 1..24))
            .prop_map(|(stranger, outwards, frames)| Event::FromFabric { stranger, outwards, frames }),
        3 => change().prop_map(Event::Change),
        1 => (1..3000u64).prop_map(Event::Pass),
        1 => any::<bool>().prop_map(|exchanged| Event::Restart { exchanged }),
        1 => Just(Event::Switch),
    ];
    vec(event, 1..24)
}

/// Changes of everything but flows.
fn change_of_tables() -> impl Strategy<Value = Change> {
    change().prop_filter("a flow", |change| {
        let is_of_flow =
            matches!(change, Change::SetFlow { .. } | Change::Translate { .. } | Change::RemoveFlow(_));
        !is_of_flow
    })
}

/// Every flow forwarded and linked to its reverse, as after a busy while.
fn establish(lab: &mut Lab, check_source: bool) {
    lab.command(|tables, datapath| {
        for _ in 0..2 {
            for number in 0..64usize {
                let flow = Flow {
                    guest: number & 1,
                    far: number >> 1 & 3,
                    protocol: if number & 8 == 0 { TCP } else { UDP },
                    port: 1000 + (number as u16 >> 4 & 1),
                    outwards: number & 32 == 0,
                };
                let set = Change::SetFlow { flow, action: FlowAction::Forward, ttl: 0, check_source };
                set.apply(tables, datapath);
            }
        }
    });
}

fn act(lab: &mut Lab, event: &Event) -> Vec<Traffic> {
    match event {
        Event::FromGuest { guest, outwards, frames } => {
            let frame = |spec: &FrameSpec| {
                let flow = Flow { guest: *guest, outwards: *outwards, ..spec.flow };
                FrameSpec { flow, ..spec.clone() }.from_guest(GUESTS[*guest])
            };
            lab.receive(&frames.iter().map(frame).collect::<Vec<_>>())
        }
        Event::FromFabric { stranger, outwards, frames } => {
            let frame = |spec: &FrameSpec| {
                let flow = Flow { outwards: *outwards, ..spec.flow };
                FrameSpec { flow, ..spec.clone() }.from_fabric(*stranger)
            };
            lab.receive(&frames.iter().map(frame).collect::<Vec<_>>())
        }
        Event::Change(change) => lab.command(|tables, datapath| change.apply(tables, datapath)),
        Event::Pass(milliseconds) => lab.pass(*milliseconds),
        Event::Restart { exchanged } => lab.command(|tables, datapath| {
            tables.reset(datapath);
            let devices = if *exchanged { ["vif4", "vif3"] } else { ["vif3", "vif4"] };
            world::program_devices(tables, datapath, devices);
        }),
        Event::Switch => lab.command(|tables, datapath| {
            tables.finish_restart(Instant::now(), datapath);
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fast_lanes_do_what_the_full_path_does(
        established in proptest::option::weighted(0.8, any::<bool>()),
        events in events(),
    ) {
        let (mut fast, mut full) = (Lab::new(true), Lab::new(false));
        if let Some(check_source) = established {
            establish(&mut fast, check_source);
            establish(&mut full, check_source);
        }
        for event in &events {
            let (ours, reference) = (act(&mut fast, event), act(&mut full, event));
            prop_assert_eq!(ours, reference, "frames after {:?}", event);
            let (ours, reference) = (fast.counts(), full.counts());
            let different: Vec<_> = ours.iter().zip(&reference).filter(|(ours, other)| ours != other).collect();
            prop_assert_eq!(ours.len(), reference.len());
            prop_assert!(different.is_empty(), "after {:?}: {:#?}", event, different);
        }
        fast.close();
        full.close();
    }

    #[test]
    fn after_a_restart_all_is_as_if_it_had_been_programmed_from_scratch(
        before in vec(change_of_tables(), 0..8),
        after in vec(change_of_tables(), 0..8),
        exchanged in any::<bool>(),
        events in events(),
    ) {
        let (mut restarted, mut fresh) = (Lab::new(true), Lab::new(true));
        let mut during = vec![Event::Restart { exchanged }];
        during.extend(after.into_iter().map(Event::Change));
        for event in before.into_iter().map(Event::Change).chain(during.clone()).chain([Event::Switch]) {
            act(&mut restarted, &event);
        }
        for event in &during[1..] {
            act(&mut fresh, event);
        }
        // Another restart depends on the names of the one before.
        for event in events.iter().filter(|event| !matches!(event, Event::Restart { .. })) {
            let (ours, reference) = (act(&mut restarted, event), act(&mut fresh, event));
            prop_assert_eq!(ours, reference, "frames after {:?}", event);
            let (ours, reference) = (restarted.counts(), fresh.counts());
            let different: Vec<_> = ours.iter().zip(&reference).filter(|(ours, other)| ours != other).collect();
            prop_assert!(different.is_empty(), "after {:?}: {:#?}", event, different);
            prop_assert_eq!(ours.len(), reference.len());
        }
        restarted.close();
        fresh.close();
    }
}

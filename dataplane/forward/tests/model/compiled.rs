//! The fast lanes, with what they have compiled, and the full path give the same frames, answers, counters and entries,
//! however the tables change in between.

use vr_tables::control::{Datapath, GivenMac, NexthopSpec, Prefix, RouteSpec, Tables, VifSpec};
use vr_tables::flow::EgressKind;
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_tables::vif::{ServiceVlan, VifFlags};
use vr_types::{Label, Mac, NexthopId, VrfId};

use crate::node::{self, Node};
use crate::random::Random;
use crate::request;
use crate::requests::{pair, service_pair};
use crate::steps::{Sequence, Step};
use crate::talk::Talk;
use crate::world::{
    self, BALANCED, BRIDGED, FLOATING, GUEST_HOST, GUEST_MAC, GUESTS, L2_RECEIVE, LABELS, NOWHERE, PEERS,
    REMOTE, REMOTE_MAC, ROUTED, SERVED, SERVICE, TUNNEL, VIFS, VRFS, inet, inet6,
};

const SEQUENCES: u64 = 10_000;
const MACS: [Mac; 6] =
    [Mac::VIRTUAL_ROUTER, GUEST_MAC[0], GUEST_MAC[1], GUEST_MAC[2], REMOTE_MAC, Mac([2, 9, 9, 9, 9, 9])];

/// A change of the tables.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Sets a route, or removes it.
    Route {
        is_inet6: bool,
        vrf: u16,
        host: u8,
        to: Option<u32>,
    },
    /// Sets a bridge entry, or removes it.
    Bridge {
        vrf: u16,
        mac: Mac,
        to: Option<u32>,
    },
    /// Sets a label, or removes it.
    Label {
        label: u32,
        to: Option<u32>,
    },
    /// Adds or changes a guest's interface.
    Guest {
        which: usize,
        has_policy: bool,
        vrf: u16,
        nexthop: u32,
    },
    RemoveGuest(usize),
    /// VRF and key nexthop of a VLAN of a guest that becomes a service.
    Assign {
        which: usize,
        vlan: u16,
        to: Option<(u16, u32)>,
    },
    /// Adds or changes a tunnel.
    Tunnel {
        which: usize,
        peer: usize,
        flags: NexthopFlags,
    },
    /// Adds or changes a nexthop to a guest, which may be another guest than before.
    ToGuest {
        which: usize,
        guest: usize,
        is_bridged: bool,
        flags: NexthopFlags,
        vrf: u16,
    },
    /// Changes the members of a composite, and its VRF.
    Members {
        of: u32,
        vrf: u16,
        members: [Option<(u32, u32)>; 3],
    },
    RemoveNexthop(u32),
}

impl Change {
    fn random(random: &mut Random) -> Self {
        let vrf = random.of(&[1, 1, 2]);
        let leaf = random.of(&[ROUTED[0], ROUTED[1], ROUTED[2], TUNNEL[0], TUNNEL[1], BALANCED, SERVED, 0]);
        let to = (!random.once_in(4)).then_some(leaf);
        let which = random.below(3);
        let policy = random.of(&[NexthopFlags::POLICY, NexthopFlags::empty()]);
        match random.below(16) {
            0..3 => {
                let host = random.of(&[
                    REMOTE[0],
                    REMOTE[1],
                    REMOTE[2],
                    GUEST_HOST[which],
                    SERVICE,
                    FLOATING,
                    NOWHERE,
                ]);
                Self::Route { is_inet6: random.once_in(4), vrf, host, to }
            }
            3..5 => {
                let bridged = random.of(&[BRIDGED[0], BRIDGED[1], TUNNEL[0], TUNNEL[1], L2_RECEIVE]);
                Self::Bridge { vrf, mac: random.of(&MACS), to: to.map(|_| bridged) }
            }
            5 => Self::Label { label: LABELS[random.below(LABELS.len())].0, to },
            6..8 => Self::Guest {
                which,
                has_policy: !random.once_in(4),
                vrf: random.of(&[world::VRF_OF[which], vrf]),
                nexthop: ROUTED[random.of(&[which, which, 0])],
            },
            8 => Self::RemoveGuest(which),
            9 => Self::Assign { which, vlan: 5, to: to.map(|leaf| (vrf, leaf)) },
            10 => Self::Tunnel {
                which: random.below(2),
                peer: random.below(3),
                flags: random.of(&[NexthopFlags::TUNNEL_UDP_MPLS, NexthopFlags::TUNNEL_GRE]),
            },
            11 => {
                let guest = random.of(&[which, which, 0, 1, 2]);
                Self::ToGuest { which, guest, is_bridged: random.once_in(3), flags: policy, vrf }
            }
            12..15 => {
                let member = |random: &mut Random| {
                    let leaf = random.of(&[TUNNEL[0], TUNNEL[1], ROUTED[0], ROUTED[1], BALANCED]);
                    (!random.once_in(3)).then(|| (leaf, 70 + random.below(3) as u32))
                };
                let members = [0; 3].map(|_| member(random));
                Self::Members { of: random.of(&[BALANCED, SERVED]), vrf: random.of(&[1, 1, vrf]), members }
            }
            _ => Self::RemoveNexthop(random.of(&[
                TUNNEL[0],
                TUNNEL[1],
                ROUTED[which],
                BRIDGED[which],
                BALANCED,
                SERVED,
            ])),
        }
    }

    /// Gives why it was refused.
    fn apply(self, tables: &mut Tables, datapath: &mut dyn Datapath) -> Option<String> {
        let result = match self {
            Self::Route { is_inet6, vrf, host, to } => {
                let spec = route(is_inet6, vrf, host, to.unwrap_or(0));
                if to.is_some() { tables.route_add(&spec) } else { tables.route_delete(&spec) }
            }
            Self::Bridge { vrf, mac, to: Some(to) } => {
                tables.bridge_add(&world::bridge((vrf, mac, to, TUNNEL.contains(&to).then_some(64))))
            }
            Self::Bridge { vrf, mac, to: None } => tables.bridge_delete(VrfId(vrf), GivenMac::Mac(mac)),
            Self::Label { label, to: Some(to) } => tables.label_add(Label(label), NexthopId(to)),
            Self::Label { label, to: None } => tables.label_delete(Label(label)),
            Self::Guest { which, has_policy, vrf, nexthop } => {
                let flags = if has_policy { VifFlags::POLICY } else { VifFlags::empty() };
                let spec = VifSpec {
                    vrf: Some(VrfId(vrf)),
                    nexthop: NexthopId(nexthop),
                    ..world::guest(which, flags)
                };
                tables.vif_add(&spec, datapath)
            }
            Self::RemoveGuest(which) => tables.vif_delete(GUESTS[which], "", datapath),
            Self::Assign { which, vlan, to } => {
                let entry =
                    to.map(|(vrf, nexthop)| ServiceVlan { vrf: VrfId(vrf), nexthop: NexthopId(nexthop) });
                tables.vrf_assign(GUESTS[which], vlan, entry)
            }
            Self::Tunnel { which, peer, flags } => {
                tables.nexthop_add(&world::tunnel(TUNNEL[which], PEERS[peer], flags))
            }
            Self::ToGuest { which, guest, is_bridged, flags, vrf } => {
                let (ids, family) =
                    if is_bridged { (BRIDGED, NexthopFamily::Bridge) } else { (ROUTED, NexthopFamily::Inet) };
                let mut spec = world::to_guest(guest, (ids[which], family));
                spec.flags = flags | NexthopFlags::VALID;
                spec.vrf = VrfId(vrf);
                tables.nexthop_add(&spec)
            }
            Self::Members { of, vrf, members } => {
                tables.nexthop_add(&NexthopSpec { vrf: VrfId(vrf), ..world::composite((of, members)) })
            }
            Self::RemoveNexthop(id) => tables.nexthop_delete(NexthopId(id)),
        };
        result.err().map(|error| error.to_string())
    }
}

fn route(is_inet6: bool, vrf: u16, host: u8, to: u32) -> RouteSpec {
    let prefix = if is_inet6 { Prefix::Inet6(inet6(host), 8) } else { Prefix::Inet(inet(host), 8) };
    world::route(vrf, prefix, to, TUNNEL.contains(&to).then_some(60))
}

#[derive(Clone, Debug)]
enum Event {
    Step(Step),
    Change(Change),
}

/// Flows of all talks, then what happens to them and to the tables.
fn events(seed: u64) -> (Sequence, Vec<Event>) {
    let mut sequence = Sequence::random(seed);
    for talk in &mut sequence.talks {
        match seed % 4 {
            // To and from what stands behind a composite.
            0 => *talk = Talk { is_inet6: false, guest: talk.guest % 2, far: REMOTE[2], ..*talk },
            // To what guests serve.
            1 => *talk = Talk { is_inet6: false, far: REMOTE[0], ..*talk },
            _ => {}
        }
    }
    let mut random = Random::new(!seed);
    let mut events = Vec::new();
    for (number, talk) in sequence.talks.iter().enumerate() {
        let pair = if seed % 4 == 1 { service_pair } else { pair };
        events.extend(pair(&mut random, talk, number).map(|set| Event::Step(Step::Set(set))));
    }
    for step in &sequence.steps {
        if random.once_in(2) {
            events.push(Event::Change(Change::random(&mut random)));
        }
        events.push(Event::Step(step.clone()));
        if let Step::Packets { .. } = step {
            // Once more, when something is compiled, and after a change.
            events.push(Event::Step(step.clone()));
            events.push(Event::Change(Change::random(&mut random)));
            events.push(Event::Step(step.clone()));
        }
    }
    (sequence, events)
}

fn act(node: &mut Node<'_>, talks: &[Talk], event: &Event) -> (String, node::Frames) {
    match event {
        Event::Change(change) => {
            let (refused, frames) = node.command(|tables, datapath| change.apply(tables, datapath));
            (format!("{refused:?}"), frames)
        }
        Event::Step(Step::Packets { talk, packets }) => {
            let frames =
                packets.iter().flat_map(|packet| node.receive(&[packet.frame(&talks[*talk])])).collect();
            (String::new(), frames)
        }
        Event::Step(Step::Set(set)) => {
            let request = request(node, talks, set);
            let (reply, frames) = node.set(&request);
            (format!("{reply:?}"), frames)
        }
        Event::Step(Step::Pass(milliseconds)) => (String::new(), node.pass(*milliseconds)),
        Event::Step(Step::RefuseFlows(..)) => (String::new(), Vec::new()),
        Event::Step(Step::HoldLimit(limit, burst)) => {
            node.limit_holds(*limit, *burst);
            (String::new(), Vec::new())
        }
    }
}

/// How many flows were compiled at the end of an event, all events together.
#[derive(Default)]
struct Seen {
    all: u64,
    /// Routed to a member of a composite.
    routed: u64,
    /// From the fabric to a nexthop that was compiled.
    redirected: u64,
}

/// What was compiled, or a difference.
fn run(sequence: &Sequence, events: &[Event], seen: &mut Seen) -> Result<(), String> {
    let has_policy = [0, 1, 2].map(|which| sequence.without_policy != Some(which));
    let mut pools = [node::buffers(), node::buffers()];
    let [fast_pool, full_pool] = &mut pools;
    let mut fast = Node::new(has_policy, sequence.closes_on_rst, true, fast_pool);
    let mut full = Node::new(has_policy, sequence.closes_on_rst, false, full_pool);
    for (number, event) in events.iter().enumerate() {
        let [ours, reference] = [&mut fast, &mut full].map(|node| act(node, &sequence.talks, event));
        same!(ours, reference, format!("{number}: {event:?}: answer and frames"));
        same!(fast.rows(), full.rows(), format!("{number}: {event:?}: entries"));
        for (_, compiled) in fast.compiled() {
            seen.all += 1;
            seen.routed += u64::from(compiled.kind == EgressKind::Member);
            let is_redirected = compiled.kind == EgressKind::FromFabric && compiled.label.is_some();
            seen.redirected += u64::from(is_redirected);
        }
    }
    same!(fast.generations(), full.generations(), "generations");
    same!(fast.totals(), full.totals(), "flow counters");
    same!(fast.drops(), full.drops(), "drops");
    for vif in 0..VIFS {
        same!(fast.traffic(vif), full.traffic(vif), format!("counters of interface {vif}"));
    }
    for vrf in 0..VRFS {
        same!(fast.vrf_counters(vrf), full.vrf_counters(vrf), format!("counters of VRF {vrf}"));
    }
    if fast.close() && full.close() { Ok(()) } else { Err("frames are missing".to_owned()) }
}

fn shrink(sequence: &Sequence, mut events: Vec<Event>) -> (Vec<Event>, String) {
    let seen = &mut Seen::default();
    let mut error = run(sequence, &events, seen).expect_err("it has failed before");
    let mut position = 0;
    while position < events.len() {
        let mut shorter = events.clone();
        shorter.remove(position);
        match run(sequence, &shorter, seen) {
            Ok(()) => position += 1,
            Err(now) => (events, error, position) = (shorter, now, 0),
        }
    }
    (events, error)
}

#[test]
fn what_is_compiled_does_what_the_full_path_does() {
    let mut seen = Seen::default();
    for seed in 0..SEQUENCES {
        let (sequence, events) = events(seed);
        if run(&sequence, &events, &mut seen).is_err() {
            let (shortest, error) = shrink(&sequence, events);
            panic!("sequence {seed}:\n{:#?}\n{shortest:#?}\n{error}", sequence.talks)
        }
    }
    let Seen { all, routed, redirected } = seen;
    assert!(all > SEQUENCES, "{all} flows were compiled");
    assert!(routed > SEQUENCES / 10, "{routed} flows were routed to a member");
    assert!(redirected > SEQUENCES / 10, "{redirected} flows from the fabric took another nexthop");
}

//! A restarted agent programs while workers go on with what its predecessor programmed.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use vr_tables::bridge::BridgeKey;
use vr_tables::control::{
    AttachError, Attached, CommandError, Datapath, DeviceChange, GivenMac, GracefulRestart, RestartReport,
    SideChange, Tables, VifSpec,
};
use vr_tables::nexthop::NexthopSlot;
use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::{FlowIndex, Label, Mac, MirrorId, NexthopId, VifId, Vni, VrfId};

use super::support::{
    ENCAP, FABRIC, GUEST, NoPorts, TUNNEL, VRF, bridge, composite, dump, empty, empty_with, encap, program,
    route, tunnel,
};

pub(crate) const POLICY: GracefulRestart =
    GracefulRestart { grace: Duration::from_mins(1), quiet: Duration::from_secs(2) };

const DEVICE_MAC: Mac = Mac([2, 0, 0, 0, 9, 9]);

/// What was asked of ports, in order.
#[derive(Default)]
pub(crate) struct Ports(pub(crate) Vec<String>);

impl Datapath for Ports {
    fn attach(&mut self, vif: &Vif) -> Result<Attached, AttachError> {
        self.0.push(format!("attach {} {}", vif.id, vif.details.name));
        if vif.details.name == "refused" {
            return Err(AttachError::Refused("for the test".to_owned()));
        }
        Ok(Attached { mtu: None, mac: Some(DEVICE_MAC) })
    }

    fn probe(&mut self, vif: &Vif) -> Result<Attached, AttachError> {
        if vif.details.name == "lost" {
            return Err(AttachError::NoDevice("lost".to_owned()));
        }
        Ok(Attached { mtu: Some(1400), mac: None })
    }

    fn renumber(&mut self, moves: &[(VifId, VifId)], publish: &mut dyn FnMut()) {
        for (old, new) in moves {
            self.0.push(format!("move {old} {new}"));
        }
        publish();
    }

    fn changed(&mut self, vif: &Vif) {
        self.0.push(format!("changed {} {}", vif.id, vif.details.name));
    }

    fn detach(&mut self, vif: VifId) {
        self.0.push(format!("detach {vif}"));
    }

    fn flow_changed(&mut self, _: FlowIndex) {}

    fn settle(&mut self) {}
}

pub(crate) fn guest(id: u16, name: &str) -> VifSpec {
    VifSpec { vrf: Some(VRF), nexthop: ENCAP, ..VifSpec::new(VifId(id), VifKind::Virtual, name) }
}

/// A programmed node whose agent has just restarted.
pub(crate) fn restarted() -> Tables {
    let mut tables = empty_with(Some(POLICY));
    program(&mut tables, &mut NoPorts);
    tables.publish();
    tables.reset(&mut NoPorts);
    tables
}

#[test]
fn commands_see_empty_tables_and_workers_those_of_before() {
    let mut tables = restarted();
    let key = BridgeKey::new(VRF, Mac([2, 0, 0, 0, 1, 1]));
    let mut reader = tables.reader();
    let unchanged = |seen: &vr_tables::Snapshot| {
        assert!(seen.restarting);
        assert_eq!(seen.vif(GUEST).unwrap().details.name, "guest");
        assert!(seen.vif(VifId(4)).is_none());
        assert_eq!(seen.route(VRF, [10, 1, 1, 1]).label(), Some(40));
        assert!(seen.label(Label(20)).is_some() && seen.label(Label(21)).is_none());
        assert_eq!(seen.bridge.lookup(key).unwrap().nexthop, seen.nexthop_slot(ENCAP).unwrap());
    };
    unchanged(reader.latest());
    assert_eq!(dump(&tables), dump(&empty()));
    for _ in 0..2 {
        tables.vif_add(&VifSpec::new(FABRIC, VifKind::Physical, "fabric"), &mut NoPorts).unwrap();
        tables.vif_add(&guest(4, "guest"), &mut NoPorts).unwrap();
        tables.nexthop_add(&encap(ENCAP, VifId(4))).unwrap();
        tables.label_add(Label(21), ENCAP).unwrap();
        tables.bridge_add(&bridge(1, ENCAP)).unwrap();
        tables.bridge_delete(VRF, GivenMac::Mac(key.mac())).unwrap();
        tables.publish();
        tables.housekeep();
        unchanged(reader.latest());
        // The agent restarts once more.
        tables.reset(&mut NoPorts);
        assert_eq!(dump(&tables), dump(&empty()));
        unchanged(reader.latest());
    }
}

#[test]
fn at_the_switch_workers_see_everything_at_once() {
    let mut tables = restarted();
    let epoch = tables.reader().latest().flow_epoch(VRF);
    program(&mut tables, &mut NoPorts);
    tables.bridge_add(&bridge(2, TUNNEL)).unwrap();
    assert!(tables.is_restarting());
    tables.finish_restart(Instant::now(), &mut NoPorts).unwrap();
    assert!(!tables.is_restarting());
    let mut strict = empty();
    program(&mut strict, &mut NoPorts);
    strict.bridge_add(&bridge(2, TUNNEL)).unwrap();
    assert_eq!(dump(&tables), dump(&strict));
    let mut reader = tables.reader();
    let seen = reader.latest();
    assert!(!seen.restarting);
    assert!(seen.bridge.lookup(BridgeKey::new(VRF, Mac([2, 0, 0, 0, 1, 2]))).is_some());
    assert_ne!(seen.flow_epoch(VRF), epoch, "what was compiled is void");
    tables.label_add(Label(22), ENCAP).unwrap();
    tables.publish();
    assert!(reader.latest().label(Label(22)).is_some());
}

#[test]
fn ports_are_handed_over_closed_and_opened() {
    let mut tables = empty_with(Some(POLICY));
    let names = ["a", "b", "c", "gone"];
    for (id, name) in (3..).zip(names) {
        tables.vif_add(&guest(id, name), &mut NoPorts).unwrap();
    }
    tables.publish();
    let mut ports = Ports::default();
    tables.reset(&mut ports);
    for (id, name) in [(4, "a"), (3, "b"), (5, "c"), (6, "new"), (7, "short")] {
        tables.vif_add(&guest(id, name), &mut ports).unwrap();
    }
    assert_eq!(tables.vif(VifId(6)).unwrap().mtu, 1400, "what the device will say");
    tables.vif_add(&guest(5, "c"), &mut ports).unwrap();
    tables.vif_delete(VifId(7), "", &mut ports).unwrap();
    let error = tables.vif_add(&guest(8, "lost"), &mut ports).unwrap_err();
    assert_eq!(error.errno(), libc::ENODEV);
    tables.publish();
    assert!(ports.0.is_empty(), "{:?}", ports.0);
    let report = tables.finish_restart(Instant::now(), &mut ports).unwrap();
    let expected =
        ["detach 6", "move 4 3", "move 3 4", "changed 3 b", "changed 4 a", "changed 5 c", "attach 6 new"];
    assert_eq!(ports.0, expected);
    let counts = RestartReport { kept: 3, renumbered: 2, gone: 1, added: 1, ..RestartReport::default() };
    assert_eq!(report, counts);
}

/// What a guest has negotiated belongs to its port.
#[test]
fn flags_of_devices_go_with_their_ports() {
    let mut tables = empty_with(Some(POLICY));
    for (id, name) in [(3, "a"), (4, "b")] {
        tables.vif_add(&guest(id, name), &mut NoPorts).unwrap();
    }
    assert!(tables.set_owned_flags(VifId(3), VifFlags::MRG_RXBUF));
    tables.publish();
    tables.reset(&mut NoPorts);
    for (id, name) in [(4, "a"), (3, "b"), (5, "c")] {
        tables.vif_add(&guest(id, name), &mut NoPorts).unwrap();
    }
    assert!(tables.set_owned_flags(VifId(4), VifFlags::GRO_NEEDED));
    tables.publish();
    let mut reader = tables.reader();
    let seen = |id: u16, reader: &mut vr_tables::publish::Reader<vr_tables::Snapshot>| {
        reader.latest().vif(VifId(id)).unwrap().flags & VifFlags::OWNED
    };
    assert_eq!([3, 4].map(|id| seen(id, &mut reader)), [VifFlags::MRG_RXBUF, VifFlags::GRO_NEEDED]);
    tables.finish_restart(Instant::now(), &mut NoPorts).unwrap();
    let expected = [VifFlags::GRO_NEEDED, VifFlags::MRG_RXBUF, VifFlags::empty()];
    assert_eq!([3, 4, 5].map(|id| seen(id, &mut reader)), expected);
}

#[test]
fn devices_are_followed_by_the_numbers_in_force() {
    let mut tables = empty_with(Some(POLICY));
    let fabric =
        |id: u16, name: &str| VifSpec { mtu: 1514, ..VifSpec::new(VifId(id), VifKind::Physical, name) };
    for spec in [fabric(0, "one"), fabric(1, "two"), guest(3, "a")] {
        tables.vif_add(&spec, &mut NoPorts).unwrap();
    }
    tables.publish();
    tables.reset(&mut NoPorts);
    for spec in [fabric(0, "two"), fabric(1, "one"), guest(3, "a")] {
        tables.vif_add(&spec, &mut NoPorts).unwrap();
    }
    let mut reader = tables.reader();
    let mut seen = || {
        [0, 1].map(|id| {
            let vif = reader.latest().vif(VifId(id)).unwrap();
            (vif.mtu, vif.details.is_down)
        })
    };
    let change = DeviceChange { vif: VifId(0), mtu_before: 1514, mtu: 9014, up: false };
    assert!(tables.device_changed(change) && !tables.device_changed(change));
    tables.publish();
    assert_eq!(seen(), [(9014, true), (1514, false)]);
    tables.finish_restart(Instant::now(), &mut NoPorts).unwrap();
    assert_eq!(seen(), [(1514, false), (9014, true)]);
}

#[test]
fn a_port_is_opened_at_the_switch_with_what_its_device_says_then() {
    let mut tables = restarted();
    let own = GivenMac::Mac(Mac([2, 0, 0, 0, 8, 8]));
    tables.vif_add(&guest(6, "without"), &mut NoPorts).unwrap();
    tables.vif_add(&VifSpec { mac: own, ..guest(7, "with") }, &mut NoPorts).unwrap();
    tables.vif_add(&guest(8, "refused"), &mut NoPorts).unwrap();
    let report = tables.finish_restart(Instant::now(), &mut Ports::default()).unwrap();
    assert_eq!((report.added, report.without_port), (3, vec![VifId(8)]));
    let mut reader = tables.reader();
    let macs = [6, 7, 8].map(|id| reader.latest().vif(VifId(id)).unwrap().mac);
    assert_eq!(macs, [DEVICE_MAC, Mac([2, 0, 0, 0, 8, 8]), Mac::ZERO]);
}

#[test]
fn an_interface_of_another_transport_is_another_one() {
    let mut tables = empty_with(Some(POLICY));
    tables.vif_add(&guest(3, "a"), &mut NoPorts).unwrap();
    let mut ports = Ports::default();
    tables.reset(&mut ports);
    tables.vif_add(&VifSpec { transport: 2, ..guest(3, "a") }, &mut ports).unwrap();
    tables.finish_restart(Instant::now(), &mut ports).unwrap();
    assert_eq!(ports.0, ["detach 3", "attach 3 a"]);
}

#[test]
fn interfaces_described_alike_keep_their_numbers() {
    let mut tables = empty_with(Some(POLICY));
    for id in [3, 4, 5] {
        tables.vif_add(&guest(id, "alike"), &mut NoPorts).unwrap();
    }
    let mut ports = Ports::default();
    tables.reset(&mut ports);
    for id in [2, 3, 5] {
        tables.vif_add(&guest(id, "alike"), &mut ports).unwrap();
    }
    tables.finish_restart(Instant::now(), &mut ports).unwrap();
    assert_eq!(ports.0[0], "move 4 2");
    assert!(ports.0[1..].iter().all(|done| done.starts_with("changed ")), "{:?}", ports.0);
}

#[test]
fn what_is_added_and_removed_during_a_restart_takes_no_room() {
    let mut tables = restarted();
    tables.vif_add(&VifSpec::new(FABRIC, VifKind::Physical, "fabric"), &mut NoPorts).unwrap();
    for _ in 0..100 {
        tables.nexthop_add(&tunnel(TUNNEL, [172, 16, 0, 9])).unwrap();
        tables.publish();
        let slot = tables.snapshot().nexthop_slots.get(TUNNEL.index()).copied();
        assert!(slot.is_some_and(|slot| slot.index() <= 2), "{slot:?}");
        tables.nexthop_delete(TUNNEL).unwrap();
        tables.publish();
    }
}

/// A command of an agent.
#[derive(Clone, Copy, Debug)]
enum Op {
    Vif(u16, u8),
    NoVif(u16),
    Encap(u32, u16),
    Tunnel(u32, u8),
    Composite(u32, u32),
    NoNexthop(u32),
    Route(u8, u32),
    NoRoute(u8),
    Bridge(u8, u32),
    NoBridge(u8),
    Label(u32, u32),
    NoLabel(u32),
    Vni(u32, u32),
    NoVni(u32),
    Mirror(u8, u32),
    Vrf(u16),
    Reset,
    Publish,
    Housekeep,
    AgentLost(bool),
}

fn ops() -> impl Strategy<Value = Op> {
    let (vif, nexthop, small) = (0..7u16, 1..12u32, 0..16u8);
    prop_oneof![
        4 => (vif.clone(), 0..6u8).prop_map(|(id, name)| Op::Vif(id, name)),
        1 => vif.clone().prop_map(Op::NoVif),
        4 => (nexthop.clone(), vif).prop_map(|(id, vif)| Op::Encap(id, vif)),
        2 => (nexthop.clone(), 1..4u8).prop_map(|(id, peer)| Op::Tunnel(id, peer)),
        1 => (nexthop.clone(), nexthop.clone()).prop_map(|(id, member)| Op::Composite(id, member)),
        1 => nexthop.clone().prop_map(Op::NoNexthop),
        4 => (small.clone(), nexthop.clone()).prop_map(|(to, nexthop)| Op::Route(to, nexthop)),
        1 => small.clone().prop_map(Op::NoRoute),
        4 => (small.clone(), nexthop.clone()).prop_map(|(mac, nexthop)| Op::Bridge(mac, nexthop)),
        1 => small.prop_map(Op::NoBridge),
        2 => (16..24u32, nexthop.clone()).prop_map(|(label, nexthop)| Op::Label(label, nexthop)),
        1 => (16..24u32).prop_map(Op::NoLabel),
        1 => (1..4u32, nexthop.clone()).prop_map(|(vni, nexthop)| Op::Vni(vni, nexthop)),
        1 => (1..4u32).prop_map(Op::NoVni),
        1 => (0..3u8, nexthop).prop_map(|(id, nexthop)| Op::Mirror(id, nexthop)),
        1 => (0..4u16).prop_map(Op::Vrf),
        1 => Just(Op::Reset),
        1 => Just(Op::Publish),
        1 => Just(Op::Housekeep),
        1 => any::<bool>().prop_map(Op::AgentLost),
    ]
}

const NAMES: [&str; 6] = ["fabric", "a", "b", "c", "guest", "missing"];

fn execute(tables: &mut Tables, op: Op) -> Result<(), CommandError> {
    let ports = &mut NoPorts;
    match op {
        Op::Vif(id, 0) => tables.vif_add(&VifSpec::new(VifId(id), VifKind::Physical, NAMES[0]), ports),
        Op::Vif(id, name) => tables.vif_add(&guest(id, NAMES[usize::from(name)]), ports),
        Op::NoVif(id) => tables.vif_delete(VifId(id), "", ports),
        Op::Encap(id, vif) => tables.nexthop_add(&encap(NexthopId(id), VifId(vif))),
        Op::Tunnel(id, peer) => tables.nexthop_add(&tunnel(NexthopId(id), [172, 16, 0, peer])),
        Op::Composite(id, member) => tables.nexthop_add(&composite(NexthopId(id), &[NexthopId(member)])),
        Op::NoNexthop(id) => tables.nexthop_delete(NexthopId(id)),
        Op::Route(to, nexthop) => tables.route_add(&route([10, to, 0, 0], 16, NexthopId(nexthop), Some(40))),
        Op::NoRoute(to) => tables.route_delete(&route([10, to, 0, 0], 16, NexthopId::DISCARD, None)),
        Op::Bridge(mac, nexthop) => tables.bridge_add(&bridge(mac, NexthopId(nexthop))),
        Op::NoBridge(mac) => tables.bridge_delete(VRF, GivenMac::Mac(Mac([2, 0, 0, 0, 1, mac]))),
        Op::Label(label, nexthop) => tables.label_add(Label(label), NexthopId(nexthop)),
        Op::NoLabel(label) => tables.label_delete(Label(label)),
        Op::Vni(vni, nexthop) => tables.vni_add(Vni(vni), NexthopId(nexthop)),
        Op::NoVni(vni) => {
            tables.vni_delete(Vni(vni));
            Ok(())
        }
        Op::Mirror(id, nexthop) => {
            let mirror =
                vr_tables::snapshot::Mirror { nexthop: NexthopId(nexthop), flags: 0, vni: -1, vlan: -1 };
            tables.mirror_add(MirrorId(id), mirror)
        }
        Op::Vrf(vrf) => tables.vrf_add(VrfId(vrf), SideChange::Keep, SideChange::Clear),
        Op::Reset => {
            tables.reset(ports);
            Ok(())
        }
        Op::Publish => {
            tables.publish();
            Ok(())
        }
        Op::Housekeep => {
            tables.housekeep();
            Ok(())
        }
        Op::AgentLost(lost) => {
            tables.set_agent_lost(lost);
            tables.publish();
            Ok(())
        }
    }
}

/// What workers find for a set of questions, without places.
fn found(tables: &Tables) -> Vec<String> {
    let mut reader = tables.reader();
    let seen = reader.latest();
    let name = |slot: NexthopSlot| seen.nexthop(slot).map(|nexthop| without_slots(&format!("{nexthop:?}")));
    let mut answers: Vec<String> = (0..16)
        .map(|to| {
            let route = seen.route(VRF, [10, to, 1, 1]);
            let entry = seen.bridge.lookup(BridgeKey::new(VRF, Mac([2, 0, 0, 0, 1, to])));
            let entry = entry.map(|entry| (entry.index, name(entry.nexthop), entry.label, entry.flags));
            format!("{to} {:?} {:?} {entry:?}", name(route.nexthop), route.label())
        })
        .collect();
    answers.extend((16..24).map(|label| format!("{label} {:?}", seen.label(Label(label)).map(name))));
    answers.extend((0..4).map(|vni| format!("{vni} {:?}", seen.vni(Vni(vni)).map(name))));
    answers.extend(seen.vifs.iter().map(|(_, vif)| format!("{:?}", Vif { version: 0, ..vif.clone() })));
    answers
}

/// Nexthops are compared by what they do: when a slot is free again is nobody's business.
fn without_slots(text: &str) -> String {
    let mut parts = text.split("NexthopSlot(");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

/// What clients read in one and not in the other.
fn differences(one: &Tables, other: &Tables) -> Vec<String> {
    let (one, other) = (without_slots(&dump(one)), without_slots(&dump(other)));
    let missing = |from: &str, to: &str| {
        let to: Vec<&str> = to.lines().collect();
        from.lines().filter(|line| !to.contains(line)).map(str::to_owned).collect::<Vec<_>>()
    };
    [missing(&one, &other), missing(&other, &one)].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_switch_ends_where_programming_from_scratch_does(
        first in prop::collection::vec(ops(), 0..60),
        then in prop::collection::vec(ops(), 0..120),
    ) {
        let mut tables = empty_with(Some(POLICY));
        for op in first.into_iter().filter(|op| !matches!(op, Op::Reset)) {
            let _ = execute(&mut tables, op);
        }
        execute(&mut tables, Op::Vif(7, 3)).unwrap();
        tables.set_agent_lost(false);
        tables.publish();
        let before = found(&tables);
        tables.reset(&mut NoPorts);
        let mut strict = empty();
        for op in then {
            if matches!(op, Op::Reset) {
                strict = empty();
            }
            if matches!(op, Op::AgentLost(_)) {
                // Cross-connects the host, which is none of what is compared.
                execute(&mut tables, op).unwrap();
                continue;
            }
            let results = [execute(&mut tables, op), execute(&mut strict, op)];
            let [ours, theirs] = results.map(|result| result.err().map(|error| error.to_string()));
            prop_assert_eq!(ours, theirs, "{:?}", op);
            prop_assert_eq!(differences(&tables, &strict), Vec::<String>::new());
        }
        prop_assert_eq!(found(&tables), before);
        for tables in [&mut tables, &mut strict] {
            execute(tables, Op::Vif(6, 1)).unwrap();
        }
        prop_assert!(tables.finish_restart(Instant::now(), &mut NoPorts).is_some());
        strict.publish();
        prop_assert_eq!(differences(&tables, &strict), Vec::<String>::new());
        prop_assert_eq!(found(&tables), found(&strict));
        for op in [Op::Encap(5, 6), Op::Vif(6, 3), Op::Encap(5, 6), Op::Bridge(3, 5), Op::Route(3, 5), Op::Publish] {
            let results = [execute(&mut tables, op), execute(&mut strict, op)];
            let [ours, theirs] = results.map(|result| result.err().map(|error| error.to_string()));
            prop_assert_eq!(ours, theirs, "{:?}", op);
        }
        prop_assert_eq!(differences(&tables, &strict), Vec::<String>::new());
        prop_assert_eq!(found(&tables), found(&strict));
    }
}

//! Which flows a restarted agent takes over, and how.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use vr_tables::control::{FlowSpec, ForwardingClass, QosChange, Reverse, Tables, VifSpec};
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey};
use vr_tables::snapshot::Mirror;
use vr_tables::vif::VifKind;
use vr_types::{FlowIndex, MirrorId, NexthopId, VifId, VrfId, WorkerId};

use super::restart::POLICY;
use super::support::{FABRIC, NoPorts, TUNNEL, composite, empty_with, encap, tunnel};

/// How an agent numbers two guests, and what it knows of the underlay.
#[derive(Clone, Copy)]
struct Numbers {
    vifs: [u16; 2],
    nexthops: [u32; 2],
    vrfs: [u16; 2],
    peer: u8,
    mirror: u8,
}

const FIRST: Numbers = Numbers { vifs: [3, 4], nexthops: [20, 21], vrfs: [1, 2], peer: 2, mirror: 3 };
const ECMP: NexthopId = NexthopId(30);
const MIRROR_TUNNEL: NexthopId = NexthopId(31);

fn program(tables: &mut Tables, numbers: &Numbers) {
    let ports = &mut NoPorts;
    tables.vif_add(&VifSpec::new(FABRIC, VifKind::Physical, "fabric"), ports).unwrap();
    for (place, name) in ["a", "b"].into_iter().enumerate() {
        let (id, nexthop) = (VifId(numbers.vifs[place]), NexthopId(numbers.nexthops[place]));
        let vrf = Some(VrfId(numbers.vrfs[place]));
        let spec = VifSpec { vrf, nexthop, ..VifSpec::new(id, VifKind::Virtual, name) };
        tables.vif_add(&spec, ports).unwrap();
        tables.nexthop_add(&encap(nexthop, id)).unwrap();
    }
    tables.nexthop_add(&tunnel(TUNNEL, [172, 16, 0, numbers.peer])).unwrap();
    tables.nexthop_add(&composite(ECMP, &[NexthopId(numbers.nexthops[0]), TUNNEL])).unwrap();
    tables.nexthop_add(&tunnel(MIRROR_TUNNEL, [172, 16, 0, numbers.mirror])).unwrap();
    let mirror = Mirror { nexthop: MIRROR_TUNNEL, flags: 0, vni: -1, vlan: -1 };
    tables.mirror_add(MirrorId(1), mirror).unwrap();
    tables.publish();
}

fn node() -> Tables {
    let mut tables = empty_with(Some(POLICY));
    program(&mut tables, &FIRST);
    tables
}

/// A flow of the first guest.
fn spec(port: u8) -> FlowSpec {
    FlowSpec {
        key: Some(key(port, FIRST.nexthops[0])),
        source_nexthop: FIRST.nexthops[0],
        ..super::support::flow(port)
    }
}

/// A flow of the second guest.
fn others(port: u8) -> FlowSpec {
    let vrf = VrfId(FIRST.vrfs[1]);
    let nexthop = FIRST.nexthops[1];
    FlowSpec {
        key: Some(key(port, nexthop)),
        source_nexthop: nexthop,
        vrf,
        dvrf: vrf,
        ..super::support::flow(port)
    }
}

fn key(port: u8, nexthop: u32) -> FlowKey {
    FlowKey::inet(6, [0, port, 0, 80], NexthopId(nexthop), [10, 0, 0, 1], [10, 0, 0, 2])
}

fn add(tables: &mut Tables, spec: &FlowSpec) -> FlowIndex {
    let reply = tables.flow_set(spec, &mut NoPorts);
    reply.result.unwrap();
    reply.index.unwrap()
}

fn restart(tables: &mut Tables, numbers: &Numbers) {
    tables.reset(&mut NoPorts);
    program(tables, numbers);
    tables.finish_restart(Instant::now(), &mut NoPorts).unwrap();
    tables.housekeep();
}

fn generation(tables: &Tables, index: FlowIndex) -> u8 {
    tables.flow_table().shared(index).unwrap().generation.load(Relaxed)
}

/// Whether an entry is there, and whether it is new to the agent.
fn state(tables: &Tables, index: FlowIndex) -> (bool, bool) {
    let flags = tables.flow_table().shared(index).unwrap().flags();
    (tables.flow_table().in_use(index), flags.contains(FlowFlags::NEW_FLOW))
}

#[track_caller]
fn stays(numbers: Numbers, spec: &FlowSpec) -> bool {
    let mut tables = node();
    let index = add(&mut tables, spec);
    let before = generation(&tables, index);
    restart(&mut tables, &numbers);
    let (there, new) = state(&tables, index);
    assert_eq!(there, new);
    if there {
        assert_eq!(generation(&tables, index), before.wrapping_add(1));
        let shared = tables.flow_table().shared(index).unwrap();
        assert_eq!(shared.action.load(Relaxed), FlowAction::Forward as u16);
        let hot = tables.flow_table().hot(index).unwrap().state();
        assert_eq!((hot.generation(), hot.is_changing()), (before.wrapping_add(1), false));
    }
    there
}

#[test]
fn flows_stay_whose_numbers_mean_the_same() {
    let swapped = Numbers { vifs: [4, 3], ..FIRST };
    for numbers in [FIRST, swapped] {
        assert!(stays(numbers, &spec(1)));
        assert!(stays(numbers, &others(1)));
        assert!(stays(numbers, &FlowSpec { source_nexthop: TUNNEL.0, ..spec(1) }));
        assert!(stays(numbers, &FlowSpec { source_nexthop: ECMP.0, ..spec(1) }));
        assert!(stays(numbers, &FlowSpec { source_nexthop: 0, vrf: VrfId(0), ..spec(1) }));
    }
}

#[test]
fn flows_go_whose_numbers_mean_something_else() {
    let nexthops = Numbers { nexthops: [21, 20], ..FIRST };
    let vrfs = Numbers { vrfs: [2, 1], ..FIRST };
    for numbers in [nexthops, vrfs] {
        assert!(!stays(numbers, &spec(1)));
        assert!(!stays(numbers, &others(1)));
    }
    let shared_vrf = Numbers { vrfs: [1, 1], ..FIRST };
    assert!(!stays(shared_vrf, &spec(1)), "the VRF has a guest that was in another one");
    let peer = Numbers { peer: 9, ..FIRST };
    assert!(!stays(peer, &FlowSpec { source_nexthop: TUNNEL.0, ..spec(1) }));
    assert!(!stays(peer, &FlowSpec { source_nexthop: ECMP.0, ..spec(1) }));
    assert!(stays(peer, &spec(1)));
    assert!(!stays(FIRST, &FlowSpec { source_nexthop: 99, ..spec(1) }), "it names no nexthop");
}

#[test]
fn mirrors_and_vrfs_to_go_on_in_are_looked_at_if_they_count() {
    let mirrored = FlowSpec { flags: FlowFlags::ACTIVE | FlowFlags::MIRROR, mirrors: [1, 255], ..spec(1) };
    let elsewhere = Numbers { mirror: 4, ..FIRST };
    assert!(stays(FIRST, &mirrored) && !stays(elsewhere, &mirrored));
    assert!(stays(elsewhere, &FlowSpec { flags: FlowFlags::ACTIVE, ..mirrored }));
    let translated = FlowSpec { flags: FlowFlags::ACTIVE | FlowFlags::VRFT, dvrf: VrfId(9), ..spec(1) };
    assert!(!stays(FIRST, &translated));
    assert!(stays(FIRST, &FlowSpec { dvrf: VrfId(2), ..translated }));
}

/// Whether a flow stays when `program_more` is given `first` before the restart, and `then` after it.
fn stays_with<T>(spec: &FlowSpec, program_more: impl Fn(&mut Tables, T), first: T, then: T) -> bool {
    let mut tables = node();
    program_more(&mut tables, first);
    let index = add(&mut tables, spec);
    tables.reset(&mut NoPorts);
    program(&mut tables, &FIRST);
    program_more(&mut tables, then);
    let report = tables.finish_restart(Instant::now(), &mut NoPorts).unwrap();
    tables.housekeep();
    let stays = state(&tables, index).0;
    assert_eq!((report.flows_kept, report.flows_removed), (usize::from(stays), usize::from(!stays)));
    stays
}

#[test]
fn mirrors_that_send_in_another_form_are_others() {
    let mirrored = FlowSpec { flags: FlowFlags::ACTIVE | FlowFlags::MIRROR, mirrors: [1, 255], ..spec(1) };
    let before = Mirror { nexthop: MIRROR_TUNNEL, flags: 0, vni: 5, vlan: 6 };
    let stays = |spec: &FlowSpec, then: Mirror| {
        let add = |tables: &mut Tables, mirror| tables.mirror_add(MirrorId(1), mirror).unwrap();
        stays_with(spec, add, before, then)
    };
    assert!(stays(&mirrored, before));
    for other in [Mirror { vni: 7, ..before }, Mirror { vlan: 7, ..before }, Mirror { flags: 4, ..before }] {
        assert!(!stays(&mirrored, other), "{other:?}");
        assert!(stays(&spec(1), other), "{other:?}");
    }
}

#[test]
fn qos_maps_are_the_same_if_they_write_the_same() {
    let marked = FlowSpec { qos_map: 2, ..spec(1) };
    // A map of one code point, by way of a forwarding class.
    let add = |tables: &mut Tables, map: Option<(u16, u8, u8)>| {
        let Some((id, class, dscp)) = map else { return };
        tables
            .forwarding_class_add(u16::from(class), ForwardingClass { dscp, ..ForwardingClass::default() })
            .unwrap();
        tables.qos_map_add(id, &QosChange { dscp: vec![(0, class)], ..QosChange::default() }).unwrap();
    };
    let before = Some((2, 4, 46));
    for (then, same) in [
        (before, true),
        (Some((2, 5, 46)), true),
        (Some((2, 4, 10)), false),
        (Some((3, 4, 46)), false),
        (None, false),
    ] {
        assert_eq!(stays_with(&marked, add, before, then), same, "{then:?}");
        assert_eq!(stays_with(&marked, add, then, before), same, "{then:?}");
        assert!(stays_with(&spec(1), add, before, then), "{then:?}");
    }
    assert!(stays_with(&marked, add, None, None), "there is no such map");
}

#[test]
fn both_directions_stay_or_none() {
    for (peer, stay) in [(2, true), (9, false)] {
        let mut tables = node();
        let first = add(&mut tables, &spec(1));
        let linked = FlowFlags::ACTIVE | FlowFlags::RFLOW_VALID;
        let back =
            FlowSpec { flags: linked, reverse: Reverse::Index(first), source_nexthop: TUNNEL.0, ..spec(2) };
        let second = add(&mut tables, &back);
        let generation = generation(&tables, first);
        let forth = FlowSpec {
            index: Some(first),
            generation,
            flags: linked,
            reverse: Reverse::Index(second),
            ..spec(1)
        };
        add(&mut tables, &forth);
        let alone = add(&mut tables, &spec(3));
        restart(&mut tables, &Numbers { peer, ..FIRST });
        let all = [first, second, alone].map(|index| state(&tables, index).0);
        assert_eq!(all, [stay, stay, true], "peer {peer}");
    }
}

#[test]
fn flows_that_wait_go_with_their_agent() {
    let mut tables = node();
    let waiting = add(&mut tables, &FlowSpec { action: Some(FlowAction::Hold), ..spec(1) });
    let index = add(&mut tables, &spec(2));
    tables.reset(&mut NoPorts);
    tables.housekeep();
    assert_eq!([waiting, index].map(|index| state(&tables, index)), [(false, false), (true, false)]);
    assert_eq!(tables.flow_totals().holding, 0);
}

#[test]
fn a_flow_of_the_former_agent_is_none_to_the_new_one_before_the_switch() {
    let mut tables = node();
    let index = add(&mut tables, &spec(1));
    let generation = generation(&tables, index);
    tables.reset(&mut NoPorts);
    program(&mut tables, &FIRST);
    let errno = |tables: &mut Tables, spec: &FlowSpec| {
        let reply = tables.flow_set(spec, &mut NoPorts);
        assert_eq!(reply.generation, 0);
        reply.result.unwrap_err().errno()
    };
    let set = FlowSpec { index: Some(index), generation, ..spec(1) };
    assert_eq!(errno(&mut tables, &set), libc::ENOENT);
    assert_eq!(errno(&mut tables, &FlowSpec { flags: FlowFlags::empty(), ..set }), libc::ENOENT);
    assert_eq!(errno(&mut tables, &FlowSpec { force_evict: true, ..set }), libc::ENOENT);
    assert_eq!(errno(&mut tables, &spec(2)), libc::EBUSY);
    assert_eq!(state(&tables, index), (true, false));
}

#[test]
fn the_agent_takes_a_flow_over_by_key_or_place() {
    let mut tables = node();
    let [first, second] = [1, 2].map(|port| add(&mut tables, &spec(port)));
    restart(&mut tables, &FIRST);
    let drop = FlowSpec { action: Some(FlowAction::Drop), ..spec(1) };
    let reply = tables.flow_set(&drop, &mut NoPorts);
    assert!(reply.result.is_ok());
    assert_eq!((reply.index, reply.generation), (Some(first), generation(&tables, first)));
    assert_eq!(state(&tables, first), (true, false));
    let shared = tables.flow_table().shared(first).unwrap();
    assert_eq!(shared.action.load(Relaxed), FlowAction::Drop as u16);
    let again = tables.flow_set(&drop, &mut NoPorts);
    assert_eq!(again.result.unwrap_err().errno(), libc::EEXIST, "it is the agent's own now");

    let generation = generation(&tables, second);
    let stale = FlowSpec { index: Some(second), generation: generation.wrapping_sub(1), ..spec(2) };
    assert_eq!(tables.flow_set(&stale, &mut NoPorts).result.unwrap_err().errno(), libc::EBUSY);
    add(&mut tables, &FlowSpec { index: Some(second), generation, ..spec(2) });
    assert_eq!(state(&tables, second), (true, false));
    tables.advance_restart(Instant::now() + 2 * POLICY.grace, &mut NoPorts);
    tables.housekeep();
    assert_eq!([first, second].map(|index| state(&tables, index).0), [true, true]);
}

#[test]
fn the_agent_takes_a_flow_over_that_could_not_be_shown_to_it_yet() {
    let mut tables = node();
    let index = add(&mut tables, &spec(1));
    let before = generation(&tables, index);
    // Its packets move to another worker just now.
    let mut folding = tables.flow_folding();
    tables.flow_table().count(index, WorkerId(0), 100);
    for _ in 0..2 {
        tables.flow_table().count(index, WorkerId(1), 100);
        folding.run();
    }
    restart(&mut tables, &FIRST);
    assert_eq!((state(&tables, index), generation(&tables, index)), ((true, false), before));
    let reply = tables.flow_set(&spec(1), &mut NoPorts);
    assert!(reply.result.is_ok(), "{:?}", reply.result);
    assert_eq!((reply.index, reply.generation), (Some(index), before));
    folding.run();
    for passed in [Duration::ZERO, 2 * POLICY.grace] {
        tables.advance_restart(Instant::now() + passed, &mut NoPorts);
        tables.housekeep();
        assert_eq!((state(&tables, index), generation(&tables, index)), ((true, false), before));
    }
    let again = tables.flow_set(&spec(1), &mut NoPorts);
    assert_eq!(again.result.unwrap_err().errno(), libc::EEXIST, "it is the agent's own now");
}

#[test]
fn flows_of_guests_with_equal_names_do_not_stay() {
    let alike = |tables: &mut Tables, nexthops: [u32; 2]| {
        for (id, nexthop) in (3..).zip(nexthops) {
            let (id, nexthop, vrf) = (VifId(id), NexthopId(nexthop), Some(VrfId(1)));
            let spec = VifSpec { vrf, nexthop, ..VifSpec::new(id, VifKind::Virtual, "alike") };
            tables.vif_add(&spec, &mut NoPorts).unwrap();
            tables.nexthop_add(&encap(nexthop, id)).unwrap();
        }
    };
    let mut tables = empty_with(Some(POLICY));
    alike(&mut tables, FIRST.nexthops);
    let index = add(&mut tables, &spec(1));
    tables.reset(&mut NoPorts);
    let [one, other] = FIRST.nexthops;
    alike(&mut tables, [other, one]);
    let report = tables.finish_restart(Instant::now(), &mut NoPorts).unwrap();
    assert_eq!((report.flows_kept, report.flows_removed), (0, 1));
    tables.housekeep();
    assert!(!state(&tables, index).0);
}

#[test]
fn what_the_agent_does_not_confirm_is_removed() {
    let mut tables = node();
    let [first, second, third] = [1, 2, 3].map(|port| add(&mut tables, &spec(port)));
    restart(&mut tables, &FIRST);
    let start = Instant::now();
    let gone = |tables: &Tables, index| FlowSpec {
        index: Some(index),
        generation: generation(tables, index),
        flags: FlowFlags::empty(),
        ..spec(2)
    };
    let reply = tables.flow_set(&gone(&tables, second), &mut NoPorts);
    assert!(reply.deleted);
    tables.housekeep();
    // The slot of a flow that was kept has another user.
    let successor = add(&mut tables, &others(2));
    add(&mut tables, &spec(1));
    tables.advance_restart(start + POLICY.grace / 2, &mut NoPorts);
    tables.housekeep();
    assert_eq!(state(&tables, third), (true, true));
    tables.advance_restart(start + POLICY.grace + Duration::from_secs(1), &mut NoPorts);
    tables.housekeep();
    assert_eq!([first, third, successor].map(|index| state(&tables, index).0), [true, false, true]);
}

#[test]
fn what_could_not_be_shown_to_the_agent_is_removed() {
    let mut tables = node();
    let [first, second] = [1, 2].map(|port| add(&mut tables, &spec(port)));
    // A worker that is about to mark it for eviction, and does not come to that.
    let busy = FlowFlags::MODIFIED.bits();
    tables.flow_table().shared(first).unwrap().flags.fetch_or(busy, Relaxed);
    restart(&mut tables, &FIRST);
    assert_eq!([first, second].map(|index| state(&tables, index)), [(true, false), (true, true)]);
    add(&mut tables, &spec(2));
    tables.advance_restart(Instant::now() + 2 * POLICY.grace, &mut NoPorts);
    tables.housekeep();
    assert_eq!([first, second].map(|index| state(&tables, index).0), [false, true]);
}

//! Flows that are refused (control.md 4.15).

use std::sync::atomic::Ordering::Relaxed;

use libc::{EBADF, EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, ENOSPC};
use vr_tables::control::{FlowReply, FlowSpec, Reverse, Tables};
use vr_tables::flow::{FlowAction, FlowFlags, TcpFlags};
use vr_types::{FlowIndex, VrfId, WorkerId};

use crate::support::{NoPorts, VRFS, dump, flow, flow_key, node};

fn set(tables: &mut Tables, spec: &FlowSpec) -> FlowReply {
    tables.flow_set(spec, &mut NoPorts)
}

#[track_caller]
fn refused(tables: &mut Tables, errno: i32, spec: &FlowSpec) -> FlowReply {
    let before = dump(tables);
    let reply = set(tables, spec);
    let error = reply.result.as_ref().expect_err("the flow was accepted");
    assert_eq!(error.errno(), errno, "{error}");
    assert!(!reply.deleted);
    assert_eq!(dump(tables), before, "{error}");
    reply
}

/// A node with one flow, and a request that changes it.
fn with_flow() -> (Tables, FlowSpec) {
    let mut tables = node();
    let reply = set(&mut tables, &flow(1));
    reply.result.unwrap();
    let spec = FlowSpec { index: reply.index, generation: reply.generation, ..flow(1) };
    (tables, spec)
}

#[test]
fn requests_that_do_not_fit_the_entry() {
    let (mut tables, good) = with_flow();
    let index = good.index;
    refused(&mut tables, EBADF, &FlowSpec { generation: good.generation.wrapping_add(1), ..good });
    refused(&mut tables, EFAULT, &FlowSpec { key: Some(flow_key(2)), ..good });
    refused(&mut tables, EFAULT, &FlowSpec { key: None, ..good });
    for flags in [FlowFlags::MODIFIED, FlowFlags::EVICTED, FlowFlags::NEW_FLOW] {
        let shared = tables.flow_table().shared(index.unwrap()).unwrap();
        let before = shared.flags.fetch_or(flags.bits(), Relaxed);
        // Before all other checks of the entry.
        let reply = refused(&mut tables, EBUSY, &FlowSpec { generation: 200, ..good });
        assert_eq!((reply.index, reply.generation), (index, good.generation));
        tables.flow_table().shared(index.unwrap()).unwrap().flags.store(before, Relaxed);
    }
    let nobody = Some(FlowIndex(index.unwrap().0 ^ 1));
    let reply = refused(&mut tables, ENOENT, &FlowSpec { index: nobody, ..good });
    assert_eq!((reply.index, reply.generation), (nobody, 0));
    refused(&mut tables, ENOENT, &FlowSpec { index: nobody, flags: FlowFlags::empty(), ..good });
    refused(&mut tables, ENOENT, &FlowSpec { index: Some(FlowIndex(4_000_000)), ..good });
    set(&mut tables, &good).result.unwrap();
}

#[test]
fn requests_that_contradict_themselves() {
    let (mut tables, good) = with_flow();
    for base in [good, flow(2)] {
        let with = |flags| FlowSpec { flags: FlowFlags::ACTIVE | flags, ..base };
        let cases = [
            FlowSpec { dvrf: VrfId(VRFS as u16), ..with(FlowFlags::VRFT) },
            with(FlowFlags::MIRROR),
            with(FlowFlags::RFLOW_VALID),
            FlowSpec { reverse: Reverse::Key(Some(flow_key(9))), ..with(FlowFlags::RFLOW_VALID) },
            FlowSpec { reverse: Reverse::Index(FlowIndex(11)), ..with(FlowFlags::RFLOW_VALID) },
            FlowSpec { action: None, ..base },
        ];
        for spec in cases {
            refused(&mut tables, EINVAL, &spec);
        }
    }
    refused(&mut tables, EINVAL, &FlowSpec { key: None, ..flow(2) });
    refused(&mut tables, ENOENT, &FlowSpec { flags: FlowFlags::empty(), ..flow(2) });
}

#[test]
fn a_key_is_there_once_and_the_table_has_an_end() {
    let (mut tables, good) = with_flow();
    let reply = refused(&mut tables, EEXIST, &flow(1));
    assert_eq!((reply.index, reply.generation), (good.index, good.generation), "the entry that is there");
    let full = (2..=255).find(|port| set(&mut tables, &flow(*port)).result.is_err()).unwrap();
    refused(&mut tables, ENOSPC, &flow(full));
}

#[test]
fn a_flow_on_its_way_out_is_refused_until_its_slot_is_free() {
    let (mut tables, good) = with_flow();
    let grace = std::sync::Arc::clone(tables.grace());
    grace.enter(WorkerId(1));
    let reply = set(&mut tables, &FlowSpec { flags: FlowFlags::empty(), ..good });
    assert!(reply.result.is_ok() && reply.deleted);
    refused(&mut tables, EINVAL, &good);
    grace.leave(WorkerId(1));
    tables.housekeep();
    refused(&mut tables, ENOENT, &good);
    let again = set(&mut tables, &flow(1));
    again.result.unwrap();
    assert_eq!(again.index, good.index);
    assert_eq!(again.generation, good.generation.wrapping_add(1));
    refused(&mut tables, EBADF, &good);
}

#[test]
fn only_a_connection_that_is_over_is_evicted() {
    let (mut tables, good) = with_flow();
    let index = good.index.unwrap();
    let evict = FlowSpec { force_evict: true, ..good };
    refused(&mut tables, EINVAL, &evict);
    refused(&mut tables, EINVAL, &FlowSpec { index: None, ..evict });
    tables.flow_table().set_tcp_flags(index, TcpFlags::DEAD);
    assert!(tables.flow_table().find(&flow_key(1), flow_key(1).hash()).is_some());
    set(&mut tables, &evict).result.unwrap();
    assert_eq!(tables.flow_table().find(&flow_key(1), flow_key(1).hash()), None);
    tables.housekeep();
    assert!(!tables.flow_table().in_use(index));
    assert_eq!(tables.flow_table().used(), (0, 0));
}

#[test]
fn an_accepted_change_is_one() {
    let (mut tables, good) = with_flow();
    let before = dump(&tables);
    set(&mut tables, &FlowSpec { action: Some(FlowAction::Drop), ..good }).result.unwrap();
    assert_ne!(dump(&tables), before, "what the other tests compare shows changes");
}

/// What may be wrong with a request about an entry, in the order in which it is looked for.
const WRONG: [i32; 8] = [EBUSY, EINVAL, EBADF, EFAULT, EINVAL, EINVAL, EINVAL, EINVAL];

fn spoil(tables: &mut Tables, spec: &mut FlowSpec, what: usize) {
    let flags = &tables.flow_table().shared(spec.index.unwrap()).unwrap().flags;
    match what {
        0 => drop(flags.fetch_or(FlowFlags::NEW_FLOW.bits(), Relaxed)),
        1 => drop(flags.fetch_or(FlowFlags::DELETE_MARKED.bits(), Relaxed)),
        2 => spec.generation = spec.generation.wrapping_add(1),
        3 => spec.key = Some(flow_key(9)),
        4 => (spec.flags, spec.dvrf) = (spec.flags | FlowFlags::VRFT, VrfId(VRFS as u16)),
        5 => spec.flags |= FlowFlags::MIRROR,
        6 => spec.flags |= FlowFlags::RFLOW_VALID,
        _ => spec.action = None,
    }
}

/// Every combination of wrong things, for a change and for a removal: the first one decides.
#[test]
fn of_several_wrong_things_the_first_one_is_told() {
    for wrong in 1u32..1 << WRONG.len() {
        for active in [FlowFlags::ACTIVE, FlowFlags::empty()] {
            let (mut tables, good) = with_flow();
            let mut spec = FlowSpec { flags: active, ..good };
            let all = (0..WRONG.len()).filter(|what| wrong >> what & 1 == 1);
            all.clone().for_each(|what| spoil(&mut tables, &mut spec, what));
            // An action is not looked at in a removal.
            match all.filter(|what| *what < 7 || !active.is_empty()).map(|what| WRONG[what]).next() {
                Some(errno) => drop(refused(&mut tables, errno, &spec)),
                None => assert!(set(&mut tables, &spec).deleted),
            }
        }
    }
}

//! Entries that make room without the agent.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use libc::{EBADF, EBUSY, ENOENT};
use vr_tables::control::{FlowReply, FlowSpec, Limits, Reverse, Tables, TablesConfig};
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey, TcpFlags};
use vr_tables::geometry::Geometry;
use vr_tables::options::{FlowOptions, Options};
use vr_types::{FlowIndex, NexthopId, WorkerId};

use crate::support::{NoPorts, flow, node};

fn set(tables: &mut Tables, spec: &FlowSpec) -> FlowReply {
    tables.flow_set(spec, &mut NoPorts)
}

/// A node with a flow and its reverse, linked to each other, whose connection is over.
fn over() -> (Tables, [FlowSpec; 2]) {
    let mut tables = node();
    let mut specs = [1, 2].map(|port| {
        let reply = set(&mut tables, &flow(port));
        FlowSpec { index: reply.index, generation: reply.generation, ..flow(port) }
    });
    let [first, second] = specs.map(|spec| spec.index.unwrap());
    for (spec, linked) in specs.iter_mut().zip([second, first]) {
        spec.flags |= FlowFlags::RFLOW_VALID;
        spec.reverse = Reverse::Index(linked);
        set(&mut tables, spec).result.unwrap();
        tables.flow_table().set_tcp_flags(spec.index.unwrap(), TcpFlags::DEAD);
    }
    (tables, specs)
}

fn flags(tables: &Tables, spec: &FlowSpec) -> FlowFlags {
    tables.flow_table().shared(spec.index.unwrap()).unwrap().flags()
}

/// Marks by the first one; whether both are candidates then, or none.
fn mark(tables: &Tables, specs: &[FlowSpec; 2]) -> bool {
    tables.flow_table().mark_for_eviction(specs[0].index.unwrap());
    let marked = specs.map(|spec| flags(tables, &spec).contains(FlowFlags::EVICT_CANDIDATE));
    assert!(specs.iter().all(|spec| !flags(tables, spec).contains(FlowFlags::MODIFIED)));
    assert_eq!(marked[0], marked[1]);
    marked[0]
}

#[test]
fn both_or_none_are_marked() {
    let (tables, specs) = over();
    let reverse = specs[1].index.unwrap();
    let shared = tables.flow_table().shared(reverse).unwrap();
    for flag in [FlowFlags::MODIFIED, FlowFlags::NEW_FLOW, FlowFlags::EVICTED, FlowFlags::DELETE_MARKED] {
        for spec in &specs {
            let shared = tables.flow_table().shared(spec.index.unwrap()).unwrap();
            shared.flags.fetch_or(flag.bits(), Relaxed);
            tables.flow_table().mark_for_eviction(specs[0].index.unwrap());
            assert!(
                specs.iter().all(|spec| !flags(&tables, spec).contains(FlowFlags::EVICT_CANDIDATE)),
                "{flag:?}"
            );
            shared.flags.fetch_and(!flag.bits(), Relaxed);
        }
    }
    shared.tcp_flags.store(0, Relaxed);
    assert!(!mark(&tables, &specs), "the reverse flow goes on");
    shared.tcp_flags.store(TcpFlags::DEAD.bits(), Relaxed);
    shared.action.store(FlowAction::Hold as u16, Relaxed);
    assert!(!mark(&tables, &specs), "the reverse flow waits for the agent");
    shared.action.store(FlowAction::Forward as u16, Relaxed);
    shared.reverse.store(7, Relaxed);
    assert!(!mark(&tables, &specs), "the reverse flow belongs to another one");
    shared.reverse.store(u32::MAX, Relaxed);
    assert!(mark(&tables, &specs), "it may belong to nobody");
}

#[test]
fn a_candidate_that_the_agent_removes_is_removed_once() {
    let (mut tables, specs) = over();
    assert!(mark(&tables, &specs));
    // The request comes before the eviction, which has to find out.
    let grace = Arc::clone(tables.grace());
    grace.enter(WorkerId(0));
    let reply = set(&mut tables, &FlowSpec { flags: FlowFlags::empty(), ..specs[0] });
    assert_eq!(reply.result.unwrap_err().errno(), EBUSY, "a command evicts what is marked first");
    grace.leave(WorkerId(0));
    tables.housekeep();
    assert_eq!((tables.flow_table().used(), tables.flow_totals().evicted), ((0, 0), 2));
}

#[test]
fn requests_about_an_evicted_flow() {
    let (mut tables, [spec, other]) = over();
    let index = spec.index.unwrap();
    tables.flow_table().count(index, WorkerId(0), 100);
    let grace = Arc::clone(tables.grace());
    grace.enter(WorkerId(0));
    assert!(mark(&tables, &[spec, other]));
    let errno = |reply: FlowReply| reply.result.unwrap_err().errno();
    let delete = FlowSpec { flags: FlowFlags::empty(), ..spec };
    for request in [spec, delete, FlowSpec { generation: 99, ..spec }, FlowSpec { force_evict: true, ..spec }]
    {
        assert_eq!(errno(set(&mut tables, &request)), EBUSY, "until the grace period is over");
    }
    assert!(flags(&tables, &spec).contains(FlowFlags::MODIFIED | FlowFlags::EVICT_CANDIDATE));
    grace.leave(WorkerId(0));
    tables.housekeep();
    let all = FlowFlags::ACTIVE | FlowFlags::RFLOW_VALID | FlowFlags::EVICTED;
    assert_eq!(flags(&tables, &spec), all, "as the agent finds it in the table");
    assert_eq!(errno(set(&mut tables, &spec)), ENOENT);
    assert_eq!(errno(set(&mut tables, &delete)), ENOENT);

    // Another flow in the slot: what was left is told once.
    let again = set(&mut tables, &flow(1));
    assert_eq!((again.index, again.generation, again.left), (spec.index, spec.generation + 1, (1, 100)));
    assert_eq!(flags(&tables, &spec), FlowFlags::ACTIVE);
    assert_eq!(tables.flow_table().counters(index), (0, 0));
    assert_eq!(errno(set(&mut tables, &spec)), EBADF);
    let renewed = FlowSpec { generation: again.generation, flags: FlowFlags::empty(), ..spec };
    assert!(set(&mut tables, &renewed).deleted);
    tables.housekeep();
    assert_eq!(set(&mut tables, &flow(1)).left, (0, 0));
}

#[test]
fn what_the_agent_evicts_leaves_its_reverse_flow() {
    let (mut tables, [spec, other]) = over();
    set(&mut tables, &FlowSpec { force_evict: true, ..spec }).result.unwrap();
    tables.housekeep();
    assert!(flags(&tables, &spec).contains(FlowFlags::EVICTED));
    let reverse = tables.flow_table().shared(other.index.unwrap()).unwrap();
    assert!(tables.flow_table().in_use(other.index.unwrap()));
    assert_eq!(FlowIndex(reverse.reverse.load(Relaxed)), FlowIndex::NONE, "the link is broken");
    assert_eq!((tables.flow_totals().evicted, tables.flow_totals().deleted), (1, 0));
}

/// A worker comes to an entry by its reverse flow as well. What it finds that way in a batch, nobody else gets meanwhile:
/// the link has to end before the grace period begins.
#[test]
fn no_batch_after_a_removal_comes_to_the_entry_by_its_reverse_flow() {
    for force_evict in [false, true] {
        let (mut tables, [spec, other]) = over();
        let grace = Arc::clone(tables.grace());
        grace.enter(WorkerId(0));
        let gone = FlowSpec { force_evict, flags: FlowFlags::empty(), ..spec };
        set(&mut tables, &gone).result.unwrap();
        tables.housekeep();
        let flows = tables.flow_table();
        assert!(flows.in_use(spec.index.unwrap()), "the batch has not ended");
        let reverse = flows.shared(other.index.unwrap()).unwrap();
        assert_eq!(FlowIndex(reverse.reverse.load(Relaxed)), FlowIndex::NONE);
        grace.leave(WorkerId(0));
    }
}

#[test]
fn a_reset_clears_what_is_left() {
    let (mut tables, specs) = over();
    assert!(mark(&tables, &specs));
    tables.housekeep();
    assert!(flags(&tables, &specs[0]).contains(FlowFlags::EVICTED));
    tables.reset(&mut NoPorts);
    assert!(specs.iter().all(|spec| flags(&tables, spec).is_empty()));
}

/// What is marked while the queue of marked ones is full is marked again later.
#[test]
fn a_full_queue_takes_the_mark_off_again() {
    let table =
        vr_tables::flow::FlowTable::new(Geometry { entries: 65_536, overflow: 1024 }, 1, None).unwrap();
    let key = |n: u16| {
        let [a, b] = n.to_be_bytes();
        FlowKey::inet(6, [a, b, 0, 80], NexthopId(1), [10, 0, 0, 1], [10, 0, 0, 2])
    };
    let marked = (0..17_000).filter(|n| {
        let index = table.insert(&key(*n), key(*n).hash(), |_| {}).unwrap();
        table.set_tcp_flags(index, TcpFlags::DEAD);
        table.mark_for_eviction(index);
        table.shared(index).unwrap().flags().contains(FlowFlags::EVICT_CANDIDATE)
    });
    assert_eq!(marked.count(), 16_384);
}

/// Half of a table without overflow area is its room: 2,048 entries.
fn pressed() -> Tables {
    let limits = Limits { flows: Geometry { entries: 4096, overflow: 0 }, ..Limits::default() };
    let flows = FlowOptions { protect: true, ..FlowOptions::default() };
    let options = Options { flows, ..Options::default() };
    Tables::new(TablesConfig { limits, options, ..TablesConfig::default() }).unwrap()
}

/// Makes entries, as many as asked for; their positions.
fn fill(tables: &mut Tables, protocol: u8, action: FlowAction, count: usize, first: u32) -> Vec<FlowIndex> {
    let mut made = Vec::new();
    for number in first.. {
        let [a, b, c, d] = number.to_be_bytes();
        let key =
            FlowKey::inet(protocol, [c, d, 0, 80], NexthopId(1), [10, action as u8, a, b], [10, 0, 0, 2]);
        let reply = set(tables, &FlowSpec { key: Some(key), action: Some(action), ..flow(1) });
        if reply.result.is_ok() {
            made.extend(reply.index);
        }
        if made.len() == count {
            return made;
        }
    }
    made
}

#[test]
fn those_that_wait_go_first_and_established_ones_never() {
    const SECOND: u64 = 1_000_000_000;
    let mut tables = pressed();
    let waiting = fill(&mut tables, 17, FlowAction::Hold, 300, 0);
    let one_way = fill(&mut tables, 17, FlowAction::Forward, 600, 0);
    let established = fill(&mut tables, 6, FlowAction::Forward, 1000, 0);
    for index in &established {
        tables.flow_table().set_tcp_flags(*index, TcpFlags::SYN | TcpFlags::ESTABLISHED);
    }
    let count = |tables: &Tables, indexes: &[FlowIndex]| {
        indexes.iter().filter(|index| tables.flow_table().in_use(**index)).count()
    };
    let counts = |tables: &Tables| [&waiting, &one_way, &established].map(|indexes| count(tables, indexes));
    assert!(tables.is_pressed());
    tables.relieve(10 * SECOND, &mut NoPorts);
    tables.relieve(10 * SECOND + SECOND / 2, &mut NoPorts);
    assert_eq!(counts(&tables), [300, 600, 1000], "each may stay for a second");
    tables.relieve(11 * SECOND, &mut NoPorts);
    tables.housekeep();
    let [held, forwarded, kept] = counts(&tables);
    // 1,900 are 364 too many.
    assert_eq!((held, forwarded, kept), (0, 600 - 64, 1000));
    assert_eq!(tables.flow_totals().holding, 0);
    assert!(!tables.is_pressed());

    // Only established ones: nothing helps, and they stay.
    let more = fill(&mut tables, 6, FlowAction::Forward, 400, 1_000_000);
    for index in &more {
        tables.flow_table().set_tcp_flags(*index, TcpFlags::SYN_R | TcpFlags::ESTABLISHED_R);
    }
    for second in 12..20 {
        tables.relieve(second * SECOND, &mut NoPorts);
    }
    tables.housekeep();
    assert_eq!((count(&tables, &established), count(&tables, &more)), (1000, 400));
}

#[test]
fn a_flow_with_packets_in_both_directions_is_established() {
    const SECOND: u64 = 1_000_000_000;
    let mut tables = pressed();
    let all = fill(&mut tables, 17, FlowAction::Forward, 1900, 0);
    let table = Arc::clone(tables.flow_table());
    for pair in all.chunks_exact(2) {
        let [first, second] = [pair[0], pair[1]];
        for (index, linked) in [(first, second), (second, first)] {
            let shared = table.shared(index).unwrap();
            shared.reverse.store(linked.0, Relaxed);
            shared.flags.fetch_or(FlowFlags::RFLOW_VALID.bits(), Relaxed);
        }
        table.count(first, WorkerId(0), 60);
    }
    // The first hundred pairs have been answered.
    let answered = &all[..200];
    for index in answered {
        table.count(*index, WorkerId(0), 60);
    }
    for second in 10..40 {
        tables.relieve(second * SECOND, &mut NoPorts);
    }
    tables.housekeep();
    assert!(answered.iter().all(|index| table.in_use(*index)));
    let left = all.iter().filter(|index| table.in_use(**index)).count();
    assert!((1535..=1537).contains(&left), "{left}: pairs go together, until three quarters are in use");
}

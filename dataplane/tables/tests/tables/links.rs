//! Links between flows when entries go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use libc::EINVAL;
use proptest::prelude::*;
use vr_tables::control::{FlowReply, FlowSpec, Reverse, Tables};
use vr_tables::flow::{FlowFlags, TcpFlags};
use vr_types::{FlowIndex, WorkerId};

use crate::support::{NoPorts, empty, flow, flow_key, node};

fn set(tables: &mut Tables, spec: &FlowSpec) -> FlowReply {
    tables.flow_set(spec, &mut NoPorts)
}

fn linked(tables: &Tables, index: FlowIndex) -> FlowIndex {
    FlowIndex(tables.flow_table().shared(index).unwrap().reverse.load(Relaxed))
}

/// The flow of a port as it is now, and to be linked.
fn named(tables: &Tables, port: u8, reverse: Option<Reverse>) -> FlowSpec {
    let key = flow_key(port);
    let index = tables.flow_table().find(&key, key.hash());
    let generation =
        index.map_or(0, |index| tables.flow_table().shared(index).unwrap().generation.load(Relaxed));
    let flags = if reverse.is_some() { FlowFlags::RFLOW_VALID } else { FlowFlags::empty() };
    FlowSpec {
        index,
        generation,
        flags: FlowFlags::ACTIVE | flags,
        reverse: reverse.unwrap_or(Reverse::Key(None)),
        ..flow(port)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Adds or changes a flow, which is linked to another one or to none.
    Set(u8, Option<u8>),
    Remove(u8),
    Evict(u8),
    /// The worker of the test begins or ends a batch.
    Batch(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8u8, proptest::option::of(0..8u8)).prop_map(|(port, to)| Step::Set(port, to)),
        2 => (0..8u8).prop_map(Step::Remove),
        1 => (0..8u8).prop_map(Step::Evict),
        1 => any::<bool>().prop_map(Step::Batch),
    ]
}

proptest! {
    /// Whatever is linked, removed and added again: a link leads to the flow that was meant, or nowhere.
    #[test]
    fn no_link_leads_to_the_next_user_of_a_slot(steps in proptest::collection::vec(step(), 1..60)) {
        let mut tables = empty();
        let grace = Arc::clone(tables.grace());
        // By position: the flow that it is linked to, and the generation of that.
        let mut meant: HashMap<FlowIndex, (FlowIndex, u8)> = HashMap::new();
        for step in steps {
            match step {
                Step::Set(port, to) => {
                    let reverse = to.map(|to| Reverse::Key(Some(flow_key(to))));
                    let spec = named(&tables, port, reverse);
                    let reply = set(&mut tables, &spec);
                    if reply.result.is_ok() {
                        let index = reply.index.unwrap();
                        let to = linked(&tables, index);
                        meant.remove(&index);
                        if let Some(shared) = tables.flow_table().shared(to) {
                            meant.insert(index, (to, shared.generation.load(Relaxed)));
                        }
                    }
                }
                Step::Remove(port) => {
                    let spec = FlowSpec { flags: FlowFlags::empty(), ..named(&tables, port, None) };
                    set(&mut tables, &spec);
                }
                Step::Evict(port) => {
                    let spec = FlowSpec { force_evict: true, ..named(&tables, port, None) };
                    if let Some(index) = spec.index {
                        tables.flow_table().set_tcp_flags(index, TcpFlags::DEAD);
                        set(&mut tables, &spec).result.unwrap();
                    }
                }
                Step::Batch(true) => grace.enter(WorkerId(0)),
                Step::Batch(false) => grace.leave(WorkerId(0)),
            }
            tables.housekeep();
            let flows = tables.flow_table();
            for port in 0..8 {
                let Some(index) = named(&tables, port, None).index else { continue };
                let to = linked(&tables, index);
                let Some(shared) = flows.shared(to) else { continue };
                prop_assert_eq!(Some(&(to, shared.generation.load(Relaxed))), meant.get(&index));
                prop_assert!(flows.hot(to).unwrap().state().is_active(), "it is on its way out");
            }
        }
        grace.leave(WorkerId(0));
    }
}

#[test]
fn a_flow_on_its_way_out_is_no_reverse_flow() {
    for force_evict in [false, true] {
        let mut tables = node();
        for port in [1, 2] {
            set(&mut tables, &flow(port)).result.unwrap();
        }
        let gone = named(&tables, 2, None);
        let index = gone.index.unwrap();
        tables.flow_table().set_tcp_flags(index, TcpFlags::DEAD);
        let grace = Arc::clone(tables.grace());
        grace.enter(WorkerId(0));
        set(&mut tables, &FlowSpec { flags: FlowFlags::empty(), force_evict, ..gone }).result.unwrap();
        assert!(tables.flow_table().in_use(index), "the batch has not ended");
        for reverse in [Reverse::Index(index), Reverse::Key(gone.key)] {
            for port in [1, 3] {
                let spec = named(&tables, port, Some(reverse));
                let reply = set(&mut tables, &spec);
                assert_eq!(reply.result.unwrap_err().errno(), EINVAL);
            }
        }
        grace.leave(WorkerId(0));
    }
}

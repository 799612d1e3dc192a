//! Packets that wait for the agent's decision about their flow.

use std::sync::atomic::Ordering;

use vr_io::{MemoryPort, Port};
use vr_runtime::Polling;
use vr_tables::control::{Datapath, FlowSpec, Reverse};
use vr_tables::flow::{FlowAction, FlowFlags, SharedFlow};
use vr_tables::vif::VifFlags;
use vr_types::{FlowIndex, VrfId};

use crate::lab::{Lab, WIRE, guest, patiently};

struct Asked {
    lab: Lab,
    a: MemoryPort,
    b: MemoryPort,
    agent: MemoryPort,
}

impl Asked {
    /// The agent belongs to the first worker, the sender to the second, the receiver to the first.
    fn new() -> Self {
        let mut lab = Lab::new(2, Polling::Balanced);
        let (port, agent) = MemoryPort::pair(WIRE);
        lab.add_agent(port);
        let a = lab.add_wired(1, VifFlags::POLICY, 1).remove(0);
        let b = lab.add_plain(2);
        Self { lab, a, b, agent }
    }

    /// Sends packets of one flow and waits until the agent is asked about it.
    fn hold(&mut self, port: u16, packets: usize) -> FlowIndex {
        for _ in 0..packets {
            self.lab.send(&mut self.a, 1, 2, port..port + 1);
        }
        self.question();
        self.flow(port)
    }

    fn question(&mut self) {
        let question = patiently("question", || self.agent.take());
        self.lab.pool.free(question.frame);
    }

    /// The flow of a source port, once it is there.
    fn flow(&self, port: u16) -> FlowIndex {
        let flows = self.lab.tables.flow_table();
        patiently("flow", || {
            flows.indexes().filter(|index| flows.in_use(*index)).find(|index| {
                let key = flows.shared(*index).and_then(SharedFlow::key);
                key.is_some_and(|key| key.source_port() == port.to_be_bytes())
            })
        })
    }

    fn decide(&mut self, index: FlowIndex, action: FlowAction, flags: FlowFlags) {
        self.set(index, action, flags);
        self.lab.tables.publish();
        self.lab.workers.go_on();
    }

    fn set(&mut self, index: FlowIndex, action: FlowAction, flags: FlowFlags) {
        let shared = self.lab.tables.flow_table().shared(index).unwrap();
        let spec = FlowSpec {
            index: Some(index),
            key: shared.key(),
            generation: shared.generation.load(Ordering::Relaxed),
            action: Some(action),
            flags,
            flags1: 0,
            force_evict: false,
            reverse: Reverse::Key(None),
            vrf: VrfId(1),
            dvrf: VrfId(1),
            mirrors: [255; 2],
            ecmp_index: -1,
            source_nexthop: 0,
            qos_map: -1,
            ttl: 0,
            underlay_index: -1,
            drop_reason: 0,
        };
        self.lab.tables.flow_set(&spec, &mut self.lab.workers).result.unwrap();
    }

    fn close(self) {
        self.lab.close([self.a, self.b, self.agent]);
    }
}

#[test]
fn held_packets_leave_when_the_agent_decides() {
    let mut asked = Asked::new();
    for port in 1000..1100 {
        let index = asked.hold(port, 2);
        patiently("second packet", || {
            (asked.lab.packets(guest(1)).0 == 3 * u64::from(port - 1000) + 2).then_some(())
        });
        assert!(asked.lab.take(&mut asked.b).is_none(), "nothing passes before the decision");
        asked.decide(index, FlowAction::Forward, FlowFlags::ACTIVE);
        assert_eq!(asked.lab.take_many(&mut asked.b, 2), [port; 2]);
        asked.lab.send(&mut asked.a, 1, 2, port..port + 1);
        assert_eq!(asked.lab.take_many(&mut asked.b, 1), [port], "and the next ones do not wait");
    }
    assert_eq!(asked.lab.drops(), 0);
    asked.close();
}

#[test]
fn decisions_that_come_together_are_passed_on_together() {
    const FLOWS: u16 = 300;
    let mut asked = Asked::new();
    asked.lab.send(&mut asked.a, 1, 2, 0..FLOWS);
    (0..FLOWS).for_each(|_| asked.question());
    for port in 0..FLOWS {
        asked.set(asked.flow(port), FlowAction::Forward, FlowFlags::ACTIVE);
    }
    assert_eq!(asked.lab.drops(), 0);
    asked.lab.tables.publish();
    asked.lab.workers.go_on();
    let left = asked.lab.take_many(&mut asked.b, FLOWS.into());
    assert!(left.iter().copied().eq(0..FLOWS), "in their order: {left:?}");
    asked.close();
}

#[test]
fn held_packets_of_a_denied_flow_are_dropped() {
    let mut asked = Asked::new();
    let index = asked.hold(7, 3);
    patiently("last packet", || (asked.lab.packets(guest(1)).0 == 3).then_some(()));
    asked.decide(index, FlowAction::Drop, FlowFlags::ACTIVE);
    patiently("drop of all", || (asked.lab.drops() == 3).then_some(()));
    assert!(asked.lab.take(&mut asked.b).is_none());
    asked.close();
}

#[test]
fn packets_are_held_when_workers_end() {
    let mut asked = Asked::new();
    for port in 0..50 {
        asked.hold(port, 2);
    }
    asked.close();
}

#[test]
fn packets_are_held_for_an_interface_that_goes() {
    let mut asked = Asked::new();
    let index = asked.hold(9, 1);
    asked.lab.remove(guest(2));
    asked.decide(index, FlowAction::Forward, FlowFlags::ACTIVE);
    patiently("drop", || (asked.lab.drops() == 1).then_some(()));
    Box::new(asked.b).close(&mut asked.lab.pool);
    asked.b = asked.lab.add_plain(2);
    asked.close();
}

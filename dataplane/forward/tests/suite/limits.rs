//! How many flows may be made, and how many of their packets wait (forwarding.md 6.5).

use vr_frame::{Offload, PoolSizes};
use vr_tables::control::OptionsChange;
use vr_tables::flow::{FlowAction, QuotaLimits};
use vr_tables::geometry::Geometry;
use vr_tables::options::{FlowOptions, Options};
use vr_types::{DropReason, Mac, VifId};

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP, Wrap, from_peer};
use crate::world::{AGENT, FABRIC, GUEST_MAC, GUESTS, LABELS, PEER, VRF};

const FLOW: Flow = Flow { guest: 0, far: 0, protocol: UDP, port: 1000, outwards: true };

fn lab(options: Options) -> Lab {
    Lab::of(options, Geometry { entries: 256, overflow: 64 }, PoolSizes { packets: 2048, supers: 16 }, true)
}

fn with(flows: FlowOptions) -> Lab {
    lab(Options { flows, ..Options::default() })
}

fn inet(flow: Flow) -> Vec<u8> {
    let (ends, ports) = flow.ends();
    Inet {
        source: ends[0],
        destination: ends[1],
        protocol: UDP,
        id: 1,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload: packets::udp(ends, ports, b"data"),
    }
    .bytes()
}

/// Sends a packet of a flow; where frames went.
fn send(lab: &mut Lab, flow: Flow) -> Vec<VifId> {
    let traffic = if flow.outwards {
        let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[flow.guest], 0x0800, &inet(flow));
        Traffic { vif: GUESTS[flow.guest], bytes, offload: Offload::NONE }
    } else {
        let bytes = from_peer(Wrap::Udp(LABELS[flow.guest][0]), PEER, 64, &inet(flow));
        Traffic { vif: FABRIC, bytes, offload: Offload::NONE }
    };
    lab.receive(&[traffic]).iter().map(|sent| sent.vif).collect()
}

fn ports(lab: &mut Lab, ports: std::ops::Range<u16>) -> Vec<bool> {
    ports.map(|port| send(lab, Flow { port, ..FLOW }) == [AGENT]).collect()
}

fn set(lab: &mut Lab, flow: Flow, action: FlowAction) -> usize {
    let set = Change::SetFlow { flow, action, ttl: 0, check_source: true };
    lab.command(|tables, datapath| set.apply(tables, datapath)).len()
}

/// Outstanding, created, taken out of HOLD, refused.
fn holds(lab: &Lab) -> [u64; 4] {
    let totals = lab.tables().flow_totals();
    [totals.holding, totals.created, totals.processed, totals.hold_overflows]
}

#[test]
fn one_more_flow_than_the_limit_may_wait() {
    let mut lab = lab(Options { flow_hold_limit: 2, ..Options::default() });
    assert_eq!(ports(&mut lab, 0..5), [true, true, true, false, false]);
    assert_eq!((lab.drops(DropReason::FlowUnusable), holds(&lab)), (2, [3, 3, 0, 2]));
    assert_eq!(lab.flows().len(), 3, "a refused packet leaves nothing");
    assert_eq!(set(&mut lab, Flow { port: 1, ..FLOW }, FlowAction::Forward), 1);
    lab.command(|tables, ports| Change::RemoveFlow(Flow { port: 2, ..FLOW }).apply(tables, ports));
    assert_eq!(holds(&lab), [1, 3, 2, 2]);
    assert_eq!(ports(&mut lab, 5..8), [true, true, false]);
    // Put back by the agent: waits again, whatever the limit.
    set(&mut lab, Flow { port: 1, ..FLOW }, FlowAction::Hold);
    assert_eq!(holds(&lab), [4, 5, 2, 3]);
    assert_eq!(set(&mut lab, Flow { port: 1, ..FLOW }, FlowAction::Drop), 0);
    assert_eq!(holds(&lab), [3, 5, 3, 3]);
    lab.close();
}

#[test]
fn tokens_let_more_flows_wait_and_come_back_in_time() {
    let mut lab = lab(Options { flow_hold_limit: 2, ..Options::default() });
    let change = OptionsChange {
        burst_tokens: Some(3),
        burst_interval: Some(100),
        burst_step: Some(2),
        ..OptionsChange::default()
    };
    lab.command(|tables, _| tables.set_options(&change));
    let free = |lab: &Lab| lab.tables().flow_totals().burst_free;
    assert_eq!((ports(&mut lab, 0..3), free(&lab)), (vec![true; 3], 3), "these need none");
    assert_eq!((ports(&mut lab, 3..7), free(&lab)), (vec![true, true, true, false], 0));
    lab.pass(90);
    assert_eq!(free(&lab), 0);
    lab.pass(10);
    assert_eq!(free(&lab), 2);
    assert_eq!(ports(&mut lab, 7..10), [true, true, false]);
    lab.pass(1000);
    assert_eq!((free(&lab), holds(&lab)), (3, [8, 8, 0, 2]));
    // A packet of a flow that is there needs no token, and one for which no entry is made takes none.
    assert_eq!(send(&mut lab, FLOW_THERE), []);
    assert_eq!(free(&lab), 3);
    lab.close();
}

const FLOW_THERE: Flow = Flow { port: 0, ..FLOW };

#[test]
fn a_full_table_takes_no_token() {
    let options = Options { flow_hold_limit: 1, burst_tokens: 100, ..Options::default() };
    let sizes = PoolSizes { packets: 2048, supers: 16 };
    let mut lab = Lab::of(options, Geometry { entries: 4, overflow: 0 }, sizes, true);
    assert_eq!(ports(&mut lab, 0..7), [true, true, true, true, false, false, false]);
    assert_eq!((lab.drops(DropReason::FlowTableFull), lab.tables().flow_totals().burst_free), (3, 98));
    lab.close();
}

#[test]
fn quotas_bound_what_packets_make_in_a_vrf_and_by_an_interface() {
    let quotas = QuotaLimits { per_vrf: 5, per_vif: 3 };
    let mut lab = with(FlowOptions { quotas, ..FlowOptions::default() });
    assert_eq!(ports(&mut lab, 0..5), [true, true, true, false, false]);
    let other = Flow { guest: 1, ..FLOW };
    for (port, made) in [(0, true), (1, true), (2, false)] {
        assert_eq!(send(&mut lab, Flow { port, ..other }) == [AGENT], made, "the VRF has five");
    }
    // To the guest that has three.
    assert_eq!(send(&mut lab, Flow { outwards: false, port: 7, ..FLOW }), []);
    assert_eq!(lab.drops(DropReason::DropNewFlow), 4);
    let uses = |lab: &Lab| {
        let quotas = lab.tables().flow_table().quotas().unwrap();
        let number = |uses: Vec<vr_tables::flow::QuotaUse>| {
            uses.into_iter().map(|one| (one.number, one.used, one.refused)).collect::<Vec<_>>()
        };
        (number(quotas.vrfs()), number(quotas.vifs()))
    };
    let [first, second] = GUESTS.map(|vif| vif.0);
    assert_eq!(uses(&lab), (vec![(VRF.0, 5, 2)], vec![(first, 3, 2), (second, 2, 0)]));

    // What the agent adds counts, and is not refused.
    set(&mut lab, Flow { port: 0, outwards: false, ..FLOW }, FlowAction::Forward);
    assert_eq!(uses(&lab), (vec![(VRF.0, 6, 2)], vec![(first, 4, 2), (second, 2, 0)]));
    // What goes makes room.
    for flow in [0, 1].map(|port| Flow { port, ..FLOW }) {
        lab.command(|tables, ports| Change::RemoveFlow(flow).apply(tables, ports));
    }
    assert_eq!(uses(&lab), (vec![(VRF.0, 4, 2)], vec![(first, 2, 2), (second, 2, 0)]));
    assert_eq!(ports(&mut lab, 10..12), [true, false]);
    lab.close();
}

#[test]
fn a_deeper_queue_keeps_more_packets_of_a_flow() {
    for (depth, kept) in [(3, 3), (10, 10), (64, 64)] {
        let mut lab = with(FlowOptions { hold_queue: depth, ..FlowOptions::default() });
        (0..70).for_each(|_| drop(send(&mut lab, FLOW)));
        assert_eq!(lab.drops(DropReason::FlowQueueLimitExceeded), 70 - kept);
        assert_eq!(set(&mut lab, FLOW, FlowAction::Forward) as u64, kept);
        lab.close();
    }
}

/// All queues share one store.
#[test]
fn deep_queues_have_no_more_room_together() {
    let flows = FlowOptions { hold_queue: 64, ..FlowOptions::default() };
    let options = Options { flows, ..Options::default() };
    let sizes = PoolSizes { packets: 8192, supers: 16 };
    let mut lab = Lab::of(options, Geometry { entries: 256, overflow: 64 }, sizes, true);
    for port in 0..40 {
        (0..60).for_each(|_| drop(send(&mut lab, Flow { port, ..FLOW })));
    }
    // 2,048 packets wait. The first packet of each flow behind them is shown to the agent and gone.
    assert_eq!(lab.drops(DropReason::FlowNoMemory) + lab.drops(DropReason::TrapOriginal), 40 * 60 - 2048);
    assert_eq!(lab.drops(DropReason::TrapOriginal), 40 - 2048u64.div_ceil(60));
    let released: usize = (0..40).map(|port| set(&mut lab, Flow { port, ..FLOW }, FlowAction::Forward)).sum();
    assert_eq!(released, 2048);
    lab.close();
}

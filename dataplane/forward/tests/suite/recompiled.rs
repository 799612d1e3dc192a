//! How many compiled actions a change of the tables costs.

use vr_frame::{Offload, PoolSizes};
use vr_tables::control::FlowSpec;
use vr_tables::flow::FlowFlags;
use vr_tables::geometry::Geometry;
use vr_tables::options::Options;
use vr_types::{Mac, VrfId};

use crate::changes::{Flow, new_spec};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP};
use crate::world::{FABRIC, GUEST_MAC, GUESTS, OTHER_VRF, TUNNEL, VRF, route};

/// Flows of each of two VRFs.
const FLOWS: [(VrfId, u16); 2] = [(VRF, 100), (OTHER_VRF, 37)];

fn flows() -> impl Iterator<Item = (VrfId, Flow)> {
    FLOWS.into_iter().enumerate().flat_map(|(number, (vrf, count))| {
        let flow = move |port| Flow {
            guest: 0,
            far: 0,
            protocol: UDP,
            port: 1000 * (number as u16 + 1) + port,
            outwards: true,
        };
        (0..count).map(move |port| (vrf, flow(port)))
    })
}

/// Sends a packet of each flow.
fn send_all(lab: &mut Lab) {
    for (_, flow) in flows() {
        let (ends, ports) = flow.ends();
        let inet = Inet {
            source: ends[0],
            destination: ends[1],
            protocol: UDP,
            id: 1,
            fragment: 0,
            ttl: 64,
            options: Vec::new(),
            payload: packets::udp(ends, ports, b"data"),
        };
        let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet.bytes());
        let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }]);
        assert_eq!(sent.iter().map(|sent| sent.vif).collect::<Vec<_>>(), [FABRIC],);
    }
}

fn recompilations(lab: &Lab) -> u64 {
    lab.tables().worker_stats()[0].recompilations()
}

#[test]
fn a_thousand_routes_of_a_vrf_cost_each_flow_of_that_vrf_one_compilation() {
    let sizes = PoolSizes { packets: 256, supers: 16 };
    let flows_geometry = Geometry { entries: 1024, overflow: 64 };
    let mut lab = Lab::of(Options::default(), flows_geometry, sizes, true);
    lab.command(|tables, datapath| {
        for (vrf, flow) in flows() {
            // Its packets are routed in that VRF.
            let spec = FlowSpec { dvrf: vrf, ..new_spec(flow, FlowFlags::ACTIVE | FlowFlags::VRFT) };
            tables.flow_set(&spec, datapath).result.unwrap();
        }
    });
    (0..3).for_each(|_| send_all(&mut lab));
    assert_eq!(recompilations(&lab), 0, "compiled once, for the first time");

    let mut expected = 0;
    for (vrf, count) in FLOWS {
        lab.command(|tables, _| {
            for number in 0..1000u16 {
                let [high, low] = number.to_be_bytes();
                tables.route_add(&route(vrf, [10, 7, high, low], TUNNEL[0], Some(40))).unwrap();
            }
        });
        (0..3).for_each(|_| send_all(&mut lab));
        expected += u64::from(count);
        assert_eq!(recompilations(&lab), expected);
    }

    // What the agent changes is compiled as well, but no change of the tables has voided it.
    let flow = Flow { guest: 0, far: 0, protocol: UDP, port: 1000, outwards: true };
    lab.command(|tables, datapath| {
        let spec = crate::changes::spec(tables, flow, FlowFlags::ACTIVE | FlowFlags::VRFT).unwrap();
        tables.flow_set(&spec, datapath).result.unwrap();
    });
    send_all(&mut lab);
    assert_eq!(recompilations(&lab), expected);
    lab.close();
}

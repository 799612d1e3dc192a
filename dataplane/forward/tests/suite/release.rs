//! What depends on the release of the agent (control.md 6.2, forwarding.md 15).

use vr_frame::Offload;
use vr_tables::control::{NexthopKind, NexthopSpec, Tables};
use vr_tables::flow::FlowAction;
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_types::{Mac, NexthopId, Release, VifId};

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP, Wrap, from_peer};
use crate::world::{AGENT, FABRIC, GUEST_MAC, GUESTS, NODE_MAC, PEER, REMOTE_MAC, ROUTED, VNI, VRF, route};

/// Both, with the length of the agent header and the destination port of MPLS over UDP.
const RELEASES: [(Release, usize, u16); 2] = [(Release::Current, 30, 6635), (Release::R220, 26, 51_234)];

const FLOW: Flow = Flow { guest: 0, far: 0, protocol: UDP, port: 1000, outwards: true };

fn packet(flow: Flow) -> Inet {
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
}

fn inet(flow: Flow) -> Vec<u8> {
    packet(flow).bytes()
}

fn receive(lab: &mut Lab, vif: VifId, bytes: Vec<u8>) -> Vec<Traffic> {
    lab.receive(&[Traffic { vif, bytes, offload: Offload::NONE }])
}

#[test]
fn a_trap_has_the_header_of_the_release() {
    for (release, length, _) in RELEASES {
        let mut lab = Lab::of_release(release, true);
        let frame = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet(FLOW));
        let sent = receive(&mut lab, GUESTS[0], frame.clone());
        assert_eq!(sent.len(), 1, "{release:?}");
        let (header, rest) = sent[0].bytes[14..].split_at(length);
        assert_eq!((sent[0].vif, rest), (AGENT, &frame[..]), "{release:?}");
        let index = lab.flows()[0].0.to_be_bytes();
        let mut wanted =
            [&[0, GUESTS[0].0 as u8, 0, VRF.0 as u8, 0, 6][..], &index, &ROUTED[0].to_be_bytes()].concat();
        wanted.resize(26, 0);
        if release == Release::Current {
            wanted.extend([1, 0, 0, 0]);
        }
        assert_eq!(header, wanted, "{release:?}");
        lab.close();
    }
}

#[test]
fn what_the_agent_sends_has_it_too() {
    for (release, length, _) in RELEASES {
        let mut lab = Lab::of_release(release, true);
        let mut header = vec![0, GUESTS[0].0 as u8, 0, VRF.0 as u8, 0, 0];
        // What stands behind the first parameters is undefined.
        header.resize(length, 0xaa);
        let frame = packets::ethernet(GUEST_MAC[0], Mac::VIRTUAL_ROUTER, 0x0806, &[7; 46]);
        let bytes = packets::ethernet(NODE_MAC, NODE_MAC, 0x0800, &[header, frame.clone()].concat());
        let sent = receive(&mut lab, AGENT, bytes);
        assert_eq!(
            sent.iter().map(|sent| (sent.vif, &sent.bytes)).collect::<Vec<_>>(),
            [(GUESTS[0], &frame)]
        );
        lab.close();
    }
}

#[test]
fn tunnels_go_to_the_port_of_the_release() {
    for (release, _, port) in RELEASES {
        let mut lab = Lab::of_release(release, true);
        let set = Change::SetFlow { flow: FLOW, action: FlowAction::Forward, ttl: 0, check_source: true };
        lab.command(|tables, datapath| set.apply(tables, datapath));
        let frame = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet(FLOW));
        // The first on the full path, the second on the fast lanes.
        for _ in 0..2 {
            let sent = receive(&mut lab, GUESTS[0], frame.clone());
            assert_eq!((sent.len(), sent[0].vif), (1, FABRIC), "{release:?}");
            assert_eq!(sent[0].bytes[36..38], port.to_be_bytes());
        }
        lab.close();
    }
}

/// Reasons of traps for packets of which R2.20 knows nothing special.
#[test]
fn r220_has_reasons_up_to_15() {
    for (release, alert, bfd) in [(Release::Current, 16, 20), (Release::R220, 6, 4)] {
        let mut lab = Lab::of_release(release, true);
        let frame =
            packets::ethernet(GUEST_MAC[0], REMOTE_MAC[2], 0x0800, &inet(Flow { outwards: false, ..FLOW }));
        let mut frame = from_peer(Wrap::Vxlan(VNI), PEER, 64, &frame);
        // The first byte of the VXLAN header: router alert.
        frame[42] |= 1;
        let sent = receive(&mut lab, FABRIC, frame);
        assert_eq!((sent.len(), sent[0].vif, sent[0].bytes[19]), (1, AGENT, alert), "{release:?}");

        lab.command(|tables, _| to_agent(tables));
        let packet = Inet { destination: GATEWAY, payload: udp_to_bfd(), ..packet(FLOW) };
        let frame = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &packet.bytes());
        lab.command(|tables, datapath| Change::Policy { guest: 0, on: false }.apply(tables, datapath));
        let sent = receive(&mut lab, GUESTS[0], frame);
        assert_eq!((sent.len(), sent[0].vif, sent[0].bytes[19]), (1, AGENT, bfd), "{release:?}");
        lab.close();
    }
}

const GATEWAY: [u8; 4] = [10, 0, 0, 1];

/// Leads the gateway's address to the agent.
fn to_agent(tables: &mut Tables) {
    let spec = NexthopSpec {
        interfaces: vec![AGENT],
        rewrite: vec![2; 14],
        ..NexthopSpec::new(NexthopId(90), NexthopKind::Encap, NexthopFamily::Inet, NexthopFlags::VALID, VRF)
    };
    tables.nexthop_add(&spec).unwrap();
    tables.route_add(&route(VRF, GATEWAY, 90, None)).unwrap();
}

/// Single hop BFD in state Up.
fn udp_to_bfd() -> Vec<u8> {
    packets::udp([FLOW.ends().0[0], GATEWAY], [50_000, 3784], &[0x20, 0xc0, 3, 24])
}

/// Nobody would answer for one.
#[test]
fn ipv6_makes_no_flow_in_r220() {
    for (release, traps) in [(Release::Current, 1), (Release::R220, 0)] {
        let mut lab = Lab::of_release(release, true);
        let mut packet = vec![0x60, 0, 0, 0, 0, 12, UDP, 64];
        packet.extend(
            [
                [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                [0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ]
            .map(|start| [&start[..], &[9]].concat())
            .concat(),
        );
        packet.extend([3, 232, 0, 80, 0, 12, 0xff, 0xff, 1, 2, 3, 4]);
        let frame = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x86dd, &packet);
        let sent = receive(&mut lab, GUESTS[0], frame);
        assert_eq!(sent.iter().filter(|sent| sent.vif == AGENT).count(), traps, "{release:?}");
        assert_eq!(lab.flows().len(), traps);
        lab.close();
    }
}

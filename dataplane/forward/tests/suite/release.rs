//! What depends on the release of the agent (control.md 6.2, forwarding.md 15).

use vr_frame::Offload;
use vr_tables::flow::FlowAction;
use vr_types::{Mac, Release, VifId};

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP};
use crate::world::{AGENT, FABRIC, GUEST_MAC, GUESTS, NODE_MAC, ROUTED, VRF};

/// Both, with the length of the agent header and the destination port of MPLS over UDP.
const RELEASES: [(Release, usize, u16); 2] = [(Release::Current, 30, 6635), (Release::R220, 26, 51_234)];

const FLOW: Flow = Flow { guest: 0, far: 0, protocol: UDP, port: 1000, outwards: true };

fn inet() -> Vec<u8> {
    let (ends, ports) = FLOW.ends();
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
    inet.bytes()
}

fn receive(lab: &mut Lab, vif: VifId, bytes: Vec<u8>) -> Vec<Traffic> {
    lab.receive(&[Traffic { vif, bytes, offload: Offload::NONE }])
}

#[test]
fn a_trap_has_the_header_of_the_release() {
    for (release, length, _) in RELEASES {
        let mut lab = Lab::of_release(release, true);
        let frame = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet());
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
        let frame = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet());
        // The first on the full path, the second on the fast lanes.
        for _ in 0..2 {
            let sent = receive(&mut lab, GUESTS[0], frame.clone());
            assert_eq!((sent.len(), sent[0].vif), (1, FABRIC), "{release:?}");
            assert_eq!(sent[0].bytes[36..38], port.to_be_bytes());
        }
        lab.close();
    }
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

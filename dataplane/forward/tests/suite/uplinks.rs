//! Several uplinks: which of them the host's packets take, and by which interface the host gets theirs.

use std::net::Ipv4Addr;

use vr_frame::Offload;
use vr_tables::control::{Datapath, GivenMac, Tables, VifSpec};
use vr_tables::vif::VifKind;
use vr_types::{Mac, Release, VifId, VrfId};

use crate::lab::{Lab, Traffic};
use crate::packets::ethernet;
use crate::world::{AGENT, FABRIC, HOST, NODE, NODE_MAC, PEER, PEER_MAC};

/// The table has 16 places.
const COMPANION: [VifId; 2] = [VifId(13), VifId(15)];
const SECOND: VifId = VifId(2);
const SECOND_MAC: Mac = Mac([0, 0x33, 0x33, 0x33, 0x33, 0x33]);

/// A second uplink, in the place of the agent's interface, and addresses for both.
fn add_uplink(tables: &mut Tables, ports: &mut dyn Datapath) {
    tables.vif_delete(AGENT, "", ports).unwrap();
    for (id, mac, ip) in [(FABRIC, NODE_MAC, NODE), (SECOND, SECOND_MAC, [192, 168, 7, 1])] {
        let spec = VifSpec {
            vrf: Some(VrfId::FABRIC),
            mac: GivenMac::Mac(mac),
            ip: Ipv4Addr::from(ip),
            ..VifSpec::new(id, VifKind::Physical, &format!("vif{}", id.0))
        };
        tables.vif_add(&spec, ports).unwrap();
    }
}

/// A node with two uplinks; with an agent unless host and fabric are to be connected.
fn lab(connected: bool) -> Lab {
    let mut lab = Lab::new(true);
    lab.command(|tables, ports| {
        add_uplink(tables, ports);
        if !connected {
            tables.vif_add(&VifSpec::new(VifId(6), VifKind::Agent, "pkt0"), ports).unwrap();
        }
    });
    lab
}

/// Where a frame goes; it must leave as it came.
fn ways(lab: &mut Lab, vif: VifId, bytes: Vec<u8>) -> Vec<VifId> {
    let came = Traffic { vif, bytes, offload: Offload::NONE };
    let sent = lab.receive(std::slice::from_ref(&came));
    let sent = sent.into_iter().filter(|frame| frame.vif != VifId(6));
    sent.map(|frame| (frame.bytes == came.bytes).then_some(frame.vif).unwrap()).collect()
}

fn arp(operation: u8, sender: Mac, target: [u8; 4]) -> Vec<u8> {
    let body = [&[0, 1, 8, 0, 6, 4, 0, operation], &sender.0[..], &PEER, &[0; 6], &target].concat();
    ethernet(Mac::BROADCAST, sender, 0x0806, &body)
}

fn udp(port: u16) -> Vec<u8> {
    let header = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    let packet = [&header[..], &NODE, &[8, 8, 8, 8], &port.to_be_bytes(), &[0, 53, 0, 8, 0, 0]].concat();
    ethernet(PEER_MAC, NODE_MAC, 0x0800, &packet)
}

#[test]
fn arp_of_an_uplink_goes_to_its_companion() {
    for connected in [true, false] {
        let mut lab = lab(connected);
        for (uplink, companion) in [FABRIC, SECOND].into_iter().zip(COMPANION) {
            assert_eq!(ways(&mut lab, uplink, arp(2, PEER_MAC, NODE)), [companion]);
            assert_eq!(lab.vif(companion).out_packets, 1);
            // The host's answer by that interface takes the same uplink.
            assert_eq!(ways(&mut lab, companion, arp(1, NODE_MAC, PEER)), [uplink]);
        }
        assert_eq!(lab.vif(HOST).out_packets, 0);
        lab.close();
    }
}

#[test]
fn ip_of_an_uplink_goes_to_its_companion_in_cross_connect_mode_only() {
    for connected in [true, false] {
        let mut lab = lab(connected);
        for (uplink, companion) in [FABRIC, SECOND].into_iter().zip(COMPANION) {
            let other = ethernet(NODE_MAC, PEER_MAC, 0x88cc, b"other");
            assert_eq!(ways(&mut lab, uplink, other), [HOST]);
            let multicast = ethernet(Mac([1, 0, 0x5e, 0, 0, 5]), PEER_MAC, 0x0800, &udp(1)[14..]);
            assert_eq!(ways(&mut lab, uplink, multicast), [if connected { companion } else { HOST }]);
            if connected {
                assert_eq!(ways(&mut lab, uplink, udp(1)), [companion]);
            }
        }
        lab.close();
    }
}

#[test]
fn without_its_companion_an_uplink_uses_the_host_interface() {
    let mut lab = lab(true);
    lab.command(|tables, ports| tables.vif_delete(COMPANION[0], "", ports).unwrap());
    assert_eq!(ways(&mut lab, FABRIC, arp(2, PEER_MAC, NODE)), [HOST]);
    assert_eq!(ways(&mut lab, SECOND, arp(2, PEER_MAC, NODE)), [COMPANION[1]]);
    lab.close();
}

#[test]
fn arp_of_the_host_takes_the_uplink_of_its_mac_or_else_of_its_target() {
    let other = Mac([2, 0, 0, 0, 0, 9]);
    let mut lab = lab(true);
    for (sender, target, uplink) in [
        (NODE_MAC, [192, 168, 7, 9], FABRIC),
        (SECOND_MAC, PEER, SECOND),
        (other, PEER, FABRIC),
        (other, [192, 168, 7, 9], SECOND),
    ] {
        assert_eq!(ways(&mut lab, HOST, arp(2, sender, target)), [uplink], "{sender:?} {target:?}");
    }
    assert_eq!(ways(&mut lab, HOST, ethernet(PEER_MAC, NODE_MAC, 0x88cc, b"other")), [FABRIC]);
    lab.close();
}

#[test]
fn ip_of_the_host_is_spread_over_the_uplinks_by_flow() {
    let mut lab = lab(true);
    let first: Vec<_> = (0..64).map(|port| ways(&mut lab, HOST, udp(port))).collect();
    let again: Vec<_> = (0..64).map(|port| ways(&mut lab, HOST, udp(port))).collect();
    assert_eq!(first, again);
    let by = |uplink| first.iter().filter(|ways| **ways == [uplink]).count();
    assert_eq!(by(FABRIC) + by(SECOND), 64);
    assert!(by(FABRIC) > 16 && by(SECOND) > 16, "{}", by(FABRIC));
    lab.close();
}

#[test]
fn r220_has_the_first_uplink_only() {
    let mut lab = Lab::of_release(Release::R220, true);
    lab.command(|tables, ports| add_uplink(tables, ports));
    assert!((0..32).all(|port| ways(&mut lab, HOST, udp(port)) == [FABRIC]));
    assert_eq!(ways(&mut lab, HOST, arp(2, SECOND_MAC, PEER)), [FABRIC]);
    assert_eq!(ways(&mut lab, SECOND, arp(2, PEER_MAC, NODE)), [HOST]);
    lab.close();
}

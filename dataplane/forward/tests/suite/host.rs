//! Frames from the underlay that are for the host.

use vr_frame::Offload;
use vr_types::{Label, NexthopId, VifId};

use crate::lab::{Lab, Traffic};
use crate::packets::{self, Wrap, from_peer};
use crate::world::{AGENT, FABRIC, HOST, NODE, NODE_MAC, PEER, PEER_MAC, TO_HOST};

fn from_fabric(lab: &mut Lab, bytes: Vec<u8>) -> Vec<(VifId, Vec<u8>)> {
    let sent = lab.receive(&[Traffic { vif: FABRIC, bytes, offload: Offload::NONE }]);
    sent.into_iter().map(|frame| (frame.vif, frame.bytes)).collect()
}

/// A label that leads to the host.
#[test]
fn packets_in_tunnels_get_an_ethernet_header_of_their_version() {
    let mut lab = Lab::new(true);
    lab.command(|tables, _| tables.label_add(Label(77), NexthopId(TO_HOST)).unwrap());
    let inet6 = [&[0x60, 0, 0, 0, 0, 4, 59, 64][..], &[0xfd; 32], b"data"].concat();
    let sent = from_fabric(&mut lab, from_peer(Wrap::Udp(77), PEER, 64, &inet6));
    assert_eq!(sent, [(HOST, packets::ethernet(NODE_MAC, NODE_MAC, 0x86dd, &inet6))]);
    lab.close();
}

/// The agent learns the neighbours of the underlay, not those of a VLAN that the host has on the same device.
#[test]
fn arp_with_a_tag_is_for_the_host_only() {
    let arp = |operation: u8| {
        let body = [&[0, 1, 8, 0, 6, 4, 0, operation], &PEER_MAC.0[..], &PEER, &NODE_MAC.0, &NODE].concat();
        [&[8, 6][..], &body].concat()
    };
    let gratuitous = {
        let mut body = arp(1);
        body[26..30].copy_from_slice(&PEER);
        body
    };
    for (body, seen) in [(arp(2), true), (gratuitous, true), (arp(1), false)] {
        let untagged = packets::ethernet(NODE_MAC, PEER_MAC, 0x0806, &body[2..]);
        let tag = |vlan| packets::ethernet(NODE_MAC, PEER_MAC, 0x8100, &[&[0, vlan], &body[..]].concat());
        for (bytes, seen) in [(untagged.clone(), seen), (tag(0), seen), (tag(9), false)] {
            let mut lab = Lab::new(true);
            let sent = from_fabric(&mut lab, bytes);
            assert_eq!(sent.iter().any(|frame| frame.0 == AGENT), seen, "{body:?}");
            assert!(sent.contains(&(HOST, untagged.clone())));
            lab.close();
        }
    }
}

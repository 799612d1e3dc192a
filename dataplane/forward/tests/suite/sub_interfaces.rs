//! Guests behind a VLAN of another guest's interface.

use vr_frame::Offload;
use vr_types::{Mac, VifId};

use crate::changes::Change;
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP};
use crate::world::{
    GUEST_ADDRESS, GUEST_MAC, GUESTS, SUB, SUB_ADDRESS, SUB_MAC, SUB_VLAN, add_sub_interface,
};

fn lab() -> Lab {
    let mut lab = Lab::new(true);
    lab.command(|tables, datapath| {
        add_sub_interface(tables, datapath);
        for guest in 0..2 {
            Change::Policy { guest, on: false }.apply(tables, datapath);
        }
    });
    lab
}

fn inet(source: [u8; 4], destination: [u8; 4], ttl: u8) -> Vec<u8> {
    let payload = packets::udp([source, destination], [1, 2], b"data");
    Inet { source, destination, protocol: UDP, id: 1, fragment: 0, ttl, options: Vec::new(), payload }.bytes()
}

fn tagged(destination: Mac, source: Mac, packet: &[u8]) -> Vec<u8> {
    let rest = [&SUB_VLAN.to_be_bytes()[..], &[8, 0], packet].concat();
    packets::ethernet(destination, source, 0x8100, &rest)
}

/// Packets received and sent.
fn packets_of(lab: &Lab, vif: VifId) -> (u64, u64) {
    let totals = lab.vif(vif);
    (totals.in_packets, totals.out_packets)
}

#[test]
fn the_tag_comes_off_on_the_way_in_and_is_pushed_on_the_way_out() {
    let mut lab = lab();
    let bytes = tagged(Mac::VIRTUAL_ROUTER, SUB_MAC, &inet(SUB_ADDRESS, GUEST_ADDRESS[1], 64));
    let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }]);
    let wanted = packets::ethernet(
        GUEST_MAC[1],
        Mac::VIRTUAL_ROUTER,
        0x0800,
        &inet(SUB_ADDRESS, GUEST_ADDRESS[1], 63),
    );
    assert_eq!(sent, [Traffic { vif: GUESTS[1], bytes: wanted, offload: Offload::NONE }]);

    let answer = inet(GUEST_ADDRESS[1], SUB_ADDRESS, 64);
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[1], 0x0800, &answer);
    let sent = lab.receive(&[Traffic { vif: GUESTS[1], bytes, offload: Offload::NONE }]);
    let wanted = tagged(SUB_MAC, Mac::VIRTUAL_ROUTER, &inet(GUEST_ADDRESS[1], SUB_ADDRESS, 63));
    assert_eq!(sent, [Traffic { vif: GUESTS[0], bytes: wanted, offload: Offload::NONE }]);

    assert_eq!(packets_of(&lab, SUB), (1, 1));
    assert_eq!(packets_of(&lab, GUESTS[0]), (0, 0), "the parent knows nothing of it");
    assert_eq!(packets_of(&lab, GUESTS[1]), (1, 1));
    lab.close();
}

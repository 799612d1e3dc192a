//! Translated flows whose reverse flow goes.

use vr_frame::Offload;
use vr_tables::flow::{FlowAction, FlowFlags};
use vr_types::{DropReason, Mac};

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP};
use crate::world::{GUEST_MAC, GUESTS};

const OUT: Flow = Flow { guest: 0, far: 0, protocol: UDP, port: 1000, outwards: true };
/// Its packets go to the other port of the guest.
const BACK: Flow = Flow { port: 2000, outwards: false, ..OUT };
const OTHER: Flow = Flow { port: 3000, ..OUT };

fn lab() -> Lab {
    lab_with(true)
}

/// The first flow is translated by the second one, which is linked back or not.
fn lab_with(linked: bool) -> Lab {
    let mut lab = Lab::new(true);
    lab.command(|tables, datapath| {
        for flow in [OUT, BACK, OTHER] {
            let set = Change::SetFlow { flow, action: FlowAction::Forward, ttl: 0, check_source: true };
            set.apply(tables, datapath);
        }
        Change::Translate { flow: OUT, by: BACK, flags: FlowFlags::SPAT, linked }.apply(tables, datapath);
    });
    lab
}

/// Sends a packet; the inner source port of what comes out.
fn send(lab: &mut Lab) -> Option<u16> {
    let (ends, ports) = OUT.ends();
    let inet = Inet {
        source: ends[0],
        destination: ends[1],
        protocol: UDP,
        id: 1,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload: packets::udp(ends, ports, &[7; 20]),
    };
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet.bytes());
    let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }]);
    let payload = packets::unwrap(&sent.first()?.bytes).payload;
    Some(u16::from_be_bytes([payload[20], payload[21]]))
}

#[test]
fn a_translation_ends_with_the_reverse_flow_that_it_is_made_of() {
    let mut lab = lab();
    for _ in 0..3 {
        assert_eq!(send(&mut lab), Some(2000));
    }
    lab.command(|tables, datapath| Change::RemoveFlow(BACK).apply(tables, datapath));
    assert_eq!(send(&mut lab), None);
    assert_eq!(lab.drops(DropReason::FlowNatNoRflow), 1);
    lab.close();
}

#[test]
fn a_translation_ends_with_its_reverse_flow_although_that_was_linked_to_another_meanwhile() {
    let mut lab = lab();
    assert_eq!([send(&mut lab), send(&mut lab)], [Some(2000); 2]);
    lab.command(|tables, datapath| {
        Change::Translate { flow: BACK, by: OTHER, flags: FlowFlags::DPAT, linked: false }
            .apply(tables, datapath);
    });
    assert_eq!([send(&mut lab), send(&mut lab)], [Some(2000); 2]);
    lab.command(|tables, datapath| Change::RemoveFlow(BACK).apply(tables, datapath));
    assert_eq!(send(&mut lab), None);
    lab.close();
}

#[test]
fn a_flow_is_not_translated_by_the_next_user_of_the_slot_of_its_reverse_flow() {
    for linked in [true, false] {
        let mut lab = lab_with(linked);
        assert_eq!([send(&mut lab), send(&mut lab)], [Some(2000); 2]);
        let key = BACK.key();
        let slot = lab.table().find(&key, key.hash());
        lab.command(|tables, datapath| Change::RemoveFlow(BACK).apply(tables, datapath));
        lab.command(|tables, datapath| {
            let mut stranger = |port| {
                let flow = Flow { port, ..BACK };
                let set = Change::SetFlow { flow, action: FlowAction::Forward, ttl: 0, check_source: true };
                set.apply(tables, datapath);
                let key = flow.key();
                tables.flow_table().find(&key, key.hash()) == slot
            };
            assert!((4000..4300).any(&mut stranger), "nobody got the slot");
        });
        assert_eq!((send(&mut lab), lab.drops(DropReason::FlowNatNoRflow)), (None, 1));
        lab.close();
    }
}

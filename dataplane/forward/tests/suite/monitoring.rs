//! Interfaces that get a copy of every frame of another one.

use vr_frame::{GsoKind, Offload};
use vr_tables::control::VifSpec;
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{DropReason, Mac, VifId};

use crate::changes::Change;
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP};
use crate::world::{GUEST_ADDRESS, GUEST_MAC, GUESTS};

const MONITOR: VifId = VifId(10);

/// A node without policy whose guest `which` is watched.
fn lab(which: usize) -> Lab {
    let mut lab = Lab::new(true);
    lab.command(|tables, datapath| {
        let monitor = VifSpec {
            os_index: u32::from(GUESTS[which].0),
            ..VifSpec::new(MONITOR, VifKind::Monitoring, "mon")
        };
        tables.vif_add(&monitor, datapath).unwrap();
        for guest in 0..2 {
            Change::Policy { guest, on: false }.apply(tables, datapath);
        }
    });
    lab
}

fn from_first(offload: Offload, length: usize) -> Traffic {
    let [source, destination] = GUEST_ADDRESS;
    let payload = packets::udp([source, destination], [1, 2], &vec![7; length]);
    let packet = Inet {
        source,
        destination,
        protocol: UDP,
        id: 1,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload,
    };
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &packet.bytes());
    Traffic { vif: GUESTS[0], bytes, offload }
}

#[test]
fn what_comes_in_is_copied_as_it_was() {
    let mut lab = lab(0);
    let frame = from_first(Offload::NONE, 5);
    let sent = lab.receive(std::slice::from_ref(&frame));
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], Traffic { vif: MONITOR, ..frame });
    assert_eq!(sent[1].vif, GUESTS[1]);
    assert_ne!(sent[1].bytes, sent[0].bytes, "the copy is not what went on");
    assert_eq!(lab.vif(MONITOR).out_packets, 1);
    lab.close();
}

#[test]
fn what_goes_out_is_copied_as_it_is() {
    let mut lab = lab(1);
    let offload = Offload {
        needs_csum: true,
        csum_valid: false,
        gso: GsoKind::UdpL4,
        gso_size: 1000,
        csum_start: 34,
        csum_offset: 6,
    };
    for frame in [from_first(Offload::NONE, 5), from_first(offload, 3000)] {
        let sent = lab.receive(&[frame]);
        assert_eq!(sent.len(), 2);
        assert_eq!((sent[0].vif, sent[1].vif), (MONITOR, GUESTS[1]));
        assert_eq!((&sent[0].bytes, sent[0].offload), (&sent[1].bytes, sent[1].offload));
    }
    lab.close();
}

#[test]
fn it_ends_with_the_one_that_watches() {
    let mut lab = lab(0);
    let flags = |lab: &mut Lab| {
        let mut flags = VifFlags::empty();
        lab.command(|tables, _| flags = tables.vif(GUESTS[0]).unwrap().flags);
        flags
    };
    assert!(flags(&mut lab).contains(VifFlags::MONITORED));
    let second = VifId(MONITOR.0 + 1);
    lab.command(|tables, datapath| {
        let spec =
            VifSpec { os_index: u32::from(GUESTS[0].0), ..VifSpec::new(second, VifKind::Monitoring, "mon2") };
        tables.vif_add(&spec, datapath).unwrap();
        tables.vif_delete(MONITOR, "", datapath).unwrap();
    });
    let sent = lab.receive(&[from_first(Offload::NONE, 5)]);
    assert_eq!(sent[0].vif, second, "the last one gets the copies, whoever goes before");
    lab.command(|tables, datapath| tables.vif_delete(second, "", datapath).unwrap());
    assert!(!flags(&mut lab).contains(VifFlags::MONITORED));
    assert_eq!(lab.receive(&[from_first(Offload::NONE, 5)]).len(), 1);
    lab.close();
}

#[test]
fn nothing_comes_from_it() {
    let mut lab = lab(0);
    let frame = Traffic { vif: MONITOR, ..from_first(Offload::NONE, 5) };
    assert!(lab.receive(&[frame]).is_empty());
    assert_eq!(lab.drops(DropReason::InvalidIf), 1);
    lab.close();
}

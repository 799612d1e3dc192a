//! `dropstats --log` and what is set with it.

use serde_json::Value;
use vr_tables::drop_log::{Dropped, HEAD};
use vr_types::{DropReason, VifId};

use crate::rig::Rig;

/// A packet from 10.0.0.3:1000 to 10.0.0.4:80 that was dropped.
pub(crate) fn dropped(reason: DropReason, vif: u16) -> Dropped {
    let mut head = [0; HEAD];
    head[0] = 0x45;
    head[9] = 6;
    head[12..24].copy_from_slice(&[10, 0, 0, 3, 10, 0, 0, 4, 3, 232, 0, 80]);
    Dropped { at: 1, reason, kind: 2, vif: VifId(vif), nexthop: 38, length: 60, head, head_len: 60 }
}

#[test]
fn dropped_packets_of_all_workers_are_listed() {
    let rig = Rig::new();
    assert_eq!(rig.ok("dropstats --log 0"), "");
    // More than one reply holds.
    (0..30).for_each(|vif| rig.drops[0].drop_log.write(&dropped(DropReason::Discard, vif)));
    rig.drops[1].drop_log.write(&dropped(DropReason::FlowActionDrop, 77));
    let text = rig.ok("dropstats -l 0");
    assert_eq!(text.lines().count(), 31, "{text}");
    let line = rig.ok("dropstats --log 2");
    let (number, rest) = line.split_once("  Packet Type: ").unwrap();
    assert!(number.starts_with("sl no: 1  Epoch Time: "), "{number}");
    assert_eq!(
        rest.split("  Packet Data: ").next().unwrap(),
        "2  Drop reason: flow_action_drop  Vif idx: 77  Nexthop id: 38  Src IP: 10.0.0.3  Dst IP: 10.0.0.4  \
         Source port: 1000  Dest port: 80  Packet Len: 60"
    );
    let json: Value = serde_json::from_str(&rig.ok("dropstats --log 1 --json")).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 30);
    assert_eq!((&json[29]["vif"], &json[29]["destination_port"]), (&29.into(), &80.into()));
    assert_eq!(rig.run("dropstats --log 3").status, 22, "there are two workers");
    rig.ok("dropstats --log-clear");
    assert_eq!(rig.ok("dropstats --log 0"), "");
}

#[test]
fn what_is_logged_can_be_chosen() {
    let rig = Rig::new();
    let logging = || rig.run_on_node("vrouter --info --json").out.contains("\"vo_pkt_droplog_min_en\": 1");
    assert!(logging());
    rig.ok("dropstats --log-minimal 0 --log-reason l2_no_route");
    assert!(!logging());
    let done = rig.run("dropstats --log-reason nonsense");
    assert_eq!((done.status, done.out.as_str()), (1, ""));
    assert!(done.error.contains("there is no reason `nonsense`"), "{}", done.error);
    rig.ok("dropstats --log-minimal 1 --log-reason all");
    assert!(logging());
}

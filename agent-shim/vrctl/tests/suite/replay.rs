//! A recording sent again.

use crate::rig::{Done, Rig};

/// What the recorded daemon was asked.
const LINES: [&str; 6] = [
    "vif --add tap1 --mac 0:0:5e:0:1:0 --vrf 5 --type virtual --transport pmd --id 5",
    "nh --create 38 --type encap --oif 5 --dmac 2:c2:23:4c:d0:55 --smac 0:0:5e:0:1:0",
    "mpls --create 42 --nh 38",
    "nh --list",
    "vif --list",
    "mpls --get 42",
];

fn replay(rig: &Rig, file: &std::path::Path, options: &str) -> Done {
    rig.run_on_node(&format!("replay {} {options}", file.display()))
}

#[test]
fn a_recording_gives_the_same_replies_again() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("recording.jsonl");
    let recorded = Rig::recording(Some(&file));
    for line in LINES {
        recorded.ok(line);
    }
    // A refused request is recorded like any other.
    assert_eq!(recorded.run("mpls --get 43").status, 2);
    drop(recorded);

    let text = std::fs::read_to_string(&file).unwrap();
    // `vif --add` asks first.
    assert_eq!(text.lines().count(), LINES.len() + 2);
    assert!(text.lines().all(|line| line.starts_with("{\"at\": ") && line.ends_with("\"}")), "{text}");

    let rig = Rig::new();
    let done = replay(&rig, &file, "");
    assert_eq!((done.status, done.out.as_str()), (0, "8 requests, 0 replies differ\n"), "{done:?}");
    assert_eq!(rig.ok("mpls --get 42").lines().last(), Some("      42        38"));
    // Now the interface is there, which the first request did not find then.
    let done = replay(&rig, &file, "--paced");
    assert_eq!(done.status, 1);
    assert!(done.out.contains(":1: vr_interface_req\n    2 messages instead of 1\n"), "{done:?}");
    assert!(done.out.contains("    0: resp_code: 0 instead of -2\n"), "{done:?}");
    assert!(done.out.ends_with("8 requests, 1 replies differ\n"), "{done:?}");
}

#[test]
fn requests_carry_the_family_of_nodes_or_of_test_rigs() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("recording.jsonl");
    let recorded = Rig::recording(Some(&file));
    recorded.ok("vxlan --dump");
    assert_eq!(recorded.run_on_node("vxlan --dump").status, 0);
    drop(recorded);
    let text = std::fs::read_to_string(&file).unwrap();
    // Behind the length: the type, and the flags of a request (control.md 2.1).
    let starts = text.lines().map(|line| line.split("\"request\": \"").nth(1).unwrap()[8..16].to_owned());
    assert_eq!(starts.collect::<Vec<_>>(), ["00000100", "20000100"]);
}

#[test]
fn differences_name_the_field_and_can_be_ignored() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("recording.jsonl");
    let recorded = Rig::recording(Some(&file));
    recorded.ok("mpls --dump");
    drop(recorded);
    let rig = Rig::new();
    rig.ok("nh --create 38 --type l2-rcv");
    rig.ok("mpls --create 7 --nh 38");
    let done = replay(&rig, &file, "");
    assert!(done.out.contains("    0: resp_code: 1 instead of 0\n"), "{done:?}");
    let done = replay(&rig, &file, "--ignore resp_code");
    assert!(!done.out.contains("resp_code") && done.out.contains("2 messages instead of 1"), "{done:?}");
}

#[test]
fn what_is_no_recording_is_named_with_its_line() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("recording.jsonl");
    let rig = Rig::new();
    std::fs::write(&file, "{\"connection\": 1}\n").unwrap();
    let done = replay(&rig, &file, "");
    assert_eq!(done.status, 1);
    assert!(done.error.contains("recording.jsonl:1: no `request`"), "{done:?}");
    assert!(replay(&rig, &place.path().join("none"), "").error.contains("cannot open"));
}

#[test]
fn a_recording_of_many_clients_needs_few_connections() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("recording.jsonl");
    let recorded = Rig::recording(Some(&file));
    for _ in 0..80 {
        recorded.ok("vxlan --dump");
    }
    drop(recorded);
    let done = replay(&Rig::new(), &file, "");
    assert_eq!(done.out, "80 requests, 0 replies differ\n", "{done:?}");
}

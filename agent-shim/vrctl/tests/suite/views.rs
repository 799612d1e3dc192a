//! Flows, and the ways in which things are shown.

use sandesh::FlowOp;
use sandesh::messages::{FlowReq, FlowResponse, Message};
use serde_json::Value;

use crate::rig::Rig;

fn flow(protocol: u8, source_port: u16) -> FlowReq {
    FlowReq {
        fr_op: FlowOp::FLOW_SET,
        fr_index: -1,
        fr_rindex: -1,
        fr_action: 2,
        fr_flags: 1,
        fr_family: 2,
        fr_flow_sip_l: u64::from(u32::from_le_bytes([10, 0, 0, 3])),
        fr_flow_sport: source_port.to_be(),
        fr_flow_dip_l: u64::from(u32::from_le_bytes([10, 0, 0, 4])),
        fr_flow_dport: 80_u16.to_be(),
        fr_flow_proto: protocol,
        fr_flow_vrf: 5,
        fr_flow_nh_id: 38,
        fr_src_nh_index: 38,
        fr_mir_id: 255,
        fr_sec_mir_id: 255,
        fr_ecmp_nh_index: u32::MAX,
        fr_qos_id: u16::MAX,
        fr_underlay_ecmp_index: 255,
        ..FlowReq::default()
    }
}

fn set(rig: &Rig, request: &FlowReq) -> FlowResponse {
    let mut objects = rig.send(request).into_iter();
    let Some(Message::FlowResponse(response)) = objects.next() else { panic!("no response") };
    *response
}

#[test]
fn flows_are_selected_and_changed() {
    let rig = Rig::new();
    let tcp = set(&rig, &flow(6, 1000));
    let udp = set(&rig, &flow(17, 2000));
    let list = |expression: &str| {
        let text = rig.ok(&format!("flow --json --match \"{expression}\""));
        let flows: Vec<Value> = serde_json::from_str(&text).unwrap();
        flows.iter().map(|flow| flow["protocol"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(list("10.0.0.4:80").len(), 2);
    assert_eq!(list("10.0.0.3:1000"), [6]);
    assert_eq!(list("10.0.0.4,10.0.0.3:* & proto udp"), [17]);
    assert!(list("10.0.0.5").is_empty());
    assert!(list("vrf 6").is_empty());
    assert!(
        rig.ok("flow --match 10.0.0.3").contains("\nListing flows matching ([10.0.0.3]:*)\n\n    Index ")
    );

    let shown = |index: u32| rig.ok(&format!("flow --get {index}"));
    rig.ok(&format!("flow -d {}", tcp.fresp_index));
    let text = shown(tcp.fresp_index);
    assert!(text.contains("Flow Action:                  DROP (Unknown)\n"), "{text}");
    assert!(text.contains("TCP Flags:                    \n"), "{text}");
    let line = format!("(Gen: {}, K(nh):38, Action:D(Unknown), Flags:, TCP:, QOS:-1,", tcp.fresp_gen_id);
    assert!(rig.ok("flow -l").contains(&line));
    rig.ok(&format!("flow -f {}", tcp.fresp_index));
    assert!(shown(tcp.fresp_index).contains("Flow Action:                  FORWARD\n"));
    // Only a closed connection can be evicted.
    assert_eq!(rig.run(&format!("flow -e {}", tcp.fresp_index)).status, 22);
    rig.ok(&format!("flow -i {}", udp.fresp_index));
    assert_eq!(list("10.0.0.3"), [6]);
    assert_eq!(rig.run(&format!("flow --get {}", udp.fresp_index)).status, 1);
    assert_eq!(rig.run("flow --get 4000000000").status, 1);
}

#[test]
fn an_underlay_link_is_shown_when_there_is_one() {
    let rig = Rig::new();
    let request = FlowReq { fr_underlay_ecmp_index: 1, fr_ecmp_nh_index: 2, ..flow(1, 7) };
    let response = set(&rig, &request);
    let text = rig.ok(&format!("flow --get {}", response.fresp_index));
    assert!(text.contains("Flow Underlay ECMP Index:     1\n"), "{text}");
    assert!(rig.ok("flow -l").contains(" E:2, UnderlayEcmpIdx:1, QOS:-1,"));
}

#[test]
fn rates_of_flows() {
    let rig = Rig::new();
    let line = "New =    0, Flow setup rate =    0 flows/sec, Flow rate =    0 flows/sec, for last  500 ms\n";
    let got = rig.begin("flow -r", line.len());
    assert_eq!(got[..got.len() - 8], line[..line.len() - 8]);
}

#[test]
fn a_watched_list_begins_with_totals_and_goes_on_with_rates() {
    let rig = Rig::new();
    rig.ok("vif --add tap1 --mac 0:0:5e:0:1:0 --type virtual --transport pmd --id 5");
    let once = rig.ok("vif --list");
    let got = rig.begin("vif --list --watch 0.05", 2 * once.len() + 60);
    assert!(got.starts_with(&format!("Totals\n{once}Counters per second, over 0.")), "{got}");
    for bad in ["0", "x", "-1"] {
        assert_eq!(rig.run(&format!("vif --list --watch {bad}")).status, 234, "{bad}");
    }
}

#[test]
fn every_word_says_what_is_wrong_with_its_options() {
    let rig = Rig::new();
    let words = [
        ("vif", 234),
        ("nh", 234),
        ("rt", 234),
        ("flow", 234),
        ("mpls", 234),
        ("vxlan", 234),
        ("mirror", 234),
        ("vrftable", 234),
        ("vrfstats", 234),
        ("vrmemstats --nonsense", 234),
        ("dropstats --nonsense", 234),
        ("vrouter", 1),
        ("qosmap", 22),
        ("dpdkinfo", 234),
        ("dpdkconf", 0),
        ("vrinfo", 234),
    ];
    for (line, status) in words {
        let done = rig.run_on_node(line);
        assert_eq!(done.status, status, "{line}: {done:?}");
        assert!(!done.out.is_empty() || !done.error.is_empty(), "{line}");
        let word = line.split(' ').next().unwrap();
        let help = rig.run_on_node(&format!("{word} --help"));
        assert!(help.status == 0 && help.out.contains(&format!("Usage: {word}")), "{help:?}");
        for option in ["--json", "--watch", "--socket-dir"] {
            assert!(help.out.contains(option), "{word} has no {option}");
        }
    }
    let done = rig.run_on_node("nonsense");
    assert_eq!((done.status, done.error.as_str()), (1, "vrctl: there is no `nonsense`; see vrctl --help\n"));
}

#[test]
fn every_word_is_documented() {
    let help = Rig::new().run_on_node("--help").out;
    let words =
        help.split("\nWords:\n").nth(1).unwrap().lines().map(|line| line.split_whitespace().next().unwrap());
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operators.md");
    let page = std::fs::read_to_string(page).unwrap();
    let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("### ")).collect();
    assert_eq!(words.clone().count(), 16);
    for word in words {
        assert!(headings.iter().any(|heading| heading[4..].split(", ").any(|title| title == word)), "{word}");
    }
}

#[test]
fn a_vrouter_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let output =
        crate::rig::vrctl().args(["mpls", "--dump", "--sock-dir"]).arg(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("dpdk_netlink; is vrouterd running?"), "{error}");
}

#[test]
fn a_command_ends_when_nobody_reads_any_more() {
    let rig = Rig::new();
    let mut command = crate::rig::vrctl();
    command.args(["vif", "--list", "--watch", "0.02", "--sock-dir"]).arg(rig.directory());
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    // As a shell reports a program that the closed pipe has ended.
    assert_eq!(child.wait().unwrap().code(), Some(141));
}

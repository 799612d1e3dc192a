//! The words against a vrouter of R2.20: over TCP, in its messages, with its flow entries.

use sandesh::FlowOp;
use sandesh::messages::{FlowReq, Message};
use serde_json::Value;

use crate::rig::{Done, Rig};

fn node() -> Rig {
    let rig = Rig::r220();
    rig.ok(
        "vif --add eth1 --mac 00:1b:21:bb:f9:48 --vrf 0 --vhost-phys --type physical --transport pmd --id 0",
    );
    rig.ok("vif --add tap1 --mac 0:0:5e:0:1:0 --vrf 5 --type virtual --transport pmd --policy --id 5");
    rig.ok("nh --create 38 --type encap --oif 5 --dmac 2:c2:23:4c:d0:55 --smac 0:0:5e:0:1:0 --flags policy --vrf 5");
    let ends = "--oif 0 --dmac 0:1b:21:bb:f9:46 --smac 0:1b:21:bb:f9:48 --sip 8.0.0.2 --dip 8.0.0.3";
    rig.ok(&format!("nh --create 21 --type tunnel {ends} --flags mpls-udp"));
    rig
}

fn json(rig: &Rig, line: &str) -> Value {
    serde_json::from_str(&rig.ok(&format!("{line} --json"))).unwrap()
}

fn refused(rig: &Rig, line: &str) -> (i32, String) {
    let Done { status, out, error } = rig.run(line);
    (status, out + &error)
}

#[test]
fn interfaces_come_and_go() {
    let rig = node();
    let text = rig.ok("vif --list");
    for wanted in [
        "vif0/0      PCI: 0000:00:00.0\n            Type:Physical HWaddr:00:1b:21:bb:f9:48 IPaddr:0.0.0.0\n",
        "vif0/5      PMD: tap1\n            Type:Virtual HWaddr:00:00:5e:00:01:00 IPaddr:0.0.0.0\n",
        " Flags:PL3L2 ",
    ] {
        assert!(text.contains(wanted), "{wanted}\n--- in\n{text}");
    }
    rig.ok("vif --set 5 --vlan 100 --vrf 7");
    let text = rig.ok("vif --get 5");
    assert!(text.contains("Flags:PSL3L2") && text.contains("100:7"), "{text}");
    // Only by number.
    assert_eq!(refused(&rig, "vif --delete tap1").0, 19);
    rig.ok("vif --delete 5");
    assert_eq!(
        refused(&rig, "vif --get 5"),
        (2, "vRouter(Response): No such file or directory (2)\n".to_owned())
    );
    assert_eq!(refused(&rig, "vif --clear").0, 95);
}

#[test]
fn nexthops_have_the_flags_of_the_release() {
    let rig = node();
    rig.ok("nh --create 40 --type encap --family bridge --oif 5");
    rig.ok("nh --create 23 --type composite --cni 38,-1,21 --lbl 42,-1,23 --flags ecmp");
    let text = rig.ok("nh --list");
    for wanted in [
        "Flags:Valid, Policy, \n              EncapFmly:0000 Oif:5 Len:14\n              Encap Data: 02 c2 23 4c d0 55 00 00 5e 00 01 00 08 00 \n\n",
        "Flags:Valid, MPLSoUDP, \n              Oif:0 Len:14 Data:00 1b 21 bb f9 46 00 1b 21 bb f9 48 08 00 \n              Sip:8.0.0.2 Dip:8.0.0.3\n\n",
        "Id:40         Type:Encap          Fmly:AF_BRIDGE  Rid:0 ",
        "Sub NH(label): 38(42) -1 21(23)\n\n",
    ] {
        assert!(text.contains(wanted), "{wanted}\n--- in\n{text}");
    }
    assert!(rig.ok("nh --get 23").contains("Id:38 "));
    rig.ok("nh --delete 23");
    assert_eq!(refused(&rig, "nh --get 23").0, 2);
}

#[test]
fn routes_labels_networks_and_mirrors() {
    let rig = node();
    rig.ok("rt -c -p 1.1.1.3/32 -n 38 -t 42 -P -v 5");
    rig.ok("rt -c -e 2:c2:23:4c:d0:55 -n 38 -v 5");
    let line = "1.1.1.3/32             32           LP         42             38        -\n";
    assert!(rig.ok("rt --dump 5").ends_with(line));
    // The answer to a GET does not name the owner of the prefix.
    let line = line.replace(" 32   ", "  0   ");
    let text = rig.ok("rt --get 1.1.1.3/32 --vrf 5");
    assert!(text.ends_with(&line), "{text}");
    let text = rig.ok("rt --dump 5 --family bridge");
    assert!(text.contains("2:c2:23:4c:d0:55") && text.ends_with("           38               0\n"), "{text}");
    rig.ok("rt -d -p 1.1.1.3/32 -v 5");
    rig.ok("rt -d -e 2:c2:23:4c:d0:55 -v 5");
    assert_eq!(refused(&rig, "rt --get 2:c2:23:4c:d0:55 --vrf 5").0, 2);

    for (word, key, shown) in [
        ("mpls", 42, "      42        38\n"),
        ("vxlan", 4, "    4         38\n"),
        ("mirror", 3, "    3         38                 -1       0\n"),
    ] {
        rig.ok(&format!("{word} --create {key} --nh 38"));
        for line in [format!("{word} --dump"), format!("{word} --get {key}")] {
            assert!(rig.ok(&line).ends_with(shown), "{line}: {}", rig.ok(&line));
        }
        rig.ok(&format!("{word} --delete {key}"));
        assert_eq!(refused(&rig, &format!("{word} --get {key}")).0, 2, "{word}");
    }
}

/// Sets a flow that drops packets for security groups, as the agent does; returns its index.
fn set_flow(rig: &Rig, [source, destination]: [u16; 2]) -> i32 {
    let address = |last| u32::from_le_bytes([10, 0, 0, last]);
    let request = FlowReq {
        fr_op: FlowOp::FLOW_SET,
        fr_index: -1,
        fr_rindex: -1,
        fr_flags: 1,
        fr_flow_sip: address(3),
        fr_flow_dip: address(4),
        fr_flow_sport: source.to_be(),
        fr_flow_dport: destination.to_be(),
        fr_flow_proto: 6,
        fr_flow_vrf: 5,
        fr_flow_nh_id: 38,
        fr_src_nh_index: 38,
        fr_drop_reason: 0xf,
        fr_mir_id: 255,
        fr_sec_mir_id: 255,
        fr_ecmp_nh_index: u32::MAX,
        ..FlowReq::default()
    };
    let mut objects = rig.send(&request).into_iter();
    let Some(Message::FlowReq(flow)) = objects.next() else { panic!("no answer") };
    flow.fr_index
}

#[test]
fn flows_are_read_from_their_shorter_entries() {
    let rig = node();
    let (one, other) = (set_flow(&rig, [1000, 80]), set_flow(&rig, [2000, 80]));
    let text = rig.ok("flow -l");
    assert!(text.starts_with("Flow table(size 80609280, entries 629760)\n"), "{text}");
    assert!(text.contains("10.0.0.3:1000 ") && text.contains("K(nh):38, Action:D(SG), Flags:,"), "{text}");
    assert_eq!(json(&rig, "flow --match \"10.0.0.3:1000 & proto tcp\"")[0]["index"], one);
    assert!(rig.ok(&format!("flow --get {one}")).contains("Flow Action:                  DROP (SG)\n"));
    rig.ok(&format!("flow -f {one}"));
    assert!(rig.ok(&format!("flow --get {one}")).contains("Flow Action:                  FORWARD\n"));
    rig.ok(&format!("flow -d {one}"));
    assert!(rig.ok(&format!("flow --get {one}")).contains("DROP (SG)"), "the reason keeps its number");
    rig.ok(&format!("flow -i {other}"));
    assert_eq!(json(&rig, "flow -l").as_array().unwrap().len(), 1);
    let (status, text) = refused(&rig, &format!("flow -e {one}"));
    assert_eq!((status, text.as_str()), (1, "vrctl: a vrouter of R2.20 cannot be told to evict a flow\n"));
    let text = rig.begin("flow -s", 200);
    assert!(text.contains("Total  Entries  --- Total =       1"), "{text}");
    assert!(rig.begin("flow -r", 20).starts_with("New =    0, "));
}

#[test]
fn counters_and_limits() {
    let rig = node();
    assert_eq!(rig.ok("dropstats"), "");
    assert_eq!(json(&rig, "dropstats")[0]["vds_garp_from_vm"], 0);
    let stats = |line: &str| rig.run_on_node(line).out;
    assert!(stats("vrfstats --get 5").starts_with("Vrf: 5\nDiscards 0, Resolves 0,"));
    assert_eq!(stats("vrfstats --dump"), "");
    let text = rig.run_on_node("vrouter --info").out;
    assert!(text.starts_with("vRouter/DPDK version         peer (Built by peer@peer on "), "{text}");
    assert!(text.ends_with("    Mirror entries limit                 255\n"), "{text}");
    assert_eq!(rig.run_on_node("vrouter --flow_hold_limit 5").status, 95);
    assert_eq!(refused(&rig, "dropstats --clear").0, 95);
}

#[test]
fn what_the_release_does_not_have_is_said() {
    let rig = Rig::r220();
    for (line, message) in [
        ("vrftable --dump", "vr_vrf_req"),
        ("vrmemstats", "vr_mem_stats_req"),
        ("qosmap --dump-qos", "vr_qos_map_req"),
        ("qosmap --dump-fc", "vr_fc_map_req"),
        ("dpdkinfo --version", "vr_info_req"),
        ("dpdkconf --log list", "vr_info_req"),
        ("vrinfo --version", "vr_info_req"),
        ("dropstats --log 0", "vr_pkt_drop_log_req"),
    ] {
        let done = rig.run_on_node(line);
        let error = format!("vrctl: a vrouter of R2.20 does not know `{message}`\n");
        assert_eq!((done.status, done.out.as_str(), done.error), (1, "", error), "{line}");
    }
}

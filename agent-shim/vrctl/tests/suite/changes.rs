//! The commands that create, change and delete, seen by those that show.

use std::process::Command;

use serde_json::Value;

use crate::rig::{Rig, vrctl};

/// A fabric, vhost0 and a guest, added as provisioning scripts do.
fn node() -> Rig {
    let rig = Rig::new();
    rig.ok("vif --add 0 --mac 00:1b:21:bb:f9:48 --vrf 0 --vhost-phys --type physical --pmd --id 0");
    rig.ok("vif --add vhost0 --mac 00:1b:21:bb:f9:48 --vrf 0 --type vhost --id 1 --pmd --xconnect eth-none");
    rig.ok("vif --add tap1 --mac 00:00:5e:00:01:00 --vrf 5 --type virtual --transport pmd --policy --dhcp-enable --id 5");
    rig
}

fn json(rig: &Rig, line: &str) -> Value {
    serde_json::from_str(&rig.ok(&format!("{line} --json"))).unwrap()
}

#[test]
fn interfaces_come_and_go() {
    let rig = node();
    let text = rig.ok("vif --get 5");
    assert!(text.contains("\nvif0/5      PMD: tap1\n"), "{text}");
    assert!(text.contains("            Vrf:5 Mcast Vrf:65535 Flags:PL3L2D QOS:-1 Ref:"), "{text}");
    assert!(rig.ok("vif --get 0").contains("Flags:XL3L2VpDpdk"));
    assert_eq!(json(&rig, "vif --list")[2]["vifr_name"], "tap1");

    rig.ok("vif --set 5 --vlan 100 --vrf 7");
    let text = rig.ok("vif --get 5");
    assert!(text.contains("Vrf:5 ") && text.contains("Flags:PSL3L2D") && text.contains("100:7"), "{text}");

    assert!(rig.ok("vif --clear --id 5 --core 1").contains("cleared successfully on core 1 for vif0/5 \n"));
    rig.ok("vif --delete tap1");
    rig.ok("vif --delete 1");
    let gone = rig.run("vif --get 5");
    assert_eq!((gone.status, gone.out.as_str()), (2, "vRouter(Response): No such file or directory (2)\n"));
    let gone = rig.run("vif --delete 5");
    assert_eq!((gone.status, gone.out.as_str()), (19, "vRouter(Response): No such device (19)\n"));
}

#[test]
fn an_interface_has_the_index_of_its_device_when_none_is_given() {
    let rig = Rig::new();
    // The loopback device is the first one everywhere.
    rig.ok("vif --add lo --mac 2:0:0:0:0:1 --vrf 0 --type virtual");
    let text = rig.ok("vif --get 1 --kernel");
    assert!(text.contains("\nvif0/1      OS: lo\n"), "{text}");
    let done = rig.run("vif --add no-such-device --mac 2:0:0:0:0:1 --vrf 0 --type virtual");
    assert_eq!(
        (done.status, done.error.as_str()),
        (1, "vrctl: there is no device `no-such-device`; give --id\n")
    );
    let objects = json(&rig, "vif --get 1 --get-drop-stats");
    assert_eq!((&objects[0]["vifr_transport"], &objects[1]["vds_discard"]), (&1.into(), &0.into()));
}

#[test]
fn a_monitoring_interface_names_what_it_watches() {
    let rig = node();
    rig.ok("vif --add mon5 --type monitoring --vif 5 --id 4350");
    assert!(rig.ok("vif --get 4350").contains("Monitoring: mon5 for vif0/5"));
    assert!(rig.ok("vif --get 5").contains("Flags:PL3L2DMon"));
}

#[test]
fn nexthops_of_every_type() {
    let rig = node();
    rig.ok("nh --create 38 --type encap --oif 5 --dmac 2:c2:23:4c:d0:55 --smac 0:0:5e:0:1:0 --flags policy --vrf 5");
    rig.ok("nh --create 10 --type rcv --oif 1 --flags relaxed-policy");
    let ends = "--oif 0 --dmac 0:1b:21:bb:f9:46 --smac 0:1b:21:bb:f9:48 --sip 8.0.0.2 --dip 8.0.0.3";
    rig.ok(&format!("nh --create 21 --type tunnel {ends} --flags mpls-udp"));
    rig.ok(&format!("nh --create 22 --type tunnel {ends} --flags udp --sport 5000 --dport 8099"));
    rig.ok("nh --create 23 --type composite --cni 38,-1,21 --lbl 42,-1,23 --flags ecmp");
    rig.ok("nh --create 24 --type vrf-translate --vrf 9");
    rig.ok("nh --create 25 --type 8 --vrf 5");
    let text = rig.ok("nh --list");
    for wanted in [
        "Id:38         Type:Encap          Fmly: AF_INET  Rid:0  Ref_cnt:",
        "              Flags:Valid, Policy, \n              EncapFmly:0000 Oif:5 Len:14\n              Encap Data: 02 c2 23 4c d0 55 00 00 5e 00 01 00 08 00 \n\n",
        "              Flags:Valid, Policy(R), \n              Oif:1\n",
        "              Flags:Valid, MPLSoUDP, \n              Oif:0 Len:14 Data:00 1b 21 bb f9 46 00 1b 21 bb f9 48 08 00 \n              Sip:8.0.0.2 Dip:8.0.0.3\n\n",
        "              Flags:Valid, Udp, \n",
        "              Sport:5000 Dport:8099\n\n",
        "              Flags:Valid, Ecmp, \n              Sub NH(label): 38(42) -1 21(23)\n\n",
        "Type:Vrf_Translate  Fmly:",
        "Type:L2 Receive     Fmly:",
    ] {
        assert!(text.contains(wanted), "{wanted}\n--- in\n{text}");
    }
    // The components of a composite are shown too.
    let text = rig.ok("nh --get 23");
    assert!(text.contains("Id:38 ") && text.contains("Id:21 "), "{text}");

    rig.ok("nh --delete 23");
    assert_eq!(rig.run("nh --get 23").status, 2);
    assert_eq!(rig.run("nh --create 26 --type encap --oif 77").status, 22);
}

#[test]
fn routes_of_every_family() {
    let rig = node();
    rig.ok("nh --create 38 --type encap --oif 5 --dmac 2:c2:23:4c:d0:55 --smac 0:0:5e:0:1:0");
    rig.ok("rt -c -e 2:c2:23:4c:d0:55 -n 38 -t 7 -v 5");
    rig.ok("rt -c -p 1.1.1.0 -l 24 -n 38 -v 5 -P -F");
    rig.ok("rt -c -p 1.1.1.3/32 -n 38 -v 5 -t 42 -T -e 2:c2:23:4c:d0:55");
    rig.ok("rt -c -p fd00::/64 -n 38 -v 5");
    let text = rig.ok("rt --dump 5");
    assert!(
        text.contains("\n1.1.1.0/24             24           PF          -             38        -\n"),
        "{text}"
    );
    assert!(
        text.contains(
            "\n1.1.1.3/32             32           LT         42             38        2:c2:23:4c:d0:55("
        ),
        "{text}"
    );
    let text = rig.ok("rt --dump 5 --family inet6");
    assert!(
        text.contains("vRouter inet6 routing table 0/5/unicast\n") && text.contains("\nfd00::/64  "),
        "{text}"
    );
    let text = rig.ok("rt --get 2:c2:23:4c:d0:55 --vrf 5 --family bridge");
    assert!(text.contains("2:c2:23:4c:d0:55             L                    7           38 "), "{text}");
    let text = rig.ok("rt --get 1.1.1.9/32 --vrf 5");
    assert!(text.contains("\n1.1.1.9/24 "), "the asked address, and the length of the match: {text}");
    assert_eq!(json(&rig, "rt --dump 5")[0]["rtr_prefix"], "1.1.1.0");

    rig.ok("rt -d -p 1.1.1.3/32 -v 5");
    rig.ok("rt -d -e 2:c2:23:4c:d0:55 -v 5");
    assert!(!rig.ok("rt --dump 5").contains("1.1.1.3/32"));
    assert!(!rig.ok("rt --dump 5 --family bridge").contains("2:c2"));
    assert_eq!(rig.run("rt -c -p 1.1.1.0/33 -n 38").status, 1);
}

#[test]
fn labels_identifiers_mirrors_and_vrfs() {
    let rig = node();
    rig.ok("nh --create 38 --type l2-rcv");
    rig.ok("mpls --create 42 --nh 38");
    assert!(rig.ok("mpls --get 42").ends_with("\n      42        38\n"));
    rig.ok("vxlan --create 4 --nh 38");
    assert!(rig.ok("vxlan --dump").ends_with("\n    4         38\n"));
    rig.ok("mirror --create 3 --nh 38 --flags 1 --vni 9 --vlan 7");
    assert!(rig.ok("mirror --dump").ends_with("\n    3         38        D         9       7\n"));
    rig.ok("vrftable --set 5 --hbs-l 5 --hbs-r -1");
    assert_eq!(rig.ok("vrftable --get 5").lines().last(), Some("     5     VHl          5       0"));
    for line in ["mpls --delete 42", "vxlan --delete 4", "mirror --delete 3", "vrftable --delete 5"] {
        rig.ok(line);
    }
    for line in ["mpls --get 42", "vxlan --get 4", "mirror --get 3", "vrftable --get 5"] {
        assert_eq!(rig.run(line).status, 2, "{line}");
    }
}

#[test]
fn options_and_logging_of_the_vrouter() {
    let rig = Rig::new();
    let on_node = |line: &str| {
        let done = rig.run_on_node(line);
        assert_eq!(done.status, 0, "{line}: {done:?}");
        done.out
    };
    on_node("vrouter --perfr 0 --burst_tokens 7 --set-priority-tagging 1");
    on_node(
        "vrouter --flow_hold_limit 500 --set-log-level debug --enable-log-type usock --disable-log-type vrouter",
    );
    let text = on_node("vrouter --info");
    for wanted in ["    GRO                                  0\n", "limit:                     500\n"] {
        assert!(text.contains(wanted), "{text}");
    }
    assert!(text.contains("Burst Total Tokens                   7\n"));
    assert!(text.contains("Priority Tagging                 1\n"), "options that are not given stay: {text}");
    assert_eq!(on_node("vrouter --get-log-level"), "Current log level: debug\n");
    let types = on_node("vrouter --get-enabled-log-types");
    assert!(types.contains("usock") && !types.contains("vrouter"), "{types}");
}

#[test]
fn a_link_with_the_name_of_a_word_is_that_word() {
    let rig = node();
    let link = rig.directory().join("vif");
    std::os::unix::fs::symlink(vrctl().get_program(), &link).unwrap();
    let output = Command::new(&link).arg("--list").arg("--sock-dir").arg(rig.directory()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), rig.ok("vif --list"));
    let output = Command::new(&link).arg("--list").arg("--socket-dir").arg(rig.directory()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), rig.run_on_node("vif --list").out);
    let output = Command::new(&link).arg("--nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(234));
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}

#[test]
fn a_device_is_made_for_vhost() {
    // In a network namespace without a name, which goes with the process.
    let apart = |script: &str| {
        let mut command = Command::new("unshare");
        command.args([
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            script,
            vrctl().get_program().to_str().unwrap(),
        ]);
        command.output().unwrap()
    };
    if !apart("ip link add vrx-try type veth peer name vrx-tried").status.success() {
        eprintln!("skipped: a_device_is_made_for_vhost: no veth pair can be made in a network namespace");
        return;
    }
    let create = "$0 vif --create vrx-vhost0 --mac 2:0:0:0:0:7";
    // A second time it finds the device.
    let output = apart(&format!("{create} && {create} && ip -brief link"));
    let links = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(links.contains("vrx-vhost0@vrx-vhost0-dp") && links.contains("02:00:00:00:00:07"), "{links}");
    let output = apart("$0 vif --create much-too-long-a-name");
    assert_eq!(output.status.code(), Some(1));
}

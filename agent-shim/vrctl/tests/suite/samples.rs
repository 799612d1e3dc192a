//! Every sampled command line prints what the original printed, byte for byte. Masked is what the samples'
//! configuration does not determine: reference counts, hashes with a random seed, and what the vrouter says about
//! itself.

use sandesh::messages::{FlowReq, InterfaceReq, MplsReq, NexthopReq, RouteReq};
use sandesh::{FlowOp, SandeshOp};

use crate::rig::Rig;
use crate::sample_file::{Sample, read};

/// What stands before values that are masked.
const MASKED: [&str; 10] = [
    "Used Flow entries ",
    "Ref:",
    "Ref_cnt:",
    "SPort ",
    "UDP Source Port: ",
    "Status: ",
    "Fabric Interface: ",
    "Alloced ",
    "Freed ",
    "Epoch Time: ",
];

/// Samples of texts about things that we do not have: which of their lines have to be there.
const OWN_TEXT: [(&str, &[usize]); 3] = [
    ("dpdkinfo --version", &[]),
    ("dpdkinfo --mempool all", &[0, 1, 2]),
    ("dpdkconf --log list", &[0, 1, 2, 3]),
];

/// Commands that go on until they are ended.
const ENDLESS: [&str; 2] = ["flow -s", "vif --get 5 --rate"];

#[test]
fn every_sampled_command_prints_what_the_original_printed() {
    let rig = Rig::new();
    program(&rig);
    let mut faults = Vec::new();
    let mut compared = 0;
    for sample in read() {
        if !OWN_TEXT.iter().any(|(line, _)| *line == sample.line) && !ENDLESS.contains(&sample.line.as_str())
        {
            compared += 1;
            faults.extend(compare(&rig, &sample));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(compared > 35, "only {compared} samples");
}

#[test]
fn texts_about_the_forwarder_have_the_layout_of_the_original() {
    let rig = Rig::new();
    let samples = read();
    for (line, numbers) in OWN_TEXT {
        let sample = samples.iter().find(|sample| sample.line == line).unwrap();
        let got = rig.ok(line);
        for number in numbers {
            assert_eq!(got.lines().nth(*number), sample.text.lines().nth(*number), "{line}: {got}");
        }
    }
    let text = rig.ok("dpdkinfo --version");
    assert!(
        text.starts_with("DPDK Version: ") && text.contains("\nvRouter version: {\"build-info\": [{"),
        "{text}"
    );
    assert!(rig.ok("vrinfo --version").starts_with("vRouter version: {\"build-info\""));
    // Rigs look for this row.
    assert!(rig.ok("dpdkinfo --mempool all").contains("\nfrag_indirect_mempool\t0\t0\t0\t\n"));
    let text = rig.ok("dpdkconf --log list");
    assert!(text.contains("\n| 24 | vrouter                            | info             |\n"), "{text}");
}

#[test]
fn endless_commands_begin_as_the_original_did() {
    let rig = Rig::new();
    program(&rig);
    for sample in read().into_iter().filter(|sample| ENDLESS.contains(&sample.line.as_str())) {
        // The first screen, without the time above it.
        let start = sample.text.find("Flow Statistics").unwrap_or(0);
        let screen = &sample.text[start..];
        let end = screen.find("\n2026-").or_else(|| screen.find('\n')).unwrap() + 1;
        let above = if start > 0 { "\x1b[H\x1b[2J\x1b[3J2026-11-23 16:07:55 +0000\n".len() } else { 0 };
        let got = rig.begin(&sample.line, above + end);
        assert_eq!(got[above..], screen[..end], "{}", sample.line);
    }
}

/// What is wrong with the output of a sampled command.
fn compare(rig: &Rig, sample: &Sample) -> Option<String> {
    let done = if sample.on_node { rig.run_on_node(&sample.line) } else { rig.run(&sample.line) };
    let (wanted, mut got) = (lines(&expected(sample)), lines(&format!("{}{}", done.error, done.out)));
    // The recordings of these were cut short.
    if sample.line == "vrmemstats" && sample.on_node {
        got.truncate(wanted.len() - 1);
        got.push(String::new());
    }
    let status = if sample.line == "rt --dump 5" { 0 } else { sample.status };
    let mut faults = Vec::new();
    if done.status != status {
        faults.push(format!("status {} instead of {status}", done.status));
    }
    for number in 0..wanted.len().max(got.len()) {
        let (wanted, got) = (wanted.get(number), got.get(number));
        if wanted != got {
            faults.push(format!("line {}:\n  wanted {wanted:?}\n  got    {got:?}", number + 1));
        }
    }
    (!faults.is_empty()).then(|| format!("### {}\n{}", sample.line, faults.join("\n")))
}

/// The sample; of the original's expanded prefixes only those that are configured.
fn expected(sample: &Sample) -> String {
    match sample.line.as_str() {
        "rt --dump 5" => {
            let lines = sample.text.lines().filter(|line| !line.contains("              0        -"));
            let mut text: String = lines.flat_map(|line| [line, "\n"]).collect();
            text.push_str("2.2.2.3/32             32           LP         23             21        -\n");
            text
        }
        _ => sample.text.clone(),
    }
}

fn lines(text: &str) -> Vec<String> {
    text.split('\n').map(masked).collect()
}

pub(crate) fn masked(line: &str) -> String {
    if let Some(counted) = line.strip_prefix("(Created Flows/CPU: ") {
        // One for each worker.
        return counted.trim_start_matches(['0', ' ']).to_owned();
    }
    let mut line = line.to_owned();
    if OBJECTS.iter().any(|object| line.starts_with(object)) && line.len() < 45 {
        line = line.trim_end_matches(|digit: char| digit.is_ascii_digit()).to_owned();
    }
    for mark in MASKED {
        let Some(start) = line.find(mark) else { continue };
        let (before, value) = line.split_at(start + mark.len());
        let value = value.trim_start();
        let rest =
            if value.starts_with("Status") { value } else { value.trim_start_matches(|c| !" ,".contains(c)) };
        line = format!("{}* {}", before.trim_end(), rest.trim_start());
    }
    line
}

/// Objects that `vrmemstats` counts.
const OBJECTS: [&str; 12] = [
    "Assembler",
    "Btable",
    "Drop Stats",
    "Flow Link",
    "Flow Table Info",
    "Fragment",
    "Hash Table",
    "Interface",
    "Index Table",
    "Malloc",
    "Message",
    "VRF Table ",
];

/// The configuration with which the samples were recorded, as they show it.
pub(crate) fn program(rig: &Rig) {
    vifs(rig);
    nexthops(rig);
    rig.send(&MplsReq { h_op: SandeshOp::ADD, mr_label: 42, mr_nhid: 38, ..MplsReq::default() });
    let route = |address: [u8; 4], nexthop, label| RouteReq {
        h_op: SandeshOp::ADD,
        rtr_vrf_id: 5,
        rtr_family: 2,
        rtr_prefix: address.to_vec(),
        rtr_prefix_len: 32,
        rtr_nh_id: nexthop,
        rtr_label: label,
        rtr_label_flags: 3,
        ..RouteReq::default()
    };
    rig.send(&route([1, 1, 1, 3], 38, 42));
    rig.send(&route([2, 2, 2, 3], 21, 23));
    rig.send(&RouteReq {
        h_op: SandeshOp::ADD,
        rtr_vrf_id: 5,
        rtr_family: 7,
        rtr_mac: vec![0, 0, 0x5e, 0, 1, 0],
        rtr_nh_id: 3,
        rtr_label_flags: 4,
        rtr_label: -1,
        ..RouteReq::default()
    });
    flows(rig);
}

fn vifs(rig: &Rig) {
    let fabric_mac = vec![0x00, 0x1b, 0x21, 0xbb, 0xf9, 0x48];
    let agent_mac = vec![0x00, 0x00, 0x5e, 0x00, 0x01, 0x00];
    let vif = |index, kind, name: &str, flags, mac: &[u8]| InterfaceReq {
        h_op: SandeshOp::ADD,
        vifr_idx: index,
        vifr_type: kind,
        vifr_name: name.to_owned(),
        vifr_flags: flags,
        vifr_transport: 2,
        vifr_mac: mac.to_vec(),
        vifr_mcast_vrf: 65535,
        vifr_mir_id: -1,
        ..InterfaceReq::default()
    };
    rig.send(&vif(0, 2, "eth1", 0x2c0, &fabric_mac));
    rig.send(&InterfaceReq { vifr_ip: 0x0200_0008, ..vif(1, 0, "vhost0", 0x140, &fabric_mac) });
    rig.send(&InterfaceReq { vifr_transport: 3, vifr_vrf: 65535, ..vif(2, 1, "unix", 0x40, &agent_mac) });
    rig.send(&InterfaceReq {
        vifr_ip: 0x0301_0101,
        vifr_vrf: 5,
        vifr_mcast_vrf: 5,
        vifr_nh_id: 38,
        ..vif(5, 3, "tapperf", 0x1c1, &agent_mac)
    });
}

fn nexthops(rig: &Rig) {
    let etree_root = 0x20_0000;
    let nexthop = |id, kind, flags: u32, vrf| NexthopReq {
        h_op: SandeshOp::ADD,
        nhr_id: id,
        nhr_type: kind,
        nhr_family: 2,
        nhr_flags: 1 | flags,
        nhr_vrf: vrf,
        nhr_encap_crypt_oif_id: -1,
        ..NexthopReq::default()
    };
    rig.send(&nexthop(3, 8, etree_root, 5));
    rig.send(&NexthopReq { nhr_encap_oif_id: vec![1], ..nexthop(10, 1, etree_root | 0x100, 1) });
    rig.send(&NexthopReq {
        nhr_encap_oif_id: vec![0],
        nhr_encap: vec![0x00, 0x1b, 0x21, 0xbb, 0xf9, 0x46, 0x00, 0x1b, 0x21, 0xbb, 0xf9, 0x48, 0x08, 0x00],
        nhr_tun_sip: 0x0200_0008,
        nhr_tun_dip: 0x0300_0008,
        ..nexthop(21, 3, etree_root | 0x40, 0)
    });
    rig.send(&NexthopReq {
        nhr_encap_oif_id: vec![5],
        nhr_encap: vec![0x02, 0xc2, 0x23, 0x4c, 0xd0, 0x55, 0x00, 0x00, 0x5e, 0x00, 0x01, 0x00, 0x08, 0x00],
        ..nexthop(38, 2, etree_root | 2, 5)
    });
}

fn flows(rig: &Rig) {
    let (here, there) = (u64::from(0x0301_0101_u32), u64::from(0x0302_0202_u32));
    let flow = |source: (u64, u16), destination: (u64, u16), nexthop| FlowReq {
        fr_op: FlowOp::FLOW_SET,
        fr_index: -1,
        fr_rindex: -1,
        fr_action: 2,
        fr_flags: 1,
        fr_family: 2,
        fr_flow_sip_l: source.0,
        fr_flow_sport: u16::to_be(source.1),
        fr_flow_dip_l: destination.0,
        fr_flow_dport: u16::to_be(destination.1),
        fr_flow_proto: 17,
        fr_flow_vrf: 5,
        fr_flow_nh_id: 38,
        fr_src_nh_index: nexthop,
        fr_mir_id: 255,
        fr_sec_mir_id: 255,
        fr_ecmp_nh_index: u32::MAX,
        fr_qos_id: u16::MAX,
        fr_underlay_ecmp_index: 255,
        ..FlowReq::default()
    };
    let (forward, reverse) =
        (flow((here, 10000), (there, 20000), 38), flow((there, 20000), (here, 10000), 21));
    rig.send(&forward);
    rig.send(&FlowReq { fr_rindex: 136_136, fr_flags: 0x1001, ..reverse });
    rig.send(&FlowReq { fr_index: 136_136, fr_gen_id: 1, fr_rindex: 217_088, fr_flags: 0x1001, ..forward });
    rig.send(&FlowReq {
        fr_index: 217_088,
        fr_gen_id: 1,
        fr_rindex: 136_136,
        fr_flags: 0x1001,
        ..flow((there, 20000), (here, 10000), 21)
    });
}

//! The schema is the specification's.

use std::fs;

use sandesh::{Compat, Kind, Message, encoded_len};

use crate::support::{encoded, read, repository};

#[test]
fn tables_equal_the_specification() {
    for table in ["sandesh-messages.tsv", "constants.tsv"] {
        let ours = fs::read(repository("agent-shim/sandesh/schema").join(table)).unwrap();
        let specified = fs::read(repository("docs/spec").join(table)).unwrap();
        assert!(ours == specified, "agent-shim/sandesh/schema/{table} must be a copy of docs/spec/{table}");
    }
}

#[test]
fn kinds_and_fields_are_those_of_the_table() {
    let table = read("docs/spec/sandesh-messages.tsv");
    let mut specified: Vec<(&str, &str)> = Vec::new();
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        specified.push((cells[0], cells[3]));
    }
    let ours: Vec<(&str, &str)> = Kind::ALL
        .into_iter()
        .flat_map(|kind| kind.fields().iter().map(move |field| (kind.name(), *field)))
        .collect();
    assert_eq!(ours, specified);
    for kind in Kind::ALL {
        assert_eq!(Kind::from_name(kind.name().as_bytes()), Some(kind));
        assert_eq!(Message::new(kind).as_record().kind(), kind);
    }
}

/// Sizes with empty lists and texts of control.md 1.5: current release, R2.20.
const EMPTY_SIZES: [(&str, usize, Option<usize>); 22] = [
    ("vr_nexthop_req", 223, Some(152)),
    ("vr_interface_req", 732, Some(261)),
    ("vr_vxlan_req", 43, Some(43)),
    ("vr_route_req", 114, Some(114)),
    ("vr_mpls_req", 49, Some(49)),
    ("vr_mirror_req", 75, Some(63)),
    ("vr_vrf_req", 62, None),
    ("vr_flow_req", 276, Some(253)),
    ("vr_vrf_assign_req", 63, Some(63)),
    ("vr_vrf_stats_req", 352, Some(330)),
    ("vr_response", 30, Some(30)),
    ("vrouter_ops", 333, Some(100)),
    ("vr_mem_stats_req", 803, None),
    ("vr_info_req", 71, None),
    ("vr_pkt_drop_log_req", 86, None),
    ("vr_drop_stats_req", 637, Some(540)),
    ("vr_qos_map_req", 89, None),
    ("vr_fc_map_req", 75, None),
    ("vr_flow_response", 70, None),
    ("vr_flow_table_data", 163, None),
    ("vr_bridge_table_data", 56, None),
    ("vr_hugepage_config", 77, None),
];

#[test]
fn empty_messages_have_the_specified_sizes() {
    assert_eq!(EMPTY_SIZES.len(), Kind::ALL.len());
    for (name, current, r220) in EMPTY_SIZES {
        let kind = Kind::from_name(name.as_bytes()).unwrap();
        let message = Message::new(kind);
        assert_eq!(encoded(message.as_record(), Compat::Current).len(), current, "{name}");
        assert_eq!(encoded_len(message.as_record(), Compat::Current), current, "{name}");
        assert_eq!(kind.exists_in(Compat::R220), r220.is_some(), "{name}");
        if let Some(r220) = r220 {
            assert_eq!(encoded(message.as_record(), Compat::R220).len(), r220, "{name}");
            assert_eq!(encoded_len(message.as_record(), Compat::R220), r220, "{name}");
        }
    }
}

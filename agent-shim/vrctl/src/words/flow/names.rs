//! Names of what flows hold.

use sandesh::constants::{flow_action, flow_flag};

use crate::flows::Flow;

/// Flags as the head of the list explains them.
pub(super) const FLAGS: [(u32, &str); 5] = [
    (flow_flag::VR_FLOW_FLAG_EVICTED as u32, "E"),
    (flow_flag::VR_FLOW_FLAG_EVICT_CANDIDATE as u32, "Ec"),
    (flow_flag::VR_FLOW_FLAG_NEW_FLOW as u32, "N"),
    (flow_flag::VR_FLOW_FLAG_MODIFIED as u32, "M"),
    (flow_flag::VR_FLOW_FLAG_DELETE_MARKED as u32, "Dm"),
];

/// Flags of a TCP connection likewise (constants.tsv, `flow_tcp_flag`).
pub(super) const TCP_FLAGS: [(u32, &str); 9] = [
    (0x8, "S"),
    (0x10, "Sr"),
    (0x20, "E"),
    (0x40, "Er"),
    (0x1, "F"),
    (0x4, "Fr"),
    (0x2, "C"),
    (0x80, "R"),
    (0x8000, "D"),
];

/// What is translated.
const NAT_FLAGS: [(u32, &str); 5] = [
    (flow_flag::VR_FLOW_FLAG_SNAT as u32, "S"),
    (flow_flag::VR_FLOW_FLAG_SPAT as u32, "Ps"),
    (flow_flag::VR_FLOW_FLAG_DNAT as u32, "D"),
    (flow_flag::VR_FLOW_FLAG_DPAT as u32, "Pd"),
    (flow_flag::VR_FLOW_FLAG_LINK_LOCAL as u32, "L"),
];

/// Flags in words, for a single flow.
pub(super) const LONG_FLAGS: [(u32, &str); 7] = [
    (flow_flag::VR_FLOW_FLAG_EVICTED as u32, "EVICTED "),
    (flow_flag::VR_FLOW_FLAG_EVICT_CANDIDATE as u32, "EVICT CANDIDATE "),
    (flow_flag::VR_FLOW_FLAG_NEW_FLOW as u32, "NEW "),
    (flow_flag::VR_FLOW_FLAG_MODIFIED as u32, "MODIFIED "),
    (flow_flag::VR_FLOW_FLAG_DELETE_MARKED as u32, "DELETE MARKED "),
    (flow_flag::VR_FLOW_FLAG_MIRROR as u32, "MIRROR "),
    (flow_flag::VR_FLOW_FLAG_LINK_LOCAL as u32, "LINK LOCAL "),
];

/// Reasons for which the agent lets flows be dropped, by number (constants.tsv,
/// `flow_drop_reason`).
const DROP_REASONS: [&str; 35] = [
    "Unknown",
    "IntfErr",
    "Ipv4Dis",
    "UnAvailVrf",
    "NoSrcRt",
    "NoDstRt",
    "Audit",
    "VrfChange",
    "NoRflow",
    "RflowChange",
    "NatChange",
    "FlowLim",
    "LinkSrcNat",
    "FailedInst",
    "InvalidL2",
    "FlowOnTsn",
    "NoMirror",
    "SameFlowRflow",
    "PortMap",
    "NoL2RpfRt",
    "FatFlowNat",
    "Policy",
    "OutPolicy",
    "SG",
    "OutSG",
    "RevSG",
    "RevOutSG",
    "FwPolicy",
    "OutFwPolicy",
    "RevFwPolicy",
    "RevOutFwPolicy",
    "FwaasPolicy",
    "OutFwaasPolicy",
    "RevFwaasPolicy",
    "RevOutFwaasPolicy",
];

/// Why the packets of a flow are dropped.
pub(super) fn drop_reason(flow: &Flow) -> &'static str {
    DROP_REASONS.get(usize::from(flow.drop_reason)).copied().unwrap_or("Unknown")
}

/// What happens to packets: one letter, with more in brackets.
pub(super) fn action(flow: &Flow) -> String {
    match flow.action as i16 {
        flow_action::VR_FLOW_ACTION_DROP => format!("D({})", drop_reason(flow)),
        flow_action::VR_FLOW_ACTION_HOLD => "H".to_owned(),
        flow_action::VR_FLOW_ACTION_FORWARD => "F".to_owned(),
        flow_action::VR_FLOW_ACTION_NAT => {
            format!("N({})", crate::text::bits(u32::from(flow.flags), &NAT_FLAGS))
        }
        other => format!("U({other})"),
    }
}

/// The action in a word.
pub(super) fn long_action(flow: &Flow) -> String {
    match flow.action as i16 {
        flow_action::VR_FLOW_ACTION_DROP => format!("DROP ({})", drop_reason(flow)),
        flow_action::VR_FLOW_ACTION_HOLD => "HOLD".to_owned(),
        flow_action::VR_FLOW_ACTION_FORWARD => "FORWARD".to_owned(),
        flow_action::VR_FLOW_ACTION_NAT => "NAT".to_owned(),
        other => format!("UNKNOWN ({other})"),
    }
}

/// Name of an IP protocol.
pub(super) fn protocol(number: u8) -> String {
    match number {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        number => number.to_string(),
    }
}

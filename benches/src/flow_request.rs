//! Requests for flows, as an agent sends them.

use sandesh::FlowOp;
use sandesh::messages::FlowReq;

/// One end of a flow: IPv4 address and port as they lie in memory.
pub(crate) type End = (u32, u16);

/// The request that sets an active IPv4 flow that forwards, without translation, and names the reverse flow by its key.
/// What is not said here is absent.
pub(crate) fn forwarding(protocol: u8, source: End, destination: End, key_nexthop: u32) -> FlowReq {
    FlowReq {
        fr_op: FlowOp::FLOW_SET,
        fr_index: -1,
        fr_rindex: -1,
        fr_family: 2,
        fr_flags: 1,
        fr_action: 2,
        fr_flow_proto: protocol,
        fr_flow_sip_l: u64::from(source.0),
        fr_flow_dip_l: u64::from(destination.0),
        fr_flow_sport: source.1,
        fr_flow_dport: destination.1,
        fr_flow_nh_id: key_nexthop,
        fr_rflow_sip_l: u64::from(destination.0),
        fr_rflow_dip_l: u64::from(source.0),
        fr_rflow_sport: destination.1,
        fr_rflow_dport: source.1,
        fr_rflow_nh_id: key_nexthop,
        fr_mir_id: 255,
        fr_sec_mir_id: 255,
        fr_ecmp_nh_index: u32::MAX,
        fr_underlay_ecmp_index: u8::MAX,
        fr_qos_id: u16::MAX,
        ..FlowReq::default()
    }
}

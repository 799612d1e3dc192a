//! Errors that handlers give before they ask the tables (control.md section 4), as far as no recording has them.

use libc::{EINVAL, ENODEV, ENOENT, EOPNOTSUPP};
use sandesh::messages::{
    BridgeTableData, DropStatsReq, FcMapReq, FlowReq, FlowResponse, HugepageConfig, InfoReq, InterfaceReq,
    MemStatsReq, Message, MirrorReq, MplsReq, NexthopReq, PktDropLogReq, QosMapReq, Response, RouteReq,
    VrfAssignReq, VrfReq, VrfStatsReq, VrouterOps, VxlanReq,
};
use sandesh::{Compat, FlowOp, Record, SandeshOp, encode};

use crate::node::Node;

const ADD: SandeshOp = SandeshOp::ADD;
const GET: SandeshOp = SandeshOp::GET;
const DEL: SandeshOp = SandeshOp::DEL;
const DUMP: SandeshOp = SandeshOp::DUMP;
/// What only servers say.
const ANSWER: SandeshOp = SandeshOp::RESPONSE;

fn refused(rows: impl IntoIterator<Item = (Message, i32)>) {
    let mut node = Node::new();
    for (message, errno) in rows {
        let (codes, _) = answer(&mut node, message.as_record());
        assert_eq!(codes, [-errno], "{message:?}");
    }
}

/// There is one router, number 0.
#[test]
fn another_router() {
    refused([
        (InterfaceReq { h_op: GET, vifr_rid: 1, ..InterfaceReq::default() }.into(), EINVAL),
        (NexthopReq { h_op: GET, nhr_rid: 1, ..NexthopReq::default() }.into(), EINVAL),
        (RouteReq { h_op: GET, rtr_rid: 1, ..RouteReq::default() }.into(), EINVAL),
        (MplsReq { h_op: ADD, mr_rid: -1, ..MplsReq::default() }.into(), EINVAL),
        (MplsReq { h_op: GET, mr_rid: 1, ..MplsReq::default() }.into(), ENODEV),
        (VxlanReq { h_op: DUMP, vxlanr_rid: 1, ..VxlanReq::default() }.into(), EINVAL),
        (MirrorReq { h_op: DEL, mirr_rid: 1, ..MirrorReq::default() }.into(), EINVAL),
        (VrfReq { h_op: GET, vrf_rid: 1, ..VrfReq::default() }.into(), EINVAL),
        (VrfAssignReq { h_op: GET, var_rid: 1, ..VrfAssignReq::default() }.into(), EINVAL),
        (VrfStatsReq { h_op: GET, vsr_rid: 1, vsr_family: 2, ..VrfStatsReq::default() }.into(), EINVAL),
        (DropStatsReq { h_op: GET, vds_rid: 1, ..DropStatsReq::default() }.into(), ENOENT),
        (VrouterOps { h_op: GET, vo_rid: 1, ..VrouterOps::default() }.into(), EINVAL),
        (VrouterOps { h_op: SandeshOp::RESET, vo_rid: 1, ..VrouterOps::default() }.into(), EINVAL),
        (QosMapReq { h_op: GET, qmr_rid: 1, ..QosMapReq::default() }.into(), EINVAL),
        (FcMapReq { h_op: GET, fmr_rid: 1, ..FcMapReq::default() }.into(), EINVAL),
        (MemStatsReq { h_op: GET, vms_rid: 1, ..MemStatsReq::default() }.into(), EINVAL),
        (PktDropLogReq { h_op: GET, vdl_rid: 1, ..PktDropLogReq::default() }.into(), EINVAL),
        (InfoReq { h_op: DUMP, vdu_rid: 1, ..InfoReq::default() }.into(), EINVAL),
        (FlowReq { fr_rid: 1, ..FlowReq::default() }.into(), EINVAL),
    ]);
}

/// The original gives no answer at all to some of these; clients count answers.
#[test]
fn operations_that_a_message_does_not_have() {
    refused([
        (InterfaceReq { h_op: ANSWER, ..InterfaceReq::default() }.into(), EOPNOTSUPP),
        (NexthopReq { h_op: ANSWER, ..NexthopReq::default() }.into(), EOPNOTSUPP),
        (NexthopReq { h_op: SandeshOp::RESET, ..NexthopReq::default() }.into(), EOPNOTSUPP),
        (RouteReq { h_op: ANSWER, rtr_family: 2, ..RouteReq::default() }.into(), EOPNOTSUPP),
        (RouteReq { h_op: ANSWER, rtr_family: 7, ..RouteReq::default() }.into(), EOPNOTSUPP),
        (MplsReq { h_op: ANSWER, ..MplsReq::default() }.into(), EOPNOTSUPP),
        (VxlanReq { h_op: ANSWER, ..VxlanReq::default() }.into(), EOPNOTSUPP),
        (MirrorReq { h_op: ANSWER, ..MirrorReq::default() }.into(), EOPNOTSUPP),
        (VrfReq { h_op: ANSWER, ..VrfReq::default() }.into(), EOPNOTSUPP),
        (VrfAssignReq { h_op: ANSWER, ..VrfAssignReq::default() }.into(), EINVAL),
        (VrfStatsReq { h_op: ADD, vsr_family: 2, ..VrfStatsReq::default() }.into(), EOPNOTSUPP),
        (DropStatsReq { h_op: ADD, ..DropStatsReq::default() }.into(), EOPNOTSUPP),
        (VrouterOps { h_op: DEL, ..VrouterOps::default() }.into(), EOPNOTSUPP),
        (QosMapReq { h_op: ANSWER, ..QosMapReq::default() }.into(), EOPNOTSUPP),
        (FcMapReq { h_op: ANSWER, fmr_id: vec![1], ..FcMapReq::default() }.into(), EOPNOTSUPP),
        (MemStatsReq { h_op: ADD, ..MemStatsReq::default() }.into(), EOPNOTSUPP),
        (InfoReq { h_op: GET, ..InfoReq::default() }.into(), EOPNOTSUPP),
        (FlowReq { fr_op: FlowOp::FLOW_TABLE_GET, ..FlowReq::default() }.into(), EINVAL),
        (BridgeTableData { btable_op: ADD, ..BridgeTableData::default() }.into(), EINVAL),
        (HugepageConfig::default().into(), libc::EEXIST),
        (Response::default().into(), EOPNOTSUPP),
        (FlowResponse::default().into(), EOPNOTSUPP),
    ]);
}

#[test]
fn families_and_lists() {
    let class = FcMapReq {
        h_op: ADD,
        fmr_id: vec![3, 256],
        fmr_dscp: vec![1, 2],
        fmr_mpls_qos: vec![1, 2],
        fmr_dotonep: vec![1, 2],
        fmr_queue_id: vec![1, 2],
        ..FcMapReq::default()
    };
    let qos = QosMapReq { h_op: ADD, qmr_id: 1, ..QosMapReq::default() };
    refused([
        (RouteReq { h_op: ADD, rtr_family: 3, ..RouteReq::default() }.into(), ENOENT),
        (RouteReq { h_op: DEL, rtr_family: 0, ..RouteReq::default() }.into(), ENOENT),
        (RouteReq { h_op: GET, rtr_family: -2, ..RouteReq::default() }.into(), EINVAL),
        (RouteReq { h_op: DUMP, rtr_family: i32::MAX, ..RouteReq::default() }.into(), EINVAL),
        (RouteReq { h_op: DUMP, rtr_family: 7, rtr_mac: vec![0; 5], ..RouteReq::default() }.into(), EINVAL),
        (VrfStatsReq { h_op: GET, vsr_family: 10, ..VrfStatsReq::default() }.into(), EINVAL),
        (VrfStatsReq { h_op: GET, vsr_family: 2, vsr_type: 1, ..VrfStatsReq::default() }.into(), EINVAL),
        (VrfStatsReq { h_op: GET, vsr_family: 2, vsr_vrf: 4096, ..VrfStatsReq::default() }.into(), EINVAL),
        (QosMapReq { qmr_dscp: vec![1], ..qos.clone() }.into(), EINVAL),
        (QosMapReq { qmr_mpls_qos_fc_id: vec![1], ..qos.clone() }.into(), EINVAL),
        (QosMapReq { qmr_dotonep: vec![1, 2], qmr_dotonep_fc_id: vec![1], ..qos }.into(), EINVAL),
        (FcMapReq { h_op: GET, ..FcMapReq::default() }.into(), EINVAL),
        (FcMapReq { h_op: DEL, ..FcMapReq::default() }.into(), EINVAL),
        (FcMapReq { h_op: ADD, ..FcMapReq::default() }.into(), EINVAL),
        (FcMapReq { fmr_queue_id: vec![1], ..class.clone() }.into(), EINVAL),
        // The first class alone would be possible.
        (class.into(), EINVAL),
        (InfoReq { h_op: DUMP, vdu_marker: 1, vdu_buff_table_id: 5, ..InfoReq::default() }.into(), ENOENT),
    ]);
}

/// An error carries no object, but for those whose clients read one.
#[test]
fn objects_of_errors() {
    let mut node = Node::new();
    let flow = FlowReq { fr_op: FlowOp::FLOW_SET, fr_flags: 1, fr_index: 77, ..FlowReq::default() };
    let (codes, objects) = answer(&mut node, &flow);
    let [Message::FlowResponse(object)] = &objects[..] else { panic!("{objects:?}") };
    assert_eq!((codes, object.fresp_index, object.fresp_gen_id), (vec![-ENOENT], 77, 0));
    for (message, count) in [
        (Message::from(BridgeTableData { btable_op: DUMP, ..BridgeTableData::default() }), 1),
        (HugepageConfig::default().into(), 1),
        (NexthopReq { h_op: GET, nhr_id: 9, ..NexthopReq::default() }.into(), 0),
        (RouteReq { h_op: GET, rtr_family: 7, rtr_mac: vec![2; 6], ..RouteReq::default() }.into(), 0),
        (InterfaceReq { h_op: GET, ..InterfaceReq::default() }.into(), 0),
    ] {
        let (codes, objects) = answer(&mut node, message.as_record());
        assert!(codes[0] < 0 && objects.len() == count, "{message:?}: {codes:?} {objects:?}");
    }
}

/// The codes and objects with which a message is answered.
fn answer(node: &mut Node, message: &dyn Record) -> (Vec<i32>, Vec<Message>) {
    let mut payload = Vec::new();
    encode(message, Compat::Current, &mut payload);
    let codes = node.probe(&payload);
    (codes, std::mem::take(&mut node.objects))
}

/// The log of drops has two workers here, and settings of two kinds.
#[test]
fn the_log_of_drops() {
    let log = |op, core, config, kind| {
        PktDropLogReq {
            h_op: op,
            vdl_core: core,
            vdl_pkt_droplog_config: config,
            vdl_pkt_droplog_type: kind,
            ..PktDropLogReq::default()
        }
        .into()
    };
    refused([
        (log(GET, 3, 0, 0), EINVAL),
        (log(GET, -1, 0, 0), EINVAL),
        (PktDropLogReq { h_op: GET, vdl_log_idx: -1, ..PktDropLogReq::default() }.into(), EINVAL),
        (log(SandeshOp::RESET, 3, 0, 0), EINVAL),
        (log(ADD, 0, 2, 0), EINVAL),
        (log(ADD, 0, 1, 56), EINVAL),
        (log(DEL, 0, 0, 0), EOPNOTSUPP),
    ]);
    let mut node = Node::new();
    for (op, core, config, kind) in [(GET, 0, 0, 0), (GET, 2, 0, 0), (ADD, 0, 1, 55), (ADD, 0, 1, 39)] {
        let message: Message = log(op, core, config, kind);
        let (codes, objects) = answer(&mut node, message.as_record());
        let Some(Message::PktDropLogReq(object)) = objects.first() else { panic!("no object") };
        assert_eq!((codes, object.h_op), (vec![0], op));
        let facts = (object.vdl_max_num_cores, object.vdl_pkt_droplog_max_bufsz);
        assert_eq!((facts, object.vdl_pkt_droplog_sysctl_en), ((2, 200), 1));
        assert_eq!(object.vdl_pkt_droplog_type, if kind == 39 { 39 } else { 55 });
    }
}

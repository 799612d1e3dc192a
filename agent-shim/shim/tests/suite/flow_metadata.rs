//! What goes with mirrored copies of a flow (control.md 4.15, step 8).

use sandesh::messages::{FlowReq, Message, MirrorReq, VrouterOps};
use sandesh::{Compat, FlowOp, SandeshOp, encode};
use vr_types::FlowIndex;

use crate::node::Node;

const ACTIVE: i16 = 1;
const MIRROR: i16 = 0x2000;

/// A flow that is new, or at this position.
fn flow(index: i32, flags: i16, metadata: &[u8]) -> FlowReq {
    FlowReq {
        fr_op: FlowOp::FLOW_SET,
        fr_index: index,
        fr_rindex: -1,
        fr_gen_id: u8::from(index >= 0),
        fr_action: 2,
        fr_flags: flags,
        fr_family: 2,
        fr_flow_proto: 17,
        fr_flow_sip_l: 0x0100_000a,
        fr_flow_dip_l: 0x0200_000a,
        fr_mir_id: 1,
        fr_sec_mir_id: 255,
        fr_pcap_meta_data: metadata.to_vec(),
        ..FlowReq::default()
    }
}

/// Position of the flow, and what goes with its copies.
fn set(node: &mut Node, request: &FlowReq) -> (u32, Option<Vec<u8>>) {
    let mut payload = Vec::new();
    encode(request, Compat::Current, &mut payload);
    assert_eq!(node.probe(&payload), [0]);
    let [Message::FlowResponse(object)] = &node.objects[..] else { panic!("{:?}", node.objects) };
    let index = object.fresp_index;
    let number = node.tables().flow_table().shared(FlowIndex(index)).unwrap().mirror_metadata();
    let metadata = node.tables().snapshot().flow_metadata.get(number as usize).map(|bytes| bytes.to_vec());
    (index, metadata)
}

#[test]
fn mirrored_flows_have_the_metadata_of_their_request() {
    let mut node = Node::new();
    let mut payload = Vec::new();
    encode(
        &MirrorReq { mirr_index: 1, mirr_flags: 1, ..MirrorReq::default() },
        Compat::Current,
        &mut payload,
    );
    node.execute(&payload);
    let (index, metadata) = set(&mut node, &flow(-1, ACTIVE | MIRROR, b"one"));
    assert_eq!(metadata.as_deref(), Some(&b"one"[..]));
    let index = index as i32;
    for metadata in [&b"two"[..], &b"one"[..], &[7; 255]] {
        let (_, found) = set(&mut node, &flow(index, ACTIVE | MIRROR, metadata));
        assert_eq!(found.as_deref(), Some(metadata));
    }
    let (_, cut) = set(&mut node, &flow(index, ACTIVE | MIRROR, &[7; 300]));
    assert_eq!(cut, Some(vec![7; 255]));
    let (_, none) = set(&mut node, &flow(index, ACTIVE | MIRROR, b""));
    assert_eq!(none, None);
}

#[test]
fn refused_requests_and_resets_leave_none() {
    let mut node = Node::new();
    let (index, _) = set(&mut node, &flow(-1, ACTIVE | MIRROR, b"one"));
    let number = |node: &Node| node.tables().flow_table().shared(FlowIndex(index)).unwrap().mirror_metadata();
    let before = number(&node);
    // It names no mirror.
    let refused = FlowReq { fr_mir_id: 255, ..flow(index as i32, ACTIVE | MIRROR, b"two") };
    let mut payload = Vec::new();
    encode(&refused, Compat::Current, &mut payload);
    assert_eq!(node.probe(&payload), [-libc::EINVAL]);
    assert_eq!(number(&node), before);
    payload.clear();
    encode(&VrouterOps { h_op: SandeshOp::RESET, ..VrouterOps::default() }, Compat::Current, &mut payload);
    node.execute(&payload);
    assert!((0..8).all(|number| node.tables().snapshot().flow_metadata.get(number).is_none()));
}

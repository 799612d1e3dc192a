//! Requests for the objects of a plan, as an agent sends them.

use sandesh::messages::{FlowReq, Message, NexthopReq, RouteReq};
use sandesh::netlink::{HEADER_LEN, Header, write_request};
use sandesh::{Compat, Record, SandeshOp, encoded_len};

use super::Plan;
use crate::flow_request::forwarding;

use super::served::{FABRIC, FIRST_TUNNEL, FLOW_KEY, GUEST_VRF};

/// Most messages in one netlink message, and its most bytes (control.md 2.2).
const BULK: usize = 16;
const MOST_BYTES: usize = 4096;

/// Encoded netlink messages.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) what: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) messages: u32,
    /// Objects in them; each is answered.
    pub(super) objects: u32,
}

impl Requests {
    /// As many objects as fit go into one message.
    fn of(what: &'static str, objects: impl Iterator<Item = Message>) -> Self {
        let mut requests = Self { what, ..Self::default() };
        let (mut bulk, mut length) = (Vec::new(), HEADER_LEN);
        for object in objects {
            let more = encoded_len(object.as_record(), Compat::Current);
            if bulk.len() == BULK || length + more > MOST_BYTES {
                requests.send(&bulk);
                bulk.clear();
                length = HEADER_LEN;
            }
            length += more;
            bulk.push(object);
        }
        requests.send(&bulk);
        requests
    }

    fn send(&mut self, bulk: &[Message]) {
        let records: Vec<&dyn Record> = bulk.iter().map(Message::as_record).collect();
        write_request(&Header::request(self.objects), Compat::Current, &records, &mut self.bytes);
        self.messages += 1;
        self.objects += bulk.len() as u32;
    }
}

/// Tunnels to different nodes.
pub(super) fn nexthops(plan: &Plan) -> Requests {
    Requests::of(
        "nexthops",
        (0..plan.nexthops).map(|number| {
            let [_, a, b, c] = number.to_be_bytes();
            NexthopReq {
                h_op: SandeshOp::ADD,
                nhr_type: 3,
                nhr_family: 2,
                nhr_id: (FIRST_TUNNEL + number) as i32,
                nhr_encap_oif_id: vec![i32::from(FABRIC.0)],
                nhr_encap: vec![0x52, 0x54, 0, a, b, c, 0x52, 0x54, 0, 0, 0, 1, 8, 0],
                nhr_encap_len: 14,
                nhr_tun_sip: u32::from_le_bytes([172, 16, 0, 1]),
                nhr_tun_dip: u32::from_le_bytes([172, 17 + a, b, c]),
                // Valid, MPLS over UDP.
                nhr_flags: 0x41,
                ..NexthopReq::default()
            }
            .into()
        }),
    )
}

/// Three host routes, then a network, and so on.
pub(super) fn routes(plan: &Plan) -> Requests {
    let tunnels = plan.nexthops;
    Requests::of(
        "routes",
        (0..plan.routes).map(move |number| {
            let network = number % 4 == 3;
            let address = if network { 0x1e00_0000 + (number << 8) } else { 0x1400_0000 + number };
            RouteReq {
                h_op: SandeshOp::ADD,
                rtr_family: 2,
                rtr_vrf_id: i32::from(GUEST_VRF.0),
                rtr_prefix: address.to_be_bytes().to_vec(),
                rtr_prefix_len: if network { 24 } else { 32 },
                rtr_nh_id: (FIRST_TUNNEL + number % tunnels) as i32,
                rtr_label: 16 + (number % 5000) as i32,
                rtr_label_flags: 1,
                ..RouteReq::default()
            }
            .into()
        }),
    )
}

/// Pairs: a flow, and the reverse one that names it.
pub(super) fn flows(plan: &Plan) -> Requests {
    let (tunnels, routes) = (plan.nexthops, plan.routes);
    Requests::of(
        "flows",
        (0..plan.flows).map(move |number| {
            let (pair, is_reverse) = (number / 2, number % 2 == 1);
            let near = (u32::from_le_bytes([10, 0, 0, 3]), (1024 + pair % 60_000) as u16);
            let far = (u32::from_le_bytes((0x1400_0000 + pair / 60_000).to_be_bytes()), 80_u16.to_be());
            let (source, destination) = if is_reverse { (far, near) } else { (near, far) };
            FlowReq {
                fr_flags: if is_reverse { 0x1001 } else { 1 },
                fr_flow_vrf: GUEST_VRF.0,
                fr_src_nh_index: FIRST_TUNNEL + pair % routes % tunnels,
                ..forwarding(6, source, destination, FLOW_KEY)
            }
            .into()
        }),
    )
}

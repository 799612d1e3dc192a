//! The test vectors of control.md 11.

use sandesh::constants::{family, response, route_flag};
use sandesh::messages::{MplsReq, NexthopReq, Response, RouteReq};
use sandesh::netlink::{FrameReader, Header, ReplyWriter, write_request};
use sandesh::{Compat, Message, SandeshOp};

use crate::support::{decoded_one, encoded, hex};

const RELEASES: [Compat; 2] = [Compat::Current, Compat::R220];

const RESPONSE: &str = "
    36 00 00 00  20 00  00 00  00 00 00 00  00 00 00 00
    01 00 00 00
    1e 00  01 00
    00 00 00 0b 76 72 5f 72 65 73 70 6f 6e 73 65
    08 00 01 00 00 00 04
    08 00 02 00 00 00 00
    00";

const MPLS_GET: &str = "
    49 00 00 00  20 00  01 00  00 00 00 00  00 00 00 00
    01 00 00 00
    35 00  01 00
    00 00 00 0b 76 72 5f 6d 70 6c 73 5f 72 65 71
    08 00 01 00 00 00 01
    08 00 02 00 00 00 10
    06 00 03 00 00
    08 00 04 00 00 00 00
    08 00 05 00 00 00 00
    00";

const ROUTE_ADD: &str = "
    00 00 00 0c 76 72 5f 72 6f 75 74 65 5f 72 65 71
    08 00 01 00 00 00 00
    08 00 02 00 00 00 01
    08 00 03 00 00 00 02
    0f 00 04 03 00 00 00 04 0a 01 01 03
    08 00 05 00 00 00 20
    06 00 06 00 00
    06 00 07 00 00
    08 00 08 00 00 00 00
    08 00 09 00 00 00 14
    0f 00 0a 03 00 00 00 00
    08 00 0b 00 00 00 00
    0f 00 0c 03 00 00 00 06 02 00 00 00 00 01
    08 00 0d 00 00 00 00
    08 00 0e 00 00 00 00
    00";

#[test]
fn response_to_a_utility() {
    let mut out = Vec::new();
    ReplyWriter::new(&Header::request(0), Compat::Current, &mut out).response(0);
    assert_eq!(out, hex(RESPONSE));
}

#[test]
fn response_codes() {
    let incomplete = response::VR_MESSAGE_DUMP_INCOMPLETE + 30;
    for (code, bytes) in [(0, "00 00 00 00"), (-2, "ff ff ff fe"), (incomplete, "40 00 00 1e")] {
        let message = Response { h_op: SandeshOp::RESPONSE, resp_code: code };
        for compat in RELEASES {
            let payload = encoded(&message, compat);
            assert!(payload.ends_with(&hex(&format!("08 00 02 {bytes} 00"))), "{code}");
            assert_eq!(decoded_one(&payload, compat), Message::from(message.clone()));
        }
    }
}

#[test]
fn mpls_get_of_a_utility() {
    let request = MplsReq { h_op: SandeshOp::GET, mr_label: 16, ..Default::default() };
    for compat in RELEASES {
        let mut out = Vec::new();
        write_request(&Header::request(0), compat, &[&request], &mut out);
        assert_eq!(out, hex(MPLS_GET));

        let mut frames = FrameReader::new();
        frames.read_from(&mut out.as_slice()).unwrap();
        let frame = frames.next_frame().unwrap().unwrap();
        assert_eq!(frame.header, Header::request(0));
        assert_eq!(decoded_one(frame.payload, compat), Message::from(request.clone()));
    }
}

#[test]
fn inet_route_add() {
    let route = RouteReq {
        h_op: SandeshOp::ADD,
        rtr_vrf_id: 1,
        rtr_family: family::AF_INET,
        rtr_prefix: vec![10, 1, 1, 3],
        rtr_prefix_len: 32,
        rtr_nh_id: 20,
        rtr_mac: vec![2, 0, 0, 0, 0, 1],
        ..Default::default()
    };
    assert_eq!(route.rtr_label_flags & route_flag::VR_RT_LABEL_VALID_FLAG, 0);
    for compat in RELEASES {
        assert_eq!(encoded(&route, compat), hex(ROUTE_ADD));
        assert_eq!(decoded_one(&hex(ROUTE_ADD), compat), Message::from(route.clone()));
    }
}

#[test]
fn address_as_it_lies_in_memory() {
    let nexthop = NexthopReq { nhr_tun_dip: u32::from_le_bytes([192, 168, 0, 2]), ..Default::default() };
    let field = hex("14 00 0b 02 00 a8 c0");
    for compat in RELEASES {
        let payload = encoded(&nexthop, compat);
        assert!(payload.windows(field.len()).any(|window| window == field));
    }
}

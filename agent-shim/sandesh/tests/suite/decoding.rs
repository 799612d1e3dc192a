//! What the decoder tolerates and what it refuses (control.md 1.1, 1.2, 1.4, 9.2).

use sandesh::messages::{InterfaceReq, MplsReq, NexthopReq, RouteReq};
use sandesh::{Compat, Fault, Kind, Message, SandeshOp, decode};

use crate::support::{decoded, decoded_one, encoded, hex};

/// A message with the fields given in hexadecimal digits.
fn message(name: &str, fields: &str) -> Vec<u8> {
    let mut payload = (name.len() as u32).to_be_bytes().to_vec();
    payload.extend_from_slice(name.as_bytes());
    payload.extend(hex(fields));
    payload.push(0);
    payload
}

fn mpls(fields: &str) -> MplsReq {
    match decoded_one(&message("vr_mpls_req", fields), Compat::Current) {
        Message::MplsReq(request) => *request,
        other => panic!("{other:?}"),
    }
}

fn nexthop(fields: &str, compat: Compat) -> NexthopReq {
    match decoded_one(&message("vr_nexthop_req", fields), compat) {
        Message::NexthopReq(request) => *request,
        other => panic!("{other:?}"),
    }
}

fn fault(payload: &[u8]) -> Fault {
    decode(payload, Compat::Current).find_map(Result::err).expect("a fault").fault
}

#[test]
fn absent_fields_are_zero() {
    assert_eq!(mpls(""), MplsReq::default());
    assert_eq!(mpls("08 0002 00000010"), MplsReq { mr_label: 16, ..Default::default() });
}

#[test]
fn nothing_is_left_in_memory_that_is_used_again() {
    let full = message("vr_mpls_req", "08 0002 00000010  08 0004 00000007");
    let list = message("vr_nexthop_req", "0f 0011 03 00000002 aabb");
    let empty = [message("vr_mpls_req", ""), message("vr_nexthop_req", "")];
    for (former, later) in [
        ([&full, &full], [&empty[0], &empty[0]]),
        ([&list, &list], [&empty[1], &empty[1]]),
        ([&full, &list], [&empty[1], &empty[0]]),
        ([&list, &full], [&empty[1], &empty[0]]),
    ] {
        let spare = former.iter().flat_map(|payload| decoded(payload, Compat::Current)).collect();
        let payload = later.map(Vec::as_slice).concat();
        let mut decoder = decode(&payload, Compat::Current).reusing(spare);
        let found: Result<Vec<_>, _> = decoder.by_ref().collect();
        assert_eq!(found.unwrap(), decoded(&payload, Compat::Current));
        assert_eq!(decoder.take_spare(), []);
    }
}

#[test]
fn any_order_and_the_last_of_duplicates() {
    let request = mpls("08 0004 00000007  08 0002 00000010  08 0001 00000002  08 0004 00000008");
    let expected = MplsReq { h_op: SandeshOp::DEL, mr_label: 16, mr_nhid: 8, ..Default::default() };
    assert_eq!(request, expected);
    let request = nexthop("0f 0011 03 00000002 aabb  0f 0011 03 00000001 cc", Compat::Current);
    assert_eq!(request.nhr_encap, [0xcc]);
}

#[test]
fn unknown_fields_of_every_type_are_skipped() {
    let values = [
        "01",                                             // void
        "02 #01",                                         // bool
        "03 #ff",                                         // byte
        "04 #0102030405060708",                           // double
        "06 #0102",                                       // i16
        "08 #01020304",                                   // i32
        "09 #0102030405060708",                           // u64
        "0a #0102030405060708",                           // i64
        "0b #00000003 616263",                            // string
        "0c #08 0001 00000001 0b 0002 00000001 61 00",    // struct
        "0d #03 0b 00000001 05 00000002 6162",            // map of byte to string
        "0d #06 08 00000002 0001 00000001 0002 00000002", // map of i16 to i32
        "0e #13 00000002 0001 0002",                      // set
        "0f #0c 00000002 00 03 0001 05 00",               // list of structs
        "0f #0f 00000001 08 00000001 01020304",           // list of lists
        "0f #01 7fffffff",                                // list of very many voids
        "13 #0102",                                       // u16
        "14 #01020304",                                   // u32
        "15 #00000003 616263",                            // xml
        "16 #0a000001",                                   // ipv4
        "17 #000102030405060708090a0b0c0d0e0f",           // uuid
        "18 #02 0a000001",                                // IPv4 address
        "18 #0a 000102030405060708090a0b0c0d0e0f",        // IPv6 address
    ];
    for value in values {
        let (code, value) = value.split_once('#').unwrap_or((value, ""));
        let request = mpls(&format!("{code} 0063 {value} 08 0002 00000010"));
        assert_eq!(request, MplsReq { mr_label: 16, ..Default::default() }, "{code} {value}");
    }
}

#[test]
fn a_field_of_another_type_is_skipped() {
    // mr_label is an i32, mr_rid an i16.
    let request =
        mpls("0a 0002 0000000000000010  0f 0002 08 00000001 00000010  08 0003 00000001  08 0004 00000007");
    assert_eq!(request, MplsReq { mr_nhid: 7, ..Default::default() });
}

#[test]
fn the_schema_decides_the_type_of_elements() {
    // The elements of nhr_nh_list are said to be u32.
    assert_eq!(nexthop("0f 0012 14 00000002 00000001 ffffffff", Compat::Current).nhr_nh_list, [1, -1]);
}

#[test]
fn a_number_for_a_list_and_the_reverse() {
    for (compat, seen) in [
        (Compat::Current, Compat::Intermediate),
        (Compat::Intermediate, Compat::Intermediate),
        (Compat::R220, Compat::R220),
    ] {
        assert_eq!(nexthop("08 0006 00000003", compat).nhr_encap_oif_id, [3]);
        assert_eq!(nexthop("0f 0006 08 00000002 00000003 00000004", compat).nhr_encap_oif_id, [3, 4]);
        let payload = message("vr_nexthop_req", "08 0006 00000003");
        let mut decoder = decode(&payload, compat);
        decoder.next().unwrap().unwrap();
        assert_eq!(decoder.compat(), seen);
    }
    for (compat, id) in [(Compat::Current, "0031"), (Compat::R220, "001b")] {
        for fields in [format!("08 {id} 00000003"), format!("0f {id} 08 00000001 00000003")] {
            let expected = InterfaceReq { vifr_cross_connect_idx: vec![3], ..Default::default() };
            assert_eq!(decoded_one(&message("vr_interface_req", &fields), compat), Message::from(expected));
        }
    }
    // Only these two fields have changed their shape.
    assert!(nexthop("08 0012 00000003", Compat::Current).nhr_nh_list.is_empty());
}

#[test]
fn a_list_becomes_a_number_for_older_releases() {
    let request = NexthopReq { nhr_encap_oif_id: vec![3, 4], ..Default::default() };
    for (compat, field) in [
        (Compat::Current, "0f 0006 08 00000002 00000003 00000004"),
        (Compat::Intermediate, "08 0006 00000003"),
        (Compat::R220, "08 0006 00000003"),
    ] {
        let payload = encoded(&request, compat);
        let field = hex(field);
        assert!(payload.windows(field.len()).any(|window| window == field), "{compat:?}");
    }
}

#[test]
fn narrow_fields_of_r220_keep_their_sign() {
    for vifr_nh_id in [-1, 0x7fff] {
        let request = Message::from(InterfaceReq { vifr_nh_id, ..Default::default() });
        let Message::InterfaceReq(read) =
            decoded_one(&encoded(request.as_record(), Compat::R220), Compat::R220)
        else {
            panic!("another message")
        };
        assert_eq!(read.vifr_nh_id, vifr_nh_id);
    }
}

#[test]
fn messages_follow_one_another() {
    let first = RouteReq { rtr_prefix: vec![10, 0, 0, 0], ..Default::default() };
    let second = MplsReq { mr_label: 17, ..Default::default() };
    let mut payload = encoded(&first, Compat::Current);
    payload.extend(encoded(&second, Compat::Current));
    let expected = [Message::from(first), Message::from(second)];
    for padding in 0..=3 {
        assert_eq!(decoded(&payload, Compat::Current), expected, "{padding} bytes of padding");
        payload.push(0);
    }
    assert_eq!(fault(&payload), Fault::NameLength(0));
}

#[test]
fn padding_is_zero() {
    let mut payload = encoded(&MplsReq::default(), Compat::Current);
    payload.push(1);
    assert_eq!(fault(&payload), Fault::Truncated);
}

#[test]
fn an_error_says_what_and_where_and_ends_the_payload() {
    let mut payload = encoded(&MplsReq::default(), Compat::Current);
    let first = payload.len();
    payload.extend(message("vr_nexthop_req", "08 0004 00000007  0f 0011 03 00000100 aabb"));
    let mut messages = decode(&payload, Compat::Current);
    assert!(messages.next().unwrap().is_ok());
    let error = messages.next().unwrap().unwrap_err();
    assert!(messages.next().is_none());

    assert_eq!(error.fault, Fault::Truncated);
    assert_eq!(error.message(), Some(Kind::NexthopReq));
    assert_eq!(error.field(), Some("nhr_encap"));
    assert_eq!(error.offset, first + 4 + 14 + 7 + 3 + 5);
    let text = "the payload ends too early, at byte 82 of the payload in vr_nexthop_req.nhr_encap";
    assert_eq!(error.to_string(), text);
}

#[test]
fn impossible_values_are_faults() {
    let cases = [
        ("vr_mpls_req", "63 0063 00", Fault::UnknownType(0x63)),
        ("vr_mpls_req", "0f 0063 63 00000001", Fault::UnknownType(0x63)),
        ("vr_mpls_req", "0b 0063 ffffffff", Fault::NegativeLength(-1)),
        ("vr_mpls_req", "0f 0063 08 7fffffff 00000000", Fault::Truncated),
        ("vr_mpls_req", "0d 0063 0b 0b 7fffffff 00000000", Fault::Truncated),
        ("vr_nexthop_req", "0f 0012 08 ffffffff", Fault::NegativeLength(-1)),
        ("vr_nexthop_req", "0f 0012 08 7fffffff 00000000", Fault::Truncated),
        ("vr_interface_req", "0b 000a 7fffffff 61", Fault::Truncated),
        ("vr_interface_req", "0b 000a 00000001 ff", Fault::NotText),
        ("vr_no_such_req", "", Fault::UnknownMessage("vr_no_such_req".to_owned())),
    ];
    for (name, fields, expected) in cases {
        assert_eq!(fault(&message(name, fields)), expected, "{name} {fields}");
    }
    assert_eq!(fault(&message(&"n".repeat(65), "")), Fault::NameLength(65));
    assert_eq!(fault(&hex("ffffffff 76725f")), Fault::NameLength(-1));
}

#[test]
fn nesting_is_bounded() {
    let deep = |levels: usize| {
        message("vr_mpls_req", &format!("0f 0063 {} 03 00000000", "0f 00000001".repeat(levels)))
    };
    assert!(decode(&deep(6), Compat::Current).all(|message| message.is_ok()));
    assert_eq!(fault(&deep(1000)), Fault::TooDeep);
    let structs = message("vr_mpls_req", &"0c 0063".repeat(1000));
    assert_eq!(fault(&structs), Fault::TooDeep);
}

#[test]
fn messages_of_the_other_release_are_unknown() {
    let payload = message("vr_vrf_req", "");
    assert!(decode(&payload, Compat::R220).next().unwrap().is_err());
    assert!(decode(&payload, Compat::Current).next().unwrap().is_ok());
}

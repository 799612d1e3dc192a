//! Dumps in many parts, while another client changes what is dumped: what is there all the time comes exactly once.

use std::collections::BTreeSet;

use sandesh::constants::response::VR_MESSAGE_DUMP_INCOMPLETE;
use sandesh::messages::{InterfaceReq, Message, MplsReq, NexthopReq, RouteReq, VxlanReq};
use sandesh::netlink::MAX_REPLY;
use sandesh::{Record, SandeshOp};

use crate::client::Client;
use crate::served::Served;

/// Objects of a dump; every third one comes and goes.
const OBJECTS: i32 = 1200;
const VRF: i32 = 3;

/// A table that can be dumped.
trait Dumped {
    /// A request about object `number`.
    fn about(operation: SandeshOp, number: i32) -> Message;
    /// The request for what comes behind `last`.
    fn dump(last: Option<&Message>) -> Message;
    /// Which object it is.
    fn number(object: &Message) -> i32;
}

struct Nexthops;

impl Dumped for Nexthops {
    fn about(h_op: SandeshOp, number: i32) -> Message {
        NexthopReq { h_op, nhr_id: number + 1, nhr_type: 5, nhr_flags: 1, ..NexthopReq::default() }.into()
    }

    fn dump(last: Option<&Message>) -> Message {
        let nhr_marker = last.map_or(0, |last| Self::number(last) + 1);
        NexthopReq { h_op: SandeshOp::DUMP, nhr_marker, ..NexthopReq::default() }.into()
    }

    fn number(object: &Message) -> i32 {
        let Message::NexthopReq(object) = object else { panic!("{object:?}") };
        object.nhr_id - 1
    }
}

struct Labels;

impl Dumped for Labels {
    fn about(h_op: SandeshOp, number: i32) -> Message {
        MplsReq { h_op, mr_label: number, ..MplsReq::default() }.into()
    }

    fn dump(last: Option<&Message>) -> Message {
        let mr_marker = last.map_or(-1, Self::number);
        MplsReq { h_op: SandeshOp::DUMP, mr_marker, ..MplsReq::default() }.into()
    }

    fn number(object: &Message) -> i32 {
        let Message::MplsReq(object) = object else { panic!("{object:?}") };
        object.mr_label
    }
}

struct Vnis;

impl Dumped for Vnis {
    fn about(h_op: SandeshOp, number: i32) -> Message {
        VxlanReq { h_op, vxlanr_vnid: number, ..VxlanReq::default() }.into()
    }

    fn dump(last: Option<&Message>) -> Message {
        let vxlanr_vnid = last.map_or(0, Self::number);
        VxlanReq { h_op: SandeshOp::DUMP, vxlanr_vnid, ..VxlanReq::default() }.into()
    }

    fn number(object: &Message) -> i32 {
        let Message::VxlanReq(object) = object else { panic!("{object:?}") };
        object.vxlanr_vnid
    }
}

/// IPv4 or IPv6 routes, host addresses.
struct Routes<const N: usize>;

impl<const N: usize> Routes<N> {
    fn request(h_op: SandeshOp, address: Vec<u8>) -> RouteReq {
        let rtr_family = if N == 4 { 2 } else { 10 };
        RouteReq { h_op, rtr_family, rtr_vrf_id: VRF, rtr_prefix: address, ..RouteReq::default() }
    }
}

impl<const N: usize> Dumped for Routes<N> {
    fn about(operation: SandeshOp, number: i32) -> Message {
        let mut address = vec![10; N];
        address[N - 4..].copy_from_slice(&number.to_be_bytes());
        RouteReq { rtr_prefix_len: 8 * N as i32, ..Self::request(operation, address) }.into()
    }

    fn dump(last: Option<&Message>) -> Message {
        let address = match last {
            Some(Message::RouteReq(last)) => last.rtr_prefix.clone(),
            _ => vec![0; N],
        };
        RouteReq { rtr_marker: address.clone(), ..Self::request(SandeshOp::DUMP, address) }.into()
    }

    fn number(object: &Message) -> i32 {
        let Message::RouteReq(object) = object else { panic!("{object:?}") };
        i32::from_be_bytes(object.rtr_prefix[N - 4..].try_into().unwrap())
    }
}

struct Macs;

impl Dumped for Macs {
    fn about(h_op: SandeshOp, number: i32) -> Message {
        let rtr_mac = [&[2, 0][..], &number.to_be_bytes()].concat();
        RouteReq { h_op, rtr_family: 7, rtr_vrf_id: VRF, rtr_mac, ..RouteReq::default() }.into()
    }

    fn dump(last: Option<&Message>) -> Message {
        let rtr_mac = match last {
            Some(Message::RouteReq(last)) => last.rtr_mac.clone(),
            _ => vec![0; 6],
        };
        let h_op = SandeshOp::DUMP;
        RouteReq { h_op, rtr_family: 7, rtr_vrf_id: VRF, rtr_mac, ..RouteReq::default() }.into()
    }

    fn number(object: &Message) -> i32 {
        let Message::RouteReq(object) = object else { panic!("{object:?}") };
        i32::from_be_bytes(object.rtr_mac[2..].try_into().unwrap())
    }
}

fn done(client: &mut Client, message: &Message) {
    let (code, _) = client.ask(message.as_record());
    assert_eq!(code, 0, "{message:?}");
}

/// One part of a dump: its objects, and whether there are more.
fn part(client: &mut Client, request: &dyn Record) -> (Vec<Message>, bool) {
    client.send(&[request]);
    let replies = client.read_all();
    assert!(replies.len() <= 2 && replies.iter().all(|reply| reply.length <= MAX_REPLY));
    let mut messages: Vec<Message> = replies.into_iter().flat_map(|reply| reply.messages).collect();
    let Message::Response(response) = messages.remove(0) else { panic!("no response first") };
    assert_eq!((response.resp_code & !VR_MESSAGE_DUMP_INCOMPLETE) as usize, messages.len());
    (messages, response.resp_code & VR_MESSAGE_DUMP_INCOMPLETE != 0)
}

/// Dumps a table. Between two parts another client removes the changing objects around the marker, or brings them back.
fn dump_while_it_changes<T: Dumped>(keeps_markers: bool) {
    let served = Served::new();
    let (mut reader, mut writer) = (served.connect(), served.connect());
    let changing = |number: &i32| number % 3 == 0;
    for number in 1..=OBJECTS {
        done(&mut writer, &T::about(SandeshOp::ADD, number));
    }
    let (mut seen, mut last, mut parts) = (Vec::new(), None, 0);
    loop {
        let (objects, more) = part(&mut reader, T::dump(last.as_ref()).as_record());
        seen.extend(objects.iter().map(T::number));
        if !more {
            break;
        }
        last = objects.into_iter().next_back();
        let marker = T::number(last.as_ref().unwrap());
        let operation = [SandeshOp::DEL, SandeshOp::ADD][parts % 2];
        for number in
            (marker - 60..marker + 60).filter(|number| (1..=OBJECTS).contains(number)).filter(changing)
        {
            if number == marker && keeps_markers {
                continue;
            }
            // One that has gone is no longer there to be removed.
            writer.ask(T::about(operation, number).as_record());
        }
        parts += 1;
    }
    assert!(parts >= 8, "{parts} parts");
    let stable: Vec<i32> =
        seen.iter().copied().filter(|number| !changing(number)).filter(|number| *number > 0).collect();
    let expected: BTreeSet<i32> = (1..=OBJECTS).filter(|number| !changing(number)).collect();
    assert_eq!(stable.iter().copied().collect::<BTreeSet<_>>(), expected);
    assert_eq!(stable.len(), expected.len(), "some came twice");
}

#[test]
fn nexthops() {
    dump_while_it_changes::<Nexthops>(false);
}

#[test]
fn labels() {
    dump_while_it_changes::<Labels>(false);
}

#[test]
fn vnis() {
    dump_while_it_changes::<Vnis>(false);
}

#[test]
fn inet_routes() {
    dump_while_it_changes::<Routes<4>>(false);
}

#[test]
fn inet6_routes() {
    dump_while_it_changes::<Routes<16>>(false);
}

/// They come in the order of their places: when the marker itself has gone, up to three may come again.
#[test]
fn bridge_entries() {
    dump_while_it_changes::<Macs>(true);
}

/// An interface with as much as a request may say.
fn large_interface(vifr_idx: i32, long: impl FnOnce(&mut InterfaceReq)) -> InterfaceReq {
    let mut request = InterfaceReq {
        h_op: SandeshOp::ADD,
        vifr_type: 3,
        vifr_idx,
        vifr_name: "x".repeat(63),
        vifr_in_mirror_md: vec![1; 255],
        vifr_out_mirror_md: vec![2; 255],
        vifr_fat_flow_exclude_ip_list: vec![3; 3],
        ..InterfaceReq::default()
    };
    long(&mut request);
    request
}

#[test]
fn long_lists_of_an_interface_are_cut_and_hide_no_other() {
    const PREFIXES: usize = 70;
    let served = Served::new();
    let mut client = served.connect();
    let rules = large_interface(1, |vif| vif.vifr_fat_flow_protocol_port = (0..800).collect());
    let prefixes = large_interface(2, |vif| {
        vif.vifr_fat_flow_src_prefix_h = vec![4; PREFIXES];
        vif.vifr_fat_flow_src_prefix_l = vec![5; PREFIXES];
        vif.vifr_fat_flow_src_prefix_mask = vec![6; PREFIXES];
        vif.vifr_fat_flow_src_aggregate_plen = vec![7; PREFIXES];
        vif.vifr_fat_flow_dst_prefix_h = vec![4; PREFIXES];
        vif.vifr_fat_flow_dst_prefix_l = vec![5; PREFIXES];
        vif.vifr_fat_flow_dst_prefix_mask = vec![6; PREFIXES];
        vif.vifr_fat_flow_dst_aggregate_plen = vec![7; PREFIXES];
    });
    let queues = large_interface(3, |vif| vif.vifr_hw_queues = vec![8; 1500]);
    let small = large_interface(4, |vif| vif.vifr_hw_queues = vec![8; 2]);
    for request in [rules, prefixes, queues, small] {
        done(&mut client, &request.into());
    }

    let (mut seen, mut more, mut vifr_marker) = (Vec::new(), true, -1);
    while more {
        let objects;
        let dump =
            InterfaceReq { h_op: SandeshOp::DUMP, vifr_flags: 1, vifr_marker, ..InterfaceReq::default() };
        (objects, more) = part(&mut client, &dump);
        for object in objects {
            if let Message::InterfaceReq(vif) = object {
                vifr_marker = vif.vifr_idx;
                seen.push(vif);
            }
        }
    }
    assert_eq!(seen.iter().map(|vif| vif.vifr_idx).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let rules = &seen[0].vifr_fat_flow_protocol_port;
    assert!(rules.len() >= 300 && rules.iter().copied().eq(0..rules.len() as i32), "{}", rules.len());
    let lengths = [&seen[1].vifr_fat_flow_src_prefix_h, &seen[1].vifr_fat_flow_dst_prefix_l].map(Vec::len);
    assert!(lengths[0] == PREFIXES && (1..PREFIXES).contains(&lengths[1]), "{lengths:?}");
    assert_eq!(seen[1].vifr_fat_flow_dst_aggregate_plen.len(), lengths[1]);
    assert!((600..1500).contains(&seen[2].vifr_hw_queues.len()));
    assert_eq!(seen[3].vifr_hw_queues, [8, 8]);

    let get = InterfaceReq { h_op: SandeshOp::GET, vifr_flags: 1, vifr_idx: 1, ..InterfaceReq::default() };
    let (code, objects) = client.ask(&get);
    assert_eq!((code, objects.len()), (0, 2));
}

/// IPv6 addresses have more lengths than routes fit in a part.
#[test]
fn routes_of_one_address_hide_no_other() {
    let served = Served::new();
    let mut client = served.connect();
    for (rtr_prefix_len, last) in (1..=128).map(|len| (len, 0)).chain([(128, 1)]) {
        let mut address = vec![0; 16];
        (address[0], address[15]) = (0x80, last);
        let route = Routes::<16>::request(SandeshOp::ADD, address);
        done(&mut client, &RouteReq { rtr_prefix_len, ..route }.into());
    }
    let mut addresses = BTreeSet::new();
    let (mut more, mut last) = (true, None);
    while more {
        let objects;
        (objects, more) = part(&mut client, Routes::<16>::dump(last.as_ref()).as_record());
        addresses.extend(objects.iter().map(Routes::<16>::number));
        last = objects.into_iter().next_back();
    }
    assert_eq!(addresses, BTreeSet::from([0, 1]));
}

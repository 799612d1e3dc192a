//! The requests of the recorded step files (docs/spec/step-files.md), replayed in process: every request is
//! executed on fresh tables in test mode, and its replies are compared field by field.
//!
//! Steps about packets are not part of this: frames, counters, and requests about flow entries that a packet
//! made. What was left out is printed for each file.

mod steps;

use std::collections::HashSet;
use std::fmt::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sandesh::netlink::{FrameReader, HEADER_LEN};
use sandesh::{Compat, Record, Value, decode};
use serde_json::Value as Json;
use steps::{FlowEntry, Object, Reply, Request, Step};
use vr_shim::{About, Responder};
use vr_tables::control::{AttachError, Datapath, Tables, TablesConfig};
use vr_tables::flow::SharedFlow;
use vr_tables::options::Options;
use vr_tables::vif::Vif;
use vr_types::{FlowIndex, VifId};

/// A datapath without ports, which accepts every interface.
struct NoPackets;

impl Datapath for NoPackets {
    fn attach(&mut self, _: &Vif) -> Result<Option<u32>, AttachError> {
        Ok(None)
    }

    fn detach(&mut self, _: VifId) {}

    fn flow_changed(&mut self, _: FlowIndex) {}

    fn settle(&mut self) {}
}

/// Counters of an interface, which packets change.
const VIF_COUNTERS: [&str; 7] = [
    "vifr_ibytes",
    "vifr_ipackets",
    "vifr_ierrors",
    "vifr_obytes",
    "vifr_opackets",
    "vifr_oerrors",
    "vifr_dpackets",
];

struct Runner {
    tables: Tables,
    responder: Responder,
    compat: Compat,
    directory: tempfile::TempDir,
    /// Flow entries that requests made.
    flows: HashSet<i64>,
    /// A packet was injected in the recording.
    packets: bool,
    compared: usize,
    left_out: usize,
    complaints: String,
}

impl Runner {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tables = Tables::new(TablesConfig {
            workers: 2,
            directory: Some(directory.path().to_owned()),
            mock: true,
            // The recorded program's limit at start; ours is another.
            options: Options { flow_hold_limit: 1000, ..Options::default() },
            ..TablesConfig::default()
        })
        .unwrap();
        Self {
            tables,
            responder: Responder::new(About::version("test")),
            compat: Compat::Current,
            directory,
            flows: HashSet::new(),
            packets: false,
            compared: 0,
            left_out: 0,
            complaints: String::new(),
        }
    }

    fn run(&mut self, steps: &[Step]) {
        let mut steps = steps.iter().enumerate();
        while let Some((number, step)) = steps.next() {
            match step {
                Step::Request(request) => {
                    let Some((_, Step::Reply(reply))) = steps.next() else {
                        panic!("step {number}: a request without reply")
                    };
                    self.request(number, request, reply);
                }
                Step::FlowEntry(entry) if !self.packets => self.flow_entry(number, entry),
                Step::Inject => {
                    self.packets = true;
                    self.left_out += 1;
                }
                Step::FlowEntry(_) | Step::Packets => self.left_out += 1,
                Step::Reply(_) => panic!("step {number}: a reply without request"),
                Step::Passive => {}
            }
        }
    }

    /// Whether the answer depends on entries that packets made.
    fn needs_packets(&self, request: &Request, wanted: &Reply) -> bool {
        let names_unknown = |field: &str| {
            let index = request.number(field);
            index >= 0 && !self.flows.contains(&index)
        };
        self.packets
            && match request.message.as_str() {
                "vr_flow_req" => {
                    let reverse = request.number("fr_flags") & 0x1000 != 0;
                    names_unknown("fr_index") || (reverse && names_unknown("fr_rindex"))
                }
                "vr_flow_table_data" => wanted.objects[0].fields["ftable_created"] != 0,
                _ => false,
            }
    }

    fn request(&mut self, number: usize, request: &Request, wanted: &Reply) {
        if self.needs_packets(request, wanted) {
            self.left_out += 1;
            return;
        }
        let (codes, flags, objects) = self.exchange(&request.payload);
        let mut complaints = String::new();
        if codes != [wanted.resp_code] {
            writeln!(complaints, "    responses {codes:?}, recorded {}", wanted.resp_code).unwrap();
        }
        if flags != wanted.netlink_flags {
            writeln!(complaints, "    netlink flags {flags:?}, recorded {:?}", wanted.netlink_flags).unwrap();
        }
        if objects.len() != wanted.objects.len() {
            writeln!(complaints, "    {} objects, recorded {}", objects.len(), wanted.objects.len()).unwrap();
        }
        for (i, (object, wanted_object)) in objects.iter().zip(&wanted.objects).enumerate() {
            self.compare(i, object.as_record(), wanted_object, &wanted.ignore, &mut complaints);
            if let sandesh::Message::FlowResponse(response) = object {
                self.flows.insert(i64::from(response.fresp_index));
            }
        }
        self.compared += 1;
        if !complaints.is_empty() {
            let fields: Vec<String> =
                request.given().map(|(name, value)| format!("{name}={value}")).collect();
            let title = format!("  step {number}: {} {}", request.message, fields.join(" "));
            writeln!(self.complaints, "{title}\n{}", complaints.trim_end()).unwrap();
        }
    }

    fn compare(
        &self,
        number: usize,
        object: &dyn Record,
        wanted: &Object,
        ignore: &[String],
        complaints: &mut String,
    ) {
        let kind = object.kind().name();
        if kind != wanted.message {
            writeln!(complaints, "    object {number} is {kind}, recorded {}", wanted.message).unwrap();
            return;
        }
        for (name, recorded) in &wanted.fields {
            let counted = self.packets && VIF_COUNTERS.contains(&name.as_str());
            if counted || ignore.contains(name) {
                continue;
            }
            let ours = object.get(name).map_or(Json::Null, json);
            if ours != *recorded {
                writeln!(complaints, "    object {number} {name} = {ours}, recorded {recorded}").unwrap();
            }
        }
    }

    /// Executes one payload; returns all response codes, the flags of the netlink messages, the objects.
    fn exchange(&mut self, payload: &[u8]) -> (Vec<i64>, Vec<u16>, Vec<sandesh::Message>) {
        let mut frame = vec![0; HEADER_LEN];
        frame[..4].copy_from_slice(&((HEADER_LEN + payload.len()) as u32).to_ne_bytes());
        frame[16] = 1;
        frame.extend_from_slice(payload);
        let mut reader = FrameReader::new();
        let mut source = &frame[..];
        let mut out = Vec::new();
        loop {
            reader.read_from(&mut source).unwrap();
            if let Some(frame) = reader.next_frame().unwrap() {
                let Self { responder, compat, tables, .. } = self;
                responder.answer(&frame, compat, tables, &mut NoPackets, &mut out);
                break;
            }
        }
        self.tables.publish();
        read_replies(&out)
    }

    fn flow_entry(&mut self, number: usize, wanted: &FlowEntry) {
        let file = std::fs::File::open(self.directory.path().join("flow.shmem")).unwrap();
        let mut entry = [0; SharedFlow::SIZE];
        file.read_exact_at(&mut entry, wanted.index * SharedFlow::SIZE as u64).unwrap();
        let masked = |at: usize| wanted.mask.iter().any(|(from, len)| (*from..from + len).contains(&at));
        let different: Vec<usize> =
            (0..entry.len()).filter(|at| !masked(*at) && entry[*at] != wanted.bytes[*at]).collect();
        self.compared += 1;
        for at in different {
            let (ours, recorded) = (entry[at], wanted.bytes[at]);
            writeln!(
                self.complaints,
                "  step {number}: flow entry {}: byte {at} is {ours:02x}, recorded {recorded:02x}",
                wanted.index
            )
            .unwrap();
        }
    }
}

fn read_replies(mut bytes: &[u8]) -> (Vec<i64>, Vec<u16>, Vec<sandesh::Message>) {
    let (mut codes, mut flags, mut objects) = (Vec::new(), Vec::new(), Vec::new());
    let mut reader = FrameReader::new();
    while !bytes.is_empty() {
        reader.read_from(&mut bytes).unwrap();
        while let Some(frame) = reader.next_frame().unwrap() {
            assert!(HEADER_LEN + frame.payload.len() <= 4096, "a reply is too long for clients");
            flags.push(frame.header.flags);
            for message in decode(frame.payload, Compat::Current) {
                match message.expect("our own reply is readable") {
                    sandesh::Message::Response(response) => codes.push(i64::from(response.resp_code)),
                    object => objects.push(object),
                }
            }
        }
    }
    (codes, flags, objects)
}

/// A field as the recordings write it.
fn json(value: Value<'_>) -> Json {
    match value {
        Value::Byte(number) => number.into(),
        Value::I16(number) => number.into(),
        Value::U16(number) => number.into(),
        Value::I32(number) => number.into(),
        Value::U32(number) => number.into(),
        Value::I64(number) => number.into(),
        Value::U64(number) => number.into(),
        Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        Value::I16s(list) => list.into(),
        Value::U16s(list) => list.into(),
        Value::I32s(list) => list.into(),
        Value::U32s(list) => list.into(),
        Value::I64s(list) => list.into(),
        Value::U64s(list) => list.into(),
        Value::Text(text) => text.into(),
    }
}

fn replay(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance").join(name);
    let steps = steps::read(&path);
    let mut runner = Runner::new();
    runner.run(&steps);
    println!("{name}: {} steps compared, {} about packets left out", runner.compared, runner.left_out);
    assert!(runner.compared > 0, "{name} has no requests");
    assert!(runner.complaints.is_empty(), "{name} differs from the recording:\n{}", runner.complaints);
}

macro_rules! files {
    ($($test:ident $file:literal,)*) => {
        $(#[test]
        fn $test() {
            replay($file);
        })*

        #[test]
        fn every_step_file_is_replayed() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance");
            let mut there: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.ends_with(".jsonl"))
                .collect();
            there.sort();
            assert_eq!(there, [$($file),*]);
        }
    };
}

files! {
    vif_requests "01-vif-requests.jsonl",
    nexthop_requests "02-nexthop-requests.jsonl",
    route_requests "03-route-requests.jsonl",
    bridge_route_requests "04-bridge-route-requests.jsonl",
    label_requests "05-label-requests.jsonl",
    small_table_requests "06-small-table-requests.jsonl",
    router_requests "07-router-requests.jsonl",
    flow_requests "08-flow-requests.jsonl",
    local_forwarding "09-local-forwarding.jsonl",
    tunnels_out "10-tunnels-out.jsonl",
    tunnels_in "11-tunnels-in.jsonl",
    ecmp_with_flow "12-ecmp-with-flow.jsonl",
    flow_miss_and_hold "13-flow-miss-and-hold.jsonl",
    nat_flows "14-nat-flows.jsonl",
    tcp_states "15-tcp-states.jsonl",
    arp_requests "16-arp-requests.jsonl",
    trapped_protocols "17-trapped-protocols.jsonl",
    broadcast_replication "18-broadcast-replication.jsonl",
    ipv6_forwarding "19-ipv6-forwarding.jsonl",
    fragmented_packets "20-fragmented-packets.jsonl",
    mtu_and_ttl "21-mtu-and-ttl.jsonl",
    port_mirroring "22-port-mirroring.jsonl",
    policy_and_source_check "23-policy-and-source-check.jsonl",
    cross_connect "24-cross-connect.jsonl",
}

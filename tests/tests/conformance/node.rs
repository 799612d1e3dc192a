//! The node under test: tables, handlers and one worker's pipeline, joined as the daemon joins them.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sandesh::netlink::{FrameReader, HEADER_LEN};
use sandesh::{Compat, Message, Record, decode};
use vr_forward::{Forwarder, Now, Output, Shared};
use vr_frame::{Batch, FramePool, Packet, PoolSet, PoolSizes};
use vr_shim::{About, Responder};
use vr_tables::control::{AttachError, Attached, Datapath, Tables, TablesConfig};
use vr_tables::flow::SharedFlow;
use vr_tables::options::Options;
use vr_tables::vif::Vif;
use vr_types::{FlowIndex, VifId, WorkerId};

/// What the tester is connected to, and what commands ask of the worker.
#[derive(Default)]
struct Ports {
    names: HashMap<VifId, String>,
    /// Flows whose entries changed.
    changed: Vec<FlowIndex>,
}

impl Datapath for Ports {
    fn attach(&mut self, vif: &Vif) -> Result<Attached, AttachError> {
        self.names.insert(vif.id, vif.details.name.clone());
        Ok(Attached::default())
    }

    fn detach(&mut self, vif: VifId) {
        self.names.remove(&vif);
    }

    fn flow_changed(&mut self, flow: FlowIndex) {
        self.changed.push(flow);
    }

    fn settle(&mut self) {}
}

/// What a request is answered with: response codes, flags of the netlink messages, objects.
pub(crate) struct Answer {
    pub(crate) codes: Vec<i64>,
    pub(crate) flags: Vec<u16>,
    pub(crate) objects: Vec<Message>,
}

pub(crate) struct Node {
    tables: Tables,
    responder: Responder,
    compat: Compat,
    directory: tempfile::TempDir,
    ports: Ports,
    forwarder: Option<Forwarder>,
    pool: FramePool,
    output: Output,
    now: Now,
    /// Frames that came out, by name of interface, in order.
    pub(crate) sent: Vec<(String, Vec<u8>)>,
}

impl Node {
    pub(crate) fn new() -> Self {
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
        let forwarder = Forwarder::new(Shared {
            worker: WorkerId(0),
            tables: tables.reader(),
            flows: Arc::clone(tables.flow_table()),
            grace: Arc::clone(tables.grace()),
            stats: Arc::clone(&tables.worker_stats()[0]),
            holds: Arc::clone(tables.holds()),
        });
        let (_, mut pools) = PoolSet::new(1, PoolSizes { packets: 512, supers: 8 }).unwrap();
        Self {
            tables,
            responder: Responder::new(About::version("test")),
            compat: Compat::Current,
            directory,
            ports: Ports::default(),
            forwarder: Some(forwarder),
            pool: pools.remove(0),
            output: Output::new(),
            now: Now(1_000_000_000),
            sent: Vec::new(),
        }
    }

    fn forwarder(&mut self) -> (&mut Forwarder, &mut FramePool, &mut Output) {
        (self.forwarder.as_mut().unwrap(), &mut self.pool, &mut self.output)
    }

    /// Executes the messages of one payload, as if they came in one netlink frame.
    pub(crate) fn exchange(&mut self, payload: &[u8]) -> Answer {
        let mut frame = vec![0; HEADER_LEN];
        frame[..4].copy_from_slice(&((HEADER_LEN + payload.len()) as u32).to_ne_bytes());
        frame[16] = 1;
        frame.extend_from_slice(payload);
        let mut reader = FrameReader::new();
        let mut out = Vec::new();
        let mut source = &frame[..];
        loop {
            reader.read_from(&mut source).unwrap();
            if let Some(frame) = reader.next_frame().unwrap() {
                let Self { responder, compat, tables, ports, .. } = self;
                responder.answer(&frame, compat, tables, ports, &mut out);
                break;
            }
        }
        self.tables.publish();
        for flow in std::mem::take(&mut self.ports.changed) {
            let now = self.now;
            let (forwarder, pool, output) = self.forwarder();
            forwarder.release_held(flow, now, pool, output);
        }
        self.take_output();
        self.tables.housekeep();
        read_replies(&out)
    }

    /// Reads an object that a message about it answers with.
    pub(crate) fn read(&mut self, request: &impl Record) -> Message {
        let mut payload = Vec::new();
        sandesh::encode(request, Compat::Current, &mut payload);
        let mut answer = self.exchange(&payload);
        assert_eq!(answer.codes, [0], "a read fails");
        answer.objects.remove(0)
    }

    /// A frame comes in by the interface of that name. What does not exist receives nothing.
    pub(crate) fn inject(&mut self, name: &str, frame: &[u8]) {
        self.pass(1);
        let Some(from) = self.ports.names.iter().find(|(_, known)| *known == name).map(|(id, _)| *id) else {
            return;
        };
        let mut batch = Batch::new();
        let frame = self.pool.copy_of(frame).unwrap();
        assert!(batch.push(Packet::plain(frame)).is_ok(), "an empty batch has room");
        let now = self.now;
        let (forwarder, pool, output) = self.forwarder();
        forwarder.process(from, &mut batch, now, pool, output);
        self.take_output();
        self.tables.housekeep();
    }

    /// Time goes by.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        self.now.0 += milliseconds * 1_000_000;
        let now = self.now;
        let (forwarder, pool, output) = self.forwarder();
        forwarder.tick(now, pool, output);
        self.take_output();
        self.tables.housekeep();
    }

    fn take_output(&mut self) {
        let Self { output, pool, ports, sent, .. } = self;
        for (to, packet) in output.drain() {
            assert!(packet.offload.is_plain(), "nothing here asks for offloads");
            if let Some(name) = ports.names.get(&to) {
                sent.push((name.clone(), packet.frame.bytes().to_vec()));
            }
            pool.free(packet.frame);
        }
    }

    /// A mapped flow entry, as clients see it.
    pub(crate) fn flow_entry(&self, index: u64) -> [u8; SharedFlow::SIZE] {
        self.tables.flow_folding().run();
        let file = std::fs::File::open(self.directory.path().join("flow.shmem")).unwrap();
        let mut entry = [0; SharedFlow::SIZE];
        file.read_exact_at(&mut entry, index * SharedFlow::SIZE as u64).unwrap();
        entry
    }

    /// Ends the node; every frame has to be back.
    pub(crate) fn close(mut self) {
        self.forwarder.take().unwrap().close(&mut self.pool);
        assert_eq!(self.pool.available(), 512, "frames are missing");
    }
}

fn read_replies(mut bytes: &[u8]) -> Answer {
    let (mut codes, mut flags, mut objects) = (Vec::new(), Vec::new(), Vec::new());
    let mut reader = FrameReader::new();
    while !bytes.is_empty() {
        reader.read_from(&mut bytes).unwrap();
        while let Some(frame) = reader.next_frame().unwrap() {
            assert!(HEADER_LEN + frame.payload.len() <= 4096, "a reply is too long for clients");
            flags.push(frame.header.flags);
            for message in decode(frame.payload, Compat::Current) {
                match message.expect("our own reply is readable") {
                    Message::Response(response) => codes.push(i64::from(response.resp_code)),
                    object => objects.push(object),
                }
            }
        }
    }
    Answer { codes, flags, objects }
}

//! A server in process, without a socket: for very many requests. Whatever is asked of it, it looks at the answers, and
//! a refused request must not have changed anything.

use sandesh::netlink::{Frame, FrameReader, HEADER_LEN, Header, MAX_REPLY};
use sandesh::{Compat, Message, Record, SandeshOp, Value, decode};
use vr_shim::{About, Responder};
use vr_tables::control::{Limits, Tables, TablesConfig};
use vr_tables::geometry::Geometry;

use crate::served::NoPorts;
use crate::state::State;

/// How many requests were answered how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// With success.
    pub(crate) accepted: usize,
    /// With errors, and nothing had changed.
    pub(crate) refused: usize,
    /// Of these, because they could not be read.
    pub(crate) malformed: usize,
}

pub(crate) struct Node {
    /// Release of those who ask.
    compat: Compat,
    tables: Tables,
    responder: Responder,
    /// What the tables hold, if that is known.
    state: Option<State>,
    out: Vec<u8>,
    /// What the last replies held beside the responses.
    pub(crate) objects: Vec<Message>,
    pub(crate) counts: Counts,
}

impl Node {
    /// With empty tables: those of which every entry is looked at are small.
    pub(crate) fn new() -> Self {
        Self::of(Compat::Current)
    }

    /// Which is asked by clients of this release.
    pub(crate) fn of(compat: Compat) -> Self {
        let limits = Limits {
            nexthops: 8192,
            flows: Geometry { entries: 128, overflow: 32 },
            bridge: Geometry { entries: 64, overflow: 16 },
            ..Limits::default()
        };
        let tables = Tables::new(TablesConfig { workers: 2, limits, mock: true, ..TablesConfig::default() });
        Self {
            compat,
            tables: tables.unwrap(),
            responder: Responder::new(About::version("test")),
            state: None,
            out: Vec::new(),
            objects: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Executes the messages of a payload of the current release without looking; says what the responses were.
    pub(crate) fn execute(&mut self, payload: &[u8]) -> Vec<i32> {
        let culprit = Culprit(payload);
        self.state = None;
        let codes = self.answer(payload, Compat::Current);
        std::mem::forget(culprit);
        codes
    }

    /// Executes the messages of a payload, and looks whether they changed something that they must not change.
    pub(crate) fn probe(&mut self, payload: &[u8]) -> Vec<i32> {
        let culprit = Culprit(payload);
        let before = self.state.take().unwrap_or_else(|| State::of(&self.tables));
        let asked: Vec<_> = decode(payload, self.compat).collect();
        let codes = self.answer(payload, self.compat);
        assert_eq!(codes.len(), asked.len(), "one response for each message");
        let refused = codes.iter().all(|code| *code < 0);
        let is_read = |message: &Message| !changes(message.as_record());
        if refused || asked.iter().all(|message| message.as_ref().is_ok_and(is_read)) {
            let after = State::of(&self.tables);
            assert!(before == after, "{codes:?} {asked:?} changed\n{}", before.differences(&after));
            self.state = Some(after);
        }
        self.counts.accepted += usize::from(!refused);
        self.counts.refused += usize::from(refused);
        self.counts.malformed += usize::from(refused && asked.last().is_some_and(Result::is_err));
        std::mem::forget(culprit);
        codes
    }

    /// Whether the tables are as they were before the last request.
    pub(crate) fn is_known(&self) -> bool {
        self.state.is_some()
    }

    fn answer(&mut self, payload: &[u8], mut compat: Compat) -> Vec<i32> {
        self.out.clear();
        self.objects.clear();
        let frame = Frame { header: Header::request(7), payload, bytes: &[] };
        self.responder.answer(&frame, &mut compat, &mut self.tables, &mut NoPorts, &mut self.out);
        self.tables.publish();
        let mut codes = Vec::new();
        let (mut frames, mut replies, mut is_multi) = (FrameReader::new(), &self.out[..], false);
        while frames.read_from(&mut replies).unwrap() > 0 {
            while let Some(reply) = frames.next_frame().unwrap() {
                assert!(HEADER_LEN + reply.payload.len() <= MAX_REPLY, "a reply is too long");
                is_multi = reply.header.is_multi();
                for message in decode(reply.payload, compat) {
                    match message.expect("our reply can be read") {
                        Message::Response(response) => codes.push(response.resp_code),
                        object => self.objects.push(object),
                    }
                }
            }
        }
        assert!(!is_multi, "the last reply says that another one follows");
        codes
    }
}

/// Whether an accepted message of this kind and operation changes tables.
fn changes(message: &dyn Record) -> bool {
    let name = message.kind().fields()[0];
    match message.value(0) {
        Some(Value::I32(operation)) if name == "h_op" => {
            [SandeshOp::ADD, SandeshOp::DEL, SandeshOp::RESET].contains(&SandeshOp(operation))
        }
        _ => message.kind().name() == "vr_flow_req",
    }
}

/// Prints the request at which a test failed.
struct Culprit<'a>(&'a [u8]);

impl Drop for Culprit<'_> {
    fn drop(&mut self) {
        eprintln!("the request was {:02x?}", self.0);
    }
}

use sandesh::messages::Message;
use sandesh::netlink::{Frame, ReplyWriter};
use sandesh::{Compat, DecodeError, SandeshOp, decode, r220};
use vr_tables::control::{Datapath, Tables};
use vr_tables::flow::Expected;

use crate::handlers::{self, Context, info::InfoTexts};
use crate::{About, MachineSource};

/// Code of the response to what cannot be decoded (control.md 1.4).
const UNDECODABLE: i32 = -1;

/// Messages whose memory is kept: as many as agents put into one request (control.md 2.2).
const SPARE: usize = 16;

/// Answers requests. One serves all clients.
pub struct Responder {
    about: About,
    machine: Option<MachineSource>,
    texts: InfoTexts,
    /// The messages of one frame, empty between two.
    messages: Vec<Result<Message, DecodeError>>,
    /// Memory for messages.
    spare: Vec<Message>,
    /// The flows that they are about, in the same way.
    flows: Vec<Expected>,
}

impl Responder {
    /// A responder of a daemon that tells this about itself.
    #[must_use]
    pub fn new(about: About) -> Self {
        let (messages, spare, flows) = (Vec::new(), Vec::new(), Vec::new());
        Self { about, machine: None, texts: InfoTexts::default(), messages, spare, flows }
    }

    /// Tells clients what `source` tells about workers and ports.
    pub fn set_machine(&mut self, source: MachineSource) {
        self.machine = Some(source);
    }

    /// Executes the messages of one frame and appends the replies to `out`: exactly one response for each
    /// message, in order. `compat` is what is known of the client and learns from what it sends. Changes
    /// have to be published before the replies are sent.
    pub fn answer(
        &mut self,
        frame: &Frame<'_>,
        compat: &mut Compat,
        tables: &mut Tables,
        datapath: &mut dyn Datapath,
        out: &mut Vec<u8>,
    ) {
        let mut decoder = decode(frame.payload, *compat).reusing(std::mem::take(&mut self.spare));
        self.messages.extend(decoder.by_ref());
        *compat = decoder.compat();
        self.spare = decoder.take_spare();
        let (compat, mut replies) = (*compat, ReplyWriter::new(&frame.header, *compat, out));
        if compat == Compat::R220 {
            replies = replies.padded().translated(r220::to_r220);
        }
        // They would wait for the memory of one flow after the other.
        self.flows.extend(self.messages.iter().flatten().filter_map(handlers::expected_flow));
        tables.flow_table().expect(&self.flows);
        self.flows.clear();
        let (about, machine) = (&self.about, self.machine.as_ref());
        let mut context = Context { compat, tables, datapath, about, machine, texts: &mut self.texts };
        for message in self.messages.drain(..) {
            match message {
                Ok(mut message) => {
                    if compat == Compat::R220 {
                        if is_new(&message) {
                            replies.response(-libc::EOPNOTSUPP);
                            continue;
                        }
                        r220::to_current(&mut message);
                    }
                    handlers::handle(&message, &mut context, &mut replies);
                    if self.spare.len() < SPARE {
                        self.spare.push(message);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a request cannot be decoded");
                    replies.response(UNDECODABLE);
                }
            }
        }
    }
}

/// Whether R2.20 has the message but not its operation.
fn is_new(message: &Message) -> bool {
    match message {
        Message::InterfaceReq(request) => request.h_op == SandeshOp::RESET,
        Message::VrouterOps(request) => request.h_op == SandeshOp::ADD,
        Message::DropStatsReq(request) => request.h_op == SandeshOp::RESET,
        _ => false,
    }
}

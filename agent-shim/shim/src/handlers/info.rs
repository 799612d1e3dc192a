//! `vr_info_req` (control.md 4.13): texts that utilities print, in pieces.

use std::collections::BTreeMap;

use sandesh::SandeshOp;
use sandesh::messages::InfoReq;
use sandesh::netlink::ReplyWriter;

use super::{Context, info_text, is_this_router, unsupported};

/// Bytes of text in one piece; two pieces do not fit into one part.
const PIECE: usize = 3000;
/// Texts that are kept for clients that have not fetched the rest yet.
const MAX_TEXTS: i16 = 64;

/// Texts that clients are fetching, by the number that they were given.
#[derive(Default)]
pub(crate) struct InfoTexts {
    texts: BTreeMap<i16, String>,
    last: i16,
}

impl InfoTexts {
    /// Keeps a text; the oldest goes when there are too many, its client asked for no more.
    fn keep(&mut self, text: String) -> i16 {
        self.last = self.last % MAX_TEXTS + 1;
        self.texts.insert(self.last, text);
        self.last
    }
}

pub(super) fn handle(request: &InfoReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.vdu_rid, replies) {
        return;
    }
    if request.h_op != SandeshOp::DUMP {
        return unsupported(replies);
    }
    let (id, number) = if request.vdu_marker < 0 {
        let machine = context.machine.map(|machine| machine()).unwrap_or_default();
        match info_text::text(request.vdu_msginfo, context.about, &machine, context.tables) {
            Some(text) => (context.texts.keep(text), 0),
            None => return replies.response(0),
        }
    } else {
        (request.vdu_buff_table_id, request.vdu_marker)
    };
    let Some(text) = context.texts.texts.get(&id) else { return replies.response(-libc::ENOENT) };
    let mut part = replies.dump();
    let pieces = pieces(text).enumerate().skip(usize::try_from(number).unwrap_or(0));
    let mut more = false;
    for (piece, bytes) in pieces {
        let object = InfoReq {
            h_op: SandeshOp::DUMP,
            vdu_index: piece as i16 + 1,
            vdu_buff_table_id: id,
            vdu_msginfo: request.vdu_msginfo,
            vdu_proc_info: [bytes, &[0]].concat(),
            ..InfoReq::default()
        };
        // The second one does not fit, which tells the client to ask for it.
        more = !part.push(&[&object]);
        if more {
            break;
        }
    }
    if !more {
        context.texts.texts.remove(&id);
    }
}

fn pieces(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().chunks(PIECE)
}

//! Replies of a server.

use super::{FLAGS, HEADER_LEN, Header, MAX_REPLY};
use crate::constants::response::{VR_MESSAGE_DUMP_INCOMPLETE, VR_MESSAGE_PAGE_SIZE};
use crate::constants::{SandeshOp, netlink, wire_type};
use crate::encode::{encode, encoded_len};
use crate::messages::{Message, Response};
use crate::schema::Compat;
use crate::value::Record;

/// Changes an object before it is written. Lengths of texts and lists must stay.
pub type Translation = fn(&mut Message);

/// Writes the replies to the messages of one request frame (control.md 2.3, 2.4).
///
/// For each message of the request call [`response`](Self::response), and then
/// [`object`](Self::object) for what it returns; or [`dump`](Self::dump). Every call leaves complete netlink
/// messages in the output, of which the last says that no other follows.
#[derive(Debug)]
pub struct ReplyWriter<'a> {
    out: &'a mut Vec<u8>,
    header: Header,
    compat: Compat,
    padded: bool,
    translation: Option<Translation>,
    /// Where the last netlink message begins.
    start: Option<usize>,
    /// Where its payload ends, without padding.
    end: usize,
}

impl<'a> ReplyWriter<'a> {
    /// Replies to the frame with the header `request`, appended to `out`.
    #[must_use]
    pub fn new(request: &Header, compat: Compat, out: &'a mut Vec<u8>) -> Self {
        let header = Header { flags: 0, pid: 0, ..*request };
        Self { out, header, compat, padded: false, translation: None, start: None, end: 0 }
    }

    /// Fills each message to a multiple of four bytes with zeros that count as payload, as R2.20 does. Its
    /// clients do not need it.
    #[must_use]
    pub fn padded(self) -> Self {
        Self { padded: true, ..self }
    }

    /// Changes every object in this way before it is written: for clients that number values differently.
    #[must_use]
    pub fn translated(self, translation: Translation) -> Self {
        Self { translation: Some(translation), ..self }
    }

    /// Replies with `code`: 0, or a negative errno (control.md 2.7).
    pub fn response(&mut self, code: i32) {
        self.begin();
        self.append(&Response { h_op: SandeshOp::RESPONSE, resp_code: code });
    }

    /// Adds an object to the last response, in the same netlink message. Returns false, and adds nothing, if
    /// there is none or the message would become longer than [`MAX_REPLY`].
    pub fn object(&mut self, object: &dyn Record) -> bool {
        let Some(start) = self.start else { return false };
        let translated = self.translate(object);
        let object = translated.as_ref().map_or(object, Message::as_record);
        let before = self.end;
        self.append(object);
        let fits = self.end - start <= MAX_REPLY;
        if !fits {
            self.end = before;
            self.complete(start);
        }
        fits
    }

    /// Replies to a dump request with the objects that are then pushed.
    pub fn dump(&mut self) -> DumpPart<'_, 'a> {
        self.response(0);
        let code_at = self.end - size_of_val(&wire_type::STOP) - size_of::<i32>();
        DumpPart { replies: self, code_at, count: 0, room: VR_MESSAGE_PAGE_SIZE as usize, full: false }
    }

    fn translate(&self, object: &dyn Record) -> Option<Message> {
        self.translation.map(|translate| {
            let mut message = object.to_message();
            translate(&mut message);
            message
        })
    }

    /// Starts a netlink message; the one before it is no longer the last.
    fn begin(&mut self) {
        if let Some(start) = self.start {
            self.out[start + FLAGS..][..2].copy_from_slice(&netlink::NLM_F_MULTI.to_ne_bytes());
        }
        self.start = Some(self.out.len());
        self.out.extend_from_slice(&[0; HEADER_LEN]);
        self.end = self.out.len();
    }

    /// Adds to the last netlink message and completes it.
    fn append(&mut self, record: &dyn Record) {
        let Some(start) = self.start else { return };
        self.out.truncate(self.end);
        encode(record, self.compat, self.out);
        self.end = self.out.len();
        self.complete(start);
    }

    /// Ends the last netlink message behind its payload.
    fn complete(&mut self, start: usize) {
        let length = self.end - start;
        let length = if self.padded { length.next_multiple_of(4) } else { length };
        self.out.resize(start + length, 0);
        // The attribute's length leaves out its own header, which clients rely on.
        let header = self.header.write(length, length - HEADER_LEN);
        self.out[start..][..HEADER_LEN].copy_from_slice(&header);
    }
}

/// The reply to a dump request: a response, and a netlink message with as many objects as one part may hold
/// (control.md 2.6). It is complete after every push.
#[derive(Debug)]
pub struct DumpPart<'w, 'a> {
    replies: &'w mut ReplyWriter<'a>,
    /// Where the code of the response is in the output.
    code_at: usize,
    count: i32,
    /// Bytes that are left for objects.
    room: usize,
    full: bool,
}

impl DumpPart<'_, '_> {
    /// Adds `group`, objects that must not be separated: a vif and its drop counters, routes of one address.
    ///
    /// Returns false, and adds nothing, if the part has no room for all of them; the client is then told to
    /// ask again for what comes after the objects it has. Nothing can be pushed after that. Of a group that
    /// does not even fit in an empty part, what does not fit is left out: it must not hide what comes behind it.
    pub fn push(&mut self, group: &[&dyn Record]) -> bool {
        let fitting = self.fitting(group);
        self.full |= fitting < group.len() && self.count > 0;
        if !self.full {
            for object in &group[..fitting] {
                if self.count == 0 {
                    self.replies.begin();
                }
                self.room -= encoded_len(*object, self.replies.compat);
                let translated = self.replies.translate(*object);
                self.replies.append(translated.as_ref().map_or(*object, Message::as_record));
                self.count += 1;
            }
        }
        let incomplete = if self.full { VR_MESSAGE_DUMP_INCOMPLETE } else { 0 };
        let code = (self.count | incomplete).to_be_bytes();
        self.replies.out[self.code_at..][..code.len()].copy_from_slice(&code);
        !self.full
    }

    /// How many objects of the group there is room for, from the first on.
    fn fitting(&self, group: &[&dyn Record]) -> usize {
        let mut length = 0;
        let fits = |object: &&&dyn Record| {
            length += encoded_len(**object, self.replies.compat);
            length <= self.room
        };
        group.iter().take_while(fits).count()
    }
}

//! Codec of the sandesh encoding and of the netlink framing around it: the language that the vrouter
//! agent and the command line utilities speak with a vrouter (control.md sections 1, 2 and 9).
//!
//! The crate knows how messages look, not what they mean. Every message is a plain struct in
//! [`messages`], for example [`messages::NexthopReq`]; its fields, their documentation and the wire tables
//! that drive the codec come from `schema/sandesh-messages.tsv`. One struct serves both schemas: fields
//! that only R2.20 has are there too, and a field whose type differs has the type of the current release.
//!
//! A server reads requests and writes replies like this:
//!
//! ```
//! use sandesh::messages::{Message, NexthopReq};
//! use sandesh::netlink::{FrameReader, ReplyWriter};
//! use sandesh::{Compat, SandeshOp, decode};
//!
//! fn serve(client: &mut impl std::io::Read) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//!     let mut frames = FrameReader::new();
//!     let mut out = Vec::new();
//!     frames.read_from(client)?;
//!     while let Some(frame) = frames.next_frame()? {
//!         let mut replies = ReplyWriter::new(&frame.header, Compat::Current, &mut out);
//!         for message in decode(frame.payload, Compat::Current) {
//!             match message {
//!                 Ok(Message::NexthopReq(request)) if request.h_op == SandeshOp::GET => {
//!                     replies.response(0);
//!                     replies.object(&NexthopReq { nhr_id: request.nhr_id, ..Default::default() });
//!                 }
//!                 Ok(_) => replies.response(-95),
//!                 Err(_) => replies.response(-1),
//!             }
//!         }
//!     }
//!     Ok(out)
//! }
//! # serve(&mut [].as_slice()).unwrap();
//! ```

mod decode;
mod encode;
mod input;
mod log_names;
mod schema;
mod value;

pub mod constants;
pub mod messages;
pub mod netlink;
pub mod r220;

pub use constants::{FlowOp, SandeshOp};
pub use decode::{DecodeError, Decoder, decode};
pub use encode::{encode, encoded_len};
pub use input::Fault;
pub use log_names::{LOG_LEVELS, LOG_TYPES};
pub use messages::{Kind, Message};
pub use schema::Compat;
pub use value::{Record, Value, ValueMut};

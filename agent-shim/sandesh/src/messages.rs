//! The messages, generated from `schema/sandesh-messages.tsv`.
//!
//! Control.md 1.3 says which integers are addresses or ports as they lie in memory: their network bytes
//! are `value.to_le_bytes()`. A field that is wider here than in R2.20 is sign extended when read, so that
//! -1 stays -1; one that differs in sign keeps its bits.

#![allow(
    clippy::struct_field_names,
    clippy::doc_markdown,
    clippy::too_many_lines,
    reason = "generated from a table whose names and sizes are given"
)]

use crate::constants::{FlowOp, SandeshOp, wire_type};
use crate::encode::put;
use crate::schema::{Int, Schema, WireField, WireType};
use crate::value::{Record, Value, ValueMut};

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

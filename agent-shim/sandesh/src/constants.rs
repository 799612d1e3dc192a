//! Values of message fields, one module per group of `schema/constants.tsv`.
//!
//! A constant has the type of the field that holds it. Where R2.20 numbers a group in another way the
//! module has a module `r220` with that numbering.

#![allow(
    non_upper_case_globals,
    clippy::unreadable_literal,
    clippy::doc_markdown,
    reason = "generated from a table whose names and values are given"
)]

include!(concat!(env!("OUT_DIR"), "/constants.rs"));

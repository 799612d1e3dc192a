//! Header views, builders, checksums and encapsulation templates.

pub mod encap;
pub mod hash;

//! Header views, builders, checksums and encapsulation templates.

pub mod checksum;
pub mod encap;
pub mod hash;

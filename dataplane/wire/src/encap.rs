//! Placeholder.
/// Outer headers.
#[derive(Clone, Debug)]
pub struct EncapTemplate;

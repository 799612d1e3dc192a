//! Scenario, model and property tests; the demo.
//!
//! The library holds what the demo and the tests share: network namespaces, the daemon as a process, and traffic.

pub mod daemon;
pub mod echo;
pub mod netns;
pub mod nodes;
pub mod ping;
pub mod transfer;

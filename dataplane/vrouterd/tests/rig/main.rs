//! The daemon under the name of the original, in mock mode, as test rigs drive it (docs/spec/test-rig.md): its life
//! cycle, and the recorded step files over vhost-user ports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod daemon;
mod fresh;
mod life;
mod monitoring;
mod node;
mod placement;
mod recordings;
mod uplinks;

// The runner of step files, over another node than there.
#[path = "../../../../tests/tests/conformance/frames.rs"]
mod frames;
#[allow(dead_code, unreachable_pub, reason = "the tests of ports use all of it")]
#[path = "../../../io/tests/support/front_end.rs"]
mod front_end;
#[allow(dead_code, reason = "it is used by the other runner")]
#[path = "../../../../tests/tests/conformance/replay.rs"]
mod replay;
#[path = "../../../../tests/tests/conformance/replies.rs"]
mod replies;
#[path = "../../../../tests/tests/conformance/steps.rs"]
mod steps;

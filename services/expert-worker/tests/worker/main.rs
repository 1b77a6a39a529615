//! The worker over real gRPC, with a real HTTP endpoint behind its `openai` backend.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod calls;
mod endpoint;
mod harness;
mod hosted;
mod local;
mod service;

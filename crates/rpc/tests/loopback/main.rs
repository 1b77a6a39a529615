//! Servers and clients against each other over real loopback connections.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod blobs;
mod clients;
mod router;
mod serve;
mod world;

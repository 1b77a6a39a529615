//! Real processes, a real etcd, a real OpenAI-compatible server.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod backup;
mod bad_input;
mod buckets;
mod client;
mod cluster;
mod command_line;
mod degraded;
mod durable;
mod learning;
mod observability;
mod operations;
mod overload;
mod policies;
mod secure_etcd;
mod skew;
mod skills;
mod traces;
mod training;
mod trajectories;

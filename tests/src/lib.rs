//! The cluster sandbox: real processes, a real etcd, a real OpenAI-compatible server.
//!
//! The programs are those beside the test's own (`target/debug`), built by
//! `cargo build --workspace --bins`.

pub mod faults;

mod cluster;
mod openai;
mod process;
mod s3;
mod traces;

pub use nix::sys::signal::Signal;

pub use cluster::{Cluster, connect, local_up, start_etcd, start_etcd_with};
pub use openai::ChatServer;
pub use process::{Process, SandboxError, binary};
pub use s3::S3Server;
pub use traces::{ReceivedSpan, TraceReceiver};

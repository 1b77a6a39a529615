//! The expert worker: puts frozen models behind gRPC and into the registry.
//!
//! - [`backend`] turns a call into a reply; one kind for each way of reaching a model.
//! - [`plan`] decides which experts to serve, from the registry and the configuration. Pure.
//! - `supervisor` carries that out: builds a backend, warms it up, registers an instance, takes it
//!   back when the descriptor goes.
//! - `serving` stands around each backend: admission, permits, deadline, accounts.
//! - [`Worker`] finds the expert of a call and keeps recent replies under their keys.
//! - [`start`] joins them and serves.

pub mod backend;
pub mod config;
pub mod images;
pub mod plan;

mod error;
mod local;
mod service;
mod serving;
mod start;
mod supervisor;
mod worker;

pub use config::{ExpertWorkerConfig, HostedExpert};
pub use error::ExpertWorkerError;
pub use local::local_experts;
pub use start::{ExpertWorker, start};
pub use worker::{ExpertState, Worker};

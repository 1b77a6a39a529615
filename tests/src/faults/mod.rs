//! Maestro under faults: real processes in network namespaces, three members of etcd, and a checker
//! of what came of it all. docs/faults.md says how to run it.
//!
//! ```text
//! seed ── Plan ──► Site: namespaces, processes, faults ─┐
//!           └────► clients: create, watch, cancel ──────┼─► Evidence ── check ──► violations
//!                  model: answers, notes its calls ─────┘
//! ```

pub mod check;
pub mod evidence;
pub mod journal;
pub mod plan;
pub mod trials;

mod clients;
mod etcd;
mod network;
mod run;
mod settings;
mod site;
mod stage;
mod tasks;

pub use run::{Report, run};

//! The coordinator: takes tasks, runs an episode for each, keeps its record.
//!
//! [`start`] joins the parts. A task comes in through `services`, is parsed once and admitted
//! ([`admission`]), and runs in an actor of its own (`actors`), which moves messages between the
//! pure state machine of `maestro-core` and the ports: policy, experts, skills, journal. What
//! happens is told to watchers through a `feed`, and where a durable episode runs elsewhere through
//! its journal (`watching`). What a coordinator that is gone had under way is taken over (`adoption`).

pub mod admission;
pub mod config;
pub mod error;

mod actors;
mod adoption;
mod creations;
mod cursor;
mod feed;
mod journal;
mod permits;
mod services;
mod start;
#[cfg(test)]
mod testing;
mod watching;

pub use config::CoordinatorConfig;
pub use error::CoordinatorError;
pub use journal::MemoryJournal;
pub use start::{Coordinator, Ports, start};

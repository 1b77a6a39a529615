//! The actors. They move messages; what they decide stands in pure functions of `maestro-core`.
//!
//! ```text
//! Root ── RegistryWatcher     says in metrics how fresh the snapshot is
//!      └─ Scheduler ── EpisodeActor × N
//! ```
//! Routers and the journal are shared objects behind ports, not actors: they hold no state that a
//! mailbox would have to protect, and one mailbox would serialise the calls of all episodes.

mod deciding;
mod effects;
mod episode;
mod live;
mod registry_watcher;
mod root;
mod scheduler;
mod writes;

pub(crate) use deciding::PolicyHealth;
pub(crate) use effects::World;
pub(crate) use live::Live;
pub(crate) use root::Root;
pub(crate) use scheduler::{Accepted, SchedulerMessage, submit, total_usage};

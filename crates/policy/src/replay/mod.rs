//! Episodes over recorded calls: the state machine of real episodes
//! ([`maestro_core::episode::Episode`]) under a clock that is set forward by what calls took.
//! Budgets, reservations, deadlines and failures mean the same as in a cluster because the same
//! code decides about them.

mod episode;
mod world;

pub use episode::{EpisodeResult, ReplayEpisode};
pub use world::{Absent, ReplayCall, ReplayTask, Terms, World};

#[cfg(test)]
pub(crate) mod tests;

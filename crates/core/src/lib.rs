//! The vocabulary of Maestro and everything about an episode that can be decided without I/O.
//!
//! This crate knows no other crate of the workspace. It holds
//! - the **types** of a task, an episode and the registry ([`task`], [`episode`], [`registry`]),
//! - the **ports** through which the pure parts reach the world ([`ports`]),
//! - the pure **decisions**: the episode state machine ([`episode::Episode`]), the action set
//!   ([`registry::Snapshot::action_set`]), cost quotes ([`quote`]), circuit breaking
//!   ([`breaker`]), instance selection ([`routing`]), who goes on with the episodes of a
//!   coordinator that is gone ([`adoption`]),
//! - what learners and evaluations measure by: whether an answer is right ([`grading`]), and what
//!   an episode was worth ([`reward`]), from what was recorded ([`recording`]).

pub mod admission;
pub mod adoption;
pub mod answer;
pub mod breaker;
pub mod digest;
pub mod episode;
pub mod error;
pub mod expert_call;
pub mod fallback;
pub mod grading;
pub mod ids;
pub mod money;
pub mod off_policy;
pub mod ports;
pub mod quote;
pub mod recording;
pub mod registry;
pub mod reward;
pub mod routing;
pub mod skill_run;
pub mod task;

pub use digest::Digest;
pub use error::{CoreError, FieldViolation};
pub use ids::{
    Capability, CoordinatorId, EpisodeId, ExpertName, InstanceId, RequestId, SkillName, TenantId,
};
pub use jiff::Timestamp;
pub use money::MicroUsd;

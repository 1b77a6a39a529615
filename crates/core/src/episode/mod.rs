//! One run of the policy on one task: its records and its pure state machine.

mod machine;
mod observation;
mod record;

pub use machine::{Effect, Episode, Event, Invocation, Phase, Quote, Remaining};
pub use observation::{
    Evidence, Failure, FailureKind, MAX_OBSERVATION_CHARS, Observation, clip_middle,
};
pub use record::{
    Action, Alternative, Answer, Choice, Conclusion, Decision, Durability, EpisodeRecord,
    EpisodeSpec, EpisodeStatus, FinalAnswer, Outcome, PendingCall, ServingMode, Step, Termination,
    Trace, Truncation,
};

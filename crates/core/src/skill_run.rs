//! Running one skill on one task with one expert.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    answer::AnswerKind,
    digest::Digest,
    ids::{EpisodeId, InstanceId},
    money::MicroUsd,
    task::{ImageRef, Pair},
};

/// What the skill runner needs to know of a step. It carries no reference answer and nothing of
/// other tenants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkillRun {
    /// Episode on whose behalf the skill runs.
    pub episode: EpisodeId,
    /// Index of the step, from 0.
    pub step: u32,
    /// The pair that the policy chose.
    pub pair: Pair,
    /// Digest of the skill's bundle that the episode started with.
    pub skill_digest: Digest,
    /// The user's question.
    pub question: String,
    /// What the policy wants asked, or empty for the question itself.
    pub query: String,
    /// The task's images.
    pub images: Vec<ImageRef>,
    /// The kind of answer to extract.
    pub answer_kind: AnswerKind,
    /// What the calls of this run may cost at most; reserved by the caller.
    pub max_cost: Option<MicroUsd>,
    /// When the result is of no more use.
    pub deadline: Timestamp,
    /// The instance of the pair's expert that is asked first.
    pub instance: Option<InstanceId>,
}

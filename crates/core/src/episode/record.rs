use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::observation::{Failure, Observation};
use crate::{
    digest::Digest,
    expert_call::Usage,
    ids::{EpisodeId, InstanceId, RequestId, TenantId},
    money::MicroUsd,
    task::{Pair, Task},
};

/// Whether an episode survives its coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Every step is journalled before the next starts.
    #[default]
    Durable,
    /// It ends with the process that runs it.
    Ephemeral,
}

/// Everything that was fixed when the episode was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeSpec {
    /// Its identifier.
    pub id: EpisodeId,
    /// Who asked.
    pub tenant: TenantId,
    /// The client's key of the creation, if it gave one.
    pub request_id: Option<RequestId>,
    /// What was asked.
    pub task: Arc<Task>,
    /// Whether it survives its coordinator.
    pub durability: Durability,
    /// Whether decisions are sampled (training, evaluation) or greedy (serving).
    pub mode: ServingMode,
    /// Policy slot that decides.
    pub slot: String,
    /// Seed of sampled decisions.
    pub seed: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
}

impl EpisodeSpec {
    /// Whether two creations ask for the same. Their deadlines may differ: a timeout is counted
    /// from each request's own arrival.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let timeless = |task: &Task| {
            let mut task = task.clone();
            task.budget.deadline = Timestamp::UNIX_EPOCH;
            task
        };
        timeless(&self.task) == timeless(&other.task)
            && (self.mode, &self.slot, self.durability)
                == (other.mode, &other.slot, other.durability)
    }
}

/// How a decision is taken from the policy's distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServingMode {
    /// The most probable action.
    #[default]
    Greedy,
    /// A sample.
    Sampled,
}

/// What an answer action answers with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The answer of the observation of step `k`.
    Observation(u32),
    /// A text of the policy's own.
    Text(String),
}

/// What the policy does next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Call a pair.
    Invoke {
        /// Expert and skill.
        pair: Pair,
        /// What to ask; empty for the question itself.
        query: String,
    },
    /// Stop and answer.
    Answer(Answer),
}

/// An action as an alternative names it: without its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Call a pair.
    Invoke(Pair),
    /// Answer with the observation of a step.
    AnswerObservation(u32),
    /// Answer with a text.
    AnswerText,
}

impl From<&Action> for Choice {
    fn from(action: &Action) -> Self {
        match action {
            Action::Invoke { pair, .. } => Self::Invoke(pair.clone()),
            Action::Answer(Answer::Observation(step)) => Self::AnswerObservation(*step),
            Action::Answer(Answer::Text(_)) => Self::AnswerText,
        }
    }
}

impl Action {
    /// The action as an alternative names it.
    pub fn choice(&self) -> Choice {
        match self {
            Self::Invoke { pair, .. } => Choice::Invoke(pair.clone()),
            Self::Answer(Answer::Observation(step)) => Choice::AnswerObservation(*step),
            Self::Answer(Answer::Text(_)) => Choice::AnswerText,
        }
    }
}

/// An action that could have been taken, with its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// The action.
    pub choice: Choice,
    /// Its probability after masks and temperature.
    pub probability: f32,
}

/// From what a decision can be computed again: candidate features, or tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Trace {
    /// Small enough to travel along. The first part names the format.
    Inline(String, Vec<u8>),
    /// In the blob store. The first part names the format.
    Blob(String, Digest),
}

/// What the policy chose, and all that is needed to learn from it or compute it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The action.
    pub action: Action,
    /// Natural logarithm of the probability with which the action was really taken, after masks,
    /// temperature, cascade and exploration. 0 for a greedy decision where nothing is explored.
    pub log_prob: f64,
    /// Its probability under the policy's distribution.
    pub probability: f32,
    /// How it was taken.
    pub mode: ServingMode,
    /// All actions of the distribution, the chosen one among them, by falling probability.
    pub alternatives: Vec<Alternative>,
    /// Version (digest) of the policy.
    pub policy_version: String,
    /// Digest of the catalogue that it chose from.
    pub catalogue: Option<Digest>,
    /// Registry revision that it chose from.
    pub revision: u64,
    /// From what it can be computed again.
    pub trace: Option<Trace>,
}

impl Decision {
    /// Shannon entropy of the distribution it was taken from, in nats: 0 is certain, ln n a free
    /// choice among n actions.
    pub fn entropy(&self) -> f32 {
        let terms = self.alternatives.iter().map(|a| a.probability);
        -terms.filter(|p| *p > 0.0).map(|p| p * p.ln()).sum::<f32>()
    }
}

/// One decision and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Index within the episode, from 0.
    pub index: u32,
    /// The decision.
    pub decision: Decision,
    /// What came of it; `None` for the answer that ends the episode.
    pub observation: Option<Observation>,
    /// When the decision was asked for.
    pub started_at: Timestamp,
    /// When the decision was there.
    pub decided_at: Timestamp,
    /// When the observation was there.
    pub finished_at: Timestamp,
}

/// A call that is about to be made or under way: all that is needed to repeat it when whoever made
/// it is lost.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingCall {
    /// Index of its step.
    pub step: u32,
    /// The decision behind it.
    pub decision: Decision,
    /// When the decision was asked for.
    pub started_at: Timestamp,
    /// When the decision was there.
    pub decided_at: Timestamp,
    /// What the call may cost at most; `None` without a cost limit.
    pub max_cost: Option<MicroUsd>,
    /// Whether it repeats the call of an owner that is gone.
    pub repeated: bool,
    /// The expert's instance that is asked first, and first again where the call is repeated: it
    /// may still hold the reply.
    pub instance: Option<InstanceId>,
    /// How long the episode has stood still so far; its deadline is so much later.
    pub suspended: Duration,
}

/// Which limit ended an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// No decision was left.
    Steps,
    /// No time was left.
    Deadline,
}

/// How an episode ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Termination {
    /// The policy answered.
    Answered,
    /// A limit was reached. The answer, if any, is the most confident observation's.
    Truncated(Truncation),
    /// The client or an operator cancelled it.
    Cancelled {
        /// Who and why.
        reason: String,
    },
    /// No decision could be had.
    Failed(Failure),
}

impl Termination {
    /// A stable short name, also used as a metric label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Truncated(_) => "truncated",
            Self::Cancelled { .. } => "cancelled",
            Self::Failed(_) => "failed",
        }
    }
}

/// The answer of an episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalAnswer {
    /// The answer as text.
    pub value: String,
    /// The step whose observation it comes from.
    pub from_step: Option<u32>,
    /// Its confidence, 0 where unknown.
    pub confidence: f32,
}

/// The end of an episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    /// How it ended.
    pub termination: Termination,
    /// Its answer.
    pub answer: Option<FinalAnswer>,
    /// What all steps used up.
    pub usage: Usage,
    /// Reserved for a call that was cut off, so that its true cost is unknown. Counted as spent.
    pub unsettled_cost: MicroUsd,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// How good an answer turned out to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// 0 (wrong) to 1 (right).
    pub score: f32,
    /// Where the score comes from: a grader, a user, a test.
    pub source: String,
    /// When it was reported.
    pub reported_at: Timestamp,
}

/// Whether an episode is running, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpisodeStatus {
    /// Not ended.
    Running,
    /// Ended.
    Finished,
}

/// All that is known of an episode. With a conclusion it is a finished trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeRecord {
    /// What was fixed at the start.
    pub spec: EpisodeSpec,
    /// Its steps so far.
    pub steps: Vec<Step>,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// How good it was, once known.
    pub outcome: Option<Outcome>,
}

impl EpisodeRecord {
    /// Whether it has ended.
    pub fn status(&self) -> EpisodeStatus {
        if self.conclusion.is_some() {
            EpisodeStatus::Finished
        } else {
            EpisodeStatus::Running
        }
    }

    /// Of two copies of a finished record the one of the higher version is the later one: 0 without
    /// an outcome, else the time of its report in nanoseconds since 1970.
    pub fn version(&self) -> i64 {
        let reported = self.outcome.as_ref().map(|outcome| outcome.reported_at);
        reported.map_or(0, |at| {
            i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
        })
    }

    /// Takes in how good it was, as a later version, even where the clock went back since the report
    /// before.
    pub fn report(&mut self, outcome: &Outcome) {
        let mut outcome = outcome.clone();
        if let Some(before) = &self.outcome
            && outcome.reported_at <= before.reported_at
        {
            let next = before.reported_at.checked_add(Duration::from_nanos(1));
            outcome.reported_at = next.unwrap_or(before.reported_at);
        }
        self.outcome = Some(outcome);
    }
}

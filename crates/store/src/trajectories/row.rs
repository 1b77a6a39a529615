//! A finished episode as a row, and back. Pure.
//!
//! What is flat already (images, weights, evidence, …) stands in the row as it is; the field names of
//! those types are names of columns, which `docs/trajectories.md` promises.

use std::{sync::Arc, time::Duration};

use maestro_core::{
    CoreError, Digest, EpisodeId, MicroUsd, RequestId, TenantId, Timestamp,
    answer::{AnswerKind, ExtractedAnswer},
    episode::{
        Conclusion, Durability, EpisodeRecord, EpisodeSpec, Evidence, Failure, FinalAnswer,
        Outcome, ServingMode, Termination, Truncation,
    },
    expert_call::Usage,
    ids::InstanceId,
    task::{Budget, Constraints, ImageRef, Task, Weights},
};
use serde::{Deserialize, Serialize};

use super::step_row::StepRow;

/// A row. A column that is added later is an `Option`, so that files without it can be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) tenant: TenantId,
    pub(super) episode_id: EpisodeId,
    pub(super) version: i64,
    request_id: Option<RequestId>,
    durability: Durability,
    mode: ServingMode,
    slot: String,
    seed: u64,
    #[serde(with = "microseconds")]
    created_at: Timestamp,
    #[serde(with = "microseconds")]
    finished_at: Timestamp,
    question: String,
    images: Vec<ImageRef>,
    answer_kind: String,
    answer_options: Vec<String>,
    budget: BudgetRow,
    constraints: Constraints,
    weights: Weights,
    steps: Vec<StepRow>,
    termination: String,
    truncated_by: Option<Truncation>,
    cancel_reason: Option<String>,
    failure: Option<Failure>,
    answer: Option<FinalAnswer>,
    usage: UsageRow,
    unsettled_cost_micro_usd: u64,
    outcome: Option<OutcomeRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct BudgetRow {
    max_steps: u32,
    #[serde(with = "microseconds")]
    deadline: Timestamp,
    max_cost_micro_usd: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OutcomeRow {
    score: f32,
    source: String,
    #[serde(with = "microseconds")]
    reported_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct UsageRow {
    cost_micro_usd: u64,
    calls: u32,
    repeated_calls: u32,
    input_tokens: u64,
    output_tokens: u64,
    expert_time_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ObservationRow {
    pub(super) failure: Option<Failure>,
    pub(super) text: String,
    pub(super) answer: Option<ExtractedAnswer>,
    pub(super) evidence: Vec<Evidence>,
    pub(super) solver: Option<String>,
    pub(super) skill_digest: Option<Digest>,
    pub(super) instance: Option<InstanceId>,
    pub(super) usage: UsageRow,
}

/// Times as they are kept, in microseconds since 1970: what every reader of Parquet understands.
pub(super) mod microseconds {
    use maestro_core::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_microsecond())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        let microseconds = i64::deserialize(deserializer)?;
        Timestamp::from_microsecond(microseconds).map_err(D::Error::custom)
    }
}

impl From<&Usage> for UsageRow {
    fn from(usage: &Usage) -> Self {
        Self {
            cost_micro_usd: usage.cost.0,
            calls: usage.calls,
            repeated_calls: usage.repeated_calls,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            expert_time_ns: u64::try_from(usage.expert_time.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl From<UsageRow> for Usage {
    fn from(row: UsageRow) -> Self {
        Self {
            cost: MicroUsd(row.cost_micro_usd),
            calls: row.calls,
            repeated_calls: row.repeated_calls,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            expert_time: Duration::from_nanos(row.expert_time_ns),
        }
    }
}

/// The end in columns: its name, and what only some ends have.
struct End {
    truncated_by: Option<Truncation>,
    cancel_reason: Option<String>,
    failure: Option<Failure>,
}

impl From<&Termination> for End {
    fn from(termination: &Termination) -> Self {
        let mut end = Self {
            truncated_by: None,
            cancel_reason: None,
            failure: None,
        };
        match termination {
            Termination::Answered => {}
            Termination::Truncated(limit) => end.truncated_by = Some(*limit),
            Termination::Cancelled { reason } => end.cancel_reason = Some(reason.clone()),
            Termination::Failed(failure) => end.failure = Some(failure.clone()),
        }
        end
    }
}

impl TryFrom<&EpisodeRecord> for Row {
    type Error = CoreError;

    /// # Errors
    /// [`CoreError::FailedPrecondition`] for an episode that has not ended.
    fn try_from(record: &EpisodeRecord) -> Result<Self, CoreError> {
        let EpisodeRecord {
            spec,
            steps,
            conclusion,
            outcome,
        } = record;
        let Some(conclusion) = conclusion else {
            let message = format!("episode {} has not ended", spec.id);
            return Err(CoreError::FailedPrecondition(message));
        };
        let Task {
            question,
            images,
            answer_kind,
            budget,
            constraints,
            weights,
        } = &*spec.task;
        let end = End::from(&conclusion.termination);
        Ok(Self {
            tenant: spec.tenant.clone(),
            episode_id: spec.id.clone(),
            version: record.version(),
            request_id: spec.request_id.clone(),
            durability: spec.durability,
            mode: spec.mode,
            slot: spec.slot.clone(),
            seed: spec.seed,
            created_at: spec.created_at,
            finished_at: conclusion.finished_at,
            question: question.clone(),
            images: images.clone(),
            answer_kind: answer_kind.name().to_owned(),
            answer_options: match answer_kind {
                AnswerKind::Choice { options } => options.clone(),
                _ => vec![],
            },
            budget: BudgetRow {
                max_steps: budget.max_steps,
                deadline: budget.deadline,
                max_cost_micro_usd: budget.max_cost.map(|cost| cost.0),
            },
            constraints: constraints.clone(),
            weights: *weights,
            steps: steps.iter().map(StepRow::from).collect(),
            termination: conclusion.termination.name().to_owned(),
            truncated_by: end.truncated_by,
            cancel_reason: end.cancel_reason,
            failure: end.failure,
            answer: conclusion.answer.clone(),
            usage: UsageRow::from(&conclusion.usage),
            unsettled_cost_micro_usd: conclusion.unsettled_cost.0,
            outcome: outcome.as_ref().map(|outcome| OutcomeRow {
                score: outcome.score,
                source: outcome.source.clone(),
                reported_at: outcome.reported_at,
            }),
        })
    }
}

impl TryFrom<Row> for EpisodeRecord {
    type Error = CoreError;

    /// # Errors
    /// [`CoreError::DataLoss`] for a row that says what no episode does.
    fn try_from(row: Row) -> Result<Self, CoreError> {
        let id = row.episode_id.clone();
        let damaged =
            |what: &str| CoreError::DataLoss(format!("the stored episode {id} has no {what}"));
        let termination = match row.termination.as_str() {
            "answered" => Termination::Answered,
            "truncated" => {
                Termination::Truncated(row.truncated_by.ok_or_else(|| damaged("limit"))?)
            }
            "cancelled" => Termination::Cancelled {
                reason: row.cancel_reason.ok_or_else(|| damaged("reason"))?,
            },
            "failed" => Termination::Failed(row.failure.ok_or_else(|| damaged("failure"))?),
            _ => return Err(damaged("known end")),
        };
        let answer_kind = read_answer_kind(&row.answer_kind, row.answer_options)
            .ok_or_else(|| damaged("known kind of answer"))?;
        let steps: Option<Vec<_>> = row.steps.into_iter().map(StepRow::into_step).collect();
        let steps = steps.ok_or_else(|| damaged("known action in a step"))?;
        let task = Task {
            question: row.question,
            images: row.images,
            answer_kind,
            budget: Budget {
                max_steps: row.budget.max_steps,
                deadline: row.budget.deadline,
                max_cost: row.budget.max_cost_micro_usd.map(MicroUsd),
            },
            constraints: row.constraints,
            weights: row.weights,
        };
        Ok(Self {
            spec: EpisodeSpec {
                id: row.episode_id,
                tenant: row.tenant,
                request_id: row.request_id,
                task: Arc::new(task),
                durability: row.durability,
                mode: row.mode,
                slot: row.slot,
                seed: row.seed,
                created_at: row.created_at,
            },
            steps,
            conclusion: Some(Conclusion {
                termination,
                answer: row.answer,
                usage: row.usage.into(),
                unsettled_cost: MicroUsd(row.unsettled_cost_micro_usd),
                finished_at: row.finished_at,
            }),
            outcome: row.outcome.map(|outcome| Outcome {
                score: outcome.score,
                source: outcome.source,
                reported_at: outcome.reported_at,
            }),
        })
    }
}

fn read_answer_kind(name: &str, options: Vec<String>) -> Option<AnswerKind> {
    Some(match name {
        "free_text" => AnswerKind::FreeText,
        "integer" => AnswerKind::Integer,
        "number" => AnswerKind::Number,
        "yes_no" => AnswerKind::YesNo,
        "choice" => AnswerKind::Choice { options },
        "short_text" => AnswerKind::ShortText,
        "date" => AnswerKind::Date,
        "set" => AnswerKind::Set,
        "expression" => AnswerKind::Expression,
        "program" => AnswerKind::Program,
        _ => return None,
    })
}

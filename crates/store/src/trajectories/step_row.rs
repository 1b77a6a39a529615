//! A step as an element of a row, and back. Pure.

use maestro_core::{
    Digest, Timestamp,
    episode::{
        Action, Alternative, Answer, Choice, Decision, Observation, ServingMode, Step, Trace,
    },
    ids::{ExpertName, SkillName},
    task::Pair,
};
use serde::{Deserialize, Serialize};

use super::row::{ObservationRow, UsageRow, microseconds};

/// Names of actions in the column `action`.
const INVOKE: &str = "invoke";
const ANSWER_OBSERVATION: &str = "answer_observation";
const ANSWER_TEXT: &str = "answer_text";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StepRow {
    index: u32,
    #[serde(with = "microseconds")]
    started_at: Timestamp,
    #[serde(with = "microseconds")]
    decided_at: Timestamp,
    #[serde(with = "microseconds")]
    finished_at: Timestamp,
    action: String,
    expert: Option<ExpertName>,
    skill: Option<SkillName>,
    query: Option<String>,
    answer_observation: Option<u32>,
    answer_text: Option<String>,
    log_prob: f64,
    probability: f32,
    mode: ServingMode,
    alternatives: Vec<AlternativeRow>,
    policy_version: String,
    catalogue: Option<Digest>,
    revision: u64,
    trace: Option<TraceRow>,
    observation: Option<ObservationRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct AlternativeRow {
    action: String,
    expert: Option<ExpertName>,
    skill: Option<SkillName>,
    answer_observation: Option<u32>,
    probability: f32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TraceRow {
    format: String,
    inline: Option<Vec<u8>>,
    blob: Option<Digest>,
}

impl From<&Step> for StepRow {
    fn from(step: &Step) -> Self {
        let decision = &step.decision;
        let choice = AlternativeRow::from(&Alternative {
            choice: decision.action.choice(),
            probability: decision.probability,
        });
        let (query, answer_text) = match &decision.action {
            Action::Invoke { query, .. } => (Some(query.clone()), None),
            Action::Answer(Answer::Text(text)) => (None, Some(text.clone())),
            Action::Answer(Answer::Observation(_)) => (None, None),
        };
        Self {
            index: step.index,
            started_at: step.started_at,
            decided_at: step.decided_at,
            finished_at: step.finished_at,
            action: choice.action,
            expert: choice.expert,
            skill: choice.skill,
            query,
            answer_observation: choice.answer_observation,
            answer_text,
            log_prob: decision.log_prob,
            probability: decision.probability,
            mode: decision.mode,
            alternatives: decision
                .alternatives
                .iter()
                .map(AlternativeRow::from)
                .collect(),
            policy_version: decision.policy_version.clone(),
            catalogue: decision.catalogue,
            revision: decision.revision,
            trace: decision.trace.as_ref().map(TraceRow::from),
            observation: step.observation.as_ref().map(ObservationRow::from),
        }
    }
}

impl StepRow {
    /// `None` where it is none that was ever written.
    pub(super) fn into_step(self) -> Option<Step> {
        let action = match self.action.as_str() {
            INVOKE => Action::Invoke {
                pair: Pair {
                    expert: self.expert?,
                    skill: self.skill?,
                },
                query: self.query?,
            },
            ANSWER_OBSERVATION => Action::Answer(Answer::Observation(self.answer_observation?)),
            ANSWER_TEXT => Action::Answer(Answer::Text(self.answer_text?)),
            _ => return None,
        };
        let alternatives: Option<Vec<_>> = self
            .alternatives
            .into_iter()
            .map(AlternativeRow::into_alternative)
            .collect();
        let trace = match self.trace {
            Some(trace) => Some(trace.into_trace()?),
            None => None,
        };
        Some(Step {
            index: self.index,
            decision: Decision {
                action,
                log_prob: self.log_prob,
                probability: self.probability,
                mode: self.mode,
                alternatives: alternatives?,
                policy_version: self.policy_version,
                catalogue: self.catalogue,
                revision: self.revision,
                trace,
            },
            observation: self.observation.map(Observation::from),
            started_at: self.started_at,
            decided_at: self.decided_at,
            finished_at: self.finished_at,
        })
    }
}

impl From<&Alternative> for AlternativeRow {
    fn from(alternative: &Alternative) -> Self {
        let mut row = Self {
            action: String::new(),
            expert: None,
            skill: None,
            answer_observation: None,
            probability: alternative.probability,
        };
        let action = match &alternative.choice {
            Choice::Invoke(pair) => {
                row.expert = Some(pair.expert.clone());
                row.skill = Some(pair.skill.clone());
                INVOKE
            }
            Choice::AnswerObservation(step) => {
                row.answer_observation = Some(*step);
                ANSWER_OBSERVATION
            }
            Choice::AnswerText => ANSWER_TEXT,
        };
        row.action = action.to_owned();
        row
    }
}

impl AlternativeRow {
    fn into_alternative(self) -> Option<Alternative> {
        let choice = match self.action.as_str() {
            INVOKE => Choice::Invoke(Pair {
                expert: self.expert?,
                skill: self.skill?,
            }),
            ANSWER_OBSERVATION => Choice::AnswerObservation(self.answer_observation?),
            ANSWER_TEXT => Choice::AnswerText,
            _ => return None,
        };
        Some(Alternative {
            choice,
            probability: self.probability,
        })
    }
}

impl From<&Trace> for TraceRow {
    fn from(trace: &Trace) -> Self {
        let (format, inline, blob) = match trace {
            Trace::Inline(format, content) => (format, Some(content.clone()), None),
            Trace::Blob(format, digest) => (format, None, Some(*digest)),
        };
        Self {
            format: format.clone(),
            inline,
            blob,
        }
    }
}

impl TraceRow {
    fn into_trace(self) -> Option<Trace> {
        match (self.inline, self.blob) {
            (Some(content), _) => Some(Trace::Inline(self.format, content)),
            (None, Some(digest)) => Some(Trace::Blob(self.format, digest)),
            (None, None) => None,
        }
    }
}

impl From<&Observation> for ObservationRow {
    fn from(observation: &Observation) -> Self {
        Self {
            failure: observation.failure.clone(),
            text: observation.text.clone(),
            answer: observation.answer.clone(),
            evidence: observation.evidence.clone(),
            solver: observation.solver.clone(),
            skill_digest: observation.skill_digest,
            instance: observation.instance.clone(),
            usage: UsageRow::from(&observation.usage),
        }
    }
}

impl From<ObservationRow> for Observation {
    fn from(row: ObservationRow) -> Self {
        Self {
            failure: row.failure,
            text: row.text,
            answer: row.answer,
            evidence: row.evidence,
            solver: row.solver,
            skill_digest: row.skill_digest,
            instance: row.instance,
            usage: row.usage.into(),
        }
    }
}

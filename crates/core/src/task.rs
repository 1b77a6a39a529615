//! What a client asks for. A [`Task`] is parsed once ([`TaskDraft::validate`]) and cannot be
//! invalid afterwards. It never holds a reference answer.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    answer::AnswerKind,
    digest::Digest,
    error::{CoreError, FieldViolation},
    ids::{ExpertName, SkillName},
    money::MicroUsd,
};

/// Longest question, in bytes.
pub const MAX_QUESTION_BYTES: usize = 32 * 1024;
/// Most images of one task.
pub const MAX_IMAGES: usize = 64;
/// Most decisions of one episode that a client can ask for.
pub const MAX_STEPS: u32 = 32;
/// Decisions of an episode where the client says nothing: four calls and an answer.
pub const DEFAULT_STEPS: u32 = 5;
/// Time of an episode where the client says nothing.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time of an episode.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// Most pairs that a constraint may list.
pub const MAX_CONSTRAINTS: usize = 256;

/// The one action of calling an expert under a skill.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// The expert.
    pub expert: ExpertName,
    /// The skill.
    pub skill: SkillName,
}

/// An image of a task, already in the blob store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// SHA-256 of the encoded file.
    pub digest: Digest,
    /// Media type found in the content: `image/png`, `image/jpeg`, …
    pub media_type: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Size of the encoded file in bytes.
    pub bytes: u64,
}

/// What an episode may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Most decisions, the answer included (1 to [`MAX_STEPS`]).
    pub max_steps: u32,
    /// When the episode must have ended.
    pub deadline: Timestamp,
    /// Most money; `None` is no limit. Under a limit an expert without a price is not called.
    pub max_cost: Option<MicroUsd>,
}

/// Matches pairs: an absent part matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairPattern {
    /// The expert, or any.
    pub expert: Option<ExpertName>,
    /// The skill, or any.
    pub skill: Option<SkillName>,
}

impl PairPattern {
    /// Whether `pair` fits.
    pub fn matches(&self, pair: &Pair) -> bool {
        self.expert
            .as_ref()
            .is_none_or(|expert| *expert == pair.expert)
            && self.skill.as_ref().is_none_or(|skill| *skill == pair.skill)
    }
}

/// Which pairs the policy may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    /// If not empty, only pairs that match one of these.
    pub allowed: Vec<PairPattern>,
    /// Never pairs that match one of these.
    pub denied: Vec<PairPattern>,
    /// If not empty, only these pairs.
    pub pinned: Vec<Pair>,
}

impl Constraints {
    /// Whether the policy may choose `pair`.
    pub fn permit(&self, pair: &Pair) -> bool {
        (self.allowed.is_empty() || self.allowed.iter().any(|pattern| pattern.matches(pair)))
            && !self.denied.iter().any(|pattern| pattern.matches(pair))
            && (self.pinned.is_empty() || self.pinned.contains(pair))
    }
}

/// How much the user cares for each part of the result. Non-negative and finite; only the
/// proportions count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Weight of a right answer.
    pub accuracy: f32,
    /// Weight of money spent.
    pub cost: f32,
    /// Weight of time spent.
    pub latency: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            accuracy: 1.0,
            cost: 0.0,
            latency: 0.0,
        }
    }
}

/// A question with its images, what kind of answer is wanted and what may be spent on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The question as the user wrote it, not empty, at most [`MAX_QUESTION_BYTES`].
    pub question: String,
    /// Its images in the user's order, at most [`MAX_IMAGES`].
    pub images: Vec<ImageRef>,
    /// The kind of answer.
    pub answer_kind: AnswerKind,
    /// Limits.
    pub budget: Budget,
    /// Which pairs may be used.
    pub constraints: Constraints,
    /// The user's preferences.
    pub weights: Weights,
}

/// A task as a client sent it, unchecked. Numbers are signed so that a negative one can be named
/// in the error rather than wrapped.
#[derive(Clone, Debug, Default)]
pub struct TaskDraft {
    /// The question.
    pub question: String,
    /// Images that admission has already checked and stored.
    pub images: Vec<ImageRef>,
    /// The kind of answer.
    pub answer_kind: AnswerKind,
    /// Most decisions; `None` is [`DEFAULT_STEPS`].
    pub max_steps: Option<i64>,
    /// When the episode must have ended. At most one of `deadline` and `timeout`.
    pub deadline: Option<Timestamp>,
    /// How long the episode may take; `None` is [`DEFAULT_TIMEOUT`].
    pub timeout: Option<Duration>,
    /// Most money in micro-USD.
    pub max_cost_micro_usd: Option<i64>,
    /// Which pairs may be used.
    pub constraints: Constraints,
    /// The user's preferences.
    pub weights: Option<Weights>,
}

impl TaskDraft {
    /// Checks every field against its limit.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] naming the first field that breaks a rule and the rule.
    pub fn validate(self, now: Timestamp) -> Result<Task, CoreError> {
        if self.question.trim().is_empty() {
            return Err(CoreError::invalid("question", "must not be empty"));
        }
        if self.question.len() > MAX_QUESTION_BYTES {
            return Err(CoreError::invalid(
                "question",
                format!(
                    "is {} bytes long; at most {MAX_QUESTION_BYTES}",
                    self.question.len()
                ),
            ));
        }
        check_image_count(self.images.len())?;
        self.answer_kind.validate()?;
        let budget = Budget {
            max_steps: parse_steps(self.max_steps)?,
            deadline: parse_deadline(self.deadline, self.timeout, now)?,
            max_cost: parse_cost(self.max_cost_micro_usd)?,
        };
        check_constraints(&self.constraints)?;
        let weights = self.weights.unwrap_or_default();
        check_weights(&weights)?;
        Ok(Task {
            question: self.question,
            images: self.images,
            answer_kind: self.answer_kind,
            budget,
            constraints: self.constraints,
            weights,
        })
    }
}

/// Refuses more than [`MAX_IMAGES`] images. Admission calls it before it stores any of them.
pub fn check_image_count(count: usize) -> Result<(), CoreError> {
    if count > MAX_IMAGES {
        return Err(CoreError::invalid(
            "images",
            format!("{count} images; at most {MAX_IMAGES}"),
        ));
    }
    Ok(())
}

fn parse_steps(max_steps: Option<i64>) -> Result<u32, CoreError> {
    let Some(steps) = max_steps else {
        return Ok(DEFAULT_STEPS);
    };
    u32::try_from(steps)
        .ok()
        .filter(|steps| (1..=MAX_STEPS).contains(steps))
        .ok_or_else(|| {
            CoreError::invalid(
                "budget.max_steps",
                format!("is {steps}; must be 1 to {MAX_STEPS}"),
            )
        })
}

fn parse_deadline(
    deadline: Option<Timestamp>,
    timeout: Option<Duration>,
    now: Timestamp,
) -> Result<Timestamp, CoreError> {
    let too_far = |field: &str| {
        CoreError::invalid(
            field,
            format!("is more than {} s ahead", MAX_TIMEOUT.as_secs()),
        )
    };
    match (deadline, timeout) {
        (Some(_), Some(_)) => Err(CoreError::invalid(
            "budget.deadline",
            "give either a deadline or a timeout, not both",
        )),
        (Some(deadline), None) if deadline <= now => Err(CoreError::invalid(
            "budget.deadline",
            format!("{deadline} is in the past"),
        )),
        (Some(deadline), None) if deadline.duration_since(now).unsigned_abs() > MAX_TIMEOUT => {
            Err(too_far("budget.deadline"))
        }
        (Some(deadline), None) => Ok(deadline),
        (None, timeout) => {
            let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
            if timeout.is_zero() {
                return Err(CoreError::invalid(
                    "budget.timeout",
                    "must be more than zero",
                ));
            }
            if timeout > MAX_TIMEOUT {
                return Err(too_far("budget.timeout"));
            }
            now.checked_add(timeout)
                .map_err(|_| too_far("budget.timeout"))
        }
    }
}

fn parse_cost(max_cost: Option<i64>) -> Result<Option<MicroUsd>, CoreError> {
    max_cost
        .map(|cost| {
            u64::try_from(cost).map(MicroUsd).map_err(|_| {
                CoreError::invalid(
                    "budget.max_cost_micro_usd",
                    format!("is {cost}; must not be negative"),
                )
            })
        })
        .transpose()
}

fn check_constraints(constraints: &Constraints) -> Result<(), CoreError> {
    let lists = [
        ("constraints.allowed", constraints.allowed.len()),
        ("constraints.denied", constraints.denied.len()),
        ("constraints.pinned", constraints.pinned.len()),
    ];
    for (field, length) in lists {
        if length > MAX_CONSTRAINTS {
            return Err(CoreError::invalid(
                field,
                format!("{length} entries; at most {MAX_CONSTRAINTS}"),
            ));
        }
    }
    Ok(())
}

fn check_weights(weights: &Weights) -> Result<(), CoreError> {
    let parts = [
        ("accuracy", weights.accuracy),
        ("cost", weights.cost),
        ("latency", weights.latency),
    ];
    for (name, weight) in parts {
        if !weight.is_finite() || weight < 0.0 {
            return Err(FieldViolation::new(
                format!("weights.{name}"),
                format!("is {weight}; must be a finite number, not negative"),
            )
            .into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    fn draft() -> TaskDraft {
        TaskDraft {
            question: "How many?".into(),
            ..TaskDraft::default()
        }
    }

    fn violation(draft: TaskDraft) -> String {
        match draft.validate(now()).unwrap_err() {
            CoreError::Invalid(violation) => violation.field,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let task = draft().validate(now()).unwrap();
        assert_eq!(task.budget.max_steps, DEFAULT_STEPS);
        assert_eq!(
            task.budget.deadline,
            now().checked_add(DEFAULT_TIMEOUT).unwrap()
        );
        assert_eq!(task.budget.max_cost, None);
    }

    #[test]
    fn each_bad_field_is_named() {
        let question = |question: String| TaskDraft {
            question,
            ..draft()
        };
        assert_eq!(violation(question(" \n".into())), "question");
        assert_eq!(
            violation(question("x".repeat(MAX_QUESTION_BYTES + 1))),
            "question"
        );
        assert_eq!(
            violation(TaskDraft {
                max_steps: Some(0),
                ..draft()
            }),
            "budget.max_steps"
        );
        assert_eq!(
            violation(TaskDraft {
                max_steps: Some(-1),
                ..draft()
            }),
            "budget.max_steps"
        );
        assert_eq!(
            violation(TaskDraft {
                deadline: Some(now()),
                ..draft()
            }),
            "budget.deadline"
        );
        assert_eq!(
            violation(TaskDraft {
                timeout: Some(Duration::from_secs(1 << 40)),
                ..draft()
            }),
            "budget.timeout"
        );
        assert_eq!(
            violation(TaskDraft {
                max_cost_micro_usd: Some(-5),
                ..draft()
            }),
            "budget.max_cost_micro_usd"
        );
        let weights = Weights {
            cost: f32::NAN,
            ..Weights::default()
        };
        assert_eq!(
            violation(TaskDraft {
                weights: Some(weights),
                ..draft()
            }),
            "weights.cost"
        );
        let image = ImageRef {
            digest: Digest::of(b"x"),
            media_type: "image/png".into(),
            width: 1,
            height: 1,
            bytes: 1,
        };
        assert_eq!(
            violation(TaskDraft {
                images: vec![image; MAX_IMAGES + 1],
                ..draft()
            }),
            "images"
        );
    }

    #[test]
    fn constraints_combine() {
        let pair = |expert, skill| Pair {
            expert: ExpertName::new(expert).unwrap(),
            skill: SkillName::new(skill).unwrap(),
        };
        let constraints = Constraints {
            allowed: vec![PairPattern {
                expert: Some(ExpertName::new("a").unwrap()),
                skill: None,
            }],
            denied: vec![PairPattern {
                expert: None,
                skill: Some(SkillName::new("y").unwrap()),
            }],
            pinned: vec![],
        };
        assert!(constraints.permit(&pair("a", "x")));
        assert!(!constraints.permit(&pair("a", "y")));
        assert!(!constraints.permit(&pair("b", "x")));
    }
}

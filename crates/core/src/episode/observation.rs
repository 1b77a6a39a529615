use serde::{Deserialize, Serialize};

use crate::{
    answer::ExtractedAnswer, digest::Digest, expert_call::Usage, ids::InstanceId, money::MicroUsd,
};

/// Longest text of an observation, in characters. A longer one loses its middle.
pub const MAX_OBSERVATION_CHARS: usize = 4000;

/// Why a call gave nothing. A value the episode sees, never an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The action was malformed: an answer that refers to nothing, a query that is too long.
    Malformed,
    /// The pair is not in the action set: unknown, incompatible or not permitted.
    NotInActionSet,
    /// No instance could take the call.
    Unavailable,
    /// The instance was full.
    Overloaded,
    /// The call's time ran out.
    Timeout,
    /// The call would have cost more than what is left.
    BudgetExceeded,
    /// The expert refused the input.
    Rejected,
    /// The expert failed.
    ExpertFailed,
    /// The skill's workflow failed.
    SkillFailed,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::NotInActionSet,
        Self::Unavailable,
        Self::Overloaded,
        Self::Timeout,
        Self::BudgetExceeded,
        Self::Rejected,
        Self::ExpertFailed,
        Self::SkillFailed,
    ];

    /// A stable short name, also used as a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotInActionSet => "not_in_action_set",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::BudgetExceeded => "budget_exceeded",
            Self::Rejected => "rejected",
            Self::ExpertFailed => "expert_failed",
            Self::SkillFailed => "skill_failed",
        }
    }

    /// Whether a call that failed so surely cost nothing: it was turned away. One whose connection
    /// broke, or that was not answered in time, may have been made all the same.
    pub fn is_free(self) -> bool {
        matches!(
            self,
            Self::Overloaded
                | Self::Rejected
                | Self::NotInActionSet
                | Self::BudgetExceeded
                | Self::Malformed
        )
    }
}

/// A failed call as the episode sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", kind.name())]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// For people; carries no secret and no question text.
    pub message: String,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// Something that supports an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is: `ocr`, `dispatch`, `analysis`, `calculation`, …
    pub label: String,
    /// In words.
    pub text: String,
    /// An image in the blob store, such as a crop.
    pub image: Option<Digest>,
}

/// What came of an invocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Why it gave nothing; `None` is success.
    pub failure: Option<Failure>,
    /// What the expert said, at most [`MAX_OBSERVATION_CHARS`] characters.
    pub text: String,
    /// The answer found in it.
    pub answer: Option<ExtractedAnswer>,
    /// What supports it.
    pub evidence: Vec<Evidence>,
    /// The Level-2 solver that ran.
    pub solver: Option<String>,
    /// Digest of the skill bundle that ran.
    pub skill_digest: Option<Digest>,
    /// The instance that answered the pair's (last) call.
    pub instance: Option<InstanceId>,
    /// What it used up, over all its calls.
    pub usage: Usage,
}

impl Observation {
    /// An observation of a failure that used nothing up.
    pub fn failed(failure: Failure) -> Self {
        Self {
            text: failure.to_string(),
            failure: Some(failure),
            ..Self::default()
        }
    }

    /// A call without a reply. Unless it surely cost nothing, it counts as a call, and under a cost
    /// limit as spent with the bound that was reserved for it.
    pub fn cut_off(failure: Failure, reserved: Option<MicroUsd>) -> Self {
        let usage = if failure.kind.is_free() {
            Usage::default()
        } else {
            Usage {
                cost: reserved.unwrap_or_default(),
                calls: 1,
                ..Usage::default()
            }
        };
        Self {
            usage,
            ..Self::failed(failure)
        }
    }

    /// Whether an answer action may refer to it.
    pub fn is_answerable(&self) -> bool {
        self.failure.is_none() && (self.answer.is_some() || !self.text.trim().is_empty())
    }

    /// The text that an answer action takes from it.
    pub fn answer_text(&self) -> &str {
        self.answer
            .as_ref()
            .map_or(self.text.trim(), |answer| &answer.value)
    }

    /// Its confidence, 0 where no answer was extracted.
    pub fn confidence(&self) -> f32 {
        self.answer.as_ref().map_or(0.0, |answer| answer.confidence)
    }
}

/// `text` with its middle replaced by ` … ` where it has more than `max_chars` characters.
pub fn clip_middle(text: &str, max_chars: usize) -> String {
    const GAP: &str = " … ";
    let length = text.chars().count();
    if length <= max_chars {
        return text.to_owned();
    }
    let kept = max_chars.saturating_sub(GAP.chars().count());
    let head = kept.div_ceil(2);
    let tail = kept - head;
    let mut clipped: String = text.chars().take(head).collect();
    clipped.push_str(GAP);
    clipped.extend(text.chars().skip(length - tail));
    clipped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_without_a_reply_counts_as_spent_unless_it_was_turned_away() {
        for kind in FailureKind::ALL {
            let failure = Failure::new(kind, "no reply");
            let usage = Observation::cut_off(failure.clone(), Some(MicroUsd(7))).usage;
            let spent = (usage.cost, usage.calls);
            if kind.is_free() {
                assert_eq!(spent, (MicroUsd::ZERO, 0), "{kind:?}");
            } else {
                assert_eq!(spent, (MicroUsd(7), 1), "{kind:?}");
            }
            let unlimited = Observation::cut_off(failure, None).usage;
            assert_eq!(unlimited.cost, MicroUsd::ZERO, "{kind:?}");
        }
        let broken = [FailureKind::Unavailable, FailureKind::Timeout];
        assert!(!broken.into_iter().any(FailureKind::is_free));
    }

    proptest! {
        #[test]
        fn clipping_keeps_both_ends(text in "\\PC{0,60}", max in 3usize..40) {
            let clipped = clip_middle(&text, max);
            prop_assert!(clipped.chars().count() <= max.max(text.chars().count().min(max)));
            if text.chars().count() > max && max > 4 {
                prop_assert_eq!(clipped.chars().next(), text.chars().next());
                prop_assert_eq!(clipped.chars().next_back(), text.chars().next_back());
            }
        }
    }
}

//! What an episode was worth to a learner: outcome and format, and on success what it cost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    MicroUsd,
    episode::{Action, Choice, Conclusion, Decision, FailureKind, Step, Termination},
    error::CoreError,
};

/// Largest weight.
pub const MAX_WEIGHT: f64 = 1e6;

/// How much cost and time count beside being right. Zero leaves them out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardWeights {
    /// Per US dollar.
    pub cost: f64,
    /// Per second from the first decision to the end.
    pub latency: f64,
    /// Whether a wrong format costs 1, as in the Maestro paper (arXiv 2605.22177).
    pub format: bool,
}

impl RewardWeights {
    /// # Errors
    /// [`CoreError::Invalid`] names the weight that is negative, too large or no number.
    pub fn validate(&self) -> Result<(), CoreError> {
        for (field, weight) in [("cost", self.cost), ("latency", self.latency)] {
            if !(0.0..=MAX_WEIGHT).contains(&weight) {
                let reason = format!("is {weight}; must be 0 to {MAX_WEIGHT}");
                return Err(CoreError::invalid(format!("reward.{field}"), reason));
            }
        }
        Ok(())
    }
}

/// The parts of a reward.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    /// How right the answer is, 0 to 1, less what it cost.
    pub outcome: f64,
    /// 0, or -1 where the policy's output had not the form it must have.
    pub format: f64,
}

impl Reward {
    /// The reward of an episode.
    ///
    /// The outcome of a score `s` is `s / (1 + x)`, where `x` is the weighted cost and time. As in
    /// xRouter (arXiv 2510.08439) a wrong answer earns nothing however cheap it was;
    /// unlike its `K - λ·cost` a right one is always worth more than a wrong one, and of two right
    /// ones the cheaper is worth more, whatever the weights.
    pub fn new(
        score: f64,
        has_format: bool,
        cost: MicroUsd,
        latency: Duration,
        weights: &RewardWeights,
    ) -> Self {
        let score = if score.is_finite() {
            score.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let expense = weights.cost * cost.as_usd() + weights.latency * latency.as_secs_f64();
        let format = if weights.format && !has_format {
            -1.0
        } else {
            0.0
        };
        Self {
            outcome: score / (1.0 + expense),
            format,
        }
    }

    /// Outcome and format together, -1 to 1.
    pub fn total(self) -> f64 {
        self.outcome + self.format
    }
}

/// Whether the decisions of an ended episode had the form that a policy's output must have: at
/// least one call, no call that was malformed or named something unknown, and an answer of the
/// policy's own accord. A pair that was among the decision's alternatives was known; that it went
/// away meanwhile is not the policy's fault.
pub fn has_format(steps: &[Step], conclusion: &Conclusion) -> bool {
    let calls = |step: &&Step| matches!(step.decision.action, Action::Invoke { .. });
    let refused = |step: &Step| {
        let failure = step.observation.as_ref().and_then(|o| o.failure.as_ref());
        failure.is_some_and(|failure| match failure.kind {
            FailureKind::Malformed => true,
            FailureKind::NotInActionSet => !was_offered(&step.decision),
            _ => false,
        })
    };
    steps.iter().filter(calls).count() > 0
        && !steps.iter().any(refused)
        && conclusion.termination == Termination::Answered
        && conclusion.answer.is_some()
}

fn was_offered(decision: &Decision) -> bool {
    let Action::Invoke { pair, .. } = &decision.action else {
        return false;
    };
    let mut choices = decision.alternatives.iter().map(|other| &other.choice);
    choices.any(|choice| matches!(choice, Choice::Invoke(offered) if offered == pair))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Timestamp,
        episode::{Alternative, Answer, Failure, FinalAnswer, Observation, ServingMode},
        expert_call::Usage,
        task::Pair,
    };

    fn step(action: Action, offered: bool, failure: Option<FailureKind>) -> Step {
        let alternatives = match &action {
            Action::Invoke { pair, .. } if offered => vec![Alternative {
                choice: Choice::Invoke(pair.clone()),
                probability: 1.0,
            }],
            _ => Vec::new(),
        };
        let observation = match failure {
            Some(kind) => Observation::failed(Failure::new(kind, "no")),
            None => Observation::default(),
        };
        Step {
            index: 0,
            decision: Decision {
                action,
                log_prob: 0.0,
                probability: 1.0,
                mode: ServingMode::Greedy,
                alternatives,
                policy_version: String::new(),
                catalogue: None,
                revision: 1,
                trace: None,
            },
            observation: Some(observation),
            started_at: Timestamp::UNIX_EPOCH,
            decided_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_format_is_that_of_the_policys_own_output() {
        let call = || Action::Invoke {
            pair: Pair {
                expert: "seer".parse().unwrap(),
                skill: "direct".parse().unwrap(),
            },
            query: String::new(),
        };
        let ended = |termination| Conclusion {
            termination,
            answer: Some(FinalAnswer {
                value: "7".into(),
                from_step: Some(0),
                confidence: 1.0,
            }),
            usage: Usage::default(),
            unsettled_cost: MicroUsd::ZERO,
            finished_at: Timestamp::UNIX_EPOCH,
        };
        let answered = ended(Termination::Answered);
        let is_fine = |steps: &[Step]| has_format(steps, &answered);
        assert!(is_fine(&[step(call(), true, None)]));
        assert!(is_fine(&[step(call(), true, Some(FailureKind::Timeout))]));
        // It went away between the decision and the call.
        assert!(is_fine(&[step(
            call(),
            true,
            Some(FailureKind::NotInActionSet)
        )]));
        assert!(!is_fine(&[step(
            call(),
            false,
            Some(FailureKind::NotInActionSet)
        )]));
        assert!(!is_fine(&[step(
            call(),
            true,
            Some(FailureKind::Malformed)
        )]));
        let alone = Action::Answer(Answer::Text("7".into()));
        assert!(!is_fine(&[step(alone, true, None)]), "no call");
        let cut = ended(Termination::Truncated(crate::episode::Truncation::Steps));
        assert!(!has_format(&[step(call(), true, None)], &cut));
    }

    const WEIGHTS: RewardWeights = RewardWeights {
        cost: 100.0,
        latency: 0.1,
        format: true,
    };

    fn reward(score: f64, has_format: bool, cost: u64, millis: u64) -> f64 {
        let latency = Duration::from_millis(millis);
        Reward::new(score, has_format, MicroUsd(cost), latency, &WEIGHTS).total()
    }

    #[test]
    fn cost_and_time_count_only_on_success() {
        assert_eq!(reward(1.0, true, 0, 0), 1.0);
        // A cent at 100 a dollar: as much again as the answer itself.
        assert_eq!(reward(1.0, true, 10_000, 0), 0.5);
        assert_eq!(reward(1.0, true, 0, 10_000), 0.5);
        assert_eq!(reward(0.0, true, 10_000, 10_000), 0.0);
        assert_eq!(reward(0.0, true, 0, 0), 0.0);
        assert_eq!(reward(1.0, false, 0, 0), 0.0);
        assert_eq!(reward(0.0, false, 0, 0), -1.0);
        assert_eq!(reward(f64::NAN, true, 0, 0), 0.0);
    }

    #[test]
    fn weights_are_checked() {
        for cost in [-1.0, f64::NAN, f64::INFINITY] {
            let weights = RewardWeights { cost, ..WEIGHTS };
            let error = weights.validate().unwrap_err();
            assert!(error.to_string().contains("reward.cost"), "{error}");
        }
        WEIGHTS.validate().unwrap();
    }

    proptest! {
        #[test]
        fn right_beats_wrong_and_cheap_beats_dear(
            cost in 0u64..1_000_000_000, more in 1u64..1_000_000_000,
            millis in 0u64..1_000_000, score in 0.01f64..1.0,
        ) {
            prop_assert!(reward(score, true, cost, millis) > reward(0.0, true, 0, 0));
            prop_assert!(reward(score, true, cost, millis) > reward(score, true, cost + more, millis));
            prop_assert!(reward(score, true, cost, millis) > reward(score, true, cost, millis + 1));
        }
    }
}

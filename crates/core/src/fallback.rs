//! What to do while no policy can be asked: a fixed rule, needing nothing but the registry.
//!
//! Cheapest first, the cascade of FrugalGPT (Chen, Zaharia and Zou 2023, section 3) without its
//! learnt parts: pairs that suit the task are asked by rising price, quick ones before slow ones,
//! until an answer is sure enough; else the surest answer is given. No description is read, so it
//! asks more pairs than a policy would, and its calls are bounded by the task's budget alone.

use std::cmp::Ordering;

use crate::{
    episode::{Action, Alternative, Answer, Choice, Decision, Failure, FailureKind},
    money::MicroUsd,
    ports::{DecideRequest, PastStep},
    quote,
    registry::{Candidate, Snapshot},
};

/// Stands in [`Decision::policy_version`] of every decision taken by the rule.
pub const VERSION: &str = "fallback/cheapest-first";

/// Takes the next decision by the rule. An answer with a confidence of at least `sure`, 0 to 1, ends
/// the episode.
///
/// # Errors
/// [`FailureKind::Unavailable`] where no pair may be called any more and no observation holds an
/// answer.
pub fn cheapest_first(
    request: &DecideRequest,
    snapshot: &Snapshot,
    sure: f32,
) -> Result<Decision, Failure> {
    let surest = request
        .history
        .iter()
        .filter(|past| past.observation.is_answerable())
        .reduce(|best, past| {
            if confidence(past) > confidence(best) {
                past
            } else {
                best
            }
        });
    let next = match surest {
        Some(past) if confidence(past) >= sure => None,
        _ => cheapest(request, snapshot),
    };
    let (action, choice) = match (next, surest) {
        (Some(candidate), _) => {
            let pair = candidate.pair();
            let choice = Choice::Invoke(pair.clone());
            let query = String::new();
            (Action::Invoke { pair, query }, choice)
        }
        (None, Some(past)) => (
            Action::Answer(Answer::Observation(past.index)),
            Choice::AnswerObservation(past.index),
        ),
        (None, None) => {
            return Err(Failure::new(
                FailureKind::Unavailable,
                "no policy can be asked, and no further pair may be called",
            ));
        }
    };
    Ok(Decision {
        action,
        log_prob: 0.0,
        probability: 1.0,
        mode: request.mode,
        alternatives: vec![Alternative {
            choice,
            probability: 1.0,
        }],
        policy_version: VERSION.to_owned(),
        catalogue: snapshot.digest,
        revision: snapshot.changed,
        trace: None,
    })
}

fn confidence(past: &PastStep) -> f32 {
    past.observation.confidence()
}

/// The cheapest pair that suits the task, was not asked before and may be called.
fn cheapest<'a>(request: &DecideRequest, snapshot: &'a Snapshot) -> Option<Candidate<'a>> {
    if request.remaining.steps <= 1 {
        return None;
    }
    let task = &request.task;
    let kind = task.answer_kind.name();
    snapshot
        .candidates(task.images.len(), kind, &task.constraints)
        .into_iter()
        .filter(|candidate| {
            let pair = candidate.pair();
            let is_it = |past: &PastStep| past.pair.as_ref() == Some(&pair);
            !request.history.iter().any(is_it)
        })
        .map(|candidate| (quote::upper_bound(snapshot, &candidate), candidate))
        .filter(|(bound, _)| match (request.remaining.cost, bound) {
            (None, _) => true,
            (Some(left), Some(bound)) => *bound <= left,
            (Some(_), None) => false,
        })
        .min_by(|(one, first), (other, second)| by_price_and_time(*one, first, *other, second))
        .map(|(_, candidate)| candidate)
}

/// Unknown prices and times come last; names break ties.
fn by_price_and_time(
    one: Option<MicroUsd>,
    first: &Candidate<'_>,
    other: Option<MicroUsd>,
    second: &Candidate<'_>,
) -> Ordering {
    let key = |bound: Option<MicroUsd>, candidate: &Candidate<'_>| {
        (
            bound.map_or(u64::MAX, |bound| bound.0),
            candidate.expert.typical_latency_ms.unwrap_or(u32::MAX),
            candidate.pair(),
        )
    };
    key(one, first).cmp(&key(other, second))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use jiff::Timestamp;

    use super::*;
    use crate::{
        answer::{AnswerKind, ExtractedAnswer},
        digest::Digest,
        episode::{Observation, Remaining, ServingMode},
        ids::EpisodeId,
        registry::{
            CallBounds, Catalogue, Descriptor, ImageNeed, Instance, Limits, Modality, Price,
            SkillHeader,
        },
        task::{Budget, Constraints, Pair, Task, Weights},
    };

    fn expert(name: &str, per_call: Option<u64>, latency_ms: u32) -> Descriptor {
        Descriptor {
            name: name.parse().unwrap(),
            description: "d".into(),
            capabilities: ["chat".parse().unwrap()].into(),
            modalities: [Modality::Text].into(),
            price: per_call.map(|per_call| Price {
                per_call: MicroUsd(per_call),
                ..Price::default()
            }),
            limits: Limits::default(),
            typical_latency_ms: Some(latency_ms),
            backend: None,
        }
    }

    fn snapshot(experts: Vec<Descriptor>) -> Snapshot {
        let skill = SkillHeader {
            name: "direct".parse().unwrap(),
            description: "d".into(),
            bundle: Digest::of(b""),
            requires: ["chat".parse().unwrap()].into(),
            helpers: [].into(),
            optional_helpers: [].into(),
            images: ImageNeed::Optional,
            expert_reads_images: false,
            answer_kinds: [].into(),
            direct: true,
            bounds: CallBounds {
                expert_calls: 1,
                ..CallBounds::default()
            },
            solvers: vec![],
        };
        let mut snapshot = Snapshot::new(
            7,
            Catalogue {
                skills: BTreeMap::from([(skill.name.clone(), skill)]),
                experts: experts
                    .iter()
                    .map(|e| (e.name.clone(), e.clone()))
                    .collect(),
            },
        );
        for expert in experts {
            let instance = Instance {
                expert: expert.name.clone(),
                id: "i".parse().unwrap(),
                endpoint: "http://127.0.0.1:1".parse().unwrap(),
                capacity: 1,
                written_at: Timestamp::UNIX_EPOCH,
            };
            snapshot.instances.insert(expert.name, vec![instance]);
        }
        snapshot
    }

    fn request(history: Vec<PastStep>, steps: u32, cost: Option<u64>) -> DecideRequest {
        DecideRequest {
            episode: EpisodeId::generate(),
            step: u32::try_from(history.len()).unwrap(),
            task: Arc::new(Task {
                question: "Why?".into(),
                images: vec![],
                answer_kind: AnswerKind::FreeText,
                budget: Budget {
                    max_steps: steps,
                    max_cost: cost.map(MicroUsd),
                    deadline: Timestamp::UNIX_EPOCH,
                },
                constraints: Constraints::default(),
                weights: Weights::default(),
            }),
            history,
            remaining: Remaining {
                steps,
                time: Duration::from_secs(9),
                cost: cost.map(MicroUsd),
            },
            mode: ServingMode::Greedy,
            slot: "default".into(),
            seed: 1,
            min_revision: 0,
        }
    }

    fn said(index: u32, expert: &str, answer: Option<f32>) -> PastStep {
        PastStep {
            index,
            pair: Some(pair(expert)),
            query: String::new(),
            observation: match answer {
                Some(confidence) => Observation {
                    answer: Some(ExtractedAnswer {
                        value: "x".into(),
                        confidence,
                    }),
                    ..Observation::default()
                },
                None => Observation::failed(Failure::new(FailureKind::Timeout, "late")),
            },
        }
    }

    fn pair(expert: &str) -> Pair {
        Pair {
            expert: expert.parse().unwrap(),
            skill: "direct".parse().unwrap(),
        }
    }

    /// What the rule does: whom it asks, or which step it answers with.
    fn next(history: Vec<PastStep>, steps: u32, cost: Option<u64>) -> Result<String, FailureKind> {
        let pool = vec![
            expert("dear", Some(50), 10),
            expert("slow", Some(5), 900),
            expert("quick", Some(5), 20),
            expert("unpriced", None, 1),
        ];
        let request = request(history, steps, cost);
        let decision = cheapest_first(&request, &snapshot(pool), 0.8);
        let decision = decision.map_err(|failure| failure.kind)?;
        assert_eq!(decision.policy_version, VERSION);
        Ok(match decision.action {
            Action::Invoke { pair, .. } => pair.expert.to_string(),
            Action::Answer(answer) => format!("{answer:?}"),
        })
    }

    #[test]
    fn cheap_and_quick_pairs_come_first() {
        let asked = |count: usize| {
            let all = ["quick", "slow", "dear", "unpriced"];
            let unsure = all
                .iter()
                .zip(0..)
                .map(|(name, i)| said(i, name, Some(0.1)));
            next(unsure.take(count).collect(), 9, None)
        };
        let order: Vec<String> = (0..4).map(|count| asked(count).unwrap()).collect();
        assert_eq!(order, ["quick", "slow", "dear", "unpriced"]);
        assert_eq!(asked(4).unwrap(), "Observation(0)", "all were asked");
    }

    #[test]
    fn a_sure_answer_ends_it_and_else_the_surest_is_given() {
        let sure = vec![said(0, "quick", Some(0.8))];
        assert_eq!(next(sure, 9, None).unwrap(), "Observation(0)");
        let failed = vec![said(0, "quick", None), said(1, "slow", Some(0.3))];
        assert_eq!(next(failed, 9, None).unwrap(), "dear");
        let last = vec![said(0, "quick", Some(0.2)), said(1, "slow", Some(0.3))];
        assert_eq!(next(last, 1, None).unwrap(), "Observation(1)");
    }

    #[test]
    fn the_budget_holds() {
        let unsure = || vec![said(0, "quick", Some(0.2)), said(1, "slow", Some(0.1))];
        assert_eq!(next(unsure(), 9, Some(50)).unwrap(), "dear");
        assert_eq!(next(unsure(), 9, Some(49)).unwrap(), "Observation(0)");
        assert_eq!(next(vec![], 9, Some(4)), Err(FailureKind::Unavailable));
        assert_eq!(next(vec![], 1, None), Err(FailureKind::Unavailable));
    }
}

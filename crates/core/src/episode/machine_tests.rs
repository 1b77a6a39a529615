use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    answer::{AnswerKind, ExtractedAnswer},
    episode::{Durability, ServingMode},
    ids::{EpisodeId, TenantId},
    task::{Budget, Constraints, Task, Weights},
};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn spec(max_steps: u32, max_cost: Option<u64>) -> EpisodeSpec {
    EpisodeSpec {
        id: EpisodeId::generate(),
        tenant: TenantId::anonymous(),
        request_id: None,
        task: Arc::new(Task {
            question: "How many?".into(),
            images: vec![],
            answer_kind: AnswerKind::Integer,
            budget: Budget {
                max_steps,
                deadline: at(1000),
                max_cost: max_cost.map(MicroUsd),
            },
            constraints: Constraints::default(),
            weights: Weights::default(),
        }),
        durability: Durability::Durable,
        mode: ServingMode::Greedy,
        slot: "default".into(),
        seed: 1,
        created_at: at(0),
    }
}

pub(super) fn decision(action: Action) -> Decision {
    Decision {
        action,
        log_prob: -0.5,
        probability: 0.6,
        mode: ServingMode::Greedy,
        alternatives: vec![],
        policy_version: "test".into(),
        catalogue: None,
        revision: 1,
        trace: None,
    }
}

pub(super) fn invoke() -> Decision {
    let pair = Pair {
        expert: "a".parse().unwrap(),
        skill: "b".parse().unwrap(),
    };
    decision(Action::Invoke {
        pair,
        query: String::new(),
    })
}

pub(super) fn decided(decision: Decision) -> Event {
    Event::Decided {
        instance: None,
        decision,
        quote: Quote::AtMost(MicroUsd(10)),
    }
}

pub(super) fn observed(value: &str, confidence: f32, cost: u64) -> Event {
    Event::Observed(Observation {
        text: value.into(),
        answer: Some(ExtractedAnswer {
            value: value.into(),
            confidence,
        }),
        usage: Usage {
            cost: MicroUsd(cost),
            calls: 1,
            ..Usage::default()
        },
        ..Observation::default()
    })
}

pub(super) fn conclusion(effects: &[Effect]) -> Option<&Conclusion> {
    effects.iter().find_map(|effect| match effect {
        Effect::Finish(conclusion) => Some(conclusion),
        _ => None,
    })
}

#[test]
fn an_answer_ends_it() {
    let mut episode = Episode::new(spec(5, None));
    assert!(matches!(
        episode.apply(Event::Started, at(1))[..],
        [Effect::Decide { step: 0, .. }]
    ));
    assert!(matches!(
        episode.apply(decided(invoke()), at(2))[..],
        [Effect::Invoke(_)]
    ));
    assert!(matches!(
        episode.apply(observed("7", 0.9, 3), at(3))[..],
        [Effect::Journal(_)]
    ));
    assert!(matches!(
        episode.apply(Event::Journaled, at(4))[..],
        [Effect::Decide { step: 1, .. }]
    ));
    let effects = episode.apply(
        decided(decision(Action::Answer(Answer::Observation(0)))),
        at(5),
    );
    let end = conclusion(&effects).unwrap();
    assert_eq!(end.termination, Termination::Answered);
    assert_eq!(end.answer.as_ref().unwrap().value, "7");
    assert_eq!(end.usage.cost, MicroUsd(3));
    assert_eq!(episode.steps().len(), 2);
    assert_eq!(episode.steps()[0].decided_at, at(2));
}

#[test]
fn an_answer_that_refers_to_nothing_is_an_observation() {
    let mut episode = Episode::new(spec(5, None));
    episode.apply(Event::Started, at(1));
    let effects = episode.apply(
        decided(decision(Action::Answer(Answer::Observation(3)))),
        at(2),
    );
    let [Effect::Journal(step)] = &effects[..] else {
        panic!("{effects:?}")
    };
    let failure = step.observation.as_ref().unwrap().failure.as_ref().unwrap();
    assert_eq!(failure.kind, FailureKind::Malformed);
}

#[test]
fn the_last_decision_must_answer_and_the_best_observation_is_kept() {
    let mut episode = Episode::new(spec(3, None));
    episode.apply(Event::Started, at(1));
    for (value, confidence) in [("7", 0.9), ("8", 0.2)] {
        episode.apply(decided(invoke()), at(2));
        episode.apply(observed(value, confidence, 0), at(3));
        episode.apply(Event::Journaled, at(4));
    }
    let effects = episode.apply(decided(invoke()), at(5));
    assert!(matches!(effects[..], [Effect::Journal(_)]));
    let effects = episode.apply(Event::Journaled, at(6));
    let end = conclusion(&effects).unwrap();
    assert_eq!(end.termination, Termination::Truncated(Truncation::Steps));
    assert_eq!(end.answer.as_ref().unwrap().value, "7");
}

#[test]
fn cancelling_a_call_keeps_its_reservation() {
    let mut episode = Episode::new(spec(5, Some(100)));
    episode.apply(Event::Started, at(1));
    episode.apply(decided(invoke()), at(2));
    assert_eq!(episode.remaining(at(2)).cost, Some(MicroUsd(90)));
    let effects = episode.apply(
        Event::CancelRequested {
            reason: "client".into(),
        },
        at(3),
    );
    assert_eq!(effects[0], Effect::Abort);
    assert_eq!(conclusion(&effects).unwrap().unsettled_cost, MicroUsd(10));
    assert!(episode.apply(observed("7", 1.0, 5), at(4)).is_empty());
}

#[test]
fn a_call_beyond_the_budget_or_without_a_price_is_refused() {
    for quote in [Quote::AtMost(MicroUsd(101)), Quote::Unpriced] {
        let mut episode = Episode::new(spec(5, Some(100)));
        episode.apply(Event::Started, at(1));
        let effects = episode.apply(
            Event::Decided {
                instance: None,
                decision: invoke(),
                quote,
            },
            at(2),
        );
        let [Effect::Journal(step)] = &effects[..] else {
            panic!("{effects:?}")
        };
        let failure = step.observation.as_ref().unwrap().failure.as_ref().unwrap();
        assert_eq!(failure.kind, FailureKind::BudgetExceeded);
    }
}

#[derive(Clone, Debug)]
pub(super) enum Input {
    Started,
    Invoke(u64),
    Unpriced,
    AnswerObservation(u32),
    AnswerText(String),
    DecideFailed,
    Observed { answer: bool, share: u8 },
    Failed,
    Journaled,
    JournalFailed,
    Cancel,
    Deadline,
}

pub(super) fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        2 => Just(Input::Started),
        6 => (0u64..60).prop_map(Input::Invoke),
        1 => Just(Input::Unpriced),
        2 => (0u32..6).prop_map(Input::AnswerObservation),
        1 => "[a ]{0,2}".prop_map(Input::AnswerText),
        1 => Just(Input::DecideFailed),
        6 => (any::<bool>(), 0u8..=100).prop_map(|(answer, share)| Input::Observed { answer, share }),
        2 => Just(Input::Failed),
        6 => Just(Input::Journaled),
        1 => Just(Input::JournalFailed),
        1 => Just(Input::Cancel),
        1 => Just(Input::Deadline),
    ]
}

fn failure() -> Failure {
    Failure::new(FailureKind::Unavailable, "gone")
}

pub(super) fn event(input: Input, reserved: MicroUsd) -> Event {
    match input {
        Input::Started => Event::Started,
        Input::Invoke(bound) => Event::Decided {
            instance: None,
            decision: invoke(),
            quote: Quote::AtMost(MicroUsd(bound)),
        },
        Input::Unpriced => Event::Decided {
            instance: None,
            decision: invoke(),
            quote: Quote::Unpriced,
        },
        Input::AnswerObservation(k) => decided(decision(Action::Answer(Answer::Observation(k)))),
        Input::AnswerText(text) => decided(decision(Action::Answer(Answer::Text(text)))),
        Input::DecideFailed => Event::DecideFailed(failure()),
        Input::Observed { answer, share } => {
            let cost = reserved.0 * u64::from(share) / 100;
            if answer {
                observed("7", f32::from(share) / 100.0, cost)
            } else {
                observed("", 0.0, cost)
            }
        }
        Input::Failed => Event::Observed(Observation::failed(failure())),
        Input::Journaled => Event::Journaled,
        Input::JournalFailed => Event::JournalFailed(failure()),
        Input::Cancel => Event::CancelRequested {
            reason: "test".into(),
        },
        Input::Deadline => Event::DeadlinePassed,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any order of events: at most one end, nothing after it, and neither the steps nor the money
    /// of the budget are ever exceeded, reservations and cut-off calls included.
    #[test]
    fn any_order_ends_once_within_the_budget(
        inputs in prop::collection::vec(input(), 0..40),
        max_steps in 1u32..6,
        max_cost in 0u64..100,
    ) {
        let mut episode = Episode::new(spec(max_steps, Some(max_cost)));
        let mut ends = 0;
        for (tick, input) in inputs.into_iter().enumerate() {
            let reserved = match episode.phase() {
                Phase::Invoking(call) => call.reserved(),
                _ => MicroUsd::ZERO,
            };
            let ended = ends > 0;
            let effects = episode.apply(event(input, reserved), at(tick as i64));
            prop_assert!(!ended || effects.is_empty());
            for effect in &effects {
                match effect {
                    Effect::Finish(conclusion) => {
                        ends += 1;
                        let spent = conclusion.usage.cost + conclusion.unsettled_cost;
                        prop_assert!(spent.0 <= max_cost);
                        if conclusion.termination == Termination::Answered {
                            prop_assert!(conclusion.answer.is_some());
                        }
                    }
                    Effect::Invoke(invocation) => {
                        prop_assert!(invocation.max_cost.unwrap().0 <= max_cost);
                    }
                    _ => {}
                }
            }
            prop_assert!(episode.steps().len() <= max_steps as usize);
            let indices: Vec<_> = episode.steps().iter().map(|step| step.index as usize).collect();
            prop_assert_eq!(indices, (0..episode.steps().len()).collect::<Vec<_>>());
        }
        prop_assert!(ends <= 1);
    }

    /// However it went before, a deadline ends it.
    #[test]
    fn a_deadline_always_ends_it(inputs in prop::collection::vec(input(), 0..20)) {
        let mut episode = Episode::new(spec(5, None));
        let mut ends = 0;
        for input in inputs.into_iter().chain([Input::Deadline]) {
            let effects = episode.apply(event(input, MicroUsd::ZERO), at(1));
            ends += effects.iter().filter(|effect| matches!(effect, Effect::Finish(_))).count();
        }
        prop_assert_eq!(ends, 1);
    }
}

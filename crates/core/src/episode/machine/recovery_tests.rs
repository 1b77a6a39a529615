use proptest::prelude::*;

use super::super::{
    Phase,
    tests::{at, conclusion, decided, decision, event, input, invoke, observed, spec},
};
use super::*;
use crate::episode::{Answer, Effect, Event, Quote};

fn deciding(max_cost: Option<u64>) -> Episode {
    let mut episode = Episode::new(spec(5, max_cost));
    episode.apply(Event::Started, at(1));
    episode
}

/// An episode whose first call, which may cost 10, is under way.
fn calling(max_cost: Option<u64>) -> Episode {
    let mut episode = deciding(max_cost);
    episode.apply(decided(invoke()), at(2));
    episode
}

fn lost(episode: &Episode) -> Episode {
    let call = episode.pending_call().cloned();
    Episode::recover(episode.spec().clone(), episode.steps().to_vec(), call)
}

#[test]
fn a_call_that_was_cut_off_is_made_again_and_counted() {
    let mut adopted = lost(&calling(Some(100)));
    let effects = adopted.apply(Event::Started, at(3));
    let [Effect::Invoke(invocation)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(invocation.repeated && invocation.step == 0);
    assert_eq!(adopted.remaining(at(3)).cost, Some(MicroUsd(80)));
    let effects = adopted.apply(observed("7", 0.9, 4), at(4));
    let [Effect::Journal(step)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(step.decided_at, at(2), "the decision is the first owner's");
    let usage = &step.observation.as_ref().unwrap().usage;
    assert_eq!((usage.cost, usage.repeated_calls), (MicroUsd(14), 1));
}

#[test]
fn a_call_is_not_made_a_third_time() {
    let mut second = lost(&calling(Some(100)));
    second.apply(Event::Started, at(3));
    let mut third = lost(&second);
    let effects = third.apply(Event::Started, at(4));
    let [Effect::Journal(step)] = &effects[..] else {
        panic!("{effects:?}")
    };
    let observation = step.observation.as_ref().unwrap();
    assert_eq!(
        observation.failure.as_ref().unwrap().kind,
        FailureKind::Unavailable
    );
    assert_eq!(observation.usage.cost, MicroUsd(20));
    assert_eq!(
        (observation.usage.calls, observation.usage.repeated_calls),
        (2, 1)
    );
    assert!(matches!(
        third.apply(Event::Journaled, at(5))[..],
        [Effect::Decide { step: 1, .. }]
    ));
}

#[test]
fn a_call_is_not_repeated_where_both_might_exceed_the_budget() {
    let mut adopted = lost(&calling(Some(19)));
    let effects = adopted.apply(Event::Started, at(3));
    let [Effect::Journal(step)] = &effects[..] else {
        panic!("{effects:?}")
    };
    let observation = step.observation.as_ref().unwrap();
    assert_eq!(
        observation.failure.as_ref().unwrap().kind,
        FailureKind::BudgetExceeded
    );
    assert_eq!(adopted.remaining(at(3)).cost, Some(MicroUsd(9)));
}

#[test]
fn an_adoption_after_the_deadline_ends_it_and_keeps_the_reservation() {
    let mut adopted = lost(&calling(Some(100)));
    let effects = adopted.apply(Event::Started, at(2000));
    let end = conclusion(&effects).unwrap();
    assert_eq!(
        end.termination,
        Termination::Truncated(Truncation::Deadline)
    );
    assert_eq!(end.unsettled_cost, MicroUsd(10));
}

#[test]
fn whatever_ends_an_adopted_episode_first_keeps_the_reservation() {
    let reason = "client".to_owned();
    for event in [Event::DeadlinePassed, Event::CancelRequested { reason }] {
        let mut adopted = lost(&calling(Some(100)));
        let effects = adopted.apply(event, at(3));
        assert_eq!(conclusion(&effects).unwrap().unsettled_cost, MicroUsd(10));
    }
}

#[test]
fn without_a_call_the_decision_is_taken_anew() {
    let mut adopted = lost(&deciding(None));
    assert!(matches!(
        adopted.apply(Event::Started, at(3))[..],
        [Effect::Decide { step: 0, .. }]
    ));
    // A call whose step is in the journal is done with.
    let mut before = calling(None);
    let call = before.pending_call().cloned();
    before.apply(observed("7", 0.9, 3), at(3));
    let mut adopted = Episode::recover(before.spec().clone(), before.steps().to_vec(), call);
    assert!(matches!(
        adopted.apply(Event::Started, at(4))[..],
        [Effect::Decide { step: 1, .. }]
    ));
    let answer = decided(decision(Action::Answer(Answer::Observation(0))));
    assert!(conclusion(&adopted.apply(answer, at(5))).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// However often its owner is lost, an episode ends once and within its budget, with every
    /// written step in place.
    #[test]
    fn losses_at_any_time_keep_the_budget_and_the_steps(
        inputs in prop::collection::vec((input(), any::<bool>()), 0..40),
        max_steps in 1u32..6,
        max_cost in 0u64..100,
    ) {
        let mut episode = Episode::new(spec(max_steps, Some(max_cost)));
        // What the journal holds, and what was really spent at worst: calls that nobody heard the
        // end of may have cost their bound.
        let (mut written, mut call): (Vec<Step>, Option<PendingCall>) = (vec![], None);
        let (mut spent, mut ends) = (0, 0);
        for (tick, (input, dies)) in inputs.into_iter().enumerate() {
            let now = at(i64::try_from(tick).unwrap());
            let effects;
            if dies && ends == 0 {
                episode = Episode::recover(episode.spec().clone(), written.clone(), call.clone());
                effects = episode.apply(Event::Started, now);
            } else {
                let bound = match episode.phase() {
                    Phase::Invoking(call) => call.max_cost.unwrap_or_default(),
                    _ => MicroUsd::ZERO,
                };
                let event = event(input, bound);
                match (episode.phase(), &event) {
                    (Phase::Journaling, Event::Journaled) => written = episode.steps().to_vec(),
                    (Phase::Invoking(_), Event::Observed(observation)) => {
                        spent = spent - bound.0 + observation.usage.cost.0;
                    }
                    _ => {}
                }
                effects = episode.apply(event, now);
            }
            for effect in effects {
                match effect {
                    Effect::Invoke(invocation) => {
                        spent += invocation.max_cost.unwrap_or_default().0;
                        call = episode.pending_call().cloned();
                    }
                    Effect::Finish(conclusion) => {
                        ends += 1;
                        let claimed = (conclusion.usage.cost + conclusion.unsettled_cost).0;
                        prop_assert!(claimed <= max_cost, "{claimed} of {max_cost}");
                    }
                    _ => {}
                }
            }
            prop_assert!(spent <= max_cost, "{spent} of {max_cost}");
            prop_assert!(episode.steps().len() <= max_steps as usize);
            prop_assert!(episode.steps().starts_with(&written));
        }
        prop_assert!(ends <= 1);
    }

    /// Rebuilt from its journal, an episode stands where the one that wrote it stood.
    #[test]
    fn a_recovered_episode_goes_on_as_its_first_owner_would_have(
        costs in prop::collection::vec(0u64..10, 0..4),
    ) {
        let mut first = deciding(Some(100));
        let mut effects = vec![];
        for (index, cost) in costs.iter().enumerate() {
            let quote = Quote::AtMost(MicroUsd(*cost));
            first.apply(Event::Decided {
                instance: None,
                 decision: invoke(), quote }, at(2));
            first.apply(observed(&index.to_string(), 0.5, *cost), at(3));
            effects = first.apply(Event::Journaled, at(4));
        }
        let mut second = lost(&first);
        let started = second.apply(Event::Started, at(4));
        prop_assert_eq!(first.steps(), second.steps());
        prop_assert_eq!(first.remaining(at(5)), second.remaining(at(5)));
        prop_assert!(costs.is_empty() || effects == started);
    }
}

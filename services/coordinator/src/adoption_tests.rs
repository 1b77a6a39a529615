use maestro_core::{
    episode::{Action, Decision, EpisodeRecord, Observation, ServingMode, Step},
    expert_call::Usage,
    task::Pair,
};

use super::*;
use crate::testing::spec;

fn decision() -> Decision {
    Decision {
        action: Action::Invoke {
            pair: Pair {
                expert: "reader".parse().unwrap(),
                skill: "direct".parse().unwrap(),
            },
            query: String::new(),
        },
        log_prob: -0.5,
        probability: 0.5,
        mode: ServingMode::Greedy,
        alternatives: vec![],
        policy_version: "v".into(),
        catalogue: None,
        revision: 3,
        trace: None,
    }
}

/// An episode that made one call, and was about to make another.
fn adopted(terms: u32, at: Timestamp) -> Adopted {
    let usage = Usage {
        calls: 1,
        ..Usage::default()
    };
    let step = Step {
        index: 0,
        decision: decision(),
        observation: Some(Observation {
            usage,
            ..Observation::default()
        }),
        started_at: at,
        decided_at: at,
        finished_at: at,
    };
    let record = EpisodeRecord {
        spec: spec("How many?", at),
        steps: vec![step],
        conclusion: None,
        outcome: None,
    };
    let call = PendingCall {
        instance: None,
        suspended: Duration::ZERO,
        step: 1,
        decision: decision(),
        started_at: at,
        decided_at: at,
        max_cost: Some(MicroUsd(7)),
        repeated: true,
    };
    let standing = Standing {
        record,
        call: Some(call),
    };
    Adopted { standing, terms }
}

#[test]
fn an_episode_goes_on_with_as_many_owners_as_it_may_have() {
    let now = Timestamp::now();
    for terms in [2, MAX_TERMS] {
        assert_eq!(outlived(&adopted(terms, now), now), None);
    }
}

#[test]
fn one_that_outlived_them_all_fails_with_its_calls_in_the_accounts() {
    let now = Timestamp::now();
    let end = outlived(&adopted(MAX_TERMS + 1, now), now).unwrap();
    let Termination::Failed(failure) = &end.termination else {
        panic!("{end:?}")
    };
    assert!(failure.message.contains("16 coordinators"), "{failure:?}");
    assert_eq!(end.usage.calls, 1);
    // The call and its repetition, of neither of which the price is known.
    assert_eq!(end.unsettled_cost, MicroUsd(14));
    assert_eq!(end.finished_at, now);
}

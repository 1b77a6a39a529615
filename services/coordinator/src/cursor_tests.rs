use maestro_core::{
    MicroUsd, TenantId, Timestamp,
    episode::{Action, Conclusion, Decision, Durability, EpisodeSpec, ServingMode, Termination},
    expert_call::Usage,
    ids::EpisodeId,
    task::{Pair, TaskDraft},
};

use super::*;

fn call(step: u32) -> PendingCall {
    let now = Timestamp::UNIX_EPOCH;
    PendingCall {
        instance: None,
        step,
        decision: Decision {
            action: Action::Invoke {
                pair: Pair {
                    expert: "a".parse().unwrap(),
                    skill: "b".parse().unwrap(),
                },
                query: String::new(),
            },
            log_prob: 0.0,
            probability: 1.0,
            mode: ServingMode::Greedy,
            alternatives: vec![],
            policy_version: "v".into(),
            catalogue: None,
            revision: 0,
            trace: None,
        },
        started_at: now,
        decided_at: now,
        max_cost: None,
        repeated: false,
    }
}

fn record(steps: u32, is_over: bool) -> EpisodeRecord {
    let draft = TaskDraft {
        question: "q".into(),
        ..TaskDraft::default()
    };
    EpisodeRecord {
        spec: EpisodeSpec {
            id: EpisodeId::new("e").unwrap(),
            tenant: TenantId::anonymous(),
            request_id: None,
            task: Arc::new(draft.validate(Timestamp::UNIX_EPOCH).unwrap()),
            durability: Durability::Durable,
            mode: ServingMode::Greedy,
            slot: "default".into(),
            seed: 1,
            created_at: Timestamp::UNIX_EPOCH,
        },
        steps: (0..steps).map(|index| decided_step(&call(index))).collect(),
        conclusion: is_over.then(|| Conclusion {
            termination: Termination::Answered,
            answer: None,
            usage: Usage::default(),
            unsettled_cost: MicroUsd::ZERO,
            finished_at: Timestamp::UNIX_EPOCH,
        }),
        outcome: None,
    }
}

/// Accepted, then each decision and its end, then the end.
fn live_events(steps: u32) -> Vec<EpisodeEvent> {
    let mut events = replay(&record(0, false), None);
    for index in 0..steps {
        let step = Arc::new(decided_step(&call(index)));
        events.push(EpisodeEvent::Decided(Arc::clone(&step)));
        events.push(EpisodeEvent::Finished(step));
    }
    events.extend(replay(&record(steps, true), None).pop());
    events
}

fn seen(cursor: &mut Cursor, events: &[EpisodeEvent]) -> Vec<EpisodeEvent> {
    let mut seen = events.to_vec();
    seen.retain(|event| cursor.admits(event));
    seen
}

#[test]
fn a_token_that_nobody_gave_out_is_refused() {
    for bad in ["x", "1", "1.", "-1.0", "1.2.3"] {
        let error = bad.parse::<Cursor>().unwrap_err().to_string();
        assert!(error.contains("resume_token"), "{bad}: {error}");
    }
    assert_eq!("".parse::<Cursor>().unwrap(), Cursor::default());
}

#[test]
fn whoever_resumes_anywhere_sees_the_rest_once() {
    let all = live_events(3);
    for cut in 1..all.len() {
        let mut before = Cursor::default();
        assert_eq!(seen(&mut before, &all[..cut]), all[..cut]);
        let mut after: Cursor = before.to_string().parse().unwrap();
        assert_eq!(seen(&mut after, &all), all[cut..], "after {before}");
    }
}

#[test]
fn one_source_goes_on_where_another_stopped() {
    let mut cursor = Cursor::default();
    // Live until the second call is under way, then the journal, which tells all from the start.
    let live = live_events(3);
    let mut all = seen(&mut cursor, &live[..4]);
    for (steps, pending) in [(1, Some(call(1))), (2, Some(call(2))), (3, None)] {
        let told = replay(&record(steps, false), pending.as_ref());
        all.extend(seen(&mut cursor, &told));
    }
    all.extend(seen(&mut cursor, &replay(&record(3, true), None)));
    assert_eq!(all, live);
    assert!(cursor.is_over());
}

#[test]
fn a_finished_step_needs_no_decision_any_more() {
    let mut cursor = Cursor::default();
    seen(&mut cursor, &replay(&record(2, false), None));
    let late = EpisodeEvent::Decided(Arc::new(decided_step(&call(1))));
    assert!(!cursor.admits(&late));
    // A call whose step is written is not told as under way.
    assert_eq!(replay(&record(2, false), Some(&call(1))).len(), 5);
    assert_eq!(replay(&record(3, true), None), live_events(3));
}

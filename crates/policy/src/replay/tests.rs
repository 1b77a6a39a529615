use std::time::Duration;

use maestro_core::{
    MicroUsd,
    answer::{AnswerKind, ExtractedAnswer},
    episode::{Choice, Failure, FailureKind, Observation},
    grading::Reference,
    recording::{KnownTask, RecordedCall, RecordedResult, RecordedTask, Recording},
    task::{ImageRef, Pair},
};
use proptest::prelude::*;

use super::*;
use crate::features::tests::snapshot;

pub(crate) fn pair(expert: &str) -> Pair {
    Pair {
        expert: expert.parse().unwrap(),
        skill: "read".parse().unwrap(),
    }
}

pub(crate) fn answered(expert: &str, value: &str, confidence: f32, ms: u64) -> RecordedCall {
    let observation = Observation {
        answer: Some(ExtractedAnswer {
            value: value.into(),
            confidence,
        }),
        ..Observation::default()
    };
    RecordedCall {
        pair: pair(expert),
        result: RecordedResult::Observed(Box::new(observation)),
        cost: MicroUsd(70),
        latency_ms: ms,
    }
}

pub(crate) fn graded(expert: &str, score: f64) -> RecordedCall {
    RecordedCall {
        result: RecordedResult::Graded(score),
        ..answered(expert, "", 0.0, 400)
    }
}

pub(crate) fn known(id: &str, question: &str) -> KnownTask {
    KnownTask {
        id: id.into(),
        split: "train".into(),
        domain: "receipts".into(),
        group: None,
        question: question.into(),
        images: vec![ImageRef {
            digest: maestro_core::Digest::of(b"image"),
            media_type: "image/png".into(),
            width: 100,
            height: 100,
            bytes: 10,
        }],
        answer_kind: AnswerKind::Integer,
        reference: Some(Reference::Integer { value: 7 }),
    }
}

/// A pool of two readers, `fast` and `good`, that were asked one question.
pub(crate) fn recording(calls: Vec<RecordedCall>) -> Recording {
    Recording {
        catalogue: (*snapshot().catalogue).clone(),
        tasks: vec![RecordedTask {
            task: known("one", "What is the total?"),
            calls,
        }],
    }
}

fn world(calls: Vec<RecordedCall>, terms: &Terms) -> World {
    World::new(recording(calls), terms).unwrap()
}

fn run(world: &World, absent: &Absent, choices: &[Choice]) -> EpisodeResult {
    let task = &world.tasks()[0];
    let spec = task.weighing(task.task().weights);
    let mut episode = ReplayEpisode::start(world, task, absent, spec);
    for choice in choices {
        let _ = episode.actions();
        episode.take(choice);
    }
    let _ = episode.actions();
    episode.result().cloned().expect("it has not ended")
}

fn ask(expert: &str) -> Choice {
    Choice::Invoke(pair(expert))
}

#[test]
fn what_was_recorded_happens_again() {
    let calls = vec![
        answered("fast", "1", 0.4, 300),
        answered("good", "7", 0.9, 3000),
    ];
    let world = world(calls, &Terms::default());
    let all = Absent::default();
    let result = run(
        &world,
        &all,
        &[ask("fast"), ask("good"), Choice::AnswerObservation(1)],
    );
    assert_eq!((result.score, result.answered_by), (1.0, Some(1)));
    assert_eq!(result.cost, MicroUsd(140));
    assert_eq!(result.latency, Duration::from_millis(3300));
    assert_eq!(result.calls, [0, 1]);
    assert!(result.is_answered && result.has_format);
    let result = run(&world, &all, &[ask("fast"), Choice::AnswerObservation(0)]);
    assert_eq!((result.score, result.cost), (0.0, MicroUsd(70)));
}

#[test]
fn the_last_decision_must_be_an_answer() {
    let calls = vec![
        answered("fast", "7", 0.4, 300),
        answered("good", "1", 0.9, 3000),
    ];
    let terms = Terms {
        max_steps: 2,
        ..Terms::default()
    };
    let world = world(calls, &terms);
    // A call as the last decision is refused; the best answer so far stands.
    let result = run(&world, &Absent::default(), &[ask("fast"), ask("good")]);
    assert_eq!((result.score, result.calls.as_slice()), (1.0, &[0][..]));
    assert!(!result.is_answered);
}

#[test]
fn a_call_that_takes_too_long_ends_the_episode() {
    let calls = vec![
        answered("fast", "7", 0.4, 300),
        answered("good", "1", 0.9, 3000),
    ];
    let terms = Terms {
        timeout: Duration::from_secs(1),
        ..Terms::default()
    };
    let world = world(calls, &terms);
    let result = run(&world, &Absent::default(), &[ask("fast"), ask("good")]);
    assert_eq!((result.score, result.is_answered), (1.0, false));
    assert_eq!(result.latency, Duration::from_secs(1));
}

#[test]
fn money_that_is_not_there_is_not_spent() {
    let calls = vec![
        answered("fast", "1", 0.4, 300),
        answered("good", "7", 0.9, 3000),
    ];
    let terms = Terms {
        max_cost: Some(MicroUsd(150)),
        ..Terms::default()
    };
    let world = world(calls, &terms);
    let task = &world.tasks()[0];
    let all = Absent::default();
    let spec = task.weighing(task.task().weights);
    let mut episode = ReplayEpisode::start(&world, task, &all, spec);
    assert_eq!(episode.actions().len(), 2);
    episode.take(&ask("fast"));
    // Each call is quoted at 100 of which 70 were used: 80 are left.
    let left = episode.request().remaining.cost;
    assert_eq!(left, Some(MicroUsd(80)));
    assert_eq!(episode.actions().len(), 1, "only the answer");
    episode.take(&ask("good"));
    let failure = episode.request().history[1].observation.failure.as_ref();
    assert_eq!(failure.unwrap().kind, FailureKind::BudgetExceeded);
}

#[test]
fn a_call_of_which_only_the_score_is_known_is_final() {
    let calls = vec![graded("fast", 0.25), answered("good", "7", 0.9, 3000)];
    let world = world(calls, &Terms::default());
    let result = run(&world, &Absent::default(), &[ask("fast")]);
    assert_eq!((result.score, result.cost), (0.25, MicroUsd(70)));
    assert!(result.is_answered && result.has_format);
    let after = run(&world, &Absent::default(), &[ask("good"), ask("fast")]);
    assert_eq!((after.score, after.cost), (0.25, MicroUsd(140)));
}

#[test]
fn an_absent_entry_is_not_offered_and_cannot_be_called() {
    let calls = vec![
        answered("fast", "7", 0.4, 300),
        answered("good", "7", 0.9, 3000),
    ];
    let world = world(calls, &Terms::default());
    let task = &world.tasks()[0];
    let absent = Absent {
        experts: vec![task.calls[0].expert],
        skills: vec![],
    };
    let spec = task.weighing(task.task().weights);
    let mut episode = ReplayEpisode::start(&world, task, &absent, spec);
    assert_eq!(episode.actions().len(), 1);
    episode.take(&ask("fast"));
    let failure = episode.request().history[0].observation.failure.clone();
    assert_eq!(failure.unwrap().kind, FailureKind::NotInActionSet);
    let none = Absent {
        experts: task.calls.iter().map(|call| call.expert).collect(),
        skills: vec![],
    };
    let result = run(&world, &none, &[]);
    assert_eq!((result.score, result.is_answered), (0.0, false));
}

#[test]
fn a_failed_call_is_an_observation() {
    let mut failing = answered("fast", "7", 0.4, 300);
    let failed = Observation::failed(Failure::new(FailureKind::ExpertFailed, "no"));
    failing.result = RecordedResult::Observed(Box::new(failed));
    let world = world(
        vec![failing, answered("good", "7", 0.9, 3000)],
        &Terms::default(),
    );
    let choices = [ask("fast"), ask("good"), Choice::AnswerObservation(1)];
    let result = run(&world, &Absent::default(), &choices);
    assert_eq!((result.score, result.answered_by), (1.0, Some(1)));
}

proptest! {
    #[test]
    fn any_episode_ends_within_its_steps_and_spends_what_its_calls_cost(
        picks in prop::collection::vec(0usize..8, 12), max_steps in 1u32..7,
    ) {
        let calls = vec![answered("fast", "1", 0.4, 300), answered("good", "7", 0.9, 3000)];
        let world = world(calls, &Terms { max_steps, ..Terms::default() });
        let task = &world.tasks()[0];
        let all = Absent::default();
        let spec = task.weighing(task.task().weights);
        let mut episode = ReplayEpisode::start(&world, task, &all, spec);
        let mut picks = picks.into_iter();
        let mut decisions = 0;
        while episode.result().is_none() {
            let actions = episode.actions();
            let Some(pick) = picks.next() else { break };
            if actions.is_empty() {
                break;
            }
            let choice = actions[pick % actions.len()].choice();
            episode.take(&choice);
            decisions += 1;
        }
        let result = episode.result().expect("every episode ends");
        prop_assert!(decisions <= max_steps);
        prop_assert_eq!(result.cost, MicroUsd(70 * result.calls.len() as u64));
    }
}

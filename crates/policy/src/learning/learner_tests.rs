use std::sync::Arc;

use maestro_core::recording::Recording;
use maestro_models::DeviceSetting;

use super::*;
use crate::{
    features::tests::table,
    learning::{
        Checkpoint, ObjectiveConfig, PreparedWorld, ReplayEnvironment, Rewording, ScenarioConfig,
        validate,
    },
    replay::{
        Terms, World,
        tests::{answered, graded, known, recording},
    },
    runtime::{Runtime, ServingConfig},
    scorer::ScorerConfig,
};

#[test]
fn orders_are_permutations() {
    for count in [1, 2, 3, 7, 64, 1000] {
        for seed in 0..5 {
            let mut seen: Vec<usize> = (0..count)
                .map(|place| permuted(place, count, SplitMix::new(seed)))
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}

fn runtime() -> Runtime {
    let embedder = Arc::clone(&table()) as Arc<dyn maestro_models::TextEmbedder>;
    Runtime::open(DeviceSetting::Cpu, embedder, ServingConfig::default()).unwrap()
}

/// Colours are read by the fast reader, numbers by the good one, and neither knows when it is
/// wrong.
fn lesson() -> Recording {
    let mut all = recording(vec![]);
    all.tasks.clear();
    for (place, thing) in ["apple", "house", "river", "ticket", "wheel", "lamp"]
        .iter()
        .enumerate()
    {
        for (question, fast, good) in [
            (format!("Which colour has the {thing}?"), "7", "1"),
            (format!("Which number is printed on the {thing}?"), "1", "7"),
        ] {
            let calls = vec![
                answered("fast", fast, 0.9, 300),
                answered("good", good, 0.9, 400),
            ];
            let mut one = recording(calls).tasks.remove(0);
            one.task = known(&format!("{place}-{question}"), &question);
            all.tasks.push(one);
        }
    }
    all
}

fn prepared(recording: Recording) -> PreparedWorld {
    let world = World::new(recording, &Terms::default()).unwrap();
    PreparedWorld::new(world, &runtime(), &Rewording::none()).unwrap()
}

fn environment(recording: Recording) -> ReplayEnvironment {
    let scenario = ScenarioConfig {
        dropout: 0.0,
        weighing: 0.0,
        ..ScenarioConfig::default()
    };
    ReplayEnvironment::new(vec![prepared(recording)], scenario, 2, &runtime()).unwrap()
}

fn config() -> LearnerConfig {
    LearnerConfig {
        iterations: 40,
        groups: 12,
        minibatch: 6,
        learning_rate: 1e-2,
        ..LearnerConfig::default()
    }
}

/// A network that prefers nothing.
fn scorer_config() -> ScorerConfig {
    ScorerConfig {
        similarity_scale: 0.0,
        ..ScorerConfig::new(table().dim())
    }
}

fn learner(config: LearnerConfig) -> Learner {
    let device = DeviceSetting::Cpu.open().unwrap();
    Learner::new(config, &scorer_config().init(&device), &device).unwrap()
}

#[test]
fn it_learns_from_outcomes_alone_which_pair_fits() {
    let mut environment = environment(lesson());
    let mut learner = learner(config());
    let held = [prepared(lesson())];
    let scenario = ScenarioConfig::default();
    let before = validate(&learner.acting().scorer, &held, &scenario, &runtime()).unwrap();
    let mut first = None;
    while !learner.is_done() {
        let metrics = learner.iterate(&mut environment).unwrap();
        first.get_or_insert(metrics.reward);
    }
    let after = validate(&learner.acting().scorer, &held, &scenario, &runtime()).unwrap();
    assert!(before.accuracy <= 0.5, "{before:?}");
    assert!(after.reward > before.reward + 0.4, "{before:?} {after:?}");
    assert_eq!(after.accuracy, 1.0, "{before:?} {after:?}");
    assert!(after.calls < 1.2, "{after:?}");
}

#[test]
fn a_call_of_which_only_the_score_is_known_can_be_learned() {
    let mut recording = lesson();
    for task in &mut recording.tasks {
        let is_colour = task.task.question.contains("colour");
        let (fast, good) = if is_colour { (1.0, 0.2) } else { (0.2, 1.0) };
        task.calls = vec![graded("fast", fast), graded("good", good)];
    }
    let held = [prepared(recording.clone())];
    let mut environment = environment(recording);
    let mut learner = learner(config());
    while !learner.is_done() {
        learner.iterate(&mut environment).unwrap();
    }
    let scenario = ScenarioConfig::default();
    let after = validate(&learner.acting().scorer, &held, &scenario, &runtime()).unwrap();
    assert_eq!((after.accuracy, after.calls), (1.0, 1.0), "{after:?}");
}

#[test]
fn a_run_that_goes_on_is_a_run_that_was_not_interrupted() {
    let config = LearnerConfig {
        iterations: 6,
        ..config()
    };
    let whole = {
        let mut environment = environment(lesson());
        let mut learner = learner(config);
        while !learner.is_done() {
            learner.iterate(&mut environment).unwrap();
        }
        crate::weights(&learner.acting().scorer).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("checkpoint");
    let device = DeviceSetting::Cpu.open().unwrap();
    let read = || Checkpoint::read(&place, &config, &scorer_config(), &device).unwrap();
    assert!(read().is_none());
    let mut learner = learner(config);
    for _ in 0..6 {
        // Each iteration as if by a process of its own.
        learner.iterate(&mut environment(lesson())).unwrap();
        Checkpoint::write(&place, &learner, &scorer_config()).unwrap();
        learner = read().unwrap();
    }
    assert!(learner.is_done());
    assert!(whole == crate::weights(&learner.acting().scorer).unwrap());
    let other = LearnerConfig { seed: 1, ..config };
    let refused = Checkpoint::read(&place, &other, &scorer_config(), &device);
    assert!(
        refused
            .err()
            .unwrap()
            .to_string()
            .contains("other settings")
    );
}

/// Gives the same old episodes again and again.
struct Stale {
    inner: ReplayEnvironment,
    by: Acting,
}

impl Environment for Stale {
    fn tasks(&self) -> usize {
        self.inner.tasks()
    }

    fn roll_out(
        &mut self,
        _: &Acting,
        requests: &[GroupRequest],
        size: usize,
    ) -> Result<crate::learning::Rollouts, PolicyError> {
        self.inner.roll_out(&self.by, requests, size)
    }
}

#[test]
fn old_episodes_count_while_they_are_not_too_old() {
    let config = LearnerConfig {
        iterations: 4,
        max_staleness: 2,
        dynamic_sampling: false,
        ..config()
    };
    let mut learner = learner(config);
    let mut stale = Stale {
        inner: environment(lesson()),
        by: learner.acting(),
    };
    let dropped: Vec<(usize, bool)> = (0..4)
        .map(|_| {
            let metrics = learner.iterate(&mut stale).unwrap();
            (metrics.stale, metrics.gradient_norm > 0.0)
        })
        .collect();
    let all = 12 * 8;
    assert_eq!(dropped, [(0, true), (0, true), (0, true), (all, false)]);
}

#[test]
fn the_entropy_floor_keeps_the_policy_trying() {
    let entropy_after = |objective: ObjectiveConfig| {
        let mut environment = environment(lesson());
        let mut learner = learner(LearnerConfig {
            objective,
            dynamic_sampling: false,
            ..config()
        });
        let mut last = 0.0;
        while !learner.is_done() {
            last = learner.iterate(&mut environment).unwrap().entropy;
        }
        last
    };
    let free = entropy_after(ObjectiveConfig {
        entropy_weight: 0.0,
        ..ObjectiveConfig::default()
    });
    let held = entropy_after(ObjectiveConfig {
        entropy_floor: 0.5,
        entropy_weight: 2.0,
        ..ObjectiveConfig::default()
    });
    assert!(held > free + 0.1, "{held} and {free}");
}

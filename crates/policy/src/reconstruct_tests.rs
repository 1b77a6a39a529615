//! Episodes driven through the state machine, whose records must give back what the policy saw.

use std::{sync::Arc, time::Duration};

use maestro_core::{
    TenantId, Timestamp,
    answer::{AnswerKind, ExtractedAnswer},
    episode::{
        Durability, Effect, Episode, EpisodeSpec, Event, Observation, Quote, ServingMode, Step,
    },
    expert_call::Usage,
    registry::Snapshot,
};
use maestro_models::DeviceSetting;
use proptest::prelude::*;

use super::*;
use crate::{
    EmbeddingCache, Prepared, Runtime, ScorerConfig, ScorerPolicy, ServingConfig,
    actions::possible_actions,
    features::{
        features,
        tests::{prepared, request, snapshot, table},
    },
};

fn policy() -> ScorerPolicy {
    let runtime = Runtime::open(DeviceSetting::Cpu, table(), ServingConfig::default()).unwrap();
    let config = ScorerConfig::new(runtime.embedder().dim());
    ScorerPolicy::untrained(config, runtime).unwrap()
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap()
}

/// Runs an episode whose calls answer `answers` in turn; gives its record and the requests that
/// the policy saw.
fn run(
    policy: &ScorerPolicy,
    prepared: &Prepared,
    seed: u64,
    answers: &[(Option<&str>, f32)],
) -> (EpisodeRecord, Vec<DecideRequest>) {
    let template = request("Tell me the receipt's total", AnswerKind::Number, 1);
    let mut task = (*template.task).clone();
    task.budget.max_cost = Some(MicroUsd(1_000));
    let spec = EpisodeSpec {
        id: "episode".parse().unwrap(),
        tenant: TenantId::anonymous(),
        request_id: None,
        task: Arc::new(task),
        durability: Durability::Ephemeral,
        mode: ServingMode::Sampled,
        slot: "default".into(),
        seed,
        created_at: at(0),
    };
    let mut episode = Episode::new(spec.clone());
    let mut seen = Vec::new();
    let mut answers = answers.iter().cycle();
    let mut clock = (1i64..).map(|tick| at(tick * 137));
    let mut conclusion = None;
    let mut event = Event::Started;
    while conclusion.is_none() {
        let effects = episode.apply(event, clock.next().unwrap());
        event = match effects.into_iter().next().unwrap() {
            Effect::Decide { step, remaining } => {
                let request = DecideRequest {
                    step,
                    task: Arc::clone(&spec.task),
                    history: PastStep::history(episode.steps()),
                    remaining,
                    mode: spec.mode,
                    seed,
                    ..template.clone()
                };
                let decision = policy.decide(prepared, &request).unwrap();
                seen.push(request);
                Event::Decided {
                    instance: None,
                    decision,
                    quote: Quote::AtMost(MicroUsd(100)),
                }
            }
            Effect::Invoke(_) => Event::Observed(observation(*answers.next().unwrap())),
            Effect::Journal(_) => Event::Journaled,
            Effect::Finish(end) => {
                conclusion = Some(end);
                Event::Journaled
            }
            Effect::Abort => unreachable!("nothing aborts it"),
        };
    }
    let steps: Vec<Step> = episode.steps().to_vec();
    let record = EpisodeRecord {
        spec,
        steps,
        conclusion,
        outcome: None,
    };
    (record, seen)
}

fn observation((value, confidence): (Option<&str>, f32)) -> Observation {
    Observation {
        text: value.unwrap_or_default().to_owned(),
        answer: value.map(|value| ExtractedAnswer {
            value: value.to_owned(),
            confidence,
        }),
        usage: Usage {
            cost: MicroUsd(70),
            expert_time: Duration::from_millis(5),
            ..Usage::default()
        },
        ..Observation::default()
    }
}

/// The registry as it is known from the catalogue alone: nothing serves.
fn catalogue_only(snapshot: &Snapshot) -> Prepared {
    prepared(Snapshot::new(0, (*snapshot.catalogue).clone()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_record_gives_back_what_the_policy_saw(
        seed in any::<u64>(), confidence in 0.0f32..0.6, silent in any::<bool>(),
    ) {
        let policy = policy();
        let live = prepared(snapshot());
        let answers = [(Some("3.50"), confidence), ((!silent).then_some("9"), 0.3)];
        let (record, seen) = run(&policy, &live, seed, &answers);
        let states = states(&record);
        prop_assert_eq!(&states, &seen);

        let later = catalogue_only(live.snapshot());
        let question = table().embed(&record.spec.task.question);
        for (state, step) in states.iter().zip(&record.steps) {
            let logged =
                logged_features(state, &step.decision, later.embeddings(), &question).unwrap();
            let actions = possible_actions(state, live.snapshot()).unwrap();
            prop_assert_eq!(&logged, &features(state, &actions, &live, &question));

            let distributions = policy.distributions(&later, std::slice::from_ref(&logged), 1.0).unwrap();
            let distribution = &distributions[0];
            for (rank, alternative) in step.decision.alternatives.iter().enumerate() {
                let position = distribution.order[rank];
                prop_assert_eq!(&logged.rows[position].choice, &alternative.choice);
                let deviation = distribution.probabilities[rank] - f64::from(alternative.probability);
                prop_assert!(deviation.abs() < 1e-6);
            }
        }
    }
}

#[test]
fn a_decision_without_a_fitting_trace_is_refused() {
    let policy = policy();
    let live = prepared(snapshot());
    let (record, _) = run(&policy, &live, 1, &[(Some("3"), 0.9)]);
    let state = &states(&record)[0];
    let embeddings = EmbeddingCache::new(table())
        .embed(&live.snapshot().catalogue)
        .unwrap();
    let refused = |change: fn(&mut Decision)| {
        let mut decision = record.steps[0].decision.clone();
        change(&mut decision);
        logged_features(state, &decision, &embeddings, &[])
            .unwrap_err()
            .to_string()
    };
    assert!(refused(|decision| decision.trace = None).contains("none"));
    assert!(refused(|decision| drop(decision.alternatives.pop())).contains("number of actions"));
    let other = |decision: &mut Decision| {
        decision.trace = Some(Trace::Inline("other".into(), Vec::new()));
    };
    assert!(refused(other).contains("layout"));
}

use std::{sync::Arc, time::Duration};

use maestro_core::{
    Digest, MicroUsd, RequestId, TenantId, Timestamp,
    answer::{AnswerKind, ExtractedAnswer},
    episode::*,
    expert_call::*,
    ids::{EpisodeId, IdempotencyKey, InstanceId},
    ports::{DecideRequest, PastStep, PolicyManifest},
    registry::*,
    skill_run::SkillRun,
    task::*,
};
use proptest::prelude::*;

use super::*;

fn round_trip<T>(value: &T)
where
    T: ToProto + FromProto<Proto = <T as ToProto>::Proto> + PartialEq + std::fmt::Debug,
{
    assert_eq!(&T::from_proto(value.to_proto()).unwrap(), value);
}

fn time(second: i64) -> Timestamp {
    Timestamp::new(second, 123_456_789).unwrap()
}

fn pair() -> Pair {
    Pair {
        expert: "reader".parse().unwrap(),
        skill: "receipts".parse().unwrap(),
    }
}

fn image() -> ImageRef {
    ImageRef {
        digest: Digest::of(b"image"),
        media_type: "image/png".into(),
        width: 640,
        height: 480,
        bytes: 1234,
    }
}

fn usage() -> Usage {
    Usage {
        cost: MicroUsd(17),
        calls: 3,
        repeated_calls: 1,
        input_tokens: 1000,
        output_tokens: 50,
        expert_time: Duration::from_millis(1500),
    }
}

fn task(kind: AnswerKind) -> Task {
    Task {
        question: "What is it?".into(),
        images: vec![image()],
        answer_kind: kind,
        budget: Budget {
            max_steps: 5,
            deadline: time(100),
            max_cost: Some(MicroUsd(9)),
        },
        constraints: Constraints {
            allowed: vec![PairPattern {
                expert: Some("reader".parse().unwrap()),
                skill: None,
            }],
            denied: vec![PairPattern {
                expert: None,
                skill: Some("x".parse().unwrap()),
            }],
            pinned: vec![pair()],
        },
        weights: Weights {
            accuracy: 1.0,
            cost: 0.5,
            latency: 0.25,
        },
    }
}

fn observation() -> Observation {
    Observation {
        failure: None,
        text: "12.50".into(),
        answer: Some(ExtractedAnswer {
            value: "12.50".into(),
            confidence: 0.75,
        }),
        evidence: vec![Evidence {
            label: "ocr".into(),
            text: "TOTAL 12.50".into(),
            image: Some(Digest::of(b"crop")),
        }],
        solver: Some("receipt-total".into()),
        skill_digest: Some(Digest::of(b"skill")),
        instance: Some(InstanceId::generate()),
        usage: usage(),
    }
}

fn decision(action: Action) -> Decision {
    Decision {
        action,
        log_prob: -0.7,
        probability: 0.5,
        mode: ServingMode::Sampled,
        alternatives: vec![
            Alternative {
                choice: Choice::Invoke(pair()),
                probability: 0.5,
            },
            Alternative {
                choice: Choice::AnswerObservation(0),
                probability: 0.3,
            },
            Alternative {
                choice: Choice::AnswerText,
                probability: 0.2,
            },
        ],
        policy_version: "abc".into(),
        catalogue: Some(Digest::of(b"catalogue")),
        revision: 42,
        trace: Some(Trace::Inline("scorer-v1".into(), vec![1, 2])),
    }
}

fn record() -> EpisodeRecord {
    let step = |index, action, observation| Step {
        index,
        decision: decision(action),
        observation,
        started_at: time(1),
        decided_at: time(2),
        finished_at: time(3),
    };
    EpisodeRecord {
        spec: EpisodeSpec {
            id: EpisodeId::generate(),
            tenant: TenantId::anonymous(),
            request_id: Some(RequestId::new("abc-1").unwrap()),
            task: Arc::new(task(AnswerKind::Number)),
            durability: Durability::Ephemeral,
            mode: ServingMode::Sampled,
            slot: "default".into(),
            seed: 7,
            created_at: time(0),
        },
        steps: vec![
            step(
                0,
                Action::Invoke {
                    pair: pair(),
                    query: "total?".into(),
                },
                Some(observation()),
            ),
            step(1, Action::Answer(Answer::Observation(0)), None),
        ],
        conclusion: Some(Conclusion {
            termination: Termination::Answered,
            answer: Some(FinalAnswer {
                value: "12.50".into(),
                from_step: Some(0),
                confidence: 0.75,
            }),
            usage: usage(),
            unsettled_cost: MicroUsd(3),
            finished_at: time(4),
        }),
        outcome: Some(Outcome {
            score: 1.0,
            source: "user".into(),
            reported_at: time(5),
        }),
    }
}

#[test]
fn an_episode_survives_the_wire() {
    let mut record = record();
    round_trip(&record);
    let terminations = [
        Termination::Truncated(Truncation::Steps),
        Termination::Truncated(Truncation::Deadline),
        Termination::Cancelled {
            reason: "client".into(),
        },
        Termination::Failed(Failure::new(FailureKind::Unavailable, "gone")),
    ];
    for termination in terminations {
        record.conclusion.as_mut().unwrap().termination = termination;
        round_trip(&record);
    }
}

#[test]
fn every_kind_of_answer_and_failure_survives() {
    let options = vec!["red".to_owned(), "blue".to_owned()];
    for kind in [
        AnswerKind::FreeText,
        AnswerKind::Integer,
        AnswerKind::Number,
        AnswerKind::YesNo,
        AnswerKind::Choice { options },
        AnswerKind::ShortText,
        AnswerKind::Date,
        AnswerKind::Set,
        AnswerKind::Expression,
        AnswerKind::Program,
    ] {
        round_trip(&task(kind));
    }
    for kind in FailureKind::ALL {
        round_trip(&Failure::new(kind, "because"));
    }
    round_trip(&Trace::Blob("tokens-v1".into(), Digest::of(b"t")));
}

#[test]
fn calls_survive() {
    let key = IdempotencyKey {
        episode: EpisodeId::generate(),
        step: 1,
        path: "a/b".into(),
        sample: 2,
    };
    round_trip(&ExpertCall {
        instance: None,
        expert: "reader".parse().unwrap(),
        capability: "ocr".parse().unwrap(),
        operation: "lines".into(),
        messages: vec![
            Message {
                role: Role::System,
                text: "be brief".into(),
            },
            Message {
                role: Role::Assistant,
                text: "ok".into(),
            },
        ],
        images: vec![Digest::of(b"image")],
        generation: Generation {
            seed: Some(3),
            stop: vec!["\n".into()],
            ..Generation::default()
        },
        key,
        deadline: time(9),
    });
    round_trip(&ExpertReply {
        text: "hello".into(),
        regions: vec![TextRegion {
            text: "hello".into(),
            confidence: 0.5,
            quad: [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]],
            word_confidences: vec![0.5],
        }],
        detections: vec![Detection {
            label: "cat".into(),
            confidence: 0.9,
            bounds: [1.0, 2.0, 3.0, 4.0],
        }],
        findings: vec![Finding {
            value: "3".into(),
            confidence: 1.0,
            evidence: "e".into(),
        }],
        embeddings: vec![vec![0.1, 0.2]],
        token_log_probs: vec![-0.5],
        finish_reason: "stop".into(),
        usage: usage(),
        load: Load {
            in_flight: 2,
            capacity: 4,
        },
        instance: Some(InstanceId::generate()),
    });
    round_trip(&SkillRun {
        instance: Some(InstanceId::generate()),
        episode: EpisodeId::generate(),
        step: 2,
        pair: pair(),
        skill_digest: Digest::of(b"skill"),
        question: "q".into(),
        query: "r".into(),
        images: vec![image()],
        answer_kind: AnswerKind::Date,
        max_cost: Some(MicroUsd(5)),
        deadline: time(10),
    });
    let request = DecideRequest {
        episode: EpisodeId::generate(),
        step: 1,
        task: Arc::new(task(AnswerKind::YesNo)),
        history: vec![PastStep {
            index: 0,
            pair: Some(pair()),
            query: "q".into(),
            observation: observation(),
        }],
        remaining: Remaining {
            steps: 3,
            time: Duration::from_secs(9),
            cost: Some(MicroUsd(1)),
        },
        mode: ServingMode::Greedy,
        slot: "default".into(),
        seed: 5,
        min_revision: 12,
    };
    round_trip(&request);
    round_trip(&Ok::<_, Failure>(decision(Action::Answer(Answer::Text(
        "7".into(),
    )))));
    round_trip(&Err::<Decision, _>(Failure::new(
        FailureKind::Overloaded,
        "queue full",
    )));
}

#[test]
fn registry_entries_survive_with_the_same_digest() {
    let config = serde_json::json!({
        "model": "m", "retries": 3, "ratio": 0.5, "flags": [true, null], "nested": { "a": -1 }
    });
    let descriptor = Descriptor {
        name: "vlm".parse().unwrap(),
        description: "looks at pictures".into(),
        capabilities: ["chat".parse().unwrap()].into(),
        modalities: [Modality::Text, Modality::Image].into(),
        price: Some(Price {
            input_per_mtok: MicroUsd(150_000),
            ..Price::default()
        }),
        limits: Limits::default(),
        typical_latency_ms: Some(800),
        backend: Some(BackendSpec {
            kind: "openai".into(),
            config: config.as_object().unwrap().clone(),
        }),
    };
    round_trip(&descriptor);
    round_trip(&Instance {
        expert: descriptor.name.clone(),
        id: InstanceId::generate(),
        endpoint: "http://127.0.0.1:8080/".parse().unwrap(),
        capacity: 4,
        written_at: time(1),
    });
    let header = SkillHeader {
        name: "counting".parse().unwrap(),
        description: "counts things".into(),
        bundle: Digest::of(b"bundle"),
        requires: ["chat".parse().unwrap()].into(),
        helpers: ["detect".parse().unwrap()].into(),
        optional_helpers: ["ocr".parse().unwrap()].into(),
        images: ImageNeed::Required,
        expert_reads_images: true,
        answer_kinds: ["integer".to_owned()].into(),
        direct: false,
        bounds: CallBounds {
            expert_calls: 2,
            helper_calls: 1,
            input_tokens: 1000,
            output_tokens: 100,
        },
        solvers: vec![SolverHeader {
            name: "s".into(),
            description: "d".into(),
        }],
    };
    round_trip(&header);
    let mut catalogue = Catalogue::default();
    catalogue
        .experts
        .insert(descriptor.name.clone(), descriptor.clone());
    let digest = catalogue.digest();
    let back = Descriptor::from_proto(descriptor.to_proto()).unwrap();
    catalogue.experts.insert(back.name.clone(), back);
    assert_eq!(catalogue.digest(), digest);
    round_trip(&PolicySlot {
        active: Digest::of(b"a"),
        shadow: None,
        previous: None,
    });
    round_trip(&PolicyManifest {
        kind: "scorer".into(),
        weights: Digest::of(b"w"),
        created_at: time(3),
        notes: [("seed".to_owned(), "1".to_owned())].into(),
    });
}

#[test]
fn bad_fields_are_named() {
    let field = |error| match error {
        CoreError::Invalid(violation) => violation.field,
        other => panic!("{other}"),
    };
    let mut proto = task(AnswerKind::Integer).to_proto();
    proto.constraints.as_mut().unwrap().pinned[0].expert = "No Such Name".into();
    assert_eq!(
        field(unchecked_task(proto).unwrap_err()),
        "constraints.pinned[0].expert"
    );
    let mut proto = task(AnswerKind::Integer).to_proto();
    proto.images[0].source = Some(v1::image::Source::Digest("zz".into()));
    assert_eq!(
        field(unchecked_task(proto).unwrap_err()),
        "images[0].digest"
    );
    let outcome = v1::Outcome {
        score: 1.5,
        ..v1::Outcome::default()
    };
    assert_eq!(field(Outcome::from_proto(outcome).unwrap_err()), "score");
}

use maestro_proto::v1;

proptest! {
    #[test]
    fn times_survive(second in -1_000_000_000i64..4_000_000_000, nano in 0i32..1_000_000_000) {
        let time = Timestamp::new(second, nano).unwrap();
        round_trip(&time);
    }
}

//! Episodes to write, of every shape.

use std::{fmt::Debug, str::FromStr, sync::Arc, time::Duration};

use maestro_core::{
    Digest, EpisodeId, MicroUsd, RequestId, TenantId, Timestamp,
    answer::{AnswerKind, ExtractedAnswer},
    episode::*,
    expert_call::Usage,
    ids::InstanceId,
    task::*,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// Any text, the odd one included.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        ".{0,24}",
        Just("\u{0}\u{1F600} \"quoted\",\n".to_owned())
    ]
}

fn name<T>() -> impl Strategy<Value = T>
where
    T: FromStr<Err: Debug> + Debug,
{
    "[a-z0-9][a-z0-9.-]{0,20}[a-z0-9]".prop_map(|name| name.parse().unwrap())
}

fn time() -> impl Strategy<Value = Timestamp> {
    // The years from -9999 to 9999, to the microsecond.
    let (first, last) = (
        Timestamp::MIN.as_microsecond(),
        Timestamp::MAX.as_microsecond(),
    );
    (first..=last).prop_map(|microseconds| Timestamp::from_microsecond(microseconds).unwrap())
}

/// Now, as it is kept.
pub(super) fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap()
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<u64>().prop_map(|seed| Digest::of(&seed.to_le_bytes()))
}

fn unit() -> impl Strategy<Value = f32> {
    0.0_f32..=1.0
}

fn pair() -> impl Strategy<Value = Pair> {
    (name(), name()).prop_map(|(expert, skill)| Pair { expert, skill })
}

fn patterns() -> impl Strategy<Value = Vec<PairPattern>> {
    let pattern = (option::of(name()), option::of(name()));
    vec(
        pattern.prop_map(|(expert, skill)| PairPattern { expert, skill }),
        0..3,
    )
}

fn usage() -> impl Strategy<Value = Usage> {
    let counts = any::<(u64, u32, u32, u64, u64, u64)>();
    counts.prop_map(
        |(cost, calls, repeated_calls, input, output, nanoseconds)| Usage {
            cost: MicroUsd(cost),
            calls,
            repeated_calls,
            input_tokens: input,
            output_tokens: output,
            expert_time: Duration::from_nanos(nanoseconds),
        },
    )
}

fn failure() -> impl Strategy<Value = Failure> {
    (select(&FailureKind::ALL[..]), text()).prop_map(|(kind, message)| Failure { kind, message })
}

fn answer_kind() -> impl Strategy<Value = AnswerKind> {
    prop_oneof![
        Just(AnswerKind::FreeText),
        Just(AnswerKind::Integer),
        Just(AnswerKind::Number),
        Just(AnswerKind::YesNo),
        vec(text(), 2..5).prop_map(|options| AnswerKind::Choice { options }),
        Just(AnswerKind::ShortText),
        Just(AnswerKind::Date),
        Just(AnswerKind::Set),
        Just(AnswerKind::Expression),
        Just(AnswerKind::Program),
    ]
}

fn task() -> impl Strategy<Value = Task> {
    let image = (digest(), text(), any::<(u32, u32, u64)>()).prop_map(
        |(digest, media_type, (width, height, bytes))| ImageRef {
            digest,
            media_type,
            width,
            height,
            bytes,
        },
    );
    let budget = (any::<u32>(), time(), option::of(any::<u64>())).prop_map(
        |(max_steps, deadline, max_cost)| Budget {
            max_steps,
            deadline,
            max_cost: max_cost.map(MicroUsd),
        },
    );
    let constraints =
        (patterns(), patterns(), vec(pair(), 0..3)).prop_map(|(allowed, denied, pinned)| {
            Constraints {
                allowed,
                denied,
                pinned,
            }
        });
    let weights = (unit(), unit(), unit()).prop_map(|(accuracy, cost, latency)| Weights {
        accuracy,
        cost,
        latency,
    });
    (
        text(),
        vec(image, 0..3),
        answer_kind(),
        budget,
        constraints,
        weights,
    )
        .prop_map(
            |(question, images, answer_kind, budget, constraints, weights)| Task {
                question,
                images,
                answer_kind,
                budget,
                constraints,
                weights,
            },
        )
}

fn mode() -> impl Strategy<Value = ServingMode> {
    select(&[ServingMode::Greedy, ServingMode::Sampled][..])
}

fn decision() -> impl Strategy<Value = Decision> {
    let action = prop_oneof![
        (pair(), text()).prop_map(|(pair, query)| Action::Invoke { pair, query }),
        any::<u32>().prop_map(|step| Action::Answer(Answer::Observation(step))),
        text().prop_map(|text| Action::Answer(Answer::Text(text))),
    ];
    let choice = prop_oneof![
        pair().prop_map(Choice::Invoke),
        any::<u32>().prop_map(Choice::AnswerObservation),
        Just(Choice::AnswerText),
    ];
    let alternative = (choice, unit()).prop_map(|(choice, probability)| Alternative {
        choice,
        probability,
    });
    let trace = prop_oneof![
        (text(), vec(any::<u8>(), 0..40)).prop_map(|(format, bytes)| Trace::Inline(format, bytes)),
        (text(), digest()).prop_map(|(format, digest)| Trace::Blob(format, digest)),
    ];
    let numbers = (-30.0_f64..=0.0, unit(), mode(), any::<u64>());
    let origin = (text(), option::of(digest()), option::of(trace));
    (action, numbers, vec(alternative, 0..4), origin).prop_map(
        |(action, (log_prob, probability, mode, revision), alternatives, origin)| Decision {
            action,
            log_prob,
            probability,
            mode,
            alternatives,
            policy_version: origin.0,
            catalogue: origin.1,
            revision,
            trace: origin.2,
        },
    )
}

fn observation() -> impl Strategy<Value = Observation> {
    let evidence = (text(), text(), option::of(digest()))
        .prop_map(|(label, text, image)| Evidence { label, text, image });
    let answer =
        (text(), unit()).prop_map(|(value, confidence)| ExtractedAnswer { value, confidence });
    let instance = option::of(name::<InstanceId>());
    let origin = (option::of(text()), option::of(digest()), instance);
    let said = (
        option::of(failure()),
        text(),
        option::of(answer),
        vec(evidence, 0..3),
    );
    (said, origin, usage()).prop_map(|((failure, text, answer, evidence), origin, usage)| {
        Observation {
            failure,
            text,
            answer,
            evidence,
            solver: origin.0,
            skill_digest: origin.1,
            instance: origin.2,
            usage,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let times = (time(), time(), time());
    (any::<u32>(), decision(), option::of(observation()), times).prop_map(
        |(index, decision, observation, times)| Step {
            index,
            decision,
            observation,
            started_at: times.0,
            decided_at: times.1,
            finished_at: times.2,
        },
    )
}

fn conclusion() -> impl Strategy<Value = Conclusion> {
    let termination = prop_oneof![
        Just(Termination::Answered),
        Just(Termination::Truncated(Truncation::Steps)),
        Just(Termination::Truncated(Truncation::Deadline)),
        text().prop_map(|reason| Termination::Cancelled { reason }),
        failure().prop_map(Termination::Failed),
    ];
    let answer =
        (text(), option::of(any::<u32>()), unit()).prop_map(|(value, from_step, confidence)| {
            FinalAnswer {
                value,
                from_step,
                confidence,
            }
        });
    (
        termination,
        option::of(answer),
        usage(),
        any::<u64>(),
        time(),
    )
        .prop_map(
            |(termination, answer, usage, unsettled, finished_at)| Conclusion {
                termination,
                answer,
                usage,
                unsettled_cost: MicroUsd(unsettled),
                finished_at,
            },
        )
}

/// Any finished episode.
pub(super) fn record() -> impl Strategy<Value = EpisodeRecord> {
    let request = option::of("[!-.0-~]{1,20}".prop_map(|id| RequestId::new(id).unwrap()));
    let durability = select(&[Durability::Durable, Durability::Ephemeral][..]);
    let names = (name::<EpisodeId>(), name::<TenantId>(), request, text());
    let outcome = (unit(), text(), time()).prop_map(|(score, source, reported_at)| Outcome {
        score,
        source,
        reported_at,
    });
    let spec = (names, task(), durability, mode(), any::<u64>(), time()).prop_map(
        |((id, tenant, request_id, slot), task, durability, mode, seed, created_at)| EpisodeSpec {
            id,
            tenant,
            request_id,
            task: Arc::new(task),
            durability,
            mode,
            slot,
            seed,
            created_at,
        },
    );
    (spec, vec(step(), 0..4), conclusion(), option::of(outcome)).prop_map(
        |(spec, steps, conclusion, outcome)| EpisodeRecord {
            spec,
            steps,
            conclusion: Some(conclusion),
            outcome,
        },
    )
}

/// An ordinary episode that was accepted now and has been answered.
pub(super) fn answered(value: &str) -> EpisodeRecord {
    let draft = TaskDraft {
        question: "How many?".into(),
        ..TaskDraft::default()
    };
    let now = now();
    EpisodeRecord {
        spec: EpisodeSpec {
            id: EpisodeId::generate(),
            tenant: TenantId::anonymous(),
            request_id: None,
            task: Arc::new(draft.validate(now).unwrap()),
            durability: Durability::Durable,
            mode: ServingMode::Greedy,
            slot: "default".into(),
            seed: 1,
            created_at: now,
        },
        steps: vec![],
        conclusion: Some(Conclusion {
            termination: Termination::Answered,
            answer: Some(FinalAnswer {
                value: value.into(),
                from_step: None,
                confidence: 0.5,
            }),
            usage: Usage::default(),
            unsettled_cost: MicroUsd::ZERO,
            finished_at: now,
        }),
        outcome: None,
    }
}

/// The same episode with a later outcome.
pub(super) fn graded(record: &EpisodeRecord, score: f32) -> EpisodeRecord {
    let mut record = record.clone();
    record.report(&Outcome {
        score,
        source: "test".into(),
        reported_at: now(),
    });
    record
}

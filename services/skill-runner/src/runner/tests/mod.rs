mod groups;
mod images;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use maestro_core::{
    MicroUsd, Timestamp,
    answer::AnswerKind,
    episode::{Failure, FailureKind, MAX_OBSERVATION_CHARS},
    expert_call::{ExpertReply, Usage},
    ports::Skills,
};
use maestro_rpc::Drainable;

use super::{RunnerConfig, testing};
use testing::*;

const TWO_ASKS: &str = r#"
description: asks twice, then joins
steps:
  left: {ask: {prompt: "left {{ query }}", max_output_tokens: 10}}
  right: {ask: {prompt: "right {{ query }}", max_output_tokens: 10}}
  both: {ask: {prompt: "{{ left.text }}+{{ right.text }}", max_output_tokens: 10}}
answer: {text: "{{ both.text }}"}
"#;

fn failure_kind(observation: &maestro_core::episode::Observation) -> Option<FailureKind> {
    observation.failure.as_ref().map(|failure| failure.kind)
}

#[tokio::test]
async fn steps_run_side_by_side_and_usage_is_summed() {
    let bench = Bench::with(
        skill(TWO_ASKS),
        Duration::from_millis(200),
        RunnerConfig::default(),
        |call| said(&format!("<think>hm</think>[{}]", call.messages[0].text)),
    );
    let began = std::time::Instant::now();
    let observation = bench
        .run(bench.request("chat", "q", AnswerKind::FreeText))
        .await;
    assert!(
        began.elapsed() < Duration::from_millis(590),
        "two rounds, not three: {:?}",
        began.elapsed()
    );
    assert_eq!(observation.text, "[[left q]+[right q]]");
    assert_eq!(observation.solver.as_deref(), Some("main"));
    assert_eq!(observation.skill_digest, Some(bench.skill.digest()));
    assert_eq!(
        observation.instance.as_ref().map(|i| i.as_str()),
        Some("one")
    );
    assert_eq!(
        (observation.usage.calls, observation.usage.cost),
        (3, MicroUsd(30))
    );
    let keys: Vec<String> = bench
        .calls()
        .iter()
        .map(|call| call.key.to_string())
        .collect();
    assert_eq!(
        keys,
        [
            "episode-1/2/main/both#0",
            "episode-1/2/main/left#0",
            "episode-1/2/main/right#0"
        ]
    );
}

#[tokio::test]
async fn a_plain_agent_skill_asks_with_its_instructions() {
    let front = "---\nname: plain\ndescription: A plain skill.\n---\nAlways shout.\n";
    let skill = maestro_skills::Skill::from_content([("SKILL.md", front.as_bytes())]).unwrap();
    let bench = Bench::new(skill, |_| said("TWELVE 12"));
    let observation = bench
        .run(bench.request("chat", "How many?", AnswerKind::Integer))
        .await;
    assert_eq!(observation.answer.unwrap().value, "12");
    let call = &bench.calls()[0];
    insta::assert_yaml_snapshot!(call.messages, @r#"
    - role: system
      text: Always shout.
    - role: user
      text: "How many?\n\nReply with one whole number in digits."
    "#);
}

#[tokio::test]
async fn a_failed_call_is_an_observation_and_optional_steps_may_fail() {
    let optional = r#"
description: reads if it can
steps:
  read: {helper: {capability: ocr}, optional: true}
  ask: {ask: {prompt: "{{ read.text or 'unread' }}", max_output_tokens: 10}}
answer: {text: "{{ ask.text }}"}
"#;
    let answer = |call: &maestro_core::expert_call::ExpertCall| match call.capability.as_str() {
        "ocr" => Err(Failure::new(FailureKind::ExpertFailed, "broken")),
        _ => said(&call.messages[0].text),
    };
    let bench = Bench::new(skill(optional), answer);
    let request = bench
        .with_image(bench.request("chat", "q", AnswerKind::FreeText))
        .await;
    let observation = bench.run(request).await;
    assert_eq!(
        (observation.failure.clone(), observation.text.as_str()),
        (None, "unread")
    );
    assert_eq!(observation.usage.calls, 2, "the failed call counts");

    let bench = Bench::new(
        skill(&optional.replace("optional: true", "optional: false")),
        answer,
    );
    let request = bench
        .with_image(bench.request("chat", "q", AnswerKind::FreeText))
        .await;
    let observation = bench.run(request).await;
    assert_eq!(failure_kind(&observation), Some(FailureKind::ExpertFailed));
    assert!(observation.text.contains("read"), "{}", observation.text);
    assert_eq!(observation.usage.calls, 1);
}

#[tokio::test]
async fn the_deadline_ends_a_run_and_cancels_its_calls() {
    let bench = Bench::with(
        skill(TWO_ASKS),
        Duration::from_secs(60),
        RunnerConfig::default(),
        |_| said("x"),
    );
    let mut request = bench.request("chat", "q", AnswerKind::FreeText);
    request.deadline = Timestamp::now()
        .checked_add(Duration::from_millis(150))
        .unwrap();
    request.max_cost = Some(MicroUsd(100));
    let observation = bench.run(request).await;
    assert_eq!(failure_kind(&observation), Some(FailureKind::Timeout));
    // Two calls were cut off; what they cost is unknown, so they count at their bound.
    assert_eq!(
        (observation.usage.calls, observation.usage.cost),
        (2, MicroUsd(20))
    );
}

#[tokio::test]
async fn no_call_is_made_that_could_pass_the_limit() {
    let sampled = "description: votes\nsteps:\n  a: {ask: {prompt: x, max_output_tokens: 9, samples: 8, temperature: 1}}\n  b: {extract: {from: '{{ a.texts }}', kind: integer}}\nanswer: {text: '{{ b.value }}', confidence: '{{ b.confidence }}'}\n";
    for limit in 0..=9u64 {
        let count = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&count);
        let bench = Bench::with(
            skill(sampled),
            Duration::from_millis(5),
            RunnerConfig::default(),
            move |_| {
                seen.fetch_add(1, Ordering::Relaxed);
                said("7")
            },
        );
        let mut request = bench.request("chat", "q", AnswerKind::Integer);
        request.max_cost = Some(MicroUsd(limit * 10 + 3));
        let observation = bench.run(request).await;
        let made = u64::from(count.load(Ordering::Relaxed));
        assert_eq!(made, limit.min(8), "calls of 10 within {limit} × 10 + 3");
        assert_eq!(observation.usage.cost, MicroUsd(made * 10));
        if limit == 0 {
            assert_eq!(
                failure_kind(&observation),
                Some(FailureKind::BudgetExceeded)
            );
        } else {
            assert_eq!(observation.answer.unwrap().value, "7");
        }
    }
}

#[tokio::test]
async fn a_second_attempt_is_allowed_where_the_budget_covers_both_and_counts_as_spent() {
    let files = [
        (
            "SKILL.md",
            "---\nname: s\ndescription: d\n---\nThink.".as_bytes(),
        ),
        ("skill.yaml", b"hedge: true\n"),
    ];
    let skill = maestro_skills::Skill::from_content(files).unwrap();
    for (limit, allowed, cost) in [
        (None, true, 10),
        (Some(20), true, 20),
        (Some(19), false, 10),
    ] {
        let bench = Bench::new(skill.clone(), |call| {
            let mut reply = said("x")?;
            reply.usage = Usage {
                cost: MicroUsd(10),
                calls: if call.hedge { 2 } else { 1 },
                ..Usage::default()
            };
            Ok(reply)
        });
        let mut request = bench.request("chat", "q", AnswerKind::FreeText);
        request.max_cost = limit.map(MicroUsd);
        let usage = bench.run(request).await.usage;
        assert_eq!(bench.calls()[0].hedge, allowed, "{limit:?}");
        assert_eq!(usage.cost, MicroUsd(cost), "{limit:?}");
        assert_eq!(usage.calls, if allowed { 2 } else { 1 });
    }
}

#[tokio::test]
async fn crops_are_made_stored_and_sent() {
    let cropping = r#"
description: cuts a part out
steps:
  cut: {image: {of: 0, crop: {bounds: "[0.5, 0.5, 2.0, 2.0]", unit: fractions}, zoom: 2}}
  ask: {ask: {prompt: "what is here", images: [0, cut], max_output_tokens: 10}}
answer: {text: "{{ ask.text }} {{ cut.width }}x{{ cut.height }}"}
"#;
    let bench = Bench::new(skill(cropping), |_| said("seen"));
    let request = bench
        .with_image(bench.request("chat", "q", AnswerKind::FreeText))
        .await;
    let observation = bench.run(request.clone()).await;
    assert_eq!(observation.text, "seen 100x60");
    let call = &bench.calls()[0];
    assert_eq!(call.images.len(), 2);
    assert_eq!(call.images[0], request.images[0].digest);
    let crop = observation
        .evidence
        .iter()
        .find(|e| e.label == "crop")
        .unwrap();
    assert_eq!(crop.image, Some(call.images[1]));
}

#[tokio::test]
async fn a_reply_without_the_expected_form_fails_the_skill() {
    let expecting = "description: d\nsteps:\n  a: {ask: {prompt: x, max_output_tokens: 9, expect: 'is (\\d+)'}}\nanswer: {text: '{{ a.value }}'}\n";
    let bench = Bench::new(skill(expecting), |_| said("it is 42 or so"));
    let observation = bench
        .run(bench.request("chat", "q", AnswerKind::Integer))
        .await;
    assert_eq!(observation.text, "42");
    let bench = Bench::new(skill(expecting), |_| said("no idea"));
    let observation = bench
        .run(bench.request("chat", "q", AnswerKind::Integer))
        .await;
    assert_eq!(failure_kind(&observation), Some(FailureKind::SkillFailed));
}

#[tokio::test]
async fn long_replies_lose_their_middle_and_other_bundles_are_refused() {
    let plain = "description: d\nsteps:\n  a: {ask: {prompt: x, max_output_tokens: 9}}\nanswer: {text: '{{ a.text }}'}\n";
    let bench = Bench::new(skill(plain), |_| said(&"word ".repeat(5000)));
    let observation = bench
        .run(bench.request("chat", "q", AnswerKind::FreeText))
        .await;
    assert!(observation.text.chars().count() <= MAX_OBSERVATION_CHARS);
    let mut request = bench.request("chat", "q", AnswerKind::FreeText);
    request.skill_digest = maestro_core::Digest::of(b"another");
    let observation = bench.run(request).await;
    assert_eq!(failure_kind(&observation), Some(FailureKind::SkillFailed));
    let mut request = bench.request("chat", "q", AnswerKind::FreeText);
    request.pair.skill = maestro_core::SkillName::new("other").unwrap();
    assert_eq!(
        failure_kind(&bench.run(request).await),
        Some(FailureKind::SkillFailed)
    );
    let request = bench.request("nobody", "q", AnswerKind::FreeText);
    assert_eq!(
        failure_kind(&bench.run(request).await),
        Some(FailureKind::NotInActionSet)
    );
}

#[tokio::test]
async fn a_full_or_draining_runner_refuses() {
    let plain = "description: d\nsteps:\n  a: {ask: {prompt: x, max_output_tokens: 9}}\nanswer: {text: '{{ a.text }}'}\n";
    let config = RunnerConfig {
        max_concurrent_runs: 1,
        ..RunnerConfig::default()
    };
    let bench = Bench::with(skill(plain), Duration::from_millis(300), config, |_| {
        said("x")
    });
    let request = bench.request("chat", "q", AnswerKind::FreeText);
    let (first, second) = tokio::join!(bench.runner.run(request.clone()), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let refused = bench.runner.run(request.clone()).await;
        assert_eq!(bench.runner.status().in_flight, 1);
        assert_eq!(bench.runner.drain(Duration::from_millis(20)).await, 1);
        refused
    });
    assert!(first.unwrap().failure.is_none(), "a drain lets runs finish");
    assert_eq!(second.unwrap_err().kind, FailureKind::Overloaded);
    assert_eq!(bench.runner.drain(Duration::from_secs(1)).await, 0);
    let late = bench.runner.run(request).await.unwrap_err();
    assert_eq!(late.kind, FailureKind::Unavailable);
}

#[tokio::test]
async fn usage_counts_what_replies_say() {
    let plain = "description: d\nsteps:\n  a: {ask: {prompt: x, max_output_tokens: 9}}\nanswer: {text: '{{ a.text }}'}\n";
    let bench = Bench::new(skill(plain), |_| {
        let usage = Usage {
            input_tokens: 5,
            output_tokens: 2,
            calls: 1,
            repeated_calls: 1,
            ..Usage::default()
        };
        Ok(ExpertReply {
            text: "x".into(),
            usage,
            ..ExpertReply::default()
        })
    });
    let usage = bench
        .run(bench.request("chat", "q", AnswerKind::FreeText))
        .await
        .usage;
    assert_eq!(
        (
            usage.input_tokens,
            usage.output_tokens,
            usage.repeated_calls
        ),
        (5, 2, 1)
    );
}

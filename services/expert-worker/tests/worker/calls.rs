//! What goes to the endpoint and what comes back.

use std::{io::Write, time::Duration};

use image::{DynamicImage, RgbImage};
use maestro_core::{
    Digest, MicroUsd, Timestamp,
    episode::FailureKind,
    expert_call::{Message, Role},
};
use serde_json::json;

use crate::{
    endpoint::{Behaviour, Endpoint, completion},
    harness::{Sandbox, adopting, call, descriptor},
};

#[tokio::test]
async fn a_call_reaches_the_model_whole_and_is_paid_for() {
    let endpoint = Endpoint::start().await;
    let sandbox = Sandbox::start(adopting()).await;
    let mut key = tempfile::NamedTempFile::new().unwrap();
    key.write_all(b"sk-test\n").unwrap();
    let backend = json!({ "kind": "openai", "config": {
        "base_url": endpoint.base_url, "model": "m-large",
        "api_key_file": key.path(), "extra": { "top_p": 0.5 },
    } });
    let instance = sandbox
        .add(&descriptor(
            "http://unused/v1",
            json!({ "backend": backend }),
        ))
        .await;
    let mut response = completion("4 circles");
    response["choices"][0]["logprobs"] = json!({ "content": [{ "token": "4", "logprob": -0.5 }, { "token": " circles", "logprob": -0.25 }] });
    endpoint.behave(Behaviour::Body(response));

    let image = sandbox
        .image(DynamicImage::ImageRgb8(RgbImage::new(8, 8)))
        .await;
    let mut asked = call("seer", "how many circles?");
    asked.messages.insert(
        0,
        Message {
            role: Role::System,
            text: "be brief".into(),
        },
    );
    asked.images = vec![image];
    asked.generation.max_output_tokens = 99_999;
    asked.generation.temperature = 0.2;
    asked.generation.seed = Some(7);
    asked.generation.stop = vec!["\n".into()];
    asked.generation.log_probs = true;
    let reply = sandbox.client.invoke(&asked).await.unwrap();

    assert_eq!(reply.text, "4 circles");
    assert_eq!(reply.token_log_probs, [-0.5, -0.25]);
    assert_eq!(reply.finish_reason, "stop");
    assert_eq!(reply.instance, Some(instance.id));
    assert_eq!((reply.load.in_flight, reply.load.capacity), (0, 4));
    let usage = &reply.usage;
    assert_eq!(
        (usage.calls, usage.input_tokens, usage.output_tokens),
        (1, 1000, 10)
    );
    // 1,000 tokens at $2 and 10 at $8 a million.
    assert_eq!(usage.cost, MicroUsd(2_080));
    assert!(usage.expert_time > Duration::ZERO);

    let [sent] = &endpoint.asked()[..] else {
        panic!("one request");
    };
    assert_eq!(sent.headers["authorization"], "Bearer sk-test");
    assert_eq!(sent.headers["idempotency-key"], asked.key.to_string());
    let body = &sent.body;
    assert_eq!(body["model"], "m-large");
    assert_eq!(body["messages"][0]["content"], "be brief");
    let parts = &body["messages"][1]["content"];
    let url = parts[0]["image_url"]["url"].as_str().unwrap();
    assert!(url.starts_with("data:image/png;base64,iVBOR"), "{url}");
    assert_eq!(parts[1]["text"], "how many circles?");
    // The descriptor's limit holds whatever is asked for.
    assert_eq!(body["max_tokens"], 1024);
    assert_eq!(
        (&body["temperature"], &body["seed"]),
        (&json!(0.2), &json!(7))
    );
    assert_eq!(
        (&body["stop"], &body["logprobs"]),
        (&json!(["\n"]), &json!(true))
    );
    assert_eq!(body["top_p"], 0.5);
}

#[tokio::test]
async fn failures_keep_their_kind_across_the_wire() {
    use FailureKind::{ExpertFailed, Overloaded, Rejected};
    let endpoint = Endpoint::start().await;
    let sandbox = Sandbox::start(adopting()).await;
    let backend = json!({ "kind": "openai", "config": {
        "base_url": endpoint.base_url, "model": "m", "max_response_bytes": 10_000,
    } });
    let seer = descriptor("http://unused/v1", json!({ "backend": backend }));
    sandbox.add(&seer).await;
    let too_long = json!({ "error": { "code": "context_length_exceeded", "message": "q" } });
    for (behaviour, kind, word) in [
        (Behaviour::Status(429, json!({})), Overloaded, "429"),
        (
            Behaviour::Status(400, too_long),
            Rejected,
            "context_length_exceeded",
        ),
        (
            Behaviour::Status(500, json!("no JSON object")),
            ExpertFailed,
            "500",
        ),
        (Behaviour::Status(401, json!({})), ExpertFailed, "401"),
        (Behaviour::Large(10_001), ExpertFailed, "larger than 10000"),
        (Behaviour::Large(10), ExpertFailed, "cannot be read"),
        (
            Behaviour::Body(json!({ "choices": [] })),
            ExpertFailed,
            "no choice",
        ),
    ] {
        endpoint.behave(behaviour);
        let failure = sandbox.client.invoke(&call("seer", "q")).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.message.contains(word), "{failure}");
    }
    // The worker goes on.
    endpoint.behave(Behaviour::Say("well"));
    let reply = sandbox.client.invoke(&call("seer", "q")).await.unwrap();
    assert_eq!(reply.text, "well");
}

#[tokio::test]
async fn a_slow_model_is_given_up_at_its_limit() {
    let endpoint = Endpoint::start().await;
    endpoint.behave(Behaviour::Slow(Duration::from_secs(60)));
    let sandbox = Sandbox::start(adopting()).await;
    let limits = json!({ "limits": { "timeout_ms": 200 } });
    sandbox.add(&descriptor(&endpoint.base_url, limits)).await;
    let failure = sandbox.client.invoke(&call("seer", "q")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout, "{failure}");
    let mut late = call("seer", "q");
    late.deadline = Timestamp::now() - Duration::from_secs(1);
    let failure = sandbox.client.invoke(&late).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout, "{failure}");
    assert_eq!(endpoint.asked().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_unavailable() {
    let endpoint = Endpoint::start().await;
    let sandbox = Sandbox::start(adopting()).await;
    sandbox
        .add(&descriptor(&endpoint.base_url, json!({})))
        .await;
    drop(endpoint);
    // The closed listener may take a moment to refuse.
    let mut kinds = vec![];
    for _ in 0..100 {
        let result = sandbox.client.invoke(&call("seer", "q")).await;
        kinds.extend(result.err().map(|failure| failure.kind));
        if kinds.last() == Some(&FailureKind::Unavailable) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never unavailable: {kinds:?}");
}

#[tokio::test]
async fn calls_that_do_not_suit_the_expert_are_rejected_before_it_is_asked() {
    let endpoint = Endpoint::start().await;
    let sandbox = Sandbox::start(adopting()).await;
    sandbox
        .add(&descriptor(&endpoint.base_url, json!({})))
        .await;
    let mut other_capability = call("seer", "q");
    other_capability.capability = "ocr".parse().unwrap();
    let mut operation = call("seer", "q");
    operation.operation = "sing".into();
    let mut absent_image = call("seer", "q");
    absent_image.images = vec![Digest::of(b"stored by nobody")];
    let mut many_images = call("seer", "q");
    many_images.images = vec![Digest::of(b"x"); 9];
    let text = sandbox_text(&sandbox).await;
    let mut no_image = call("seer", "q");
    no_image.images = vec![text];
    for bad in [
        other_capability,
        operation,
        absent_image,
        many_images,
        no_image,
    ] {
        let failure = sandbox.client.invoke(&bad).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Rejected, "{failure}");
    }
    assert!(endpoint.asked().is_empty());
    let failure = sandbox
        .client
        .invoke(&call("nobody", "q"))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
}

async fn sandbox_text(sandbox: &Sandbox) -> Digest {
    use maestro_core::ports::Blobs;
    let content = bytes::Bytes::from_static(b"no image");
    sandbox.blobs.put(content).await.unwrap()
}

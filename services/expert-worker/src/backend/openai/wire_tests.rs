use bytes::Bytes;
use maestro_core::{
    Timestamp,
    expert_call::{Generation, Message},
    ids::{EpisodeId, IdempotencyKey},
};
use proptest::prelude::*;

use super::*;

fn call(messages: &[(Role, &str)]) -> ExpertCall {
    ExpertCall {
        instance: None,
        expert: "seer".parse().unwrap(),
        capability: "chat".parse().unwrap(),
        operation: String::new(),
        messages: messages
            .iter()
            .map(|(role, text)| Message {
                role: *role,
                text: (*text).to_owned(),
            })
            .collect(),
        images: vec![],
        generation: Generation {
            max_output_tokens: 64,
            temperature: 0.7,
            ..Generation::default()
        },
        key: IdempotencyKey::step(EpisodeId::generate(), 0),
        deadline: Timestamp::now(),
    }
}

fn config(extra: Value) -> OpenAiConfig {
    serde_json::from_value(json!({
        "base_url": "http://localhost/v1", "model": "m", "extra": extra
    }))
    .unwrap()
}

fn png(content: &'static [u8]) -> EncodedImage {
    EncodedImage {
        media_type: "image/png",
        content: Bytes::from_static(content),
    }
}

fn body(request: &Request) -> Value {
    serde_json::to_value(request).unwrap()
}

#[test]
fn images_go_with_the_last_question() {
    let call = call(&[
        (Role::System, "be brief"),
        (Role::User, "first"),
        (Role::Assistant, "yes"),
        (Role::User, "what is it?"),
    ]);
    let body = body(&request(
        &call,
        &[png(b"ab"), png(b"c")],
        &config(json!({})),
    ));
    assert_eq!(body["messages"][1]["content"], "first");
    assert_eq!(
        body["messages"][3]["content"],
        json!([
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,YWI=" } },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,Yw==" } },
            { "type": "text", "text": "what is it?" },
        ])
    );
    assert_eq!(body["temperature"], json!(0.7));
    assert_eq!(body["max_tokens"], 64);
    assert!(body.get("stop").is_none() && body.get("logprobs").is_none());
}

#[test]
fn an_image_without_a_question_is_still_sent() {
    let call = call(&[(Role::System, "describe")]);
    let body = body(&request(&call, &[png(b"a")], &config(json!({}))));
    assert_eq!(body["messages"][1]["role"], "user");
    assert_eq!(body["messages"][1]["content"][0]["type"], "image_url");
}

#[test]
fn extra_keys_add_replace_and_take_away() {
    let mut call = call(&[(Role::User, "q")]);
    call.generation.seed = Some(7);
    call.generation.log_probs = true;
    call.generation.stop = vec!["\n".into()];
    let extra = json!({ "temperature": null, "seed": 8, "top_p": 0.5 });
    let body = body(&request(&call, &[], &config(extra)));
    assert!(body.get("temperature").is_none());
    assert_eq!((&body["seed"], &body["top_p"]), (&json!(8), &json!(0.5)));
    assert_eq!(body["logprobs"], true);
    assert_eq!(body["stop"], json!(["\n"]));
}

#[test]
fn a_response_is_read_with_its_usage_and_log_probabilities() {
    let request = request(&call(&[(Role::User, "q")]), &[], &config(json!({})));
    let response = json!({
        "id": "x",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": "42" },
            "finish_reason": "stop",
            "logprobs": { "content": [{ "token": "42", "logprob": -0.25, "top_logprobs": [] }] },
        }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13 },
    });
    let reply = reply(response.to_string().as_bytes(), &request).unwrap();
    assert_eq!(
        (reply.text.as_str(), reply.finish_reason.as_str()),
        ("42", "stop")
    );
    assert_eq!(reply.token_log_probs, [-0.25]);
    assert_eq!(
        (reply.usage.input_tokens, reply.usage.output_tokens),
        (11, 2)
    );
}

#[test]
fn usage_that_is_not_reported_is_estimated() {
    let request = request(&call(&[(Role::User, "123456789")]), &[], &config(json!({})));
    let response = br#"{"choices":[{"message":{"content":"1234"}}]}"#;
    let reply = reply(response, &request).unwrap();
    assert_eq!(
        (reply.usage.input_tokens, reply.usage.output_tokens),
        (3, 2)
    );
}

#[test]
fn a_refusal_is_what_the_model_says() {
    let request = request(&call(&[(Role::User, "q")]), &[], &config(json!({})));
    let response = br#"{"choices":[{"message":{"content":null,"refusal":"I will not."}}]}"#;
    assert_eq!(reply(response, &request).unwrap().text, "I will not.");
}

#[test]
fn a_status_is_blamed_on_whom_it_concerns() {
    use FailureKind::{ExpertFailed, Overloaded, Rejected, Timeout};
    for (status, kind) in [
        (400, Rejected),
        (401, ExpertFailed),
        (404, ExpertFailed),
        (408, Timeout),
        (413, Rejected),
        (422, Rejected),
        (429, Overloaded),
        (500, ExpertFailed),
        (503, ExpertFailed),
        (504, Timeout),
        (302, ExpertFailed),
    ] {
        assert_eq!(status_failure(status, b"").kind, kind, "{status}");
    }
}

#[test]
fn an_error_is_repeated_by_its_code_only() {
    let body = json!({ "error": {
        "message": "your prompt 'my secret question' is too long",
        "type": "invalid_request_error", "code": "context_length_exceeded",
    } });
    let failure = status_failure(400, body.to_string().as_bytes());
    assert!(failure.message.contains("context_length_exceeded"));
    assert!(!failure.message.contains("secret"));
    let sentence = json!({ "error": { "code": "my secret question" } });
    let failure = status_failure(400, sentence.to_string().as_bytes());
    assert!(!failure.message.contains("secret"));
}

proptest! {
    #[test]
    fn no_body_breaks_the_reader(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let request = request(&call(&[(Role::User, "q")]), &[], &config(json!({})));
        let _ = reply(&body, &request);
        let _ = status_failure(500, &body);
    }

    #[test]
    fn a_temperature_is_sent_as_it_is_written(tenths in 0u32..=20) {
        let text = format!("{}.{}", tenths / 10, tenths % 10);
        let value: f32 = text.parse().unwrap();
        prop_assert_eq!(decimal(value).as_f64(), text.parse::<f64>().ok());
    }
}

//! Requests and responses of the protocol. Pure.

use base64::{Engine, prelude::BASE64_STANDARD};
use maestro_core::{
    episode::{Failure, FailureKind},
    expert_call::{ExpertCall, ExpertReply, Role, Usage},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::config::OpenAiConfig;
use crate::{
    backend::{failed, rejected},
    images::EncodedImage,
};

/// Bytes of text that are counted as one token where an endpoint reports no usage. Tokens of
/// English have about four; fewer overstate the cost rather than understate it.
const BYTES_PER_TOKEN: u64 = 3;
/// Longest code of an error that is repeated.
const MAX_CODE_CHARS: usize = 48;

/// The body of a request.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Request {
    body: Map<String, Value>,
    /// Bytes of text in it, images excluded.
    #[serde(skip)]
    text_bytes: u64,
}

/// What is sent for a call. The images go with the last message of the user, before its text; a
/// call without such a message gets one.
pub(super) fn request(
    call: &ExpertCall,
    images: &[EncodedImage],
    config: &OpenAiConfig,
) -> Request {
    let generation = &call.generation;
    let mut body = Map::new();
    body.insert("model".into(), config.model.clone().into());
    body.insert("messages".into(), messages(call, images).into());
    body.insert(
        config.token_limit.key().into(),
        generation.max_output_tokens.into(),
    );
    body.insert("temperature".into(), decimal(generation.temperature));
    if !generation.stop.is_empty() {
        body.insert("stop".into(), generation.stop.clone().into());
    }
    if let Some(seed) = generation.seed {
        body.insert("seed".into(), seed.into());
    }
    if generation.log_probs {
        body.insert("logprobs".into(), true.into());
    }
    for (key, value) in &config.extra {
        if value.is_null() {
            body.remove(key);
        } else {
            body.insert(key.clone(), value.clone());
        }
    }
    let text_bytes = call.messages.iter().map(|m| m.text.len() as u64).sum();
    Request { body, text_bytes }
}

/// The number as people write it: 0.7, not the 0.699999988… that an f32 widens to.
fn decimal(value: f32) -> Value {
    value
        .to_string()
        .parse::<f64>()
        .map_or(Value::Null, Value::from)
}

fn messages(call: &ExpertCall, images: &[EncodedImage]) -> Vec<Value> {
    let mut messages: Vec<Value> = call
        .messages
        .iter()
        .map(|message| json!({ "role": role(message.role), "content": message.text }))
        .collect();
    if images.is_empty() {
        return messages;
    }
    let mut parts: Vec<Value> = images.iter().map(image_part).collect();
    let last = call.messages.iter().rposition(|m| m.role == Role::User);
    match last {
        Some(index) => {
            let text = &call.messages[index].text;
            if !text.is_empty() {
                parts.push(json!({ "type": "text", "text": text }));
            }
            messages[index]["content"] = parts.into();
        }
        None => messages.push(json!({ "role": role(Role::User), "content": parts })),
    }
    messages
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

fn image_part(image: &EncodedImage) -> Value {
    let data = BASE64_STANDARD.encode(&image.content);
    let url = format!("data:{};base64,{data}", image.media_type);
    json!({ "type": "image_url", "image_url": { "url": url } })
}

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<TokenUsage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Content,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<LogProbs>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct LogProbs {
    #[serde(default)]
    content: Option<Vec<TokenLogProb>>,
}

#[derive(Deserialize)]
struct TokenLogProb {
    logprob: f32,
}

#[derive(Deserialize)]
struct TokenUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// The reply in a response's body. Usage that the endpoint does not report is estimated from the
/// length of the texts, so that a priced expert is not free because its server keeps no count.
pub(super) fn reply(body: &[u8], request: &Request) -> Result<ExpertReply, Failure> {
    let unreadable = |reason: String| failed(format!("the response cannot be read: {reason}"));
    let response: Response =
        serde_json::from_slice(body).map_err(|error| unreadable(position(&error)))?;
    let choice = response
        .choices
        .into_iter()
        .next()
        .ok_or_else(|| unreadable("it has no choice".to_owned()))?;
    let Content { content, refusal } = choice.message;
    let text = content
        .filter(|text| !text.is_empty())
        .or(refusal)
        .unwrap_or_default();
    let token_log_probs: Vec<f32> = choice
        .logprobs
        .and_then(|log_probs| log_probs.content)
        .unwrap_or_default()
        .into_iter()
        .map(|token| token.logprob)
        .collect();
    let usage = response.usage.unwrap_or_else(|| TokenUsage {
        prompt_tokens: tokens_of(request.text_bytes),
        completion_tokens: tokens_of(text.len() as u64).max(token_log_probs.len() as u64),
    });
    Ok(ExpertReply {
        text,
        token_log_probs,
        finish_reason: choice.finish_reason.unwrap_or_default(),
        usage: Usage {
            input_tokens: usage.prompt_tokens,
            output_tokens: usage.completion_tokens,
            ..Usage::default()
        },
        ..ExpertReply::default()
    })
}

fn tokens_of(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// Where a body stops making sense. The parser's own words may quote the body.
fn position(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// The failure that a status stands for. Its message repeats the endpoint's code for the error,
/// not its words: they may quote the question.
pub(super) fn status_failure(status: u16, body: &[u8]) -> Failure {
    let code = error_code(body).map(|code| format!(" ({code})"));
    let message = format!(
        "the endpoint answered HTTP {status}{}",
        code.unwrap_or_default()
    );
    match status {
        429 => Failure::new(FailureKind::Overloaded, message),
        408 | 504 => Failure::new(FailureKind::Timeout, message),
        // The key, the account or the model's name: nothing that another input would cure.
        401..=404 => failed(message),
        400 | 405..=499 => rejected(message),
        _ => failed(message),
    }
}

fn error_code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = body.get("error")?;
    let code = ["code", "type"]
        .iter()
        .find_map(|key| error.get(key).and_then(Value::as_str))?;
    let is_word = code.len() <= MAX_CODE_CHARS
        && code
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    is_word.then(|| code.to_owned())
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

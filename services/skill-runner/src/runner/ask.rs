//! Steps that ask the pair's expert in words.

use std::time::Duration;

use futures::future;
use maestro_core::{
    Capability, Digest,
    episode::Failure,
    expert_call::{ExpertReply, Generation, Message, Role},
};
use maestro_skills::{Ask, Classify};
use serde_json::{Map, Value as Json, json};

use super::{
    calls::{Caller, Request},
    reply::{StepOutput, note},
    scope::{Scope, render, skill_failure},
    text::{one_of, spoken},
};

/// Capability of a question in words.
const CHAT: &str = "chat";

/// A reply or a failure for each sample.
pub(super) type Replies = Vec<Result<ExpertReply, Failure>>;

/// A question to the pair's expert.
pub(super) struct Question<'a> {
    pub(super) ask: &'a Ask,
    /// Added to the prompt.
    pub(super) more: &'a str,
    /// What templates see.
    pub(super) context: &'a Map<String, Json>,
    pub(super) images: Vec<Digest>,
    /// Path for the idempotency key.
    pub(super) path: String,
    /// Longest time of a call.
    pub(super) timeout: Duration,
}

impl Question<'_> {
    /// Asks as often as it says, all at once.
    pub(super) async fn put(self, caller: &Caller) -> Result<Replies, Failure> {
        let Self { ask, .. } = self;
        let messages = self.messages()?;
        let chat = Capability::new(CHAT).map_err(|error| skill_failure(error.to_string()))?;
        let calls = (0..ask.samples).map(|sample| {
            caller.expert_call(Request {
                capability: chat.clone(),
                operation: String::new(),
                messages: messages.clone(),
                images: self.images.clone(),
                generation: Generation {
                    max_output_tokens: ask.max_output_tokens,
                    temperature: ask.temperature,
                    stop: ask.stop.clone(),
                    // Several samples must differ; a single one needs no seed.
                    seed: (ask.samples > 1).then_some(u64::from(sample)),
                    log_probs: false,
                },
                path: self.path.clone(),
                sample,
                timeout: self.timeout,
            })
        });
        Ok(future::join_all(calls).await)
    }

    fn messages(&self) -> Result<Vec<Message>, Failure> {
        let message = |role, text| Message { role, text };
        let ask = self.ask;
        let mut messages = Vec::with_capacity(2 + 2 * ask.examples.len());
        if let Some(system) = &ask.system {
            messages.push(message(Role::System, render(system, self.context)?));
        }
        for example in &ask.examples {
            messages.push(message(Role::User, example.user.clone()));
            messages.push(message(Role::Assistant, example.assistant.clone()));
        }
        let prompt = render(&ask.prompt, self.context)? + self.more;
        messages.push(message(Role::User, prompt));
        messages.retain(|message| !message.text.trim().is_empty());
        Ok(messages)
    }
}

impl Scope<'_> {
    pub(super) async fn ask(&self, ask: &Ask) -> Result<StepOutput, Failure> {
        let replies = self.replies(ask, "").await?;
        self.ask_output(ask, replies)
    }

    async fn replies(&self, ask: &Ask, more: &str) -> Result<Replies, Failure> {
        let question = Question {
            ask,
            more,
            context: &self.around.context,
            images: self.chat_images(&ask.images)?,
            path: self.path(),
            timeout: self.step.timeout,
        };
        question.put(self.execution.caller).await
    }

    /// The replies that came and have the expected form. Without any the step fails.
    fn ask_output(&self, ask: &Ask, replies: Replies) -> Result<StepOutput, Failure> {
        let mut texts = Vec::new();
        let mut values = Vec::new();
        let mut finish_reason = String::new();
        let mut last = skill_failure("the reply has not the expected form");
        for reply in replies {
            let reply = match reply {
                Ok(reply) => reply,
                Err(failure) => {
                    last = failure;
                    continue;
                }
            };
            let text = spoken(&reply.text);
            let value = match &ask.expect {
                None => Some(text.clone()),
                Some(form) => form.captures(&text).and_then(|found| {
                    found
                        .get(1)
                        .or_else(|| found.get(0))
                        .map(|part| part.as_str().trim().to_owned())
                }),
            };
            if let Some(value) = value {
                texts.push(text);
                values.push(value);
                finish_reason = reply.finish_reason;
            }
        }
        let (Some(text), Some(value)) = (texts.first(), values.first()) else {
            return Err(last);
        };
        let value = json!({
            "text": text, "value": value, "texts": texts, "values": values,
            "finish_reason": finish_reason,
        });
        Ok(StepOutput {
            value,
            ..StepOutput::default()
        })
    }

    /// The label that fits, by words where they decide, else by the expert's replies.
    pub(super) async fn classify(&self, classify: &Classify) -> Result<StepOutput, Failure> {
        let mut class = classify.by_words(&self.render(&classify.text)?);
        if let (None, Some(ask)) = (&class, &classify.ask) {
            let labels = classify.labels.keys().map(String::as_str);
            let replies = self.replies(ask, &one_of(labels)).await;
            match (replies.and_then(heard), &classify.otherwise) {
                (Ok(replies), _) => class = classify.by_replies(&replies),
                // Nobody decided.
                (Err(failure), Some(_)) => tracing::debug!(%failure, "no reply about the label"),
                (Err(failure), None) => return Err(failure),
            }
        }
        let (label, confidence, evidence) = match (class, &classify.otherwise) {
            (Some(class), _) => (class.label, class.confidence, class.evidence),
            (None, Some(label)) => (label.clone(), 0.0, "nothing decided".to_owned()),
            (None, None) => return Err(skill_failure("no label fits")),
        };
        let notes = vec![note(
            "label",
            format!("{}: {label} ({evidence})", self.step.name),
        )];
        let value = json!({ "value": label, "confidence": confidence, "evidence": evidence });
        Ok(StepOutput {
            value,
            evidence: notes,
            ..StepOutput::default()
        })
    }
}

/// What the replies say that came. Where none came, the last failure.
pub(super) fn heard(replies: Replies) -> Result<Vec<String>, Failure> {
    let mut texts = Vec::with_capacity(replies.len());
    let mut last = None;
    for reply in replies {
        match reply {
            Ok(reply) => texts.push(spoken(&reply.text)),
            Err(failure) => last = Some(failure),
        }
    }
    match (texts.is_empty(), last) {
        (true, Some(failure)) => Err(failure),
        _ => Ok(texts),
    }
}

//! One call to one expert, and its reply.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    ids::{Capability, ExpertName, IdempotencyKey, InstanceId},
    money::MicroUsd,
};

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions.
    System,
    /// The asker.
    User,
    /// The expert itself, in an example or an earlier turn.
    Assistant,
}

/// A message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: String,
}

/// Sampling and length of a generated reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Most tokens to generate. Enforced; the cost bound rests on it.
    pub max_output_tokens: u32,
    /// 0 is greedy.
    pub temperature: f32,
    /// Texts that end the generation.
    pub stop: Vec<String>,
    /// Seed of the sampling, where the expert takes one.
    pub seed: Option<u64>,
    /// Whether log-probabilities of the generated tokens are wanted.
    pub log_probs: bool,
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            max_output_tokens: 512,
            temperature: 0.0,
            stop: Vec::new(),
            seed: None,
            log_probs: false,
        }
    }
}

/// A call to an expert. Which fields count depends on the capability: `chat` reads the messages
/// and the images, `ocr`, `detect` and `analyze` the first image and `operation`, `embed` the
/// texts of the messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpertCall {
    /// Which expert.
    pub expert: ExpertName,
    /// Which of its capabilities.
    pub capability: Capability,
    /// What exactly to do, for capabilities that offer several operations.
    pub operation: String,
    /// The chat so far, or the texts to embed.
    pub messages: Vec<Message>,
    /// Images by digest, in order; their content is in the blob store.
    pub images: Vec<Digest>,
    /// Length and sampling of a generated reply.
    pub generation: Generation,
    /// Key under which this call happens at most once.
    pub key: IdempotencyKey,
    /// When the reply is of no more use.
    pub deadline: Timestamp,
    /// The instance that is asked first where it can take the call; only the router reads it. Calls
    /// of one run go to one instance, so that a run which is repeated finds its replies there.
    pub instance: Option<InstanceId>,
}

/// Text found in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextRegion {
    /// The text.
    pub text: String,
    /// How sure the reader is, 0 to 1.
    pub confidence: f32,
    /// Corners in pixels of the image: top left, top right, bottom right, bottom left.
    pub quad: [[f32; 2]; 4],
    /// How sure the reader is of each word, 0 to 1, words being what white space divides. Empty where
    /// it does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub word_confidences: Vec<f32>,
}

/// An object found in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Its class.
    pub label: String,
    /// How sure the detector is, 0 to 1.
    pub confidence: f32,
    /// Left, top, right, bottom in pixels of the image.
    pub bounds: [f32; 4],
}

/// A value that an analysis or a recorded reply gives as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The value as text.
    pub value: String,
    /// How sure the expert is, 0 to 1.
    pub confidence: f32,
    /// What it rests on, for people.
    pub evidence: String,
}

/// How loaded an instance was when it replied. Travels on replies; the registry never holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Calls being served or waiting, this one excluded.
    pub in_flight: u32,
    /// Most calls at once.
    pub capacity: u32,
}

/// What calls used up. Sums over every call of a step, repeated and failed ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Money.
    pub cost: MicroUsd,
    /// Calls to experts.
    pub calls: u32,
    /// Of these, how many repeated one that may already have happened.
    pub repeated_calls: u32,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Time spent in experts, in total.
    pub expert_time: Duration,
}

impl Usage {
    /// Adds `other`, saturating.
    pub fn add(&mut self, other: &Self) {
        self.cost = self.cost + other.cost;
        self.calls = self.calls.saturating_add(other.calls);
        self.repeated_calls = self.repeated_calls.saturating_add(other.repeated_calls);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.expert_time = self.expert_time.saturating_add(other.expert_time);
    }
}

/// What an expert says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExpertReply {
    /// Generated or read text.
    pub text: String,
    /// Text regions of an `ocr` call, in reading order.
    pub regions: Vec<TextRegion>,
    /// Objects of a `detect` call.
    pub detections: Vec<Detection>,
    /// Results of an `analyze` call or of a recorded reply.
    pub findings: Vec<Finding>,
    /// One vector per message of an `embed` call.
    pub embeddings: Vec<Vec<f32>>,
    /// Log-probability of each generated token, where asked for and offered.
    pub token_log_probs: Vec<f32>,
    /// Why a generation ended: `stop`, `length`, …
    pub finish_reason: String,
    /// What this call used up.
    pub usage: Usage,
    /// How loaded the instance was.
    pub load: Load,
    /// Which instance answered.
    pub instance: Option<InstanceId>,
}

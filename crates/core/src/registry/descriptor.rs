use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    error::CoreError,
    ids::{Capability, ExpertName, InstanceId},
    money::MicroUsd,
};

/// Longest description of an expert or a skill, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 1024;

/// A kind of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// Text.
    Text,
    /// Images.
    Image,
}

/// What an expert charges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Micro-USD per million tokens read.
    pub input_per_mtok: MicroUsd,
    /// Micro-USD per million tokens written.
    pub output_per_mtok: MicroUsd,
    /// Micro-USD per call.
    pub per_call: MicroUsd,
}

/// What an expert can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most tokens of prompt and reply together.
    pub context_tokens: u32,
    /// Most tokens written in one call.
    pub max_output_tokens: u32,
    /// Most images of one call.
    pub max_images: u32,
    /// Calls that one instance serves at once.
    pub max_concurrency: u32,
    /// Longest time of one call in milliseconds.
    pub timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            context_tokens: 8192,
            max_output_tokens: 1024,
            max_images: 8,
            max_concurrency: 4,
            timeout_ms: 60_000,
        }
    }
}

/// How an adopting worker reaches the model: the kind of backend and that backend's own settings.
/// Secrets stand in it by reference only (the name of an environment variable or a file).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendSpec {
    /// `openai`, `ocr`, …
    pub kind: String,
    /// The backend's settings, read strictly by the backend.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// A frozen expert as the registry describes it. A lasting entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// Its name.
    pub name: ExpertName,
    /// What it is good at, 1 to [`MAX_DESCRIPTION_CHARS`] characters. The policy reads it.
    pub description: String,
    /// What it can do, at least one.
    pub capabilities: BTreeSet<Capability>,
    /// What it can read.
    pub modalities: BTreeSet<Modality>,
    /// What it charges; `None` is unknown (and is not free).
    #[serde(default)]
    pub price: Option<Price>,
    /// What it can take.
    #[serde(default)]
    pub limits: Limits,
    /// Usual time of one call in milliseconds, where known.
    #[serde(default)]
    pub typical_latency_ms: Option<u32>,
    /// How an adopting worker brings it into service; `None` if some worker hosts it by its own
    /// configuration.
    #[serde(default)]
    pub backend: Option<BackendSpec>,
}

impl Descriptor {
    /// Checks every field against its limit.
    pub fn validate(&self) -> Result<(), CoreError> {
        check_description(&self.description)?;
        if self.capabilities.is_empty() {
            return Err(CoreError::invalid("capabilities", "must name at least one"));
        }
        if self.modalities.is_empty() {
            return Err(CoreError::invalid(
                "modalities",
                "must name at least one of text, image",
            ));
        }
        if self.modalities.contains(&Modality::Image) && self.limits.max_images == 0 {
            return Err(CoreError::invalid(
                "limits.max_images",
                "must be at least 1",
            ));
        }
        let at_least_one = [
            (
                "limits.context_tokens",
                u64::from(self.limits.context_tokens),
            ),
            (
                "limits.max_output_tokens",
                u64::from(self.limits.max_output_tokens),
            ),
            (
                "limits.max_concurrency",
                u64::from(self.limits.max_concurrency),
            ),
            ("limits.timeout_ms", self.limits.timeout_ms),
        ];
        for (field, value) in at_least_one {
            if value == 0 {
                return Err(CoreError::invalid(field, "must be at least 1"));
            }
        }
        if self
            .backend
            .as_ref()
            .is_some_and(|backend| backend.kind.trim().is_empty())
        {
            return Err(CoreError::invalid("backend.kind", "must not be empty"));
        }
        Ok(())
    }

    /// Longest time of one call.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.limits.timeout_ms)
    }
}

pub(super) fn check_description(description: &str) -> Result<(), CoreError> {
    let length = description.chars().count();
    if description.trim().is_empty() || length > MAX_DESCRIPTION_CHARS {
        return Err(CoreError::invalid(
            "description",
            format!("has {length} characters; must be 1 to {MAX_DESCRIPTION_CHARS}, not blank"),
        ));
    }
    Ok(())
}

/// One serving instance of an expert. Registered under a lease, gone with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The expert it serves.
    pub expert: ExpertName,
    /// Its identifier, unique within the expert.
    pub id: InstanceId,
    /// Where it serves `maestro.v1.ExpertService`: `http://host:port`.
    pub endpoint: Url,
    /// Calls that it serves at once.
    pub capacity: u32,
    /// When the registration was written, by the writer's clock.
    pub written_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_needs_a_description() {
        let mut descriptor: Descriptor = serde_json::from_str(
            r#"{"name":"a","description":"reads text","capabilities":["ocr"],"modalities":["image"]}"#,
        )
        .unwrap();
        descriptor.validate().unwrap();
        descriptor.description = " ".into();
        assert!(
            descriptor
                .validate()
                .unwrap_err()
                .to_string()
                .contains("description")
        );
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<Descriptor>(
            r#"{"name":"a","description":"d","capabilities":["ocr"],"modalities":["image"],"pricee":{}}"#,
        )
        .unwrap_err();
        assert!(error.to_string().contains("pricee"), "{error}");
    }
}

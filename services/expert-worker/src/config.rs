//! Settings of the expert worker.

use std::{collections::BTreeSet, net::SocketAddr};

use maestro_core::{
    CoreError,
    registry::{BackendSpec, Descriptor},
};
use maestro_rpc::ServeConfig;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{backend::BackendKind, error::ExpertWorkerError, images::ImageConfig};

/// Settings of the worker, wherever it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpertWorkerConfig {
    /// Where and how it serves.
    pub serve: ServeConfig,
    /// Where others reach it, `http://host:port`; by default the address that it listens on.
    pub advertise: Option<Url>,
    /// Experts that it hosts itself.
    pub experts: Vec<HostedExpert>,
    /// Whether a hosted expert's descriptor replaces a different one of its name. Otherwise such
    /// an expert is not served until the other descriptor is gone.
    pub replace: bool,
    /// Kinds of backend whose descriptors it adopts from the registry.
    pub adopt: BTreeSet<BackendKind>,
    /// Calls of one expert that may wait for a permit; further ones are turned away.
    pub max_waiting: u32,
    /// Longest wait for a permit, in milliseconds.
    pub max_wait_ms: u64,
    /// Longest time to build a backend and to warm it up, in milliseconds.
    pub warm_up_timeout_ms: u64,
    /// Images of calls.
    pub images: ImageConfig,
    /// Replies kept for calls that are repeated.
    pub replies: ReplyConfig,
}

impl Default for ExpertWorkerConfig {
    fn default() -> Self {
        Self {
            serve: ServeConfig::default(),
            advertise: None,
            experts: Vec::new(),
            replace: false,
            adopt: BTreeSet::new(),
            max_waiting: 16,
            max_wait_ms: 10_000,
            warm_up_timeout_ms: 300_000,
            images: ImageConfig::default(),
            replies: ReplyConfig::default(),
        }
    }
}

/// How long replies are kept under the key of their call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplyConfig {
    /// Most memory for them, in bytes; the least used go first.
    pub max_bytes: u64,
    /// How long one is kept, in milliseconds.
    pub keep_ms: u64,
}

impl Default for ReplyConfig {
    fn default() -> Self {
        Self {
            max_bytes: 32 * 1024 * 1024,
            keep_ms: 600_000,
        }
    }
}

impl ExpertWorkerConfig {
    /// Checks what no type rules out.
    ///
    /// # Errors
    /// [`ExpertWorkerError::Setting`] naming the setting.
    pub fn validate(&self) -> Result<(), ExpertWorkerError> {
        let positive = [
            ("max_wait_ms", self.max_wait_ms),
            ("warm_up_timeout_ms", self.warm_up_timeout_ms),
            ("images.max_pixels", self.images.max_pixels),
            ("images.max_decode_bytes", self.images.max_decode_bytes),
            ("images.max_decoding", self.images.max_decoding as u64),
            ("replies.keep_ms", self.replies.keep_ms),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(setting(field, "must be at least 1"));
            }
        }
        let mut names = BTreeSet::new();
        for expert in &self.experts {
            let name = &expert.descriptor().name;
            if !names.insert(name) {
                return Err(setting("experts", format!("name {name} twice")));
            }
        }
        Ok(())
    }

    /// Where others reach a worker that listens on `address`.
    ///
    /// # Errors
    /// [`ExpertWorkerError::Setting`] where that cannot be told from the address.
    pub(crate) fn endpoint(&self, address: SocketAddr) -> Result<Url, ExpertWorkerError> {
        if let Some(url) = &self.advertise {
            return Ok(url.clone());
        }
        if address.ip().is_unspecified() {
            let reason = format!("must be set: {address} is no address that others can call");
            return Err(setting("advertise", reason));
        }
        format!("http://{address}")
            .parse()
            .map_err(|error| setting("advertise", format!("must be set: {error}")))
    }
}

fn setting(field: &'static str, reason: impl Into<String>) -> ExpertWorkerError {
    ExpertWorkerError::Setting {
        field,
        reason: reason.into(),
    }
}

/// An expert that a worker hosts by its own configuration. Written like any descriptor
/// (`maestro experts add` takes the same file), with its backend. The registry gets it without the
/// backend, so that nobody else adopts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Descriptor", into = "Descriptor")]
pub struct HostedExpert {
    descriptor: Descriptor,
    backend: BackendSpec,
}

impl HostedExpert {
    /// The descriptor as the registry gets it.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The backend that serves it.
    pub fn backend(&self) -> &BackendSpec {
        &self.backend
    }
}

impl TryFrom<Descriptor> for HostedExpert {
    type Error = CoreError;

    fn try_from(mut descriptor: Descriptor) -> Result<Self, CoreError> {
        descriptor.validate()?;
        let backend = descriptor.backend.take();
        let backend = backend.ok_or_else(|| CoreError::invalid("backend", "must be set"))?;
        if let Err(error) = backend.kind.parse::<BackendKind>() {
            return Err(CoreError::invalid("backend", error.to_string()));
        }
        Ok(Self {
            descriptor,
            backend,
        })
    }
}

impl From<HostedExpert> for Descriptor {
    fn from(expert: HostedExpert) -> Self {
        Self {
            backend: Some(expert.backend),
            ..expert.descriptor
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
adopt: [openai]
experts:
  - name: echo
    description: Repeats what was recorded.
    capabilities: [chat]
    modalities: [text]
    backend: { kind: replay, config: { file: outcomes.jsonl } }
";

    fn read(yaml: &str) -> Result<ExpertWorkerConfig, String> {
        let config: ExpertWorkerConfig =
            serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_hosted_expert_keeps_its_backend_to_itself() {
        let config = read(YAML).unwrap();
        let expert = &config.experts[0];
        assert_eq!(expert.descriptor().backend, None);
        assert_eq!(expert.backend().kind, "replay");
        assert_eq!(
            Descriptor::from(expert.clone()).backend.as_ref(),
            Some(expert.backend())
        );
    }

    #[test]
    fn bad_settings_are_named() {
        for (from, to, word) in [
            ("adopt:", "adobt:", "adobt"),
            ("[openai]", "[opnai]", "opnai"),
            ("kind: replay", "kind: reply", "reply"),
            (
                "description: Repeats what was recorded.",
                "description: ''",
                "description",
            ),
            (
                "    backend: { kind: replay, config: { file: outcomes.jsonl } }\n",
                "",
                "backend",
            ),
            ("adopt: [openai]", "max_wait_ms: 0", "max_wait_ms"),
        ] {
            let error = read(&YAML.replace(from, to)).unwrap_err();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn an_address_for_others_is_needed() {
        let config = ExpertWorkerConfig::default();
        let own = config.endpoint("127.0.0.1:7403".parse().unwrap()).unwrap();
        assert_eq!(own.as_str(), "http://127.0.0.1:7403/");
        let any = config
            .endpoint("0.0.0.0:7403".parse().unwrap())
            .unwrap_err();
        assert!(any.to_string().contains("advertise"), "{any}");
        let advertised = ExpertWorkerConfig {
            advertise: Some("http://worker-0:7403".parse().unwrap()),
            ..config
        };
        assert!(advertised.endpoint("0.0.0.0:7403".parse().unwrap()).is_ok());
    }
}

//! A sentence encoder as a backend of the capability `embed`.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use maestro_core::{
    episode::Failure,
    expert_call::{ExpertCall, ExpertReply},
};
use maestro_models::{DeviceSetting, SentenceEncoder, TextEmbedder};
use serde::Deserialize;

use super::{Backend, BackendKind, blocking::Blocking, failed, no_operation, rejected};
use crate::{error::ExpertWorkerError, images::Images};

/// Most texts of one call.
const MAX_TEXTS: usize = 1024;

/// Where the encoder is and what it runs on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncoderConfig {
    /// Folder with `config.json`, `tokenizer.json` and `model.safetensors`.
    folder: PathBuf,
    /// `cpu`, `vulkan`, …
    #[serde(default = "cpu")]
    device: String,
}

fn cpu() -> String {
    DeviceSetting::Cpu.to_string()
}

/// Embeds texts.
pub(super) struct Encoder {
    encoder: Arc<SentenceEncoder>,
    pool: Blocking,
}

impl Encoder {
    pub(super) async fn load(
        config: EncoderConfig,
        concurrency: u32,
    ) -> Result<Self, ExpertWorkerError> {
        let load = move || {
            let device = maestro_models::device::open(&config.device)?;
            SentenceEncoder::load(&config.folder, &device)
        };
        let error = |reason: String| ExpertWorkerError::backend(BackendKind::Encoder, reason);
        let loaded = tokio::task::spawn_blocking(load)
            .await
            .map_err(|_| error("loading ended by a defect".to_owned()))?;
        Ok(Self {
            encoder: Arc::new(loaded.map_err(|reason| error(reason.to_string()))?),
            pool: Blocking::new(concurrency),
        })
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Failure> {
        let encoder = Arc::clone(&self.encoder);
        let embed = move || {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            encoder
                .embed(&texts)
                .map_err(|error| failed(error.to_string()))
        };
        self.pool.run(embed).await
    }
}

#[async_trait]
impl Backend for Encoder {
    async fn warm_up(&self) -> Result<(), ExpertWorkerError> {
        self.embed(vec!["ready".to_owned()])
            .await
            .map(|_| ())
            .map_err(|failure| ExpertWorkerError::backend(BackendKind::Encoder, failure.message))
    }

    async fn invoke(&self, call: &ExpertCall, _: &Images) -> Result<ExpertReply, Failure> {
        no_operation(call)?;
        if call.messages.is_empty() || call.messages.len() > MAX_TEXTS {
            return Err(rejected(format!(
                "{} texts to embed; must be 1 to {MAX_TEXTS}",
                call.messages.len()
            )));
        }
        let texts = call.messages.iter().map(|m| m.text.clone()).collect();
        Ok(ExpertReply {
            embeddings: self.embed(texts).await?,
            finish_reason: "stop".to_owned(),
            ..ExpertReply::default()
        })
    }
}

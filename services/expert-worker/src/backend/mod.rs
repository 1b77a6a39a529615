//! Backends: what turns a call into a reply.
//!
//! | kind | what it is | capabilities it serves |
//! |---|---|---|
//! | [`openai`] | any OpenAI-compatible chat endpoint | `chat` |
//! | `ocr` | PP-OCR in process ([`ocr`]) | `ocr` |
//! | `tesseract` | Tesseract, one process a call ([`tesseract`]) | `ocr` |
//! | `analysis` | classical analysis of diagrams ([`analysis`]) | `analyze` |
//! | `encoder` | a sentence encoder in process | `embed` |
//! | `detector` | a detector of objects in process | `detect` |
//! | [`replay`] | recorded outcomes | whatever was recorded |
//!
//! A backend's settings are the `backend.config` of a descriptor; each reads its own strictly.

pub mod analysis;
pub mod ocr;
pub mod openai;
pub mod replay;
pub mod tesseract;

mod analyst;
mod blocking;
mod detector;
mod encoder;
mod reader;

use std::{fmt, str::FromStr, sync::Arc};

use async_trait::async_trait;
use maestro_core::{
    episode::{Failure, FailureKind},
    expert_call::{ExpertCall, ExpertReply},
    registry::{BackendSpec, Limits},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{error::ExpertWorkerError, images::Images};

/// A frozen model as the worker sees it. The worker bounds how many calls run at once, checks
/// them against the descriptor and gives each a deadline: when it passes, the future is dropped.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Makes sure that the next call succeeds at its usual speed. Called once, before the expert
    /// is registered.
    ///
    /// # Errors
    /// Why it cannot serve. The worker tries again later.
    async fn warm_up(&self) -> Result<(), ExpertWorkerError>;

    /// Answers one call. `usage` of the reply holds the tokens; the worker adds the time and the
    /// cost, unless the backend [keeps the accounts](Self::keeps_accounts) itself.
    ///
    /// # Errors
    /// [`FailureKind::Unavailable`] and [`FailureKind::Overloaded`] only where the model has
    /// surely not begun: such a call is sent again elsewhere.
    async fn invoke(&self, call: &ExpertCall, images: &Images) -> Result<ExpertReply, Failure>;

    /// Whether replies carry their time and cost already, as recorded ones do.
    fn keeps_accounts(&self) -> bool {
        false
    }
}

/// A kind of backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// An OpenAI-compatible chat endpoint.
    Openai,
    /// PP-OCR in process.
    Ocr,
    /// Tesseract, one process a call.
    Tesseract,
    /// Classical analysis of diagrams.
    Analysis,
    /// A sentence encoder in process.
    Encoder,
    /// A detector of objects in process.
    Detector,
    /// Recorded outcomes.
    Replay,
}

impl BackendKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Openai,
        Self::Ocr,
        Self::Tesseract,
        Self::Analysis,
        Self::Encoder,
        Self::Detector,
        Self::Replay,
    ];

    /// As written in `backend.kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Ocr => "ocr",
            Self::Tesseract => "tesseract",
            Self::Analysis => "analysis",
            Self::Encoder => "encoder",
            Self::Detector => "detector",
            Self::Replay => "replay",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = ExpertWorkerError;
    fn from_str(kind: &str) -> Result<Self, ExpertWorkerError> {
        Self::ALL
            .into_iter()
            .find(|known| known.name() == kind)
            .ok_or_else(|| ExpertWorkerError::UnknownKind {
                kind: kind.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

/// Builds the backend of a descriptor: reads its settings, loads its model.
///
/// # Errors
/// [`ExpertWorkerError::UnknownKind`], or [`ExpertWorkerError::Backend`] naming the setting that
/// is wrong or the model that cannot be loaded.
pub async fn build(
    spec: &BackendSpec,
    limits: &Limits,
) -> Result<Arc<dyn Backend>, ExpertWorkerError> {
    let concurrency = limits.max_concurrency;
    Ok(match spec.kind.parse::<BackendKind>()? {
        BackendKind::Openai => Arc::new(openai::OpenAi::new(settings(spec, BackendKind::Openai)?)?),
        BackendKind::Ocr => {
            let config = settings(spec, BackendKind::Ocr)?;
            Arc::new(reader::NetworkReader::load(config, concurrency).await?)
        }
        BackendKind::Tesseract => {
            let config = settings(spec, BackendKind::Tesseract)?;
            Arc::new(reader::ProgramReader::new(config)?)
        }
        BackendKind::Analysis => {
            let analyst::NoSettings {} = settings(spec, BackendKind::Analysis)?;
            Arc::new(analyst::Analyst::new(concurrency))
        }
        BackendKind::Encoder => {
            let config = settings(spec, BackendKind::Encoder)?;
            Arc::new(encoder::Encoder::load(config, concurrency).await?)
        }
        BackendKind::Detector => {
            let config = settings(spec, BackendKind::Detector)?;
            Arc::new(detector::Detector::load(config, concurrency).await?)
        }
        BackendKind::Replay => {
            let config = settings(spec, BackendKind::Replay)?;
            Arc::new(replay::Replay::load(config).await?)
        }
    })
}

/// Reads a backend's settings; a key that it does not have is refused.
fn settings<T: DeserializeOwned>(
    spec: &BackendSpec,
    kind: BackendKind,
) -> Result<T, ExpertWorkerError> {
    serde_json::from_value(serde_json::Value::Object(spec.config.clone()))
        .map_err(|error| ExpertWorkerError::backend(kind, format!("config: {error}")))
}

/// Refuses a call for an operation by a backend that has none.
fn no_operation(call: &ExpertCall) -> Result<(), Failure> {
    if call.operation.is_empty() {
        return Ok(());
    }
    Err(rejected(format!(
        "capability {} has no operation {:?}",
        call.capability, call.operation
    )))
}

/// The image that a call is about.
fn first_image(call: &ExpertCall) -> Result<&maestro_core::Digest, Failure> {
    call.images
        .first()
        .ok_or_else(|| rejected(format!("capability {} needs an image", call.capability)))
}

fn rejected(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Rejected, message)
}

fn failed(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::ExpertFailed, message)
}

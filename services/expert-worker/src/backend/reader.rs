//! The two text readers as backends of the capability `ocr`.

use std::sync::Arc;

use async_trait::async_trait;
use maestro_core::{
    episode::{Failure, FailureKind},
    expert_call::{ExpertCall, ExpertReply, TextRegion},
};

use super::{
    Backend, BackendKind,
    blocking::Blocking,
    failed, first_image, no_operation,
    ocr::{OcrError, PpOcr, PpOcrConfig, TextLine},
    rejected,
    tesseract::{Tesseract, TesseractConfig},
};
use crate::{error::ExpertWorkerError, images::Images};

/// PP-OCR in process.
pub(super) struct NetworkReader {
    reader: Arc<PpOcr>,
    pool: Blocking,
}

impl NetworkReader {
    pub(super) async fn load(
        config: PpOcrConfig,
        concurrency: u32,
    ) -> Result<Self, ExpertWorkerError> {
        let reader = blocking(move || PpOcr::load(&config)).await?;
        Ok(Self {
            reader: Arc::new(reader),
            pool: Blocking::new(concurrency),
        })
    }
}

#[async_trait]
impl Backend for NetworkReader {
    async fn warm_up(&self) -> Result<(), ExpertWorkerError> {
        let reader = Arc::clone(&self.reader);
        blocking(move || reader.warm_up()).await
    }

    async fn invoke(&self, call: &ExpertCall, images: &Images) -> Result<ExpertReply, Failure> {
        no_operation(call)?;
        let image = images.pixels(first_image(call)?).await?;
        let reader = Arc::clone(&self.reader);
        let read = move || reader.read(&image).map_err(|error| failure(&error));
        Ok(reply(self.pool.run(read).await?))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OcrError> + Send + 'static,
) -> Result<T, ExpertWorkerError> {
    let error = |reason: String| ExpertWorkerError::backend(BackendKind::Ocr, reason);
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|reason| error(reason.to_string())),
        Err(_) => Err(error("loading ended by a defect".to_owned())),
    }
}

/// Tesseract, one process a call.
pub(super) struct ProgramReader {
    reader: Tesseract,
}

impl ProgramReader {
    pub(super) fn new(config: TesseractConfig) -> Result<Self, ExpertWorkerError> {
        let reader = Tesseract::new(config).map_err(|error| {
            ExpertWorkerError::backend(BackendKind::Tesseract, error.to_string())
        })?;
        Ok(Self { reader })
    }
}

#[async_trait]
impl Backend for ProgramReader {
    async fn warm_up(&self) -> Result<(), ExpertWorkerError> {
        self.reader
            .warm_up()
            .await
            .map_err(|error| ExpertWorkerError::backend(BackendKind::Tesseract, error.to_string()))
    }

    async fn invoke(&self, call: &ExpertCall, images: &Images) -> Result<ExpertReply, Failure> {
        no_operation(call)?;
        let image = images.pixels(first_image(call)?).await?;
        let lines = self.reader.read(&image).await;
        Ok(reply(lines.map_err(|error| failure(&error))?))
    }
}

fn reply(lines: Vec<TextLine>) -> ExpertReply {
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    let text = texts.join("\n");
    let regions = lines
        .into_iter()
        .map(|line| TextRegion {
            text: line.text,
            confidence: line.confidence,
            quad: line.quad,
            word_confidences: line.word_confidences,
        })
        .collect();
    ExpertReply {
        text,
        regions,
        finish_reason: "stop".to_owned(),
        ..ExpertReply::default()
    }
}

fn failure(error: &OcrError) -> Failure {
    match error {
        OcrError::Image { .. } => rejected(error.to_string()),
        OcrError::Timeout(_) => Failure::new(FailureKind::Timeout, error.to_string()),
        _ => failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_holds_the_lines_as_regions_and_as_text() {
        let line = |text: &str, y: f32| TextLine {
            text: text.to_owned(),
            confidence: 0.5,
            quad: [[0.0, y], [9.0, y], [9.0, y + 5.0], [0.0, y + 5.0]],
            word_confidences: vec![0.5],
        };
        let reply = reply(vec![line("TOTAL", 0.0), line("12.50", 10.0)]);
        assert_eq!(reply.text, "TOTAL\n12.50");
        assert_eq!(reply.regions[1].quad[2], [9.0, 15.0]);
        assert_eq!(reply.regions[1].word_confidences, [0.5]);
    }

    #[test]
    fn only_the_image_is_the_callers_fault() {
        let image = OcrError::Image {
            width: 0,
            height: 0,
            reason: "it is empty",
        };
        assert_eq!(failure(&image).kind, FailureKind::Rejected);
        let late = OcrError::Timeout(std::time::Duration::from_secs(1));
        assert_eq!(failure(&late).kind, FailureKind::Timeout);
        let broken = OcrError::Inference("x".into());
        assert_eq!(failure(&broken).kind, FailureKind::ExpertFailed);
    }
}

//! Reading text from images in process: PP-OCR's detection and recognition networks, run by tract.
//!
//! [`PpOcr::read`] finds boxes around lines of text (`detect`, `regions`), puts them in reading
//! order (`order`), cuts them out (`crop`) and reads them one by one (`recognise`, `ctc`). Everything but `plan` is a function of its arguments.

mod crop;
mod ctc;
mod depthwise;
mod detect;
mod error;
mod geometry;
mod order;
mod plan;
mod recognise;
mod regions;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use image::RgbImage;

use self::{detect::Detector, order::reading_order, recognise::Recogniser};

pub use self::error::OcrError;

/// Smallest and largest `detection_side`. A quarter of the largest already costs as much time as
/// a whole receipt should.
const SIDES: std::ops::RangeInclusive<u32> = 128..=4096;
/// Largest image read, in pixels: its planes alone take four times as many bytes a channel.
const MAXIMUM_PIXELS: u64 = 100_000_000;

/// Where the networks are and how they are used.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PpOcrConfig {
    /// The detection network, an ONNX file.
    pub detection: PathBuf,
    /// The recognition network, an ONNX file.
    pub recognition: PathBuf,
    /// The recogniser's characters, one a line; by default those in its own metadata.
    #[serde(default)]
    pub dictionary: Option<PathBuf>,
    /// Images are scaled for detection so that their longer side has at most this many pixels,
    /// 128 to 4096. Time grows with its square.
    #[serde(default = "default_detection_side")]
    pub detection_side: u32,
    /// Lines below this mean confidence are left out, 0 to 1.
    #[serde(default = "default_minimum_confidence")]
    pub minimum_confidence: f32,
}

impl PpOcrConfig {
    /// The defaults, for `det.onnx` and `rec.onnx` in `folder`.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            detection: folder.join("det.onnx"),
            recognition: folder.join("rec.onnx"),
            dictionary: None,
            detection_side: default_detection_side(),
            minimum_confidence: default_minimum_confidence(),
        }
    }

    fn validate(&self) -> Result<(), OcrError> {
        let invalid = |field, reason: String| Err(OcrError::Setting { field, reason });
        if !SIDES.contains(&self.detection_side) {
            return invalid(
                "detection_side",
                format!("{} is not in {SIDES:?}", self.detection_side),
            );
        }
        if !(0.0..=1.0).contains(&self.minimum_confidence) {
            return invalid(
                "minimum_confidence",
                format!("{} is not in 0..=1", self.minimum_confidence),
            );
        }
        Ok(())
    }
}

fn default_detection_side() -> u32 {
    960
}

fn default_minimum_confidence() -> f32 {
    0.5
}

/// A line of text in an image.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TextLine {
    /// What it says.
    pub text: String,
    /// How sure the reader is, 0 to 1: the mean over its characters or words.
    pub confidence: f32,
    /// Its corners in pixels of the image, from the text's own top left, clockwise.
    pub quad: [[f32; 2]; 4],
    /// The same of each word; empty where the reader does not tell words apart.
    pub word_confidences: Vec<f32>,
}

/// Reads text with PP-OCR. Several threads may share one reader; each call uses one thread.
pub struct PpOcr {
    detector: Detector,
    recogniser: Recogniser,
    minimum_confidence: f32,
}

impl PpOcr {
    /// Loads both networks.
    ///
    /// # Errors
    ///
    /// [`OcrError::Missing`] or [`OcrError::Model`] for a file that is not there or not such a
    /// network, [`OcrError::Setting`] for a setting out of range.
    pub fn load(config: &PpOcrConfig) -> Result<Self, OcrError> {
        config.validate()?;
        Ok(Self {
            detector: Detector::load(&config.detection, config.detection_side)?,
            recogniser: Recogniser::load(&config.recognition, config.dictionary.as_deref())?,
            minimum_confidence: config.minimum_confidence,
        })
    }

    /// Optimises the networks for the shapes that most images need, and checks that they run.
    /// Without it the first images of each shape take longer. It takes seconds.
    ///
    /// # Errors
    ///
    /// [`OcrError::Inference`] or [`OcrError::Dictionary`] if the networks are not what they
    /// should be.
    pub fn warm_up(&self) -> Result<(), OcrError> {
        self.recogniser.prepare()?;
        self.detector.prepare()
    }

    /// The lines of text in an image, in reading order. An image without text has none.
    ///
    /// # Errors
    ///
    /// [`OcrError::Image`] for an image without pixels or with more than 100 million,
    /// [`OcrError::Inference`] or [`OcrError::Dictionary`] if the networks are not what they
    /// should be.
    pub fn read(&self, image: &RgbImage) -> Result<Vec<TextLine>, OcrError> {
        check_size(image)?;
        let found = self.detector.detect(image)?;
        let mut lines = Vec::with_capacity(found.len());
        for index in reading_order(&found) {
            let quad = found[index];
            let (text, confidence) = self.recogniser.read(image, &quad)?;
            let text = text.trim();
            if !text.is_empty() && confidence >= self.minimum_confidence {
                lines.push(TextLine {
                    text: text.to_owned(),
                    confidence,
                    quad,
                    word_confidences: Vec::new(),
                });
            }
        }
        Ok(lines)
    }
}

/// Refuses images that no reader should be given.
pub(super) fn check_size(image: &RgbImage) -> Result<(), OcrError> {
    let (width, height) = image.dimensions();
    let refuse = |reason| {
        Err(OcrError::Image {
            width,
            height,
            reason,
        })
    };
    match u64::from(width) * u64::from(height) {
        0 => refuse("it is empty"),
        pixels if pixels > MAXIMUM_PIXELS => refuse("it has more than 100 million pixels"),
        _ => Ok(()),
    }
}

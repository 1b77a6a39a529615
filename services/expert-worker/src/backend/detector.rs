//! A detector of objects as a backend of the capability `detect`.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use image::RgbImage;
use maestro_core::{
    episode::Failure,
    expert_call::{Detection, ExpertCall, ExpertReply},
};
use maestro_models::{
    DeviceSetting, ObjectDetector,
    detector::{DetectOptions, DetectedObject},
};
use serde::Deserialize;

use super::{Backend, BackendKind, blocking::Blocking, failed, first_image, rejected};
use crate::{error::ExpertWorkerError, images::Images};

/// Most passes of the network over an image beside the first.
const MAX_SIZES: usize = 8;
/// Largest input: its memory grows with the square of it.
const MAX_SIDE: usize = 2048;
/// Most objects of one reply; the surest are kept.
const MAX_OBJECTS: usize = 1000;
/// Side of the blank image that warms the network up.
const WARM_UP_SIDE: u32 = 64;

/// The operation that looks at the image in other sizes, too.
const CLOSELY: &str = "closely";

/// Where the detector is, what it runs on and what counts as found.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DetectorConfig {
    /// Folder with `network.cfg`, `network.weights` and `labels.txt`.
    folder: PathBuf,
    /// `cpu`, `vulkan`, …
    #[serde(default = "cpu")]
    device: String,
    /// Least confidence of an object, 0 to 1, after calibration.
    #[serde(default = "threshold")]
    threshold: f32,
    /// Of two objects of a class that overlap by more, the less sure one is a double.
    #[serde(default = "overlap")]
    overlap: f32,
    /// What the network's confidence means; as it is without.
    #[serde(default)]
    calibration: Calibration,
    /// Sides of the square inputs in which the operation `closely` looks at the image, too.
    #[serde(default)]
    closely: Vec<usize>,
}

/// From what a network says to how likely an object is there, as an affine function of the
/// log-odds (Platt scaling). The order of confidences stays.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Calibration {
    slope: f32,
    offset: f32,
}

impl Default for Calibration {
    fn default() -> Self {
        Self {
            slope: 1.0,
            offset: 0.0,
        }
    }
}

impl Calibration {
    /// How likely an object is there of which the network says `confidence`.
    fn likely(self, confidence: f32) -> f32 {
        let odds = log_odds(confidence);
        1.0 / (1.0 + (-(self.slope * odds + self.offset)).exp())
    }

    /// What the network says of an object that is there with `likelihood`.
    fn said(self, likelihood: f32) -> f32 {
        let odds = (log_odds(likelihood) - self.offset) / self.slope;
        1.0 / (1.0 + (-odds).exp())
    }
}

fn log_odds(share: f32) -> f32 {
    let share = share.clamp(1e-6, 1.0 - 1e-6);
    (share / (1.0 - share)).ln()
}

fn cpu() -> String {
    DeviceSetting::Cpu.to_string()
}

fn threshold() -> f32 {
    DetectOptions::default().threshold
}

fn overlap() -> f32 {
    DetectOptions::default().overlap
}

impl DetectorConfig {
    fn validate(&self) -> Result<(), String> {
        for (name, share) in [("threshold", self.threshold), ("overlap", self.overlap)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} is {share}; must be 0 to 1"));
            }
        }
        let Calibration { slope, offset } = self.calibration;
        if !(slope > 0.0 && slope.is_finite() && offset.is_finite()) {
            return Err("calibration: slope must be above 0, both must be finite".to_owned());
        }
        if self.closely.len() > MAX_SIZES || self.closely.iter().any(|&side| side > MAX_SIDE) {
            return Err(format!(
                "closely may name {MAX_SIZES} sizes of at most {MAX_SIDE}"
            ));
        }
        Ok(())
    }

    /// What an operation asks for.
    fn options(&self, operation: &str) -> Result<DetectOptions, Failure> {
        let more_sizes = match operation {
            "" => Vec::new(),
            CLOSELY => self.closely.clone(),
            other => {
                return Err(rejected(format!(
                    "operation {other:?} is neither empty nor {CLOSELY}"
                )));
            }
        };
        Ok(DetectOptions {
            threshold: self.calibration.said(self.threshold),
            overlap: self.overlap,
            more_sizes,
        })
    }
}

/// Finds objects.
pub(super) struct Detector {
    detector: Arc<ObjectDetector>,
    config: DetectorConfig,
    pool: Blocking,
}

impl Detector {
    pub(super) async fn load(
        config: DetectorConfig,
        concurrency: u32,
    ) -> Result<Self, ExpertWorkerError> {
        let error = |reason: String| ExpertWorkerError::backend(BackendKind::Detector, reason);
        config.validate().map_err(error)?;
        let (folder, device) = (config.folder.clone(), config.device.clone());
        let load = move || {
            let device = maestro_models::device::open(&device)?;
            ObjectDetector::load(&folder, &device)
        };
        let loaded = tokio::task::spawn_blocking(load)
            .await
            .map_err(|_| error("loading ended by a defect".to_owned()))?;
        let detector = loaded.map_err(|reason| error(reason.to_string()))?;
        if let Some(side) = config.closely.iter().find(|&&side| !detector.accepts(side)) {
            return Err(error(format!(
                "closely: the network reads no {side} x {side}"
            )));
        }
        Ok(Self {
            detector: Arc::new(detector),
            config,
            pool: Blocking::new(concurrency),
        })
    }

    async fn detect(
        &self,
        image: Arc<RgbImage>,
        options: DetectOptions,
    ) -> Result<Vec<DetectedObject>, Failure> {
        let detector = Arc::clone(&self.detector);
        let detect = move || {
            detector
                .detect(&image, &options)
                .map_err(|error| failed(error.to_string()))
        };
        self.pool.run(detect).await
    }
}

#[async_trait]
impl Backend for Detector {
    async fn warm_up(&self) -> Result<(), ExpertWorkerError> {
        let image = Arc::new(RgbImage::new(WARM_UP_SIDE, WARM_UP_SIDE));
        self.detect(image, DetectOptions::default())
            .await
            .map(|_| ())
            .map_err(|failure| ExpertWorkerError::backend(BackendKind::Detector, failure.message))
    }

    async fn invoke(&self, call: &ExpertCall, images: &Images) -> Result<ExpertReply, Failure> {
        let options = self.config.options(&call.operation)?;
        let image = images.pixels(first_image(call)?).await?;
        let objects = self.detect(image, options).await?;
        Ok(reply(objects, self.config.calibration))
    }
}

fn reply(mut objects: Vec<DetectedObject>, calibration: Calibration) -> ExpertReply {
    objects.truncate(MAX_OBJECTS);
    let detections = objects.into_iter().map(|object| {
        let bounds = object.bounds;
        Detection {
            label: object.label,
            confidence: calibration.likely(object.confidence),
            bounds: [bounds.left, bounds.top, bounds.right, bounds.bottom],
        }
    });
    ExpertReply {
        detections: detections.collect(),
        finish_reason: "stop".to_owned(),
        ..ExpertReply::default()
    }
}

#[cfg(test)]
mod tests {
    use maestro_models::detector::Bounds;
    use serde_json::json;

    use super::*;

    fn config(more: serde_json::Value) -> DetectorConfig {
        let mut config = json!({ "folder": "/srv/models/a-detector" });
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert_eq!(config(json!({})).validate(), Ok(()));
        for (key, value) in [
            ("threshold", json!(1.5)),
            ("overlap", json!(-0.1)),
            ("closely", json!([99_999])),
            ("closely", json!(vec![32; 9])),
            ("calibration", json!({ "slope": 0, "offset": 1 })),
        ] {
            let reason = config(json!({ key: value })).validate().unwrap_err();
            assert!(reason.contains(key), "{reason}");
        }
    }

    #[test]
    fn an_operation_says_how_closely_to_look() {
        let config = config(json!({ "closely": [608], "threshold": 0.2 }));
        assert!(config.options("").unwrap().more_sizes.is_empty());
        let closely = config.options("closely").unwrap();
        assert_eq!(closely.more_sizes, [608]);
        assert!((closely.threshold - 0.2).abs() < 1e-6);
        assert!(
            config
                .options("count")
                .unwrap_err()
                .message
                .contains("count")
        );
    }

    #[test]
    fn calibration_goes_there_and_back() {
        let calibration = Calibration {
            slope: 0.7,
            offset: 1.5,
        };
        for said in [0.01, 0.1, 0.5, 0.9, 0.99] {
            let likely = calibration.likely(said);
            assert!((calibration.said(likely) - said).abs() < 1e-4, "{said}");
            assert!(likely > said || said > 0.98, "{said} {likely}");
        }
    }

    #[test]
    fn a_reply_keeps_the_surest_objects_with_their_places() {
        let object = |index: usize| DetectedObject {
            label: "cat".to_owned(),
            confidence: 1.0 / (index + 1) as f32,
            bounds: Bounds {
                left: 1.0,
                top: 2.0,
                right: 3.0,
                bottom: 4.0,
            },
        };
        let reply = reply(
            (0..MAX_OBJECTS + 5).map(object).collect(),
            Calibration::default(),
        );
        assert_eq!(reply.detections.len(), MAX_OBJECTS);
        assert_eq!(reply.detections[0].bounds, [1.0, 2.0, 3.0, 4.0]);
        assert!((reply.detections[1].confidence - 0.5).abs() < 1e-6);
    }
}

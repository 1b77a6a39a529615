//! Detectors of objects in photographs: YOLO v3 networks with Darknet's weights.
//!
//! [`ObjectDetector`] is what others use; [`DarknetConfig`] and [`Darknet`] are the network behind
//! it, [`Letterbox`], [`decode`] and [`suppress`] the pure functions before and after it.

mod boxes;
mod config;
mod decode;
mod letterbox;
mod network;
mod weights;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

pub use self::boxes::{Bounds, Candidate, suppress};
pub use self::config::{Convolution, DarknetConfig, Head, Layer, Shape};
pub use self::decode::decode;
pub use self::letterbox::Letterbox;
pub use self::network::Darknet;
use crate::ModelError;
use crate::error::read_file;

/// The files of a detector's folder.
const CONFIG: &str = "network.cfg";
const WEIGHTS: &str = "network.weights";
const LABELS: &str = "labels.txt";

/// What counts as found.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectOptions {
    /// Least confidence of an object.
    pub threshold: f32,
    /// Of two objects of a class that overlap by more, the less sure one is a double.
    pub overlap: f32,
    /// Sides of square inputs in which the image is looked at, too, beside the network's own: what
    /// is small is found in a larger one, what fills the image in a smaller one.
    pub more_sizes: Vec<usize>,
}

impl Default for DetectOptions {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            overlap: 0.45,
            more_sizes: Vec::new(),
        }
    }
}

/// An object in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectedObject {
    /// Its class.
    pub label: String,
    /// How sure the network is, 0 to 1.
    pub confidence: f32,
    /// Where it is, in pixels of the image.
    pub bounds: Bounds,
}

/// A detector with the names of its classes, on one device.
#[derive(Debug)]
pub struct ObjectDetector {
    network: Darknet,
    labels: Vec<String>,
    device: Device,
}

impl ObjectDetector {
    /// Loads `network.cfg`, `network.weights` and `labels.txt` (a class a line) from a folder.
    ///
    /// # Errors
    /// [`ModelError::Read`] for a missing file, [`ModelError::Config`] or [`ModelError::Weights`]
    /// for one that does not fit.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, ModelError> {
        let text = |name: &str| {
            String::from_utf8(read_file(&folder.join(name))?)
                .map_err(|error| ModelError::config(&format!("{name}: {error}")))
        };
        let config = DarknetConfig::parse(&text(CONFIG)?)?;
        let labels = labels(&text(LABELS)?, &config)?;
        if config.input[0] != 3 {
            let reason = format!("the network reads {} channels, not 3", config.input[0]);
            return Err(ModelError::config(&reason));
        }
        let mut network = config.init(device);
        weights::load(&mut network, &read_file(&folder.join(WEIGHTS))?, device)?;
        Ok(Self {
            network,
            labels,
            device: device.clone(),
        })
    }

    /// The classes that it knows.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Whether the network can look at images in a square input of this side.
    pub fn accepts(&self, side: usize) -> bool {
        self.network.config.accepts([side, side])
    }

    /// The objects in an image, surest first.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a size that the network does not [accept](Self::accepts),
    /// [`ModelError::Execution`] where the device fails.
    pub fn detect(
        &self,
        image: &RgbImage,
        options: &DetectOptions,
    ) -> Result<Vec<DetectedObject>, ModelError> {
        if image.width() == 0 || image.height() == 0 {
            return Ok(Vec::new());
        }
        let [_, height, width] = self.network.config.input;
        let mut candidates = self.look(image, [height, width], options.threshold)?;
        for &side in &options.more_sizes {
            if !self.accepts(side) {
                let reason = format!("the network does not read images of {side} x {side}");
                return Err(ModelError::config(&reason));
            }
            candidates.extend(self.look(image, [side, side], options.threshold)?);
        }
        let objects = suppress(candidates, options.overlap)
            .into_iter()
            .filter_map(|candidate| {
                Some(DetectedObject {
                    label: self.labels.get(candidate.class)?.clone(),
                    confidence: candidate.confidence,
                    bounds: candidate.bounds,
                })
            });
        Ok(objects.collect())
    }

    /// One pass of the network over an image in an input of this height and width, without
    /// suppression.
    fn look(
        &self,
        image: &RgbImage,
        [height, width]: [usize; 2],
        threshold: f32,
    ) -> Result<Vec<Candidate>, ModelError> {
        let config = &self.network.config;
        let letterbox = Letterbox::fit(
            [image.width(), image.height()],
            [width as u32, height as u32],
        );
        let data = TensorData::new(letterbox.input(image), [1, config.input[0], height, width]);
        let results = self.network.forward(Tensor::from_data(data, &self.device));
        let mut candidates = Vec::new();
        for (result, head) in results.into_iter().zip(config.heads()) {
            let [_, _, rows, columns] = result.dims();
            let values = result
                .try_to_vec_as::<f32>()
                .map_err(|error| ModelError::Execution {
                    reason: error.to_string(),
                })?;
            let found = decode(&values, head, [rows, columns], [height, width], threshold);
            candidates.extend(found.into_iter().map(|candidate| Candidate {
                bounds: letterbox.to_source(&candidate.bounds),
                ..candidate
            }));
        }
        Ok(candidates)
    }
}

/// A name for each class.
fn labels(text: &str, config: &DarknetConfig) -> Result<Vec<String>, ModelError> {
    let labels: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    match config.heads().find(|head| head.classes != labels.len()) {
        None => Ok(labels),
        Some(head) => Err(ModelError::config(&format!(
            "{LABELS} names {} classes, the network has {}",
            labels.len(),
            head.classes
        ))),
    }
}

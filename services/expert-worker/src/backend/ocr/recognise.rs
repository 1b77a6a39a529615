//! What the text says: the recognition network on lines cut out of the image.
//!
//! Lines go through the network one by one: on a processor core, batches of 2 to 8 took 3 to 12 %
//! longer for a receipt, and their plans as much memory again.

use std::{fs, path::Path};

use image::RgbImage;

use super::{
    OcrError,
    crop::{CHANNELS, LINE_HEIGHT, fill_line, line_width},
    ctc::Alphabet,
    geometry::{Quad, size},
    plan::ShapedModel,
};

/// Widths of the network's input; a line takes the first that it fits in, and one that fits in
/// none is squeezed into the last. Steps of about a third bound both the padding and the plans.
const WIDTHS: [usize; 9] = [64, 128, 192, 256, 352, 480, 640, 896, 1280];
/// Name of the model's metadata entry that holds its dictionary.
const DICTIONARY_KEY: &str = "character";
/// A line at least this many times as high as wide may run down the page (PP-OCR).
const TALL: f32 = 1.5;
/// From here on a tall box cannot be a single upright character.
const VERY_TALL: f32 = 3.0;
/// By how much more confident a turned reading must be: single digits are tall and common, text
/// that runs down the page is rare.
const TURNED_MARGIN: f32 = 0.1;

/// Text of one line and its confidence in 0..=1.
pub(super) type Reading = (String, f32);

/// Reads lines of text.
pub(super) struct Recogniser {
    model: ShapedModel,
    alphabet: Alphabet,
}

/// A line to read: one quad, or one of the ways to turn it.
struct Line {
    quad: Quad,
    width: usize,
    bucket: usize,
}

impl Recogniser {
    /// Loads the network, and its dictionary from its own metadata or the file that overrides it.
    pub(super) fn load(path: &Path, dictionary: Option<&Path>) -> Result<Self, OcrError> {
        let plans = WIDTHS.len() as u64;
        let mut model = ShapedModel::load("text recognition model", path, plans)?;
        // The decoder takes scores: see `ctc::probability`.
        if !model.strip_final("Softmax") {
            let reason = "its last operator is not Softmax".to_owned();
            return Err(OcrError::Model {
                path: path.to_path_buf(),
                reason,
            });
        }
        let alphabet = match dictionary {
            Some(file) => {
                Alphabet::parse(&fs::read_to_string(file).map_err(|_| OcrError::Missing {
                    what: "dictionary",
                    path: file.to_path_buf(),
                })?)
            }
            None => Alphabet::parse(model.metadata(DICTIONARY_KEY).ok_or_else(|| {
                let reason = format!("its metadata has no '{DICTIONARY_KEY}'");
                OcrError::Model {
                    path: path.to_path_buf(),
                    reason,
                }
            })?),
        };
        Ok(Self { model, alphabet })
    }

    /// Plans for every shape that reading can need.
    pub(super) fn prepare(&self) -> Result<(), OcrError> {
        WIDTHS
            .into_iter()
            .try_for_each(|width| self.model.prepare([1, CHANNELS, LINE_HEIGHT, width]))
    }

    /// Reads the line of `image` in `quad`; without legible text the reading is empty.
    pub(super) fn read(&self, image: &RgbImage, quad: &Quad) -> Result<Reading, OcrError> {
        let readings: Result<Vec<Reading>, OcrError> = ways_to_read(quad)
            .into_iter()
            .map(|quad| self.read_line(image, &Line::new(quad)))
            .collect();
        Ok(most_plausible(&readings?))
    }

    fn read_line(&self, image: &RgbImage, line: &Line) -> Result<Reading, OcrError> {
        let mut planes = vec![0.0; CHANNELS * LINE_HEIGHT * line.bucket];
        fill_line(image, &line.quad, line.width, line.bucket, &mut planes);
        let output = self
            .model
            .run([1, CHANNELS, LINE_HEIGHT, line.bucket], &planes)?;
        let &[1, _, classes] = output.shape() else {
            return Err(OcrError::Inference(format!(
                "output of shape {:?}",
                output.shape()
            )));
        };
        self.alphabet.decode(output.values()?, classes)
    }
}

impl Line {
    fn new(quad: Quad) -> Self {
        let [.., longest] = WIDTHS;
        let width = line_width(&quad, longest);
        let bucket = WIDTHS
            .into_iter()
            .find(|&bucket| bucket >= width)
            .unwrap_or(longest);
        Self {
            quad,
            width,
            bucket,
        }
    }
}

/// The quad as it is and, if it is tall, as text that runs down or up the page.
fn ways_to_read(quad: &Quad) -> Vec<Quad> {
    let (width, height) = size(quad);
    if height < TALL * width {
        return vec![*quad];
    }
    let [tl, tr, br, bl] = *quad;
    let downwards = [tr, br, bl, tl];
    let upwards = [bl, tl, tr, br];
    if height < VERY_TALL * width {
        vec![*quad, downwards, upwards]
    } else {
        vec![downwards, upwards]
    }
}

/// The first reading, unless another one is clearly more confident.
fn most_plausible(readings: &[Reading]) -> Reading {
    let mut best = Reading::default();
    let mut margin = 0.0;
    for (text, confidence) in readings {
        if *confidence > best.1 + margin {
            best = (text.clone(), *confidence);
        }
        margin = TURNED_MARGIN;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(width: f32, height: f32) -> Quad {
        [[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]]
    }

    #[test]
    fn a_line_takes_the_first_width_that_it_fits_in() {
        for (width, bucket) in [
            (1.0, 64),
            (64.0, 64),
            (65.0, 128),
            (1280.0, 1280),
            (9e3, 1280),
        ] {
            assert_eq!(Line::new(block(width, 48.0)).bucket, bucket);
        }
        assert_eq!(Line::new(block(9e3, 48.0)).width, 1280);
    }

    #[test]
    fn only_tall_boxes_are_turned() {
        assert_eq!(ways_to_read(&block(100.0, 20.0)).len(), 1);
        assert_eq!(ways_to_read(&block(20.0, 20.0)).len(), 1);
        assert_eq!(ways_to_read(&block(10.0, 20.0)).len(), 3);
        let turned = ways_to_read(&block(10.0, 50.0));
        assert_eq!(turned.len(), 2);
        // Text that runs down starts at the top right and is 50 wide.
        assert_eq!(turned[0][0], [10.0, 0.0]);
        assert_eq!(size(&turned[0]), (50.0, 10.0));
        assert_eq!(turned[1][0], [0.0, 50.0]);
    }

    #[test]
    fn a_turned_reading_must_be_clearly_better() {
        let reading = |text: &str, confidence| (text.to_owned(), confidence);
        let chosen = |readings: &[Reading]| most_plausible(readings).0;
        assert_eq!(chosen(&[reading("1", 0.9), reading("-", 0.95)]), "1");
        assert_eq!(chosen(&[reading("1", 0.4), reading("ab", 0.95)]), "ab");
        assert_eq!(chosen(&[reading("x", 0.01)]), "x");
        assert_eq!(chosen(&[]), "");
    }
}

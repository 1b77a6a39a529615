//! Separates ink from background: the first step of every analysis.

use image::{GrayImage, Luma, RgbImage, imageops};

use super::AnalysisError;
use super::geometry::{Vec2, quantile};

/// Smallest picture side that can hold a measurable diagram, in pixels.
const MIN_SIDE: u32 = 24;
/// Larger pictures are reduced to this side: strokes stay several pixels wide, the work bounded.
const MAX_SIDE: u32 = 1280;
/// Colour distance (RGB, Euclidean) that compression noise and paper texture may reach.
const NOISE_FLOOR: f32 = 24.0;
/// A pixel is ink from this share of the typical full ink on, which keeps JPEG ringing out.
const INK_SHARE: f32 = 0.3;
/// Pixel groups smaller than this are specks, not strokes.
const MIN_SPECK: usize = 6;

/// A colour difference from the background, per channel.
pub(super) type Tint = [f32; 3];

/// A picture as ink on a background of one colour.
#[derive(Debug, Clone)]
pub(super) struct Ink {
    pub(super) width: usize,
    pub(super) height: usize,
    /// The background's colour.
    pub(super) paper: [f32; 3],
    /// Per pixel: colour minus background colour.
    pub(super) tint: Vec<Tint>,
    /// Per pixel: length of the tint.
    pub(super) magnitude: Vec<f32>,
    /// Per pixel: is it ink.
    pub(super) mask: Vec<bool>,
    /// Share of all pixels whose colour is the background's within the noise floor.
    pub(super) background_share: f64,
    /// Typical width of the strokes in pixels (of filled shapes: their typical thickness).
    pub(super) stroke: f64,
    /// Original pixels per pixel here (1 unless the picture was reduced).
    pub(super) scale: f64,
}

impl Ink {
    /// Finds the background (the most frequent colour) and the pixels that differ from it.
    pub(super) fn new(image: &RgbImage) -> Result<Self, AnalysisError> {
        let (full_width, full_height) = image.dimensions();
        if full_width < MIN_SIDE || full_height < MIN_SIDE {
            return Err(AnalysisError::TooSmall {
                width: full_width,
                height: full_height,
            });
        }
        let scale = f64::from(full_width.max(full_height)) / f64::from(MAX_SIDE);
        let reduced;
        let (image, scale) = if scale > 1.0 {
            let side = |full: u32| ((f64::from(full) / scale).round() as u32).max(1);
            reduced = imageops::resize(
                image,
                side(full_width),
                side(full_height),
                imageops::FilterType::Triangle,
            );
            (&reduced, scale)
        } else {
            (image, 1.0)
        };

        let background = background(image);
        let tint: Vec<Tint> = image
            .pixels()
            .map(|p| std::array::from_fn(|c| f32::from(p.0[c]) - background[c]))
            .collect();
        let magnitude: Vec<f32> = tint.iter().map(length).collect();
        let mut inked: Vec<f64> = magnitude
            .iter()
            .filter(|m| **m > NOISE_FLOOR)
            .map(|m| f64::from(*m))
            .collect();
        if inked.is_empty() {
            return Err(AnalysisError::Blank);
        }
        let background_share = 1.0 - inked.len() as f64 / magnitude.len() as f64;
        let threshold = NOISE_FLOOR.max(INK_SHARE * quantile(&mut inked, 0.75) as f32);

        let mut ink = Self {
            width: image.width() as usize,
            height: image.height() as usize,
            mask: magnitude.iter().map(|m| *m > threshold).collect(),
            tint,
            magnitude,
            background_share,
            paper: background,
            stroke: 1.0,
            scale,
        };
        ink.drop_specks();
        if !ink.mask.contains(&true) {
            return Err(AnalysisError::Blank);
        }
        ink.stroke = stroke_width(&ink.mask, ink.width);
        Ok(ink)
    }

    /// Index of the pixel nearest to a point, if inside the picture.
    pub(super) fn index(&self, point: Vec2) -> Option<usize> {
        let (x, y) = (point.x.round(), point.y.round());
        let inside = x >= 0.0 && y >= 0.0 && x < self.width as f64 && y < self.height as f64;
        inside.then(|| y as usize * self.width + x as usize)
    }

    /// Is the pixel nearest to the point ink; outside the picture nothing is.
    pub(super) fn is_ink(&self, point: Vec2) -> bool {
        self.index(point).is_some_and(|i| self.mask[i])
    }

    /// Centre of the pixel with this index.
    pub(super) fn point(&self, index: usize) -> Vec2 {
        Vec2::new((index % self.width) as f64, (index / self.width) as f64)
    }

    /// Magnitude between pixel centres, by bilinear interpolation; clamped at the picture's edge.
    pub(super) fn magnitude_at(&self, point: Vec2) -> f64 {
        let x = point.x.clamp(0.0, (self.width - 1) as f64);
        let y = point.y.clamp(0.0, (self.height - 1) as f64);
        let (x0, y0) = (x.floor() as usize, y.floor() as usize);
        let (x1, y1) = ((x0 + 1).min(self.width - 1), (y0 + 1).min(self.height - 1));
        let (fx, fy) = (x - x0 as f64, y - y0 as f64);
        let value = |x: usize, y: usize| f64::from(self.magnitude[y * self.width + x]);
        (value(x0, y0) * (1.0 - fx) + value(x1, y0) * fx) * (1.0 - fy)
            + (value(x0, y1) * (1.0 - fx) + value(x1, y1) * fx) * fy
    }

    /// The picture's colour at a pixel.
    pub(super) fn colour(&self, index: usize) -> [f32; 3] {
        std::array::from_fn(|c| self.paper[c] + self.tint[index][c])
    }

    /// Indices of the pixels at most `reach` columns and rows away, the pixel itself included.
    pub(super) fn around(&self, index: usize, reach: usize) -> impl Iterator<Item = usize> {
        let (width, height) = (self.width, self.height);
        let (x, y) = (index % width, index / width);
        (y.saturating_sub(reach)..=(y + reach).min(height - 1)).flat_map(move |ny| {
            (x.saturating_sub(reach)..=(x + reach).min(width - 1)).map(move |nx| ny * width + nx)
        })
    }

    /// Number of ink pixels.
    pub(super) fn area(&self) -> usize {
        self.mask.iter().filter(|m| **m).count()
    }

    /// The mask as an 8-bit picture (255 where there is ink), with a clear margin of one pixel
    /// so that shapes at the picture's edge have closed contours.
    pub(super) fn mask_image(&self) -> GrayImage {
        GrayImage::from_fn(self.width as u32 + 2, self.height as u32 + 2, |x, y| {
            let inside = x > 0 && y > 0 && x as usize <= self.width && y as usize <= self.height;
            let ink = inside && self.mask[(y as usize - 1) * self.width + x as usize - 1];
            Luma([if ink { 255 } else { 0 }])
        })
    }

    fn drop_specks(&mut self) {
        for group in groups(&self.mask, self.width, true) {
            if group.len() < MIN_SPECK {
                for i in group {
                    self.mask[i] = false;
                }
            }
        }
    }
}

/// Median over the set pixels of the shortest straight run through a pixel, of four directions.
pub(super) fn stroke_width(mask: &[bool], width: usize) -> f64 {
    let area = mask.iter().filter(|m| **m).count();
    let height = mask.len() / width.max(1);
    let directions = [(1, 0), (0, 1), (1, 1), (1, -1)];
    let mut widths: Vec<f64> = (0..mask.len())
        .filter(|i| mask[*i])
        .step_by((area / 2000).max(1))
        .map(|i| {
            let reach = |(dx, dy): (isize, isize)| {
                let inked = |k: &isize| {
                    let x = (i % width)
                        .checked_add_signed(k * dx)
                        .filter(|x| *x < width);
                    let y = (i / width)
                        .checked_add_signed(k * dy)
                        .filter(|y| *y < height);
                    x.zip(y).is_some_and(|(x, y)| mask[y * width + x])
                };
                (1..).take_while(inked).count()
            };
            directions
                .iter()
                .map(|&(dx, dy)| {
                    let run = 1 + reach((dx, dy)) + reach((-dx, -dy));
                    run as f64 * (dx as f64).hypot(dy as f64)
                })
                .fold(f64::INFINITY, f64::min)
        })
        .collect();
    quantile(&mut widths, 0.5).max(1.0)
}

/// Length of a tint.
pub(super) fn length(tint: &Tint) -> f32 {
    tint.iter().map(|c| c * c).sum::<f32>().sqrt()
}

/// Connected groups of the set pixels, each as pixel indices; with or without diagonal steps.
pub(super) fn groups(mask: &[bool], width: usize, diagonal: bool) -> Vec<Vec<usize>> {
    let height = mask.len() / width.max(1);
    let mut seen = vec![false; mask.len()];
    let mut found = Vec::new();
    for start in 0..mask.len() {
        if !mask[start] || seen[start] {
            continue;
        }
        seen[start] = true;
        let mut group = vec![start];
        let mut next = 0;
        while let Some(&i) = group.get(next) {
            next += 1;
            let (x, y) = (i % width, i / width);
            for ny in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let j = ny * width + nx;
                    if mask[j] && !seen[j] && (diagonal || nx == x || ny == y) {
                        seen[j] = true;
                        group.push(j);
                    }
                }
            }
        }
        found.push(group);
    }
    found
}

/// The mean colour of the fullest cell of a coarse colour histogram and its neighbours.
fn background(image: &RgbImage) -> [f32; 3] {
    const BITS: usize = 5;
    let cell = |p: &image::Rgb<u8>| -> [usize; 3] { p.0.map(|c| usize::from(c) >> (8 - BITS)) };
    let index = |c: [usize; 3]| (c[0] << (2 * BITS)) | (c[1] << BITS) | c[2];
    let mut counts = vec![0u32; 1 << (3 * BITS)];
    for pixel in image.pixels() {
        counts[index(cell(pixel))] += 1;
    }
    let fullest = counts
        .iter()
        .enumerate()
        .max_by_key(|(_, n)| **n)
        .map_or(0, |(i, _)| i);
    let low = (1 << BITS) - 1;
    let mode = [
        fullest >> (2 * BITS),
        (fullest >> BITS) & low,
        fullest & low,
    ];
    let mut sum = [0.0f64; 3];
    let mut count = 0.0;
    for pixel in image.pixels() {
        if cell(pixel)
            .iter()
            .zip(mode)
            .all(|(a, b)| a.abs_diff(b) <= 1)
        {
            for (s, c) in sum.iter_mut().zip(pixel.0) {
                *s += f64::from(c);
            }
            count += 1.0;
        }
    }
    sum.map(|s| (s / f64::max(count, 1.0)) as f32)
}

//! Pixels to network input: both networks take planes of blue, green and red in -1..=1.

use image::RgbImage;

use super::geometry::{Point, Quad, distance, size};

/// Colour planes of an input.
pub(super) const CHANNELS: usize = 3;
/// Height of a line of text as the recogniser takes it (PP-OCR since version 3).
pub(super) const LINE_HEIGHT: usize = 48;

/// (v / 255 - mean) / deviation with PP-OCR's mean and deviation of one half.
fn normalise(value: f32) -> f32 {
    value / 127.5 - 1.0
}

/// Writes an image to the top left of planes of `width` × `height`. The rest is left as it is.
///
/// The planes must hold the image, which the callers' own arithmetic guarantees; what lies outside
/// is cut off.
pub(super) fn fill_planes(image: &RgbImage, width: usize, height: usize, planes: &mut [f32]) {
    let row_bytes = image.width() as usize * CHANNELS;
    for (channel, plane) in planes
        .chunks_exact_mut(width * height)
        .take(CHANNELS)
        .enumerate()
    {
        let rows = image.as_raw().chunks_exact(row_bytes.max(1));
        for (target, row) in plane.chunks_exact_mut(width).zip(rows) {
            for (value, pixel) in target.iter_mut().zip(row.chunks_exact(CHANNELS)) {
                *value = normalise(f32::from(pixel[CHANNELS - 1 - channel]));
            }
        }
    }
}

/// Width of a line once it is [`LINE_HEIGHT`] high, 1 to `limit`: longer lines are squeezed.
pub(super) fn line_width(quad: &Quad, limit: usize) -> usize {
    let (width, height) = size(quad);
    let scaled = (LINE_HEIGHT as f32 * width / height.max(1.0)).ceil();
    (scaled as usize).clamp(1, limit)
}

/// Cuts a line out of an image, straightens it and writes it to the left of planes that are
/// [`LINE_HEIGHT`] high and `stride` wide, in one resampling. `width` is at most `stride`.
pub(super) fn fill_line(
    image: &RgbImage,
    quad: &Quad,
    width: usize,
    stride: usize,
    planes: &mut [f32],
) {
    let [tl, tr, br, bl] = *quad;
    let across = Samples::over(distance(tl, tr).max(distance(bl, br)), width);
    let down = Samples::over(distance(tl, bl).max(distance(tr, br)), LINE_HEIGHT);
    let weight = 1.0 / (across.per_pixel * down.per_pixel) as f32;
    let plane = stride * LINE_HEIGHT;
    for y in 0..LINE_HEIGHT {
        for x in 0..width.min(stride) {
            let mut sum = [0.0; CHANNELS];
            for v in down.of(y) {
                let (left, right) = (mix(tl, bl, v), mix(tr, br, v));
                for u in across.of(x) {
                    let sample = bilinear(image, mix(left, right, u));
                    for (total, part) in sum.iter_mut().zip(sample) {
                        *total += part;
                    }
                }
            }
            for (channel, total) in sum.iter().rev().enumerate() {
                planes[channel * plane + y * stride + x] = normalise(total * weight);
            }
        }
    }
}

/// Where to sample along one side of a line: several places per pixel where it shrinks, so that
/// thin strokes do not fall between the samples.
struct Samples {
    pixels: usize,
    per_pixel: usize,
}

impl Samples {
    /// Beyond this, a sample more adds cost and no detail.
    const LIMIT: f32 = 8.0;

    fn over(length: f32, pixels: usize) -> Self {
        let ratio = length / pixels as f32;
        Self {
            pixels,
            per_pixel: ratio.round().clamp(1.0, Self::LIMIT) as usize,
        }
    }

    /// Places within a pixel, as parts of the whole side.
    fn of(&self, pixel: usize) -> impl Iterator<Item = f32> + use<> {
        let total = (self.pixels * self.per_pixel) as f32;
        let first = pixel * self.per_pixel;
        (first..first + self.per_pixel).map(move |i| (i as f32 + 0.5) / total)
    }
}

fn mix(a: Point, b: Point, part: f32) -> Point {
    [a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part]
}

/// The colour at a point, pixel (0, 0) covering 0..1 on both axes; the border extends outwards.
fn bilinear(image: &RgbImage, point: Point) -> [f32; CHANNELS] {
    let width = image.width() as usize;
    let (x0, x1, x) = neighbours(point[0], width);
    let (y0, y1, y) = neighbours(point[1], image.height() as usize);
    let raw = image.as_raw();
    let at = |x: usize, y: usize| &raw[(y * width + x) * CHANNELS..][..CHANNELS];
    let (a, b, c, d) = (at(x0, y0), at(x1, y0), at(x0, y1), at(x1, y1));
    std::array::from_fn(|i| {
        let top = f32::from(a[i]) * (1.0 - x) + f32::from(b[i]) * x;
        let bottom = f32::from(c[i]) * (1.0 - x) + f32::from(d[i]) * x;
        top * (1.0 - y) + bottom * y
    })
}

/// The two pixels whose centres enclose a place, and how far it is towards the second.
fn neighbours(place: f32, length: usize) -> (usize, usize, f32) {
    let last = length.saturating_sub(1);
    let place = (place - 0.5).clamp(0.0, last as f32);
    let first = (place as usize).min(last);
    (first, (first + 1).min(last), place - first as f32)
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use proptest::prelude::*;

    use super::*;

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 200]))
    }

    #[test]
    fn planes_are_blue_green_red_and_leave_the_margin() {
        let mut planes = vec![9.0; 3 * 4 * 3];
        fill_planes(
            &RgbImage::from_pixel(2, 1, Rgb([0, 255, 51])),
            4,
            3,
            &mut planes,
        );
        assert_eq!(planes[..3], [51.0 / 127.5 - 1.0, 51.0 / 127.5 - 1.0, 9.0]);
        assert_eq!(planes[12..15], [1.0, 1.0, 9.0]);
        assert_eq!(planes[24..27], [-1.0, -1.0, 9.0]);
        assert_eq!(planes[4], 9.0);
    }

    #[test]
    fn an_upright_line_of_full_height_is_copied() {
        let image = gradient(200, 100);
        let quad = [[10.0, 20.0], [110.0, 20.0], [110.0, 68.0], [10.0, 68.0]];
        let width = line_width(&quad, 320);
        assert_eq!(width, 100);
        let stride = 128;
        let mut planes = vec![0.0; 3 * LINE_HEIGHT * stride];
        fill_line(&image, &quad, width, stride, &mut planes);
        let red = &planes[2 * LINE_HEIGHT * stride..];
        let green = &planes[LINE_HEIGHT * stride..];
        for (x, y) in [(0, 0), (99, 0), (5, 47)] {
            assert!((red[y * stride + x] - normalise(10.0 + x as f32)).abs() < 1e-4);
            assert!((green[y * stride + x] - normalise(20.0 + y as f32)).abs() < 1e-4);
        }
        assert_eq!(red[100], 0.0);
    }

    #[test]
    fn fine_stripes_average_out_when_a_line_shrinks() {
        let stripes = RgbImage::from_fn(480, 480, |x, _| Rgb([255 * (x as u8 & 1); 3]));
        let quad = [[0.0, 0.0], [480.0, 0.0], [480.0, 480.0], [0.0, 480.0]];
        let mut planes = vec![0.0; 3 * LINE_HEIGHT * 48];
        fill_line(&stripes, &quad, 48, 48, &mut planes);
        assert!(planes.iter().all(|v| v.abs() < 0.3), "not grey");
    }

    #[test]
    fn a_line_is_at_most_as_wide_as_allowed() {
        let quad = [[0.0, 0.0], [5000.0, 0.0], [5000.0, 10.0], [0.0, 10.0]];
        assert_eq!(line_width(&quad, 1280), 1280);
        assert_eq!(line_width(&[[0.0, 0.0]; 4], 1280), 1);
    }

    proptest! {
        #[test]
        fn any_quad_samples_the_image_s_own_range(
            corners in prop::array::uniform4(prop::array::uniform2(-300f32..300.0)),
        ) {
            let image = RgbImage::from_pixel(30, 20, Rgb([10, 20, 30]));
            let width = line_width(&corners, 64);
            let mut planes = vec![0.0; 3 * LINE_HEIGHT * 64];
            fill_line(&image, &corners, width, 64, &mut planes);
            prop_assert!((planes[0] - normalise(30.0)).abs() < 1e-3);
            prop_assert!((planes[LINE_HEIGHT * 64] - normalise(20.0)).abs() < 1e-3);
        }
    }
}

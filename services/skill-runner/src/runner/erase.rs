//! Paints over a colour with what surrounds it, as if it had not been drawn.

use image::{Rgb, RgbImage};

/// Red, green, blue.
pub(crate) type Colour = [u8; 3];

/// Colours nearer than this (RGB, Euclidean) are shades of the same.
const REACH: i32 = 80;
/// Pixels around it may be blends of it and its surroundings.
const FRINGE: u32 = 2;
/// A blend holds at least this share of the colour's hue.
const BLEND: f32 = 0.12;
/// Colours less vivid than this have no hue that could show in a blend.
const VIVID: f32 = 40.0;

/// A colour as style sheets write it, `#rrggbb`.
pub(crate) fn colour(text: &str) -> Option<Colour> {
    let digits = text.strip_prefix('#').filter(|d| d.len() == 6)?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    let [_, r, g, b] = number.to_be_bytes();
    Some([r, g, b])
}

/// Colours separated by spaces or commas.
pub(crate) fn colours(text: &str) -> Option<Vec<Colour>> {
    text.split([' ', ','])
        .filter(|part| !part.is_empty())
        .map(colour)
        .collect()
}

/// The image without some colours: their pixels, and those at their edge that hold some of them,
/// take the mean of their neighbours from the rim inwards. An image of these colours alone stays
/// as it is. Each pixel is visited a bounded number of times.
pub(crate) fn erased(mut image: RgbImage, colours: &[Colour]) -> RgbImage {
    let mut unknown = vec![false; image.width() as usize * image.height() as usize];
    let index = |image: &RgbImage, x: u32, y: u32| (y * image.width() + x) as usize;
    for (x, y, pixel) in image.enumerate_pixels() {
        for colour in colours.iter().filter(|colour| near(pixel.0, **colour)) {
            unknown[index(&image, x, y)] = true;
            for (x, y) in around(&image, x, y, FRINGE) {
                unknown[index(&image, x, y)] |= holds(image.get_pixel(x, y).0, *colour);
            }
        }
    }
    let mut rim: Vec<(u32, u32)> = image
        .enumerate_pixels()
        .map(|(x, y, _)| (x, y))
        .filter(|(x, y)| unknown[index(&image, *x, *y)])
        .filter(|(x, y)| around(&image, *x, *y, 1).any(|(x, y)| !unknown[index(&image, x, y)]))
        .collect();
    let mut queued = vec![false; unknown.len()];
    while !rim.is_empty() {
        let filled: Vec<(u32, u32, Rgb<u8>)> = rim
            .iter()
            .map(|(x, y)| {
                let known = around(&image, *x, *y, 1)
                    .filter(|(x, y)| !unknown[index(&image, *x, *y)])
                    .map(|(x, y)| image.get_pixel(x, y).0);
                (*x, *y, Rgb(mean(known)))
            })
            .collect();
        for (x, y, pixel) in &filled {
            image.put_pixel(*x, *y, *pixel);
            unknown[index(&image, *x, *y)] = false;
        }
        rim.clear();
        for (x, y, _) in filled {
            for (x, y) in around(&image, x, y, 1) {
                let i = index(&image, x, y);
                if unknown[i] && !queued[i] {
                    queued[i] = true;
                    rim.push((x, y));
                }
            }
        }
    }
    image
}

fn near(pixel: Colour, colour: Colour) -> bool {
    let distance = |(a, b): (u8, u8)| (i32::from(a) - i32::from(b)).pow(2);
    let sum: i32 = pixel.into_iter().zip(colour).map(distance).sum();
    sum <= REACH * REACH
}

/// Does the hue of `colour` show in the pixel.
fn holds(pixel: Colour, colour: Colour) -> bool {
    let (own, wanted) = (hue(pixel), hue(colour));
    let dot = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let strength = dot(wanted, wanted);
    strength < VIVID * VIVID || dot(own, wanted) >= BLEND * strength
}

/// What makes a colour differ from grey.
fn hue(colour: Colour) -> [f32; 3] {
    let channels = colour.map(f32::from);
    let grey = channels.iter().sum::<f32>() / 3.0;
    channels.map(|c| c - grey)
}

/// The pixels at most `reach` columns and rows away, the pixel itself included.
fn around(
    image: &RgbImage,
    x: u32,
    y: u32,
    reach: u32,
) -> impl Iterator<Item = (u32, u32)> + use<> {
    let columns = x.saturating_sub(reach)..(x + reach + 1).min(image.width());
    let rows = y.saturating_sub(reach)..(y + reach + 1).min(image.height());
    rows.flat_map(move |y| columns.clone().map(move |x| (x, y)))
}

fn mean(pixels: impl Iterator<Item = Colour>) -> Colour {
    let (sum, count) = pixels.fold(([0u32; 3], 0), |(mut sum, count), pixel| {
        for (s, c) in sum.iter_mut().zip(pixel) {
            *s += u32::from(c);
        }
        (sum, count + 1)
    });
    // At most nine bytes were summed: the mean is a byte.
    sum.map(|s| (s / u32::max(count, 1)) as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_across_a_stroke_vanishes_and_the_stroke_stays() {
        let stroke = |y: u32| (8..14).contains(&y);
        let image = RgbImage::from_fn(40, 22, |x, y| match (x, stroke(y)) {
            (18..21, _) => Rgb([230, 20, 30]),
            (_, true) => Rgb([0, 0, 0]),
            _ => Rgb([255, 255, 255]),
        });
        let clean = erased(image, &[[230, 20, 30]]);
        for (x, y, pixel) in clean.enumerate_pixels() {
            assert_eq!(pixel.0[0], pixel.0[1], "at {x}, {y}");
        }
        assert_eq!(clean.get_pixel(19, 11).0, [0, 0, 0]);
        assert_eq!(clean.get_pixel(19, 2).0, [255, 255, 255]);
    }

    #[test]
    fn colours_are_read_as_written_in_style_sheets() {
        assert_eq!(colour("#0a10ff"), Some([10, 16, 255]));
        assert_eq!(
            colours("#000001, #000002"),
            Some(vec![[0, 0, 1], [0, 0, 2]])
        );
        assert_eq!(colours(""), Some(Vec::new()));
        assert_eq!(colours("#000001 red"), None);
        for text in ["0a10ff", "#0a10f", "#0a10fg", "", "#+a10ff0"] {
            assert_eq!(colour(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn only_the_colour_and_its_edge_change(
            width in 1u32..24, height in 1u32..24, tones in prop::collection::vec(0u8..4, 576),
        ) {
            let image = RgbImage::from_fn(width, height, |x, y| {
                Rgb([if tones[(y * 24 + x) as usize] == 0 { 0 } else { 255 }; 3])
            });
            let clean = erased(image.clone(), &[[0, 0, 0]]);
            for (x, y, pixel) in clean.enumerate_pixels() {
                let touched = around(&image, x, y, FRINGE).any(|(x, y)| image.get_pixel(x, y).0 == [0; 3]);
                prop_assert!(touched || pixel == image.get_pixel(x, y));
            }
        }
    }
}

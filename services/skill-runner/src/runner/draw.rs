//! Draws boxes on an image, numbered where wanted.

use image::{Rgb, RgbImage};
use imageproc::{drawing, rect::Rect};

use super::images::PixelBox;

/// Clear of each other and of most images.
const COLOURS: [[u8; 3]; 6] = [
    [230, 25, 75],
    [0, 130, 200],
    [60, 180, 75],
    [245, 130, 48],
    [145, 30, 180],
    [0, 128, 128],
];
const WHITE: Rgb<u8> = Rgb([255; 3]);
/// Digits of 3 × 5 dots, row by row from the top; the leftmost dot is the highest bit.
const DIGITS: [[u8; 5]; 10] = [
    [7, 5, 5, 5, 7],
    [2, 6, 2, 2, 7],
    [7, 1, 7, 4, 7],
    [7, 1, 7, 1, 7],
    [5, 5, 7, 1, 1],
    [7, 4, 7, 1, 7],
    [7, 4, 7, 5, 7],
    [7, 1, 1, 1, 1],
    [7, 5, 7, 5, 7],
    [7, 5, 7, 1, 7],
];

/// Draws the boxes in turn, each in the next colour; their numbers, from 1, lie above all lines.
pub(crate) fn boxes(image: &mut RgbImage, boxes: &[PixelBox], numbered: bool) {
    let side = image.width().max(image.height());
    let line = (side / 300).clamp(1, 8);
    let colour = |index: usize| Rgb(COLOURS[index % COLOURS.len()]);
    for (index, part) in boxes.iter().enumerate() {
        frame(image, part, line, colour(index));
    }
    if numbered {
        for (index, part) in boxes.iter().enumerate() {
            let dot = (side / 250).clamp(2, 12);
            number(image, [part.left, part.top], index + 1, dot, colour(index));
        }
    }
}

/// A frame that lies inside of the box.
fn frame(image: &mut RgbImage, part: &PixelBox, line: u32, colour: Rgb<u8>) {
    for inset in 0..line {
        let (Some(width), Some(height)) = (
            part.width.checked_sub(2 * inset).filter(|side| *side > 0),
            part.height.checked_sub(2 * inset).filter(|side| *side > 0),
        ) else {
            return;
        };
        let at = Rect::at((part.left + inset) as i32, (part.top + inset) as i32);
        drawing::draw_hollow_rect_mut(image, at.of_size(width, height), colour);
    }
}

/// A white number on a coloured plate; it moves inwards where it would leave the image.
fn number(image: &mut RgbImage, corner: [u32; 2], number: usize, dot: u32, colour: Rgb<u8>) {
    let digits: Vec<usize> = number
        .to_string()
        .bytes()
        .map(|digit| usize::from(digit - b'0'))
        .collect();
    let size = [(4 * digits.len() as u32 + 1) * dot, 7 * dot];
    let left = corner[0].min(image.width().saturating_sub(size[0]));
    let top = corner[1].min(image.height().saturating_sub(size[1]));
    // What lies outside of the image is left out by imageproc.
    let mut fill = |x: u32, y: u32, [width, height]: [u32; 2], colour| {
        let at = Rect::at(x as i32, y as i32).of_size(width, height);
        drawing::draw_filled_rect_mut(image, at, colour);
    };
    fill(left, top, size, colour);
    for (place, digit) in (0u32..).zip(digits) {
        for (row, dots) in (0u32..).zip(DIGITS[digit]) {
            for column in (0..3).filter(|column| dots & (4 >> column) != 0) {
                let x = left + (1 + 4 * place + column) * dot;
                fill(x, top + (1 + row) * dot, [dot; 2], WHITE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn boxes_are_framed_and_numbered() {
        let mut image = RgbImage::new(60, 40);
        let part = |left, top, width, height| PixelBox {
            left,
            top,
            width,
            height,
        };
        boxes(
            &mut image,
            &[part(5, 5, 20, 20), part(30, 10, 25, 25)],
            false,
        );
        let at = |image: &RgbImage, x, y| image.get_pixel(x, y).0;
        assert_eq!(at(&image, 5, 5), COLOURS[0]);
        assert_eq!(at(&image, 24, 24), COLOURS[0]);
        assert_eq!(at(&image, 25, 25), [0; 3], "nothing outside of the box");
        assert_eq!(at(&image, 10, 10), [0; 3], "nothing inside of the frame");
        assert_eq!(at(&image, 30, 20), COLOURS[1]);
        boxes(&mut image, &[part(5, 5, 20, 20)], true);
        assert_eq!(at(&image, 6, 6), COLOURS[0]);
        // The upright of a 1, two pixels a dot: the second of three columns.
        assert_eq!(at(&image, 5 + 2 * 2, 5 + 4 * 2), [255; 3]);
    }

    proptest! {
        #[test]
        fn any_box_within_any_image_can_be_drawn(
            width in 1u32..80, height in 1u32..80, left in 0u32..80, top in 0u32..80,
            w in 1u32..80, h in 1u32..80, count in 1usize..12,
        ) {
            let mut image = RgbImage::new(width, height);
            let (left, top) = (left.min(width - 1), top.min(height - 1));
            let part = PixelBox {
                left,
                top,
                width: w.min(width - left),
                height: h.min(height - top),
            };
            boxes(&mut image, &vec![part; count], true);
            prop_assert_eq!(image.dimensions(), (width, height));
        }
    }
}

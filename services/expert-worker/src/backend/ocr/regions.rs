//! From the detector's probability map to boxes around lines of text: the post-processing of
//! DBNet (Liao et al., "Real-time Scene Text Detection with Differentiable Binarization",
//! arXiv 1911.08947, section 3.5) with the parameters of PP-OCR.

use super::geometry::{Point, Rectangle};

/// A pixel is text from this probability on (DBNet's fixed threshold; PP-OCR: `thresh`).
const PIXEL_THRESHOLD: f32 = 0.3;
/// A region is text from this mean probability on (PP-OCR: `box_thresh`).
const REGION_THRESHOLD: f32 = 0.5;
/// The network is trained on shrunk regions. They grow back by area × ratio / perimeter (DBNet,
/// equation 10; PP-OCR: `unclip_ratio`).
const UNCLIP_RATIO: f32 = 1.6;
/// Shortest side of a region before it grows, in pixels of the map (PP-OCR: `min_size`).
const MINIMUM_SIDE: f32 = 3.0;
/// Regions looked at in one image, the largest first (PP-OCR: `max_candidates`).
const MAXIMUM_REGIONS: usize = 1000;

/// Probability of text at each pixel, row by row.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbabilityMap<'a> {
    values: &'a [f32],
    stride: usize,
    width: usize,
    height: usize,
}

impl<'a> ProbabilityMap<'a> {
    /// The top left `width` × `height` pixels of a map with `stride` values a row; none if there
    /// are fewer values than that takes.
    pub(super) fn new(
        values: &'a [f32],
        stride: usize,
        width: usize,
        height: usize,
    ) -> Option<Self> {
        let enough = width > 0 && height > 0 && width <= stride && values.len() >= stride * height;
        enough.then_some(Self {
            values,
            stride,
            width,
            height,
        })
    }

    fn row(&self, y: usize) -> &'a [f32] {
        &self.values[y * self.stride..][..self.width]
    }

    /// Mean probability of the pixels in a rectangle, its border included.
    fn mean_inside(&self, rectangle: &Rectangle) -> f32 {
        let corners = rectangle.corners();
        let range = |side: usize, length: usize| {
            let low = corners
                .iter()
                .fold(f32::INFINITY, |low, c| low.min(c[side]));
            let high = corners.iter().fold(0f32, |high, c| high.max(c[side]));
            (low.floor().max(0.0) as usize)..(high.ceil() as usize + 1).min(length)
        };
        let mut sum = 0.0;
        let mut count = 0u32;
        for y in range(1, self.height) {
            let row = self.row(y);
            for x in range(0, self.width) {
                // Half a pixel: the border's own pixels count, as they do when it is drawn.
                if rectangle.contains([x as f32, y as f32], 0.5) {
                    sum += row[x];
                    count += 1;
                }
            }
        }
        if count == 0 { 0.0 } else { sum / count as f32 }
    }
}

/// Boxes around the lines of text in a map, in its pixels.
pub(super) fn text_boxes(map: &ProbabilityMap<'_>) -> Vec<Rectangle> {
    let mut regions = connected_regions(&text_pixels(map), map.width);
    regions.sort_by_key(|region| std::cmp::Reverse(region.pixels));
    regions.truncate(MAXIMUM_REGIONS);
    regions
        .iter()
        .filter_map(|region| Rectangle::around(&region.outline))
        .filter(|shrunk| shrunk.short_side() >= MINIMUM_SIDE)
        .filter(|shrunk| map.mean_inside(shrunk) >= REGION_THRESHOLD)
        .map(unclip)
        .collect()
}

/// Grows a shrunk region back. The paper offsets the region's polygon with round joins; the
/// smallest rectangle around a rectangle offset so is that rectangle with its sides moved out.
fn unclip(shrunk: Rectangle) -> Rectangle {
    shrunk.expanded(shrunk.area() * UNCLIP_RATIO / shrunk.perimeter())
}

/// Which pixels are text, after a dilation by one pixel to the right and down (PP-OCR's 2 × 2
/// `use_dilation`), which closes hairline gaps between characters.
fn text_pixels(map: &ProbabilityMap<'_>) -> Vec<bool> {
    let mut pixels = vec![false; map.width * map.height];
    for y in 0..map.height {
        for (x, &probability) in map.row(y).iter().enumerate() {
            if probability > PIXEL_THRESHOLD {
                let right = (x + 1).min(map.width - 1);
                let down = (y + 1).min(map.height - 1);
                for (x, y) in [(x, y), (right, y), (x, down), (right, down)] {
                    pixels[y * map.width + x] = true;
                }
            }
        }
    }
    pixels
}

/// Pixels that touch each other, corners included.
#[derive(Debug, Clone, PartialEq)]
struct Region {
    /// Number of pixels.
    pixels: usize,
    /// First and last pixel of each horizontal run: they span the same convex hull as all pixels.
    outline: Vec<Point>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    y: usize,
    start: usize,
    /// The last pixel itself.
    end: usize,
}

fn connected_regions(pixels: &[bool], width: usize) -> Vec<Region> {
    let runs = horizontal_runs(pixels, width);
    let mut parents: Vec<usize> = (0..runs.len()).collect();
    // `above` walks along the previous row while `current` walks along its own.
    let mut above = 0;
    for (current, run) in runs.iter().enumerate() {
        while runs[above].y + 1 < run.y
            || (runs[above].y + 1 == run.y && runs[above].end + 1 < run.start)
        {
            above += 1;
        }
        let touching = (above..current)
            .take_while(|&i| runs[i].y + 1 == run.y && runs[i].start <= run.end + 1);
        for other in touching {
            let (a, b) = (root(&mut parents, current), root(&mut parents, other));
            parents[a.max(b)] = a.min(b);
        }
    }
    let mut regions: Vec<Region> = Vec::new();
    let mut region_of = vec![usize::MAX; runs.len()];
    for (i, run) in runs.iter().enumerate() {
        // A root is the first run of its region, so its region exists before any other run of it.
        let first = root(&mut parents, i);
        if first == i {
            region_of[i] = regions.len();
            regions.push(Region {
                pixels: 0,
                outline: Vec::new(),
            });
        }
        let region = &mut regions[region_of[first]];
        region.pixels += run.end - run.start + 1;
        region.outline.push([run.start as f32, run.y as f32]);
        region.outline.push([run.end as f32, run.y as f32]);
    }
    regions
}

fn horizontal_runs(pixels: &[bool], width: usize) -> Vec<Run> {
    let mut runs = Vec::new();
    for (y, row) in pixels.chunks_exact(width).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|a, b| a == b) {
            if run[0] {
                runs.push(Run {
                    y,
                    start: x,
                    end: x + run.len() - 1,
                });
            }
            x += run.len();
        }
    }
    runs
}

/// The representative of a run's region, with the path to it halved.
fn root(parents: &mut [usize], mut run: usize) -> usize {
    while parents[run] != run {
        parents[run] = parents[parents[run]];
        run = parents[run];
    }
    run
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(picture: &[&str]) -> (Vec<bool>, usize) {
        let pixels = picture
            .iter()
            .flat_map(|row| row.chars().map(|c| c == '#'))
            .collect();
        (pixels, picture[0].len())
    }

    #[test]
    fn regions_join_over_corners_and_late_bridges() {
        let (pixels, width) = parse(&["#..#..#", "#..#.#.", ".##....", "......#"]);
        let mut sizes: Vec<usize> = connected_regions(&pixels, width)
            .iter()
            .map(|region| region.pixels)
            .collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 2, 6]);
    }

    #[test]
    fn a_plain_box_grows_by_area_times_ratio_over_perimeter() {
        let (width, height) = (60, 30);
        let mut values = vec![0.0; width * height];
        for y in 10..15 {
            values[y * width + 10..y * width + 40].fill(0.9);
        }
        let map = ProbabilityMap::new(&values, width, width, height).unwrap();
        let boxes = text_boxes(&map);
        // Pixel centres span 29 × 4; the dilation adds one to both.
        let grown = 30.0 * 5.0 * UNCLIP_RATIO / 70.0;
        assert_eq!(boxes.len(), 1);
        let [tl, _, br, _] = boxes[0].corners();
        for (value, expected) in [
            (tl[0], 10.0 - grown),
            (tl[1], 10.0 - grown),
            (br[0], 40.0 + grown),
        ] {
            assert!((value - expected).abs() < 1e-3, "{value} {expected}");
        }
    }

    #[test]
    fn faint_and_tiny_regions_are_dropped() {
        let (width, height) = (60, 30);
        let mut values = vec![0.0; width * height];
        for y in 10..15 {
            values[y * width + 10..y * width + 40].fill(0.4);
        }
        values[width * 20 + 50] = 1.0;
        let map = ProbabilityMap::new(&values, width, width, height).unwrap();
        assert_eq!(text_boxes(&map), []);
    }

    #[test]
    fn a_map_takes_no_fewer_values_than_it_has_pixels() {
        assert!(ProbabilityMap::new(&[0.0; 12], 4, 3, 3).is_some());
        assert!(ProbabilityMap::new(&[0.0; 11], 4, 3, 3).is_none());
        assert!(ProbabilityMap::new(&[0.0; 12], 3, 4, 3).is_none());
        assert!(ProbabilityMap::new(&[], 0, 0, 0).is_none());
    }

    /// Flood fill: slow, and plainly right.
    fn flood(pixels: &[bool], width: usize) -> Vec<usize> {
        let height = pixels.len() / width;
        let mut seen = vec![false; pixels.len()];
        let mut sizes = Vec::new();
        for start in 0..pixels.len() {
            let mut stack = vec![start];
            let mut size = 0;
            while let Some(at) = stack.pop() {
                if !pixels[at] || std::mem::replace(&mut seen[at], true) {
                    continue;
                }
                size += 1;
                let (x, y) = (at % width, at / width);
                for y in y.saturating_sub(1)..(y + 2).min(height) {
                    for x in x.saturating_sub(1)..(x + 2).min(width) {
                        stack.push(y * width + x);
                    }
                }
            }
            if size > 0 {
                sizes.push(size);
            }
        }
        sizes.sort_unstable();
        sizes
    }

    proptest! {
        #[test]
        fn regions_equal_those_of_a_flood_fill(
            width in 1usize..14,
            bits in prop::collection::vec(prop::bool::weighted(0.4), 14 * 14),
        ) {
            let pixels = &bits[..width * 14];
            let mut sizes: Vec<usize> =
                connected_regions(pixels, width).iter().map(|region| region.pixels).collect();
            sizes.sort_unstable();
            prop_assert_eq!(sizes, flood(pixels, width));
        }

        #[test]
        fn any_map_gives_finite_boxes(
            values in prop::collection::vec(prop_oneof![0f32..1.0, Just(f32::NAN)], 20 * 16),
        ) {
            let map = ProbabilityMap::new(&values, 20, 18, 16).unwrap();
            for found in text_boxes(&map) {
                prop_assert!(found.corners().iter().flatten().all(|v| v.is_finite()));
            }
        }
    }
}

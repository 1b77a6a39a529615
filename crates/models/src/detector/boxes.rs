//! Boxes around objects: overlap, suppression of doubles, parts of an image.

/// A box, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Its left edge.
    pub left: f32,
    /// Its top edge.
    pub top: f32,
    /// Its right edge.
    pub right: f32,
    /// Its bottom edge.
    pub bottom: f32,
}

impl Bounds {
    /// Its area; 0 where it is empty.
    #[must_use]
    pub fn area(&self) -> f32 {
        (self.right - self.left).max(0.0) * (self.bottom - self.top).max(0.0)
    }

    /// What both have in common; empty, with edges crossed, where they have nothing.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// The common area over the area of both together, 0 to 1.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> f32 {
        let common = self.intersection(other).area();
        let all = self.area() + other.area() - common;
        if all > 0.0 { common / all } else { 0.0 }
    }

    /// Moved by `left` and `top`.
    #[must_use]
    pub fn moved(&self, left: f32, top: f32) -> Self {
        Self {
            left: self.left + left,
            top: self.top + top,
            right: self.right + left,
            bottom: self.bottom + top,
        }
    }
}

/// An object that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Number of its class.
    pub class: usize,
    /// How sure the network is, 0 to 1.
    pub confidence: f32,
    /// Where it is.
    pub bounds: Bounds,
}

/// Of candidates of one class that overlap by more than `overlap`, keeps the surest (non-maximum
/// suppression). The result is sorted, surest first.
#[must_use]
pub fn suppress(mut candidates: Vec<Candidate>, overlap: f32) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let double = kept.iter().any(|other| {
            other.class == candidate.class && other.bounds.overlap(&candidate.bounds) > overlap
        });
        if !double {
            kept.push(candidate);
        }
    }
    kept
}

/// A part of an image, in whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Its left edge.
    pub left: u32,
    /// Its top edge.
    pub top: u32,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

/// An image cut into `count` × `count` parts that overlap by half. An image too small to be cut
/// gives none, and neither does a count below 2.
#[must_use]
pub fn tiles([width, height]: [u32; 2], count: u32) -> Vec<Tile> {
    if count < 2 || width.min(height) < 2 * (count + 1) {
        return Vec::new();
    }
    let length = |whole: u32| 2 * (whole / (count + 1));
    let (part_width, part_height) = (length(width), length(height));
    // The last part ends where the image does.
    let start = |index: u32, whole: u32, part: u32| index * (whole - part) / (count - 1);
    let rows = (0..count).flat_map(|row| (0..count).map(move |column| (row, column)));
    rows.map(|(row, column)| Tile {
        left: start(column, width, part_width),
        top: start(row, height, part_height),
        width: part_width,
        height: part_height,
    })
    .collect()
}

impl Tile {
    /// Whether a box (in pixels of the whole image) reaches an edge at which the part was cut out
    /// of the image: the rest of such an object lies outside.
    #[must_use]
    pub fn cuts(&self, bounds: &Bounds, [width, height]: [u32; 2]) -> bool {
        // An edge that is as good as reached: a hundredth of the part.
        let (near_x, near_y) = (self.width as f32 / 100.0, self.height as f32 / 100.0);
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        (self.left > 0 && bounds.left < self.left as f32 + near_x)
            || (self.top > 0 && bounds.top < self.top as f32 + near_y)
            || (right < width && bounds.right > right as f32 - near_x)
            || (bottom < height && bounds.bottom > bottom as f32 - near_y)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounds(left: f32, top: f32, right: f32, bottom: f32) -> Bounds {
        Bounds {
            left,
            top,
            right,
            bottom,
        }
    }

    fn candidate(class: usize, confidence: f32, left: f32) -> Candidate {
        Candidate {
            class,
            confidence,
            bounds: bounds(left, 0.0, left + 10.0, 10.0),
        }
    }

    #[test]
    fn overlap_is_the_common_share() {
        let a = bounds(0.0, 0.0, 10.0, 10.0);
        assert!((a.overlap(&a) - 1.0).abs() < 1e-6);
        assert!((a.overlap(&bounds(5.0, 0.0, 15.0, 10.0)) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(a.overlap(&bounds(20.0, 20.0, 30.0, 30.0)), 0.0);
        assert_eq!(a.overlap(&bounds(3.0, 3.0, 3.0, 3.0)), 0.0);
    }

    #[test]
    fn the_surest_of_a_class_stays() {
        let kept = suppress(
            vec![
                candidate(0, 0.6, 1.0),
                candidate(0, 0.9, 0.0),
                candidate(1, 0.5, 0.0),
                candidate(0, 0.7, 30.0),
            ],
            0.45,
        );
        let shown: Vec<(usize, f32)> = kept.iter().map(|c| (c.class, c.confidence)).collect();
        assert_eq!(shown, [(0, 0.9), (0, 0.7), (1, 0.5)]);
    }

    #[test]
    fn an_object_at_a_cut_edge_is_cut() {
        let tile = Tile {
            left: 0,
            top: 0,
            width: 100,
            height: 100,
        };
        let at_the_left = bounds(0.0, 20.0, 50.0, 50.0);
        let at_the_right = bounds(50.0, 20.0, 100.0, 50.0);
        assert!(!tile.cuts(&at_the_left, [150, 150]));
        assert!(tile.cuts(&at_the_right, [150, 150]));
        assert!(!tile.cuts(&at_the_right, [100, 150]));
    }

    proptest! {
        #[test]
        fn tiles_cover_the_image(width in 1_u32..2000, height in 1_u32..2000, count in 0_u32..6) {
            let tiles = tiles([width, height], count);
            for tile in &tiles {
                prop_assert!(tile.width > 0 && tile.left + tile.width <= width);
                prop_assert!(tile.height > 0 && tile.top + tile.height <= height);
            }
            if let Some(last) = tiles.last() {
                prop_assert_eq!(tiles.len() as u32, count * count);
                prop_assert_eq!([last.left + last.width, last.top + last.height], [width, height]);
            }
        }

        #[test]
        fn nothing_that_is_kept_overlaps(
            places in proptest::collection::vec((0_usize..2, 0.0_f32..1.0, 0.0_f32..40.0), 0..20),
        ) {
            let candidates = places.iter().map(|&(c, p, x)| candidate(c, p, x)).collect();
            let kept = suppress(candidates, 0.4);
            for (index, a) in kept.iter().enumerate() {
                for b in &kept[index + 1..] {
                    prop_assert!(a.confidence >= b.confidence);
                    prop_assert!(a.class != b.class || a.bounds.overlap(&b.bounds) <= 0.4);
                }
            }
        }
    }
}

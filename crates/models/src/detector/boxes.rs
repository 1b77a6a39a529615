//! Boxes around objects: overlap, suppression of doubles.

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

    proptest! {
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

//! Upright boxes around ink.

use super::geometry::Vec2;

/// An upright box in pixels; right and bottom are the last pixel's far edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Left edge.
    pub left: f64,
    /// Top edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Bottom edge.
    pub bottom: f64,
}

impl Bounds {
    /// The box around the pixels with these centres; without any it is empty and inside out.
    pub(super) fn of(points: impl Iterator<Item = Vec2>) -> Self {
        let empty = Self {
            left: f64::INFINITY,
            top: f64::INFINITY,
            right: f64::NEG_INFINITY,
            bottom: f64::NEG_INFINITY,
        };
        points.fold(empty, |b, p| Self {
            left: b.left.min(p.x),
            top: b.top.min(p.y),
            right: b.right.max(p.x + 1.0),
            bottom: b.bottom.max(p.y + 1.0),
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    /// Height in pixels.
    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    pub(super) fn centre(&self) -> Vec2 {
        Vec2::new(
            (self.left + self.right) / 2.0,
            (self.top + self.bottom) / 2.0,
        )
    }

    /// The box around both.
    pub(super) fn joined(&self, other: &Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// Distance between the nearest points of the two; 0 where they meet.
    pub(super) fn gap(&self, other: &Self) -> f64 {
        let dx = (self.left - other.right).max(other.left - self.right);
        let dy = (self.top - other.bottom).max(other.top - self.bottom);
        dx.max(0.0).hypot(dy.max(0.0))
    }

    /// How many columns both cover.
    pub(super) fn shared_columns(&self, other: &Self) -> f64 {
        (self.right.min(other.right) - self.left.max(other.left)).max(0.0)
    }

    /// How many rows both cover.
    pub(super) fn shared_rows(&self, other: &Self) -> f64 {
        (self.bottom.min(other.bottom) - self.top.max(other.top)).max(0.0)
    }

    pub(super) fn scaled(&self, factor: f64) -> Self {
        Self {
            left: self.left * factor,
            top: self.top * factor,
            right: self.right * factor,
            bottom: self.bottom * factor,
        }
    }
}

//! Plane geometry with least-squares fits of lines and circles.

/// A point or vector in pixels; x grows to the right, y downwards, pixel centres are integers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vec2 {
    pub(super) x: f64,
    pub(super) y: f64,
}

impl Vec2 {
    pub(super) const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    pub(super) fn from_angle(radians: f64) -> Self {
        Self::new(radians.cos(), radians.sin())
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self::new(self.x + other.x, self.y + other.y)
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self::new(self.x - other.x, self.y - other.y)
    }

    pub(super) fn scaled(self, factor: f64) -> Self {
        Self::new(self.x * factor, self.y * factor)
    }

    pub(super) fn dot(self, other: Self) -> f64 {
        self.x * other.x + self.y * other.y
    }

    /// The z component of the cross product: positive when `other` lies clockwise on screen.
    pub(super) fn cross(self, other: Self) -> f64 {
        self.x * other.y - self.y * other.x
    }

    pub(super) fn norm(self) -> f64 {
        self.x.hypot(self.y)
    }

    pub(super) fn distance(self, other: Self) -> f64 {
        self.minus(other).norm()
    }

    /// The vector turned by a quarter.
    pub(super) fn perpendicular(self) -> Self {
        Self::new(-self.y, self.x)
    }

    pub(super) fn turned(self, radians: f64) -> Self {
        let (sin, cos) = radians.sin_cos();
        Self::new(self.x * cos - self.y * sin, self.x * sin + self.y * cos)
    }
}

/// A straight line through `origin` with unit direction, and how well its points lie on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) origin: Vec2,
    pub(super) direction: Vec2,
    /// Standard deviation of the points across the line, in pixels.
    pub(super) spread: f64,
    /// Standard deviation of the points along the line, in pixels.
    pub(super) extent: f64,
}

impl Line {
    /// The line of least weighted squared distance (principal axis) through the points.
    pub(super) fn fit(points: impl Iterator<Item = (Vec2, f64)> + Clone) -> Option<Self> {
        let (mut weight, mut sx, mut sy) = (0.0, 0.0, 0.0);
        for (point, w) in points.clone() {
            weight += w;
            sx += w * point.x;
            sy += w * point.y;
        }
        if weight <= 0.0 {
            return None;
        }
        let origin = Vec2::new(sx / weight, sy / weight);
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (point, w) in points {
            let d = point.minus(origin);
            xx += w * d.x * d.x;
            xy += w * d.x * d.y;
            yy += w * d.y * d.y;
        }
        let angle = 0.5 * (2.0 * xy).atan2(xx - yy);
        let mean = (xx + yy) / 2.0;
        let radius = ((xx - yy) / 2.0).hypot(xy);
        Some(Self {
            origin,
            direction: Vec2::from_angle(angle),
            spread: ((mean - radius).max(0.0) / weight).sqrt(),
            extent: ((mean + radius) / weight).sqrt(),
        })
    }

    /// Position along the line, measured from its origin.
    pub(super) fn along(&self, point: Vec2) -> f64 {
        point.minus(self.origin).dot(self.direction)
    }

    /// Signed distance from the line.
    pub(super) fn across(&self, point: Vec2) -> f64 {
        self.direction.cross(point.minus(self.origin))
    }

    pub(super) fn at(&self, t: f64) -> Vec2 {
        self.origin.plus(self.direction.scaled(t))
    }

    /// Where two lines meet, unless they are within about half a degree of parallel.
    pub(super) fn meets(&self, other: &Self) -> Option<Vec2> {
        let sine = self.direction.cross(other.direction);
        if sine.abs() < 0.01 {
            return None;
        }
        let t = other.origin.minus(self.origin).cross(other.direction) / sine;
        Some(self.at(t))
    }
}

/// A circle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Circle {
    pub(super) centre: Vec2,
    pub(super) radius: f64,
}

impl Circle {
    /// The algebraic least-squares circle (I. Kåsa, 1976), which is exact for exact points and
    /// unbiased enough for arcs whose noise is far below their sagitta.
    pub(super) fn fit(points: &[Vec2]) -> Option<Self> {
        if points.len() < 3 {
            return None;
        }
        let count = points.len() as f64;
        let sum = points
            .iter()
            .fold(Vec2::new(0.0, 0.0), |sum, p| sum.plus(*p));
        let mean = sum.scaled(1.0 / count);
        let (mut uu, mut uv, mut vv, mut uz, mut vz) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for point in points {
            let d = point.minus(mean);
            let z = d.dot(d);
            uu += d.x * d.x;
            uv += d.x * d.y;
            vv += d.y * d.y;
            uz += d.x * z;
            vz += d.y * z;
        }
        let determinant = uu * vv - uv * uv;
        if determinant.abs() < 1e-9 * (uu + vv).powi(2).max(1e-9) {
            return None;
        }
        let a = (uz * vv - vz * uv) / (2.0 * determinant);
        let b = (vz * uu - uz * uv) / (2.0 * determinant);
        let radius = (a * a + b * b + (uu + vv) / count).sqrt();
        radius.is_finite().then(|| Self {
            centre: mean.plus(Vec2::new(a, b)),
            radius,
        })
    }

    /// Signed distance of a point from the circumference; positive outside.
    pub(super) fn distance(&self, point: Vec2) -> f64 {
        point.distance(self.centre) - self.radius
    }

    /// Root mean square distance of the points from the circumference.
    pub(super) fn residual(&self, points: &[Vec2]) -> f64 {
        let sum: f64 = points.iter().map(|p| self.distance(*p).powi(2)).sum();
        (sum / points.len().max(1) as f64).sqrt()
    }
}

/// The value below which `share` (0..=1) of the values lie; 0 for none.
pub(super) fn quantile(values: &mut [f64], share: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let index = ((values.len() - 1) as f64 * share).round() as usize;
    *values.select_nth_unstable_by(index, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_circle_is_recovered_from_any_wide_arc(
            x in -50.0..50.0f64, y in -50.0..50.0f64, r in 1.0..300.0f64,
            from in 0.0..6.0f64, span in 0.5..6.2f64,
        ) {
            let points: Vec<Vec2> = (0..40)
                .map(|i| Vec2::new(x, y).plus(Vec2::from_angle(from + span * f64::from(i) / 39.0).scaled(r)))
                .collect();
            let circle = Circle::fit(&points).unwrap();
            prop_assert!((circle.radius - r).abs() < 1e-3);
            prop_assert!(circle.centre.distance(Vec2::new(x, y)) < 1e-3);
            prop_assert!(circle.residual(&points) < 1e-3);
        }

        #[test]
        fn a_line_is_recovered_at_any_angle(angle in 0.0..3.1f64, x in -9.0..9.0f64, y in -9.0..9.0f64) {
            let direction = Vec2::from_angle(angle);
            let points = (-20..=20).map(|t| (Vec2::new(x, y).plus(direction.scaled(f64::from(t))), 1.0));
            let line = Line::fit(points).unwrap();
            prop_assert!(line.direction.cross(direction).abs() < 1e-6);
            prop_assert!(line.spread < 1e-5);
            prop_assert!(line.across(Vec2::new(x, y)).abs() < 1e-6);
        }
    }

    #[test]
    fn points_on_a_line_have_no_circle_and_parallels_do_not_meet() {
        let points: Vec<Vec2> = (0..9)
            .map(|i| Vec2::new(f64::from(i), 2.0 * f64::from(i)))
            .collect();
        assert!(Circle::fit(&points).is_none());
        let line = Line::fit(points.iter().map(|p| (*p, 1.0))).unwrap();
        assert!(
            line.meets(&Line {
                origin: Vec2::new(5.0, 0.0),
                ..line
            })
            .is_none()
        );
    }

    #[test]
    fn quantiles_are_order_statistics() {
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 1.0), 3.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}

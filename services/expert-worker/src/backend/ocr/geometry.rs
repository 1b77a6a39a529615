//! Points, rotated rectangles and the smallest one around a set of points.
//!
//! Image coordinates: x to the right, y down, in pixels.

/// A point or a vector.
pub(super) type Point = [f32; 2];

/// Corners of a text line as its reader sees them: top left, top right, bottom right, bottom left.
pub(super) type Quad = [Point; 4];

pub(super) fn distance(a: Point, b: Point) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

pub(super) fn centre(quad: &Quad) -> Point {
    let [a, b, c, d] = quad;
    [
        (a[0] + b[0] + c[0] + d[0]) / 4.0,
        (a[1] + b[1] + c[1] + d[1]) / 4.0,
    ]
}

/// Width and height of a line: the longer of the opposite edges.
pub(super) fn size(quad: &Quad) -> (f32, f32) {
    let [tl, tr, br, bl] = *quad;
    (
        distance(tl, tr).max(distance(bl, br)),
        distance(tl, bl).max(distance(tr, br)),
    )
}

/// A rectangle of any orientation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rectangle {
    centre: Point,
    /// Unit vector along the width, within 45° of the x axis and pointing to the right.
    axis: Point,
    /// Half the width and half the height.
    half: [f32; 2],
}

impl Rectangle {
    /// The smallest rectangle around `points`, or none without points.
    ///
    /// One side of it lies on an edge of the convex hull (Freeman and Shapira 1975), so each edge
    /// is tried.
    pub(super) fn around(points: &[Point]) -> Option<Self> {
        let hull = convex_hull(points);
        let first = *hull.first()?;
        let mut best = Self {
            centre: first,
            axis: [1.0, 0.0],
            half: [0.0, 0.0],
        };
        let mut smallest = f32::INFINITY;
        for (i, &from) in hull.iter().enumerate() {
            let to = hull[(i + 1) % hull.len()];
            let length = distance(from, to);
            if length == 0.0 {
                continue;
            }
            let edge = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
            let candidate = Self::along(upright(edge), &hull);
            if candidate.area() < smallest {
                smallest = candidate.area();
                best = candidate;
            }
        }
        Some(best)
    }

    /// The rectangle around `hull` whose width runs along `axis`.
    fn along(axis: Point, hull: &[Point]) -> Self {
        let mut low = [f32::INFINITY; 2];
        let mut high = [f32::NEG_INFINITY; 2];
        for &[x, y] in hull {
            let place = [x * axis[0] + y * axis[1], y * axis[0] - x * axis[1]];
            for side in 0..2 {
                low[side] = low[side].min(place[side]);
                high[side] = high[side].max(place[side]);
            }
        }
        let [u, v] = [(low[0] + high[0]) / 2.0, (low[1] + high[1]) / 2.0];
        Self {
            centre: [u * axis[0] - v * axis[1], u * axis[1] + v * axis[0]],
            axis,
            half: [(high[0] - low[0]) / 2.0, (high[1] - low[1]) / 2.0],
        }
    }

    pub(super) fn area(&self) -> f32 {
        4.0 * self.half[0] * self.half[1]
    }

    pub(super) fn perimeter(&self) -> f32 {
        4.0 * (self.half[0] + self.half[1])
    }

    /// Length of the shorter side.
    pub(super) fn short_side(&self) -> f32 {
        2.0 * self.half[0].min(self.half[1])
    }

    /// The rectangle with every side moved outwards by `distance`.
    pub(super) fn expanded(mut self, distance: f32) -> Self {
        self.half = self.half.map(|half| half + distance);
        self
    }

    /// Whether `point` is inside or at most `margin` from the side it is nearest to.
    pub(super) fn contains(&self, point: Point, margin: f32) -> bool {
        let [x, y] = [point[0] - self.centre[0], point[1] - self.centre[1]];
        let along = x * self.axis[0] + y * self.axis[1];
        let across = y * self.axis[0] - x * self.axis[1];
        along.abs() <= self.half[0] + margin && across.abs() <= self.half[1] + margin
    }

    /// The corners, in a quad's order.
    pub(super) fn corners(&self) -> Quad {
        let [a, b] = self.axis;
        let corner = |along: f32, across: f32| {
            let (u, v) = (along * self.half[0], across * self.half[1]);
            [
                self.centre[0] + u * a - v * b,
                self.centre[1] + u * b + v * a,
            ]
        };
        [
            corner(-1.0, -1.0),
            corner(1.0, -1.0),
            corner(1.0, 1.0),
            corner(-1.0, 1.0),
        ]
    }
}

/// Of the four directions of a rectangle's sides, the one nearest to "to the right".
fn upright([x, y]: Point) -> Point {
    let [x, y] = if x.abs() >= y.abs() { [x, y] } else { [-y, x] };
    if x < 0.0 { [-x, -y] } else { [x, y] }
}

/// The convex hull in order around it (Andrew 1979, monotone chains).
fn convex_hull(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    sorted.dedup();
    if sorted.len() < 3 {
        return sorted;
    }
    let mut hull = chain(sorted.iter().copied());
    let mut back = chain(sorted.iter().rev().copied());
    // Each chain ends where the other begins.
    hull.pop();
    back.pop();
    hull.append(&mut back);
    hull
}

fn chain(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut chain: Vec<Point> = Vec::new();
    for point in points {
        while let [.., a, b] = chain[..]
            && (b[0] - a[0]) * (point[1] - a[1]) <= (b[1] - a[1]) * (point[0] - a[0])
        {
            chain.pop();
        }
        chain.push(point);
    }
    chain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_grid_of_points_has_its_bounding_box() {
        let points: Vec<Point> = (0..5)
            .flat_map(|x| (0..3).map(move |y| [x as f32 + 10.0, y as f32]))
            .collect();
        let rectangle = Rectangle::around(&points).unwrap();
        assert_eq!(
            rectangle.corners(),
            [[10.0, 0.0], [14.0, 0.0], [14.0, 2.0], [10.0, 2.0]]
        );
        assert_eq!(rectangle.area(), 8.0);
        assert_eq!(rectangle.perimeter(), 12.0);
        assert_eq!(rectangle.short_side(), 2.0);
    }

    #[test]
    fn degenerate_sets_have_flat_rectangles() {
        assert_eq!(Rectangle::around(&[]), None);
        assert_eq!(
            Rectangle::around(&[[3.0, 4.0]; 5]).unwrap().corners(),
            [[3.0, 4.0]; 4]
        );
        let line = Rectangle::around(&[[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]).unwrap();
        assert!(line.area() < 1e-3);
        assert!((line.perimeter() - 20.0).abs() < 1e-3);
    }

    #[test]
    fn corners_start_at_the_top_left_of_the_reader() {
        // A line of text that climbs to the right by 30°.
        let axis = [(-30f32).to_radians().cos(), (-30f32).to_radians().sin()];
        let turned = Rectangle {
            centre: [50.0, 50.0],
            axis,
            half: [20.0, 5.0],
        };
        let found = Rectangle::around(&turned.corners()).unwrap();
        for (a, b) in found.corners().into_iter().zip(turned.corners()) {
            assert!(distance(a, b) < 1e-3, "{a:?} {b:?}");
        }
        let [tl, tr, _, bl] = found.corners();
        assert!(tl[0] < tr[0] && tl[1] > tr[1] && bl[1] > tl[1]);
    }

    proptest! {
        #[test]
        fn every_point_is_inside_and_no_axis_parallel_box_is_smaller(
            points in prop::collection::vec(prop::array::uniform2(-500i32..500), 1..40),
        ) {
            let points: Vec<Point> = points.iter().map(|p| p.map(|v| v as f32)).collect();
            let rectangle = Rectangle::around(&points).unwrap();
            for &point in &points {
                prop_assert!(rectangle.contains(point, 0.05), "{point:?} {rectangle:?}");
            }
            let upright = Rectangle::along([1.0, 0.0], &points);
            prop_assert!(rectangle.area() <= upright.area() * 1.001 + 0.1);
        }

        #[test]
        fn a_rectangle_is_found_again_from_its_corners(
            x in -100f32..100.0, y in -100f32..100.0, degrees in -44f32..44.0,
            width in 5f32..100.0, height in 5f32..100.0, out in 0f32..10.0,
        ) {
            let axis = [degrees.to_radians().cos(), degrees.to_radians().sin()];
            let rectangle =
                Rectangle { centre: [x, y], axis, half: [width / 2.0, height / 2.0] }.expanded(out);
            let found = Rectangle::around(&rectangle.corners()).unwrap();
            for (a, b) in found.corners().into_iter().zip(rectangle.corners()) {
                prop_assert!(distance(a, b) < 0.05, "{found:?} {rectangle:?}");
            }
            let (w, h) = size(&found.corners());
            prop_assert!((w - width - 2.0 * out).abs() < 0.05);
            prop_assert!((h - height - 2.0 * out).abs() < 0.05);
        }
    }
}

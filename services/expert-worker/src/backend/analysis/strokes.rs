//! Finds the straight strokes of a drawing with sub-pixel precision.
//!
//! From a seed pixel, the local principal axis is followed in both directions while it stays on
//! ink; the pixels along it are fitted anew, so that the direction sharpens as the stroke grows.

use super::geometry::{Line, Vec2};
use super::ink::Ink;

/// Rounds of growing and fitting; a run's length at least doubles in each until it is complete.
const ROUNDS: usize = 10;
/// A seed whose neighbourhood is less elongated than this lies on a corner, crossing or blob.
const ELONGATION: f64 = 2.2;

/// Ink thicker than this share of the picture's shorter side is a shape, not a stroke.
const MOST_WIDTH: f64 = 0.08;
/// Sine of the angle up to which a seed on a known stroke is taken for a part of it.
const ALIGNED: f64 = 0.12;

/// A straight stroke from end to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stroke {
    /// Its centre line.
    pub(super) line: Line,
    pub(super) from: Vec2,
    pub(super) to: Vec2,
}

impl Stroke {
    pub(super) fn length(&self) -> f64 {
        self.from.distance(self.to)
    }

    /// Distance of a point from the stroke's centre line between its ends.
    pub(super) fn distance(&self, point: Vec2) -> f64 {
        let along = self.line.along(point);
        let (a, b) = self.range();
        if along < a {
            point.distance(self.from)
        } else if along > b {
            point.distance(self.to)
        } else {
            self.line.across(point).abs()
        }
    }

    /// Positions of the ends along the centre line.
    pub(super) fn range(&self) -> (f64, f64) {
        (self.line.along(self.from), self.line.along(self.to))
    }

    fn new(line: Line, from: f64, to: f64) -> Self {
        Self {
            line,
            from: line.at(from),
            to: line.at(to),
        }
    }
}

/// Strokes among the pixels of `own`; they may pass under any other ink of the picture.
///
/// `width` is the stroke width in pixels. Strokes shorter than `shortest` are left out.
pub(super) fn straight_strokes(ink: &Ink, own: &[bool], width: f64, shortest: f64) -> Vec<Stroke> {
    if width > MOST_WIDTH * ink.width.min(ink.height) as f64 {
        return Vec::new();
    }
    let mut explained = vec![false; own.len()];
    let mut strokes: Vec<Stroke> = Vec::new();
    // Long strokes claim their pixels before a chance alignment across a corner can.
    let seeds = [(3.0 * shortest, 3), (shortest, 2)]
        .into_iter()
        .flat_map(|(least, step)| {
            (0..own.len())
                .filter(|i| own[*i])
                .step_by(step)
                .map(move |i| (least, i))
        });
    for (least, seed) in seeds {
        if explained[seed] {
            continue;
        }
        let point = ink.point(seed);
        let Some(line) = local_line(ink, own, width, point) else {
            continue;
        };
        let known = strokes.iter().any(|s| {
            let turn = s.line.direction.cross(line.direction).abs();
            turn < ALIGNED && s.distance(point) <= width / 2.0 + 2.0
        });
        if known {
            continue;
        }
        let Some(stroke) = grow(ink, own, width, line) else {
            continue;
        };
        if stroke.length() < least {
            continue;
        }
        for (i, _) in near(ink, own, &stroke, width / 2.0 + 1.0) {
            explained[i] = true;
        }
        match strokes.iter_mut().find(|s| same_stroke(s, &stroke, width)) {
            Some(known) => {
                let (a, b) = known.range();
                let (c, d) = (known.line.along(stroke.from), known.line.along(stroke.to));
                *known = Stroke::new(known.line, a.min(c).min(d), b.max(c).max(d));
            }
            None => strokes.push(stroke),
        }
    }
    strokes
}

/// Pixels of `own` within `reach` of the stroke, with their positions.
pub(super) fn near<'a>(
    ink: &'a Ink,
    own: &'a [bool],
    stroke: &'a Stroke,
    reach: f64,
) -> impl Iterator<Item = (usize, Vec2)> + Clone + 'a {
    // Walks the stroke's bounding box row by row, and only the columns close to the line.
    let low = stroke.from.y.min(stroke.to.y) - reach;
    let high = stroke.from.y.max(stroke.to.y) + reach;
    let first = low.floor().max(0.0) as usize;
    let last = (high.ceil().max(0.0) as usize).min(ink.height - 1);
    let left = stroke.from.x.min(stroke.to.x) - reach;
    let right = stroke.from.x.max(stroke.to.x) + reach;
    let slope = stroke.line.direction;
    (first..=last)
        .flat_map(move |y| {
            let (mut a, mut b) = (left, right);
            if slope.y.abs() > 1e-6 {
                let x =
                    stroke.line.origin.x + (y as f64 - stroke.line.origin.y) * slope.x / slope.y;
                let half = reach / slope.y.abs();
                a = a.max(x - half);
                b = b.min(x + half);
            }
            let start = a.floor().clamp(0.0, ink.width as f64) as usize;
            let end = (b.ceil() + 1.0).clamp(0.0, ink.width as f64) as usize;
            (start..end).map(move |x| y * ink.width + x)
        })
        .filter(|i| own[*i])
        .map(|i| (i, ink.point(i)))
        .filter(move |(_, p)| stroke.distance(*p) <= reach)
}

/// The principal axis of the own pixels around a seed, if they are elongated.
fn local_line(ink: &Ink, own: &[bool], width: f64, seed: Vec2) -> Option<Line> {
    let reach = (1.5 * width).max(3.0).ceil();
    let side = reach as i32;
    // A wide stroke's direction shows in every second or third pixel as well.
    let step = (side as usize / 8).max(1);
    let window = (-side..=side)
        .step_by(step)
        .flat_map(|dy| (-side..=side).step_by(step).map(move |dx| (dx, dy)))
        .filter_map(|(dx, dy)| {
            let point = seed.plus(Vec2::new(f64::from(dx), f64::from(dy)));
            let i = ink.index(point)?;
            own[i].then(|| (point, f64::from(ink.magnitude[i])))
        });
    let line = Line::fit(window)?;
    (line.extent >= ELONGATION * line.spread).then_some(line)
}

fn grow(ink: &Ink, own: &[bool], width: f64, mut line: Line) -> Option<Stroke> {
    let mut stroke = extend(ink, own, width, line)?;
    for _ in 0..ROUNDS {
        let previous = stroke.length();
        // Pixels around the very ends belong partly to the next stroke: the fit leaves them out.
        let margin = width.min(previous / 4.0);
        let (a, b) = stroke.range();
        let inner = Stroke::new(stroke.line, a + margin, b - margin);
        let points = near(ink, own, &inner, width / 2.0 + 1.0)
            .map(|(i, p)| (p, f64::from(ink.magnitude[i])));
        line = Line::fit(points)?;
        stroke = extend(ink, own, width, line)?;
        if (stroke.length() - previous).abs() < 0.5 {
            break;
        }
    }
    // An even stroke of width w spreads by w/√12 across; a curve or a blob by more.
    (line.spread <= 0.29 * width + 0.6).then_some(stroke)
}

/// The longest run of ink along the line around its origin that starts and ends on own ink.
fn extend(ink: &Ink, own: &[bool], width: f64, line: Line) -> Option<Stroke> {
    const STEP: f64 = 0.5;
    let gap = (width / 2.0).clamp(1.0, 3.0);
    let side = line.direction.perpendicular();
    let is_own = |p: Vec2| {
        [0.0, 0.5, -0.5]
            .iter()
            .any(|d| ink.index(p.plus(side.scaled(*d))).is_some_and(|i| own[i]))
    };
    let end = |sign: f64| {
        let (mut last_own, mut last_ink, mut t) = (0.0, 0.0, 0.0);
        loop {
            t += STEP;
            let point = line.at(sign * t);
            if is_own(point) {
                (last_own, last_ink) = (t, t);
            } else if ink.is_ink(point) {
                last_ink = t;
            } else if t - last_ink > gap {
                return sign * last_own;
            }
        }
    };
    let (from, to) = (end(-1.0), end(1.0));
    (to > from).then(|| Stroke::new(line, from, to))
}

/// Do the two lie on one line, and overlap or touch.
fn same_stroke(a: &Stroke, b: &Stroke, width: f64) -> bool {
    let (from, to) = a.range();
    let (c, d) = (a.line.along(b.from), a.line.along(b.to));
    let aligned =
        a.line.across(b.from).abs() < width / 2.0 && a.line.across(b.to).abs() < width / 2.0;
    aligned && c.max(d) > from - width && c.min(d) < to + width
}

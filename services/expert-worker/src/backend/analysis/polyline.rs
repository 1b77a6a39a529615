//! Counts where two paths of different colours meet.
//!
//! Each colour's strokes are fitted as straight lines, joined at their corners, and intersected
//! as geometry: a near miss and a crossing hidden under the other stroke are both told exactly.

use image::RgbImage;

use super::geometry::{Line, Vec2};
use super::ink::{Ink, Tint, length, stroke_width};
use super::strokes::{Stroke, near, straight_strokes};
use super::{AnalysisError, Finding};

/// Paths that leave more of their ink unexplained are not piecewise straight.
const UNEXPLAINED_LIMIT: f64 = 0.35;
/// A corner within this many pixels of the other path lies on it: fits are not more exact.
const TOUCH: f64 = 0.75;
/// Least distance between the two inks, in units where pure hues at right angles are √2 apart.
const LEAST_CONTRAST: f32 = 0.25;

/// One colour's path: strokes joined at corners.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) strokes: Vec<Joined>,
    /// Share of the path's pixels that lie on no stroke.
    pub(super) unexplained: f64,
    pub(super) width: f64,
}

/// A stroke and whether each of its ends is a corner shared with another stroke.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joined {
    stroke: Stroke,
    corner_from: bool,
    corner_to: bool,
}

/// Counts the points where two differently coloured, piecewise straight paths meet.
///
/// # Errors
/// [`AnalysisError::TooSmall`], [`AnalysisError::Blank`], or [`AnalysisError::NotFound`] when
/// there are not two inks of different colour, or an ink is not a path of straight strokes.
pub fn line_intersections(image: &RgbImage) -> Result<Finding<u32>, AnalysisError> {
    let ink = Ink::new(image)?;
    let paths = two_paths(&ink)?;
    Ok(crossings(&ink, &paths))
}

/// The two paths, if the picture holds exactly that.
pub(super) fn two_paths(ink: &Ink) -> Result<[Path; 2], AnalysisError> {
    let layers = two_inks(ink).ok_or(AnalysisError::NotFound("two strokes of different colour"))?;
    let [first, second] = layers.map(|own| path(ink, &own));
    let (first, second) = (first?, second?);
    Ok([first, second])
}

/// Meeting points of two paths as a finding.
pub(super) fn crossings(ink: &Ink, [first, second]: &[Path; 2]) -> Finding<u32> {
    let width = first.width.max(second.width);
    let mut points: Vec<Vec2> = Vec::new();
    // How far the nearest decision was from going the other way, in pixels.
    let mut margin = f64::INFINITY;
    for (path, other) in [(first, second), (second, first)] {
        for corner in path.corners() {
            let depth = other.distance(corner);
            margin = margin.min((depth - TOUCH).abs());
            if depth <= TOUCH && points.iter().all(|p| p.distance(corner) > 2.0 * TOUCH) {
                points.push(corner);
            }
        }
    }
    let touched = points.len();
    for a in &first.strokes {
        for b in &second.strokes {
            let Some(point) = a.stroke.line.meets(&b.stroke.line) else {
                continue;
            };
            let inside = a
                .overshoot(point, first.width)
                .max(b.overshoot(point, second.width));
            // A corner on the other path is one point, though two strokes meet the path there.
            let counted = points[..touched]
                .iter()
                .any(|c| a.stroke.distance(*c) <= TOUCH && b.stroke.distance(*c) <= TOUCH);
            if inside <= 0.0 && !counted {
                points.push(point);
            }
            if !counted && a.stroke.distance(point) + b.stroke.distance(point) < 4.0 * width {
                margin = margin.min(inside.abs());
            }
        }
    }
    let unexplained = first.unexplained.max(second.unexplained);
    let fit = (1.0 - unexplained / UNEXPLAINED_LIMIT).clamp(0.0, 1.0);
    let clear = (margin / 1.5).clamp(0.0, 1.0);
    let confidence = (0.98 * (0.4 + 0.6 * clear) * (0.3 + 0.7 * fit.sqrt())) as f32;
    let places: Vec<String> = points
        .iter()
        .map(|p| format!("({:.0}, {:.0})", p.x * ink.scale, p.y * ink.scale))
        .collect();
    let evidence = if places.is_empty() {
        "the two paths do not meet".to_owned()
    } else {
        format!("the two paths meet at {}", places.join(", "))
    };
    Finding {
        value: points.len() as u32,
        confidence,
        evidence,
    }
}

impl Path {
    /// Corners shared by two strokes, each once.
    fn corners(&self) -> impl Iterator<Item = Vec2> + '_ {
        self.strokes.iter().enumerate().flat_map(|(k, joined)| {
            let from = joined.corner_from.then_some(joined.stroke.from);
            let to = joined.corner_to.then_some(joined.stroke.to);
            let earlier = &self.strokes[..k];
            from.into_iter().chain(to).filter(move |c| {
                earlier
                    .iter()
                    .all(|e| e.stroke.from != *c && e.stroke.to != *c)
            })
        })
    }

    fn distance(&self, point: Vec2) -> f64 {
        self.strokes
            .iter()
            .map(|j| j.stroke.distance(point))
            .fold(f64::INFINITY, f64::min)
    }
}

impl Joined {
    /// How far along its line the point lies beyond the stroke's ends; negative inside. A free
    /// end counts as touching when the other path comes within half the stroke's width.
    fn overshoot(&self, point: Vec2, width: f64) -> f64 {
        let (from, to) = self.stroke.range();
        let t = self.stroke.line.along(point);
        let slack = |corner: bool| if corner { 0.25 } else { width / 2.0 };
        (from - slack(self.corner_from) - t).max(t - to - slack(self.corner_to))
    }
}

/// Splits the ink into two layers of different colour.
pub(super) fn two_inks(ink: &Ink) -> Option<[Vec<bool>; 2]> {
    let strongest = ink.magnitude.iter().copied().fold(0.0, f32::max);
    // Hue dominates; lightness decides between inks of one hue.
    let feature = |i: usize| -> Tint {
        let m = ink.magnitude[i].max(1.0);
        ink.tint[i].map(|c| c / m * (1.0 + 0.5 * m / strongest))
    };
    let core: Vec<usize> = (0..ink.mask.len())
        .filter(|i| ink.mask[*i] && is_core(ink, *i))
        .collect();
    let step = (core.len() / 20_000).max(1);
    let sample: Vec<Tint> = core.iter().step_by(step).map(|i| feature(*i)).collect();
    let farthest = |from: Tint| {
        sample
            .iter()
            .copied()
            .max_by(|a, b| gap(a, &from).total_cmp(&gap(b, &from)))
    };
    let mean = average(&sample)?;
    let first = farthest(mean)?;
    let mut centres = [first, farthest(first)?];
    for _ in 0..12 {
        let (a, b): (Vec<Tint>, Vec<Tint>) = sample
            .iter()
            .partition(|f| gap(f, &centres[0]) <= gap(f, &centres[1]));
        if a.len().min(b.len()) * 50 < sample.len() {
            return None;
        }
        centres = [average(&a)?, average(&b)?];
    }
    if gap(&centres[0], &centres[1]) < LEAST_CONTRAST {
        return None;
    }
    // Edge pixels are blends; they take the layer of the nearest core pixel.
    let mut layer = vec![0u8; ink.mask.len()];
    for i in core {
        let f = feature(i);
        layer[i] = if gap(&f, &centres[0]) <= gap(&f, &centres[1]) {
            1
        } else {
            2
        };
    }
    for _ in 0..4 {
        let previous = layer.clone();
        for i in (0..layer.len()).filter(|i| ink.mask[*i] && previous[*i] == 0) {
            let mut votes = [0u8; 3];
            for j in ink.around(i, 1) {
                votes[usize::from(previous[j])] += 1;
            }
            layer[i] = match votes[1].cmp(&votes[2]) {
                std::cmp::Ordering::Greater => 1,
                std::cmp::Ordering::Less => 2,
                std::cmp::Ordering::Equal => 0,
            };
        }
    }
    Some([1, 2].map(|k| layer.iter().map(|l| *l == k).collect()))
}

/// Is the pixel about as strong as the strongest around it, so that its colour is the ink's own.
pub(super) fn is_core(ink: &Ink, i: usize) -> bool {
    let peak = ink
        .around(i, 2)
        .map(|j| ink.magnitude[j])
        .fold(0.0, f32::max);
    ink.magnitude[i] >= 0.8 * peak
}

fn gap(a: &Tint, b: &Tint) -> f32 {
    length(&[a[0] - b[0], a[1] - b[1], a[2] - b[2]])
}

fn average(tints: &[Tint]) -> Option<Tint> {
    let sum = tints
        .iter()
        .fold([0.0; 3], |s: Tint, t| std::array::from_fn(|c| s[c] + t[c]));
    (!tints.is_empty()).then(|| sum.map(|c| c / tints.len() as f32))
}

/// Fits one layer's strokes and joins them.
fn path(ink: &Ink, own: &[bool]) -> Result<Path, AnalysisError> {
    let width = stroke_width(own, ink.width);
    let total = own.iter().filter(|o| **o).count();
    let mut strokes = straight_strokes(ink, own, width, (3.0 * width).max(8.0));
    refine(ink, own, width, &mut strokes);
    let reach = width / 2.0 + 1.5;
    let mut covered = vec![false; own.len()];
    for stroke in &strokes {
        for (i, _) in near(ink, own, stroke, reach) {
            covered[i] = true;
        }
    }
    let explained = covered.iter().filter(|c| **c).count();
    let unexplained = 1.0 - explained as f64 / total.max(1) as f64;
    if strokes.is_empty() || unexplained > UNEXPLAINED_LIMIT {
        return Err(AnalysisError::NotFound("paths of straight strokes"));
    }
    Ok(Path {
        strokes: join(ink, &strokes, width),
        unexplained,
        width,
    })
}

/// Fits every stroke again to the pixels that are nearer to it than to any other, so that two
/// strokes meeting at a slight bend do not pull on each other.
fn refine(ink: &Ink, own: &[bool], width: f64, strokes: &mut [Stroke]) {
    for _ in 0..4 {
        let current = strokes.to_vec();
        for (k, stroke) in strokes.iter_mut().enumerate() {
            let mine: Vec<(Vec2, f64)> = near(ink, own, &current[k], width / 2.0 + 1.0)
                .filter(|(_, p)| {
                    let d = current[k].distance(*p);
                    current
                        .iter()
                        .enumerate()
                        .all(|(j, other)| j == k || other.distance(*p) > d)
                })
                .map(|(i, p)| (p, f64::from(ink.magnitude[i])))
                .collect();
            let Some(mut line) = Line::fit(mine.iter().copied()) else {
                continue;
            };
            if line.direction.dot(stroke.line.direction) < 0.0 {
                line.direction = line.direction.scaled(-1.0);
            }
            let along = |p: Vec2| line.along(p);
            let (from, to) = (along(stroke.from), along(stroke.to));
            *stroke = Stroke {
                line,
                from: line.at(from),
                to: line.at(to),
            };
        }
    }
}

/// Moves ends that meet to the exact corner, nearest pairs first.
fn join(ink: &Ink, strokes: &[Stroke], width: f64) -> Vec<Joined> {
    let mut joined: Vec<Joined> = strokes
        .iter()
        .map(|s| Joined {
            stroke: *s,
            corner_from: false,
            corner_to: false,
        })
        .collect();
    let end = |j: &Joined, to: bool| if to { j.stroke.to } else { j.stroke.from };
    let mut pairs = Vec::new();
    for a in 0..joined.len() {
        for b in a + 1..joined.len() {
            for (a_to, b_to) in [(false, false), (false, true), (true, false), (true, true)] {
                let (p, q) = (end(&joined[a], a_to), end(&joined[b], b_to));
                let (one, two) = (&joined[a].stroke.line, &joined[b].stroke.line);
                if connected(ink, p, q, 3.0 * width + 2.0) || overhang(one, two, [p, q], width) {
                    pairs.push((p.distance(q), a, a_to, b, b_to));
                }
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (distance, a, a_to, b, b_to) in pairs {
        let taken = |j: &Joined, to: bool| if to { j.corner_to } else { j.corner_from };
        if taken(&joined[a], a_to) || taken(&joined[b], b_to) {
            continue;
        }
        let (p, q) = (end(&joined[a], a_to), end(&joined[b], b_to));
        let middle = p.plus(q).scaled(0.5);
        let corner = joined[a].stroke.line.meets(&joined[b].stroke.line);
        let corner = match corner {
            Some(c) if c.distance(middle) <= 2.0 * distance + 6.0 * width => c,
            _ => middle,
        };
        for (k, to) in [(a, a_to), (b, b_to)] {
            let Joined {
                stroke,
                corner_from,
                corner_to,
            } = &mut joined[k];
            if to {
                (stroke.to, *corner_to) = (corner, true);
            } else {
                (stroke.from, *corner_from) = (corner, true);
            }
        }
    }
    joined
}

/// Do both ends lie just beyond where the lines meet: at a slight bend each stroke runs on inside
/// the other until they part.
fn overhang(a: &Line, b: &Line, [p, q]: [Vec2; 2], width: f64) -> bool {
    let sine = a.direction.cross(b.direction).abs();
    a.meets(b).is_some_and(|corner| {
        [p, q]
            .iter()
            .all(|end| end.distance(corner) * sine <= width + 1.0)
    })
}

/// Are the two points close, or joined by ink (the gap lies under the other path).
fn connected(ink: &Ink, p: Vec2, q: Vec2, reach: f64) -> bool {
    let distance = p.distance(q);
    let steps = distance.ceil().max(1.0);
    distance <= reach
        || (distance <= 4.0 * reach
            && (0..=steps as usize)
                .all(|k| ink.is_ink(p.plus(q.minus(p).scaled(k as f64 / steps)))))
}

//! Finds outlined regular polygons of any size, place and rotation, also where they overlap.
//!
//! Straight strokes meet in corners; a corner with the right angle and a plausible side length
//! proposes a polygon, which counts only when ink lies under its whole outline.

use std::collections::HashSet;
use std::f64::consts::{PI, TAU};

use image::RgbImage;

use super::geometry::{Vec2, quantile};
use super::ink::Ink;
use super::strokes::{Stroke, straight_strokes};
use super::{AnalysisError, Finding};

/// Share of the outline that must lie on ink.
const LEAST_COVERAGE: f64 = 0.94;
/// How far a corner may be from the regular angle, in radians (about 6 degrees).
const ANGLE_TOLERANCE: f64 = 0.1;
/// Longest break in an outline, in stroke widths (and two pixels).
const LONGEST_BREAK: f64 = 0.3;
/// Side lengths tried evenly along a stroke.
const MOST_STEPS: f64 = 120.0;
/// A polygon must have this share of its outline to itself.
const LEAST_OWN: f64 = 0.04;
/// The same for an outline with breaks.
const LEAST_OWN_BROKEN: f64 = 0.3;
/// Proposals refused before giving up on a picture that is not made of polygons.
const MOST_PROPOSALS: usize = 60_000;
/// More strokes than this are text or texture, not a drawing.
const MOST_STROKES: usize = 400;

/// A regular polygon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Polygon {
    pub(super) sides: u32,
    pub(super) centre: Vec2,
    /// Distance of the corners from the centre, in pixels.
    pub(super) radius: f64,
    /// Direction from the centre to one corner, in radians.
    pub(super) angle: f64,
    /// Share of the outline that lies on ink.
    pub(super) coverage: f64,
}

/// Counts outlined regular pentagons; they may overlap.
///
/// # Errors
/// [`AnalysisError::TooSmall`], [`AnalysisError::Blank`], or [`AnalysisError::NotFound`] when
/// there is no pentagon.
pub fn count_pentagons(image: &RgbImage) -> Result<Finding<u32>, AnalysisError> {
    count_polygons(image, 5)
}

/// Counts outlined regular polygons with this number of sides (at least 3).
///
/// # Errors
/// As [`count_pentagons`].
pub fn count_polygons(image: &RgbImage, sides: u32) -> Result<Finding<u32>, AnalysisError> {
    let ink = Ink::new(image)?;
    count(&ink, &polygons(&ink, &outline_strokes(&ink), sides))
}

/// The number of polygons as a finding.
pub(super) fn count(ink: &Ink, polygons: &[Polygon]) -> Result<Finding<u32>, AnalysisError> {
    if polygons.is_empty() {
        return Err(AnalysisError::NotFound("a regular polygon"));
    }
    let explained = explained(ink, polygons);
    let weakest = polygons.iter().map(|p| p.coverage).fold(1.0, f64::min);
    let confidence = 0.97 * (explained / 0.97).min(1.0).powi(4) * (weakest / 0.97).min(1.0);
    let mut radii: Vec<f64> = polygons.iter().map(|p| p.radius).collect();
    let evidence = format!(
        "{} regular polygons of {} sides and median radius {:.0} px, which cover {:.0} % of the ink",
        polygons.len(),
        polygons[0].sides,
        quantile(&mut radii, 0.5) * ink.scale,
        100.0 * explained
    );
    Ok(Finding {
        value: polygons.len() as u32,
        confidence: confidence as f32,
        evidence,
    })
}

/// The straight strokes of the whole picture.
pub(super) fn outline_strokes(ink: &Ink) -> Vec<Stroke> {
    straight_strokes(ink, &ink.mask, ink.stroke, (2.5 * ink.stroke).max(6.0))
}

/// Share of the ink that lies on the polygons' outlines.
pub(super) fn explained(ink: &Ink, polygons: &[Polygon]) -> f64 {
    let reach = ink.stroke / 2.0 + 1.5;
    let mut covered = vec![false; ink.mask.len()];
    for polygon in polygons {
        for k in 0..polygon.sides {
            let (from, to) = (polygon.corner(k), polygon.corner(k + 1));
            let along = to.minus(from);
            let length = along.norm().max(1.0);
            let unit = along.scaled(1.0 / length);
            let side = unit.perpendicular();
            // A mitred corner reaches further out than half the stroke.
            let mitre = reach / (PI / f64::from(polygon.sides)).tan().max(0.5);
            let mut t = -mitre;
            while t <= length + mitre {
                let mut d = -reach;
                while d <= reach {
                    let point = from.plus(unit.scaled(t)).plus(side.scaled(d));
                    if let Some(i) = ink.index(point) {
                        covered[i] = true;
                    }
                    d += 0.7;
                }
                t += 0.7;
            }
        }
    }
    let hit = ink
        .mask
        .iter()
        .zip(&covered)
        .filter(|(m, c)| **m && **c)
        .count();
    hit as f64 / ink.area().max(1) as f64
}

/// All regular polygons with this number of sides.
pub(super) fn polygons(ink: &Ink, strokes: &[Stroke], sides: u32) -> Vec<Polygon> {
    if sides < 3 || strokes.len() > MOST_STROKES {
        return Vec::new();
    }
    let corners = corners(ink, strokes);
    let interior = PI - TAU / f64::from(sides);
    let shortest = (3.0 * ink.stroke).max(8.0);
    let mut found: Vec<Polygon> = Vec::new();
    let mut refused: HashSet<[i64; 3]> = HashSet::new();
    for corner in &corners {
        for (first, second) in corner.wedges() {
            let angle = first.dot(second).clamp(-1.0, 1.0).acos();
            if (angle - interior).abs() > ANGLE_TOLERANCE {
                continue;
            }
            for length in side_lengths(corner, &corners, (first, second), ink.stroke) {
                if length < shortest {
                    continue;
                }
                let proposal = Polygon::from_corner(sides, corner.place, first, second, length);
                if found.iter().any(|known| known.same(&proposal, ink.stroke)) {
                    continue;
                }
                if refused.contains(&proposal.cell()) {
                    continue;
                }
                if refused.len() > MOST_PROPOSALS {
                    return without_composites(found, ink.stroke);
                }
                let Some(polygon) = settle(ink, proposal) else {
                    refused.insert(proposal.cell());
                    continue;
                };
                match found
                    .iter_mut()
                    .find(|known| known.same(&polygon, ink.stroke))
                {
                    Some(known) if known.coverage < polygon.coverage => *known = polygon,
                    Some(_) => {}
                    None => found.push(polygon),
                }
            }
        }
    }
    without_composites(found, ink.stroke)
}

/// Drops polygons that are made up of the sides of others, weakest first.
fn without_composites(mut found: Vec<Polygon>, stroke: f64) -> Vec<Polygon> {
    found.sort_by(|a, b| a.coverage.total_cmp(&b.coverage));
    let mut k = 0;
    while k < found.len() {
        let others = || {
            found
                .iter()
                .enumerate()
                .filter(|(j, _)| *j != k)
                .map(|(_, p)| p)
        };
        let outline: Vec<Vec2> = found[k].outline().collect();
        let own = outline
            .iter()
            .filter(|p| others().all(|other| other.distance(**p) > stroke / 2.0 + 1.5))
            .count();
        // A true outline is inked throughout; one with breaks must prove itself by ink of its own.
        let least = if found[k].coverage > 0.99 {
            LEAST_OWN
        } else {
            LEAST_OWN_BROKEN
        };
        if (own as f64) < least * outline.len() as f64 {
            found.remove(k);
        } else {
            k += 1;
        }
    }
    found
}

/// A point where two strokes meet or cross.
struct Corner {
    place: Vec2,
    /// Unit directions of the strokes.
    directions: [Vec2; 2],
    /// How far the first stroke runs backwards and forwards from here, then the second.
    reaches: [(f64, f64); 2],
    strokes: [usize; 2],
}

impl Corner {
    /// Pairs of directions in which ink leaves the corner.
    fn wedges(&self) -> impl Iterator<Item = (Vec2, Vec2)> + '_ {
        [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)]
            .into_iter()
            .map(|(a, b)| (self.directions[0].scaled(a), self.directions[1].scaled(b)))
    }

    fn reach(&self, stroke: usize, direction: Vec2) -> f64 {
        let (back, forth) = self.reaches[stroke];
        if self.directions[stroke].dot(direction) < 0.0 {
            back
        } else {
            forth
        }
    }
}

fn corners(ink: &Ink, strokes: &[Stroke]) -> Vec<Corner> {
    let slack = 1.5 * ink.stroke + 2.0;
    let mut corners = Vec::new();
    for (i, a) in strokes.iter().enumerate() {
        for (j, b) in strokes.iter().enumerate().skip(i + 1) {
            let Some(place) = a.line.meets(&b.line) else {
                continue;
            };
            let reach = |s: &Stroke| {
                let (from, to) = s.range();
                let t = s.line.along(place);
                (t - from, to - t)
            };
            let (ra, rb) = (reach(a), reach(b));
            if [ra.0, ra.1, rb.0, rb.1].iter().all(|r| *r > -slack) {
                corners.push(Corner {
                    place,
                    directions: [a.line.direction, b.line.direction],
                    reaches: [ra, rb],
                    strokes: [i, j],
                });
            }
        }
    }
    corners
}

/// Possible side lengths from this corner: above all where other strokes cross or end its two
/// strokes.
fn side_lengths(
    corner: &Corner,
    all: &[Corner],
    (first, second): (Vec2, Vec2),
    stroke_width: f64,
) -> Vec<f64> {
    let limit = corner.reach(0, first).min(corner.reach(1, second)) + 6.0;
    // Where strokes run together the far corners may be missed, hence the even steps.
    let step = (0.75 * stroke_width).max(limit / MOST_STEPS);
    let mut lengths: Vec<f64> = (1..)
        .map(|k| step * f64::from(k))
        .take_while(|l| *l < limit)
        .chain([corner.reach(0, first), corner.reach(1, second)])
        .collect();
    for (k, direction) in [first, second].into_iter().enumerate() {
        let stroke = corner.strokes[k];
        lengths.extend(
            all.iter()
                .filter(|c| c.strokes.contains(&stroke))
                .map(|c| c.place.minus(corner.place).dot(direction)),
        );
    }
    lengths.retain(|l| *l > 0.0 && *l <= limit);
    lengths.sort_by(f64::total_cmp);
    lengths.dedup_by(|a, b| (*a - *b).abs() < 1.0);
    // The longest first: a polygon is found before a smaller one inside its corner.
    lengths.reverse();
    lengths
}

impl Polygon {
    /// The polygon with a corner here, whose sides leave it along the two directions.
    fn from_corner(sides: u32, corner: Vec2, first: Vec2, second: Vec2, length: f64) -> Self {
        let radius = length / (2.0 * (PI / f64::from(sides)).sin());
        let bisector = first.plus(second);
        let inwards = bisector.scaled(1.0 / bisector.norm().max(1e-9));
        let outwards = inwards.scaled(-1.0);
        Self {
            sides,
            centre: corner.plus(inwards.scaled(radius)),
            radius,
            angle: outwards.y.atan2(outwards.x),
            coverage: 0.0,
        }
    }

    /// Place and size, to three quarters of a pixel.
    fn cell(&self) -> [i64; 3] {
        [self.centre.x, self.centre.y, self.radius].map(|v| (v / 0.75).round() as i64)
    }

    /// Corner `k`, counted around the polygon.
    pub(super) fn corner(&self, k: u32) -> Vec2 {
        let angle = self.angle + TAU * f64::from(k) / f64::from(self.sides);
        self.centre
            .plus(Vec2::from_angle(angle).scaled(self.radius))
    }

    fn same(&self, other: &Self, stroke: f64) -> bool {
        let slack = (0.05 * self.radius).max(2.0);
        self.centre.distance(other.centre) < slack + stroke / 2.0
            && (self.radius - other.radius).abs() < slack + stroke
    }

    /// Distance of a point from the outline.
    fn distance(&self, point: Vec2) -> f64 {
        (0..self.sides)
            .map(|k| {
                let (from, to) = (self.corner(k), self.corner(k + 1));
                let along = to.minus(from);
                let t = (point.minus(from).dot(along) / along.dot(along)).clamp(0.0, 1.0);
                point.distance(from.plus(along.scaled(t)))
            })
            .fold(f64::INFINITY, f64::min)
    }

    /// The longest run of outline without ink, in pixels.
    fn longest_break(&self, ink: &Ink) -> f64 {
        let (mut longest, mut current) = (0, 0);
        let mut count = 0;
        for point in self.outline() {
            current = if self.inked(ink, point) {
                0
            } else {
                current + 1
            };
            longest = longest.max(current);
            count += 1;
        }
        let side = 2.0 * self.radius * (PI / f64::from(self.sides)).sin();
        f64::from(longest) * side * f64::from(self.sides) / f64::from(count.max(1))
    }

    /// Points along the outline, about a pixel apart.
    fn outline(&self) -> impl Iterator<Item = Vec2> + '_ {
        self.samples(200.0)
    }

    /// Points along the outline, at least a pixel apart and at most this many a side.
    fn samples(&self, most: f64) -> impl Iterator<Item = Vec2> + '_ {
        (0..self.sides).flat_map(move |k| {
            let (from, to) = (self.corner(k), self.corner(k + 1));
            let steps = from.distance(to).ceil().clamp(6.0, most);
            (0..steps as usize)
                .map(move |s| from.plus(to.minus(from).scaled((s as f64 + 0.5) / steps)))
        })
    }

    /// Is there ink at this point of the outline, or within half a pixel of it.
    fn inked(&self, ink: &Ink, point: Vec2) -> bool {
        let outwards = point.minus(self.centre);
        let outwards = outwards.scaled(0.5 / outwards.norm().max(1e-9));
        ink.is_ink(point) || ink.is_ink(point.plus(outwards)) || ink.is_ink(point.minus(outwards))
    }

    /// Share of the outline on ink, from at most this many samples a side.
    fn coverage(&self, ink: &Ink, most: f64) -> f64 {
        let (mut hit, mut count) = (0, 0);
        for point in self.samples(most) {
            count += 1;
            hit += u32::from(self.inked(ink, point));
        }
        f64::from(hit) / f64::from(count.max(1))
    }

    /// Mean strength of the ink along the outline, which steers the fit.
    fn strength(&self, ink: &Ink) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for point in self.samples(30.0) {
            count += 1.0;
            sum += ink.magnitude_at(point);
        }
        sum / f64::max(count, 1.0)
    }
}

/// Small changes of one or two of a polygon's four parameters.
fn moves() -> impl Iterator<Item = [f64; 4]> {
    let unit = |k: usize, sign: f64| {
        let mut change = [0.0; 4];
        change[k] = sign;
        change
    };
    let signs = [1.0, -1.0];
    let single = (0..4).flat_map(move |k| signs.map(|s| unit(k, s)));
    let double = (0..4).flat_map(move |i| {
        (0..i).flat_map(move |j| {
            signs.into_iter().flat_map(move |s| {
                signs.map(|t| std::array::from_fn(|c| unit(i, s)[c] + unit(j, t)[c]))
            })
        })
    });
    single.chain(double)
}

/// Moves the proposal to where the ink under its outline is strongest; keeps it if all of the
/// outline is inked there.
fn settle(ink: &Ink, proposal: Polygon) -> Option<Polygon> {
    if proposal.coverage(ink, 7.0) < 0.65 || proposal.coverage(ink, 40.0) < 0.7 {
        return None;
    }
    let mut best = proposal.strength(ink);
    let mut polygon = proposal;
    let mut step = (ink.stroke / 2.0).clamp(1.0, 3.0);
    while step > 0.2 {
        let mut improved = false;
        for [dx, dy, dr, da] in moves() {
            let moved = Polygon {
                centre: polygon.centre.plus(Vec2::new(dx, dy).scaled(step)),
                radius: polygon.radius + dr * step,
                angle: polygon.angle + da * step / polygon.radius,
                ..polygon
            };
            let strength = moved.strength(ink);
            if strength > best {
                (polygon, best, improved) = (moved, strength, true);
            }
        }
        if !improved {
            step /= 2.0;
        }
    }
    polygon.coverage = polygon.coverage(ink, 200.0);
    let whole = polygon.coverage >= LEAST_COVERAGE
        && polygon.longest_break(ink) <= 2.0 + LONGEST_BREAK * ink.stroke;
    whole.then_some(polygon)
}

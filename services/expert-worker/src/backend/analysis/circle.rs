//! Finds circles, outlined or filled, also where they overlap, and measures how two of them meet.
//!
//! Arcs of the ink's contours propose circles; a proposal counts only when ink ends all along its
//! circumference (or runs on there, where another shape covers it). Accepted circles are fitted
//! anew to edge positions that are interpolated between pixels.

use std::collections::HashSet;
use std::f64::consts::TAU;

use image::RgbImage;
use imageproc::contours::find_contours;

use super::geometry::{Circle, Vec2, quantile};
use super::ink::Ink;
use super::{AnalysisError, Contact, Finding};

/// Share of the circumference along which ink must visibly end.
const LEAST_SUPPORT: f64 = 0.4;
/// Share of the circumference that may contradict the circle.
const MOST_CONTRADICTION: f64 = 0.06;
/// An outline must have this share of its length to itself.
const LEAST_OWN: f64 = 0.12;
/// Smallest circle looked for, in pixels.
const LEAST_RADIUS: f64 = 4.0;
/// More contours than this are text or texture, not a drawing.
const MOST_CONTOURS: usize = 300;
/// Proposals tried before giving up on a picture that is not made of circles.
const MOST_PROPOSALS: usize = 6000;
/// Gaps within this many pixels of zero count as exact contact: rasterisation hides less.
const CONTACT_TOLERANCE: f64 = 0.35;

/// A circle found in a picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// The outer edge of its ink.
    pub(super) outer: Circle,
    /// Width of its outline; `None` when it is filled.
    pub(super) outline: Option<f64>,
    /// Share of the circumference along which ink visibly ends.
    pub(super) support: f64,
    /// Root mean square distance of its edge from a true circle, in pixels.
    pub(super) residual: f64,
}

/// Counts circles, outlined or filled; they may overlap.
///
/// # Errors
/// [`AnalysisError::TooSmall`], [`AnalysisError::Blank`], or [`AnalysisError::NotFound`] when
/// there is no circle.
pub fn count_circles(image: &RgbImage) -> Result<Finding<u32>, AnalysisError> {
    let ink = Ink::new(image)?;
    count(&ink, &circles(&ink))
}

/// Measures the contact of the two circles of a picture, to a fraction of a pixel.
///
/// # Errors
/// [`AnalysisError::TooSmall`], [`AnalysisError::Blank`], or [`AnalysisError::NotFound`] when
/// there are fewer than two circles.
pub fn circle_contact(image: &RgbImage) -> Result<Finding<Contact>, AnalysisError> {
    let ink = Ink::new(image)?;
    contact(&ink, &circles(&ink))
}

/// The number of circles as a finding.
pub(super) fn count(ink: &Ink, circles: &[Round]) -> Result<Finding<u32>, AnalysisError> {
    if circles.is_empty() {
        return Err(AnalysisError::NotFound("a circle"));
    }
    let explained = explained(ink, circles);
    let weakest = circles.iter().map(|c| c.support).fold(1.0, f64::min);
    let confidence = 0.98 * (explained / 0.97).min(1.0).powi(4) * (weakest / 0.55).min(1.0);
    let mut radii: Vec<f64> = circles.iter().map(|c| c.outer.radius).collect();
    let evidence = format!(
        "{} circles of median radius {:.0} px, which cover {:.0} % of the ink",
        circles.len(),
        quantile(&mut radii, 0.5) * ink.scale,
        100.0 * explained
    );
    Ok(Finding {
        value: circles.len() as u32,
        confidence: confidence as f32,
        evidence,
    })
}

/// How the two largest circles meet.
pub(super) fn contact(ink: &Ink, circles: &[Round]) -> Result<Finding<Contact>, AnalysisError> {
    let mut largest = circles.to_vec();
    largest.sort_by(|a, b| b.outer.radius.total_cmp(&a.outer.radius));
    let [a, b, rest @ ..] = largest.as_slice() else {
        return Err(AnalysisError::NotFound("two circles"));
    };
    let between = a.outer.centre.distance(b.outer.centre);
    let outer = between - a.outer.radius - b.outer.radius;
    // An outline has a width: its ink touches before the drawn circles themselves cross.
    let widths = (a.outline.unwrap_or(0.0) + b.outline.unwrap_or(0.0)) / 2.0;
    let inner = outer + widths;
    let tolerance = CONTACT_TOLERANCE;
    let gap = if outer > 0.0 { outer } else { inner.min(0.0) };
    let touching = outer <= tolerance;
    let overlapping = inner < -tolerance;
    let margin = (outer - tolerance).abs().min((inner + tolerance).abs());
    let residual = a.residual.max(b.residual);
    let fit = (1.0 - residual / 1.5).clamp(0.0, 1.0);
    let clear = (margin / 0.5).min(1.0);
    let alone = if rest.is_empty() { 1.0 } else { 0.6 };
    let explained = (explained(ink, &[*a, *b]) / 0.97).min(1.0);
    let confidence = (0.99 * (0.5 + 0.5 * clear) * fit * alone * explained) as f32;
    let gap = (gap * ink.scale) as f32;
    let evidence = format!(
        "radii {:.1} and {:.1} px, centres {:.1} px apart: gap {gap:.2} px",
        a.outer.radius * ink.scale,
        b.outer.radius * ink.scale,
        between * ink.scale
    );
    Ok(Finding {
        value: Contact {
            touching,
            overlapping,
            gap,
        },
        confidence,
        evidence,
    })
}

/// Share of the ink that lies on (or, if filled, in) the circles.
pub(super) fn explained(ink: &Ink, circles: &[Round]) -> f64 {
    let mut covered = vec![false; ink.mask.len()];
    for round in circles {
        let Circle { centre, radius } = round.outer;
        let outside = radius + 1.5;
        let inside = round.outline.map_or(0.0, |w| (radius - w - 1.5).max(0.0));
        let rows = (centre.y - outside).max(0.0) as usize
            ..((centre.y + outside + 1.0).max(0.0) as usize).min(ink.height);
        for y in rows {
            let half = (outside.powi(2) - (y as f64 - centre.y).powi(2))
                .max(0.0)
                .sqrt();
            let from = (centre.x - half).max(0.0) as usize;
            let to = ((centre.x + half + 1.0).max(0.0) as usize).min(ink.width);
            for x in from..to {
                if Vec2::new(x as f64, y as f64).distance(centre) >= inside {
                    covered[y * ink.width + x] = true;
                }
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

/// All circles of the picture.
pub(super) fn circles(ink: &Ink) -> Vec<Round> {
    let mut found: Vec<(Judgement, Circle)> = Vec::new();
    let mut tried: HashSet<[i64; 3]> = HashSet::new();
    for proposal in proposals_from_arcs(ink) {
        let Circle { centre, radius } = proposal;
        let cell = [centre.x, centre.y, radius].map(|v| (v / 0.75).round() as i64);
        // Arcs repeat each circle many times.
        let known = |c: &Circle| found.iter().any(|(_, k)| same(k, c, ink.stroke));
        if !tried.insert(cell) || known(&proposal) {
            continue;
        }
        if tried.len() > MOST_PROPOSALS {
            break;
        }
        if let Some(settled) = settle(ink, proposal).filter(|(_, c)| !known(c)) {
            found.push(settled);
        }
    }
    let measured = found
        .into_iter()
        .map(|(judged, circle)| measure(ink, judged, circle));
    without_composites(measured.collect())
}

/// Drops outlines that are made up of pieces of others, as where thick rings cross; weakest first.
fn without_composites(mut found: Vec<Round>) -> Vec<Round> {
    found.sort_by(|a, b| a.support.total_cmp(&b.support));
    let mut k = 0;
    while k < found.len() {
        let others = || {
            found
                .iter()
                .enumerate()
                .filter(|(j, _)| *j != k)
                .map(|(_, r)| r)
        };
        if found[k].own_share(others) < LEAST_OWN {
            found.remove(k);
        } else {
            k += 1;
        }
    }
    found
}

impl Round {
    /// Share of the outline (of a filled circle: of its rim) that lies on none of the others.
    fn own_share<'a, I: Iterator<Item = &'a Self>>(&self, others: impl Fn() -> I) -> f64 {
        let width = self.outline.unwrap_or(2.0);
        let (mut own, mut count) = (0, 0);
        for ray in rays(&self.outer) {
            let point = self
                .outer
                .centre
                .plus(ray.scaled(self.outer.radius - width / 2.0));
            let covered = others().any(|other| {
                let depth = -other.outer.distance(point);
                depth > -1.0 && depth < other.outline.unwrap_or(f64::INFINITY) + 1.0
            });
            count += 1;
            own += i32::from(!covered);
        }
        f64::from(own) / f64::from(count.max(1))
    }
}

/// Circles through windows of the contours, in several window lengths, shortest last.
fn proposals_from_arcs(ink: &Ink) -> Vec<Circle> {
    let largest = ink.width.max(ink.height) as f64;
    let mut found = Vec::new();
    let contours = find_contours::<i32>(&ink.mask_image());
    if contours.len() > MOST_CONTOURS {
        return found;
    }
    for contour in contours {
        let points: Vec<Vec2> = contour
            .points
            .iter()
            .map(|p| Vec2::new(f64::from(p.x) - 1.0, f64::from(p.y) - 1.0))
            .collect();
        let mut length = points.len();
        while length >= 12 {
            let stride = (length / 4).max(1);
            for start in (0..points.len()).step_by(stride) {
                let window: Vec<Vec2> = (start..start + length)
                    .map(|k| points[k % points.len()])
                    .collect();
                let Some(circle) = Circle::fit(&window) else {
                    continue;
                };
                let bulge = (length as f64 / 2.0).powi(2) / (2.0 * circle.radius);
                let sane = circle.radius >= LEAST_RADIUS && circle.radius < largest && bulge > 2.5;
                if sane && circle.residual(&window) < 0.7 {
                    found.push(circle);
                }
            }
            length = length * 2 / 3;
        }
    }
    found
}

/// What the ink says along a circumference.
#[derive(Debug, Clone, Copy)]
struct Judgement {
    support: f64,
    contradiction: f64,
}

impl Judgement {
    fn accepted(self) -> bool {
        self.support >= LEAST_SUPPORT && self.contradiction <= MOST_CONTRADICTION
    }

    fn score(self) -> f64 {
        self.support - 2.0 * self.contradiction
    }
}

/// Compares both sides of the circumference: ink inside and none outside supports the circle,
/// ink on both sides is silent, anything else contradicts.
fn judge(ink: &Ink, circle: &Circle, most: usize) -> Judgement {
    let count = ((TAU * circle.radius) as usize).clamp(24, most);
    let (mut support, mut contradiction) = (0, 0);
    for k in 0..count {
        let ray = Vec2::from_angle(TAU * k as f64 / count as f64);
        let at = |r: f64| circle.centre.plus(ray.scaled(circle.radius + r));
        let inside = [-0.5, -1.0, -1.5].iter().any(|r| ink.is_ink(at(*r)));
        let outside = [1.0, 1.5, 2.0].iter().all(|r| ink.is_ink(at(*r)));
        let beyond = [1.5, 2.0].iter().any(|r| !ink.is_ink(at(*r)));
        match (inside, outside, beyond) {
            (true, _, true) => support += 1,
            (true, true, false) | (true, false, false) => {}
            (false, ..) => contradiction += 1,
        }
    }
    let share = |n: i32| f64::from(n) / count as f64;
    Judgement {
        support: share(support),
        contradiction: share(contradiction),
    }
}

/// Moves a proposal to the nearest outer edge of ink and keeps it if it holds there.
fn settle(ink: &Ink, proposal: Circle) -> Option<(Judgement, Circle)> {
    if [-1.0, -0.5, 0.0, 0.5, 1.0].iter().all(|k| {
        let radius = proposal.radius + k * (ink.stroke + 1.0).min(proposal.radius / 2.0);
        judge(ink, &Circle { radius, ..proposal }, 24).contradiction > 0.75
    }) {
        return None;
    }
    let reach = (ink.stroke + 1.5).min(proposal.radius / 2.0);
    let mut circle = (-4..=4)
        .map(|k| Circle {
            radius: proposal.radius + reach * f64::from(k) / 4.0,
            ..proposal
        })
        .max_by(|a, b| {
            judge(ink, a, 60)
                .score()
                .total_cmp(&judge(ink, b, 60).score())
        })?;
    if judge(ink, &circle, 240).contradiction > 0.6 {
        return None;
    }
    for window in [3.0, 2.0, 1.5, 1.5] {
        let edge = mask_edge(ink, &circle, window);
        if edge.len() < 12 {
            return None;
        }
        circle = trimmed_fit(&edge)?;
        if circle.radius < LEAST_RADIUS {
            return None;
        }
    }
    let judged = judge(ink, &circle, 240);
    judged.accepted().then_some((judged, circle))
}

/// Where ink ends outwards near the circumference, to half a pixel.
fn mask_edge(ink: &Ink, circle: &Circle, window: f64) -> Vec<Vec2> {
    rays(circle)
        .filter_map(|ray| {
            let at = |r: f64| circle.centre.plus(ray.scaled(circle.radius + r));
            let steps = (2.0 * window / 0.25) as i32;
            let mut inked = false;
            for k in 0..=steps {
                let r = -window + 0.25 * f64::from(k);
                let here = ink.is_ink(at(r));
                if inked && !here {
                    return (!ink.is_ink(at(r + 1.0))).then(|| at(r - 0.125));
                }
                inked = here;
            }
            None
        })
        .collect()
}

fn rays(circle: &Circle) -> impl Iterator<Item = Vec2> + use<> {
    let count = ((TAU * circle.radius) as usize).clamp(48, 360);
    (0..count).map(move |k| Vec2::from_angle(TAU * k as f64 / count as f64))
}

/// A circle fitted twice, the second time without the points that the first one misses most.
fn trimmed_fit(points: &[Vec2]) -> Option<Circle> {
    let first = Circle::fit(points)?;
    let mut distances: Vec<f64> = points.iter().map(|p| first.distance(*p).abs()).collect();
    let limit = (2.5 * quantile(&mut distances, 0.5)).max(0.3);
    let kept: Vec<Vec2> = points
        .iter()
        .copied()
        .filter(|p| first.distance(*p).abs() <= limit)
        .collect();
    Circle::fit(&kept).or(Some(first))
}

/// Fits an accepted circle to sub-pixel edges, and finds out whether it is filled.
fn measure(ink: &Ink, judged: Judgement, rough: Circle) -> Round {
    let mut outer = rough;
    let mut residual = 1.0;
    for _ in 0..3 {
        let edge: Vec<Vec2> = rays(&outer)
            .filter_map(|ray| edge_along(ink, &outer, ray))
            .collect();
        if edge.len() < 16 {
            break;
        }
        let Some(circle) = trimmed_fit(&edge) else {
            break;
        };
        if (circle.radius - rough.radius).abs() > 1.5 || circle.centre.distance(rough.centre) > 1.5
        {
            break;
        }
        outer = circle;
        let mut distances: Vec<f64> = edge.iter().map(|p| outer.distance(*p).powi(2)).collect();
        let limit = quantile(&mut distances, 0.9);
        let kept: Vec<f64> = distances.into_iter().filter(|d| *d <= limit).collect();
        residual = (kept.iter().sum::<f64>() / kept.len().max(1) as f64).sqrt();
    }
    Round {
        outer,
        outline: outline_width(ink, &outer),
        support: judged.support,
        residual,
    }
}

/// The radius on this ray at which the ink has faded to half of its strength inside, by linear
/// interpolation; `None` where the outside is not clear.
fn edge_along(ink: &Ink, circle: &Circle, ray: Vec2) -> Option<Vec2> {
    const STEP: f64 = 0.25;
    let at = |r: f64| circle.centre.plus(ray.scaled(circle.radius + r));
    let value = |r: f64| ink.magnitude_at(at(r));
    let full = (1..=10)
        .map(|k| value(-STEP * f64::from(k)))
        .fold(0.0, f64::max);
    let clear = [2.0, 2.5, 3.0].iter().all(|r| value(*r) < 0.15 * full);
    if !clear {
        return None;
    }
    let mut r = 2.0;
    let mut beyond = value(r);
    while r > -2.5 {
        let here = value(r - STEP);
        if here >= full / 2.0 {
            let share = (full / 2.0 - beyond) / (here - beyond).max(1e-6);
            return Some(at(r - STEP * share.clamp(0.0, 1.0)));
        }
        r -= STEP;
        beyond = here;
    }
    None
}

/// Median thickness of the ink inwards from the circumference; `None` if it fills the circle.
fn outline_width(ink: &Ink, circle: &Circle) -> Option<f64> {
    let mut widths: Vec<f64> = rays(circle)
        .map(|ray| {
            let thickness = (0..)
                .map(|k| 0.5 * f64::from(k))
                .take_while(|r| {
                    *r < circle.radius
                        && ink.is_ink(circle.centre.plus(ray.scaled(circle.radius - 0.5 - r)))
                })
                .count();
            0.5 * thickness as f64
        })
        .collect();
    let width = quantile(&mut widths, 0.5);
    (width < 0.6 * circle.radius).then_some(width)
}

/// Are the two one circle, or the two edges of one outline.
fn same(a: &Circle, b: &Circle, stroke: f64) -> bool {
    let slack = (0.04 * a.radius).max(2.0);
    let outline = if stroke < 0.5 * a.radius { stroke } else { 0.0 };
    a.centre.distance(b.centre) < slack && (a.radius - b.radius).abs() < slack + outline
}

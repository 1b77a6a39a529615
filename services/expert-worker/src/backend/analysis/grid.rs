//! Counts the rows and columns of a ruled grid or table.
//!
//! Ruling lines are long unbroken runs of ink; text never is. A table without an outer border is
//! told by its lines' overhang beyond the outermost crossing lines.

use image::RgbImage;

use super::geometry::{Vec2, quantile};
use super::ink::Ink;
use super::strokes::straight_strokes;
use super::{AnalysisError, Finding};

/// A run of ink counts as ruling from this share of the drawing's extent on.
const LEAST_RUN: f64 = 0.3;
/// A row of pixels belongs to a line when runs cover this share of what the fullest row has.
const LEAST_COVER: f64 = 0.6;
/// Lighter rules than the text beside them are looked for down to this colour distance.
const FAINT: f32 = 30.0;
/// Lines thicker than this share of their spacing are shapes.
const MOST_SOLID: f64 = 0.4;
/// Below this confidence the picture is searched for a tilt.
const UPRIGHT_ENOUGH: f64 = 0.8;

/// Rows and columns of cells.
pub type Cells = (u32, u32);

/// Counts the rows and columns of cells of a ruled grid; cells may hold text, the outer border
/// may be missing, and the grid may be slightly tilted.
///
/// # Errors
/// [`AnalysisError::TooSmall`], [`AnalysisError::Blank`], or [`AnalysisError::NotFound`] when
/// there are no crossing ruling lines.
pub fn grid_size(image: &RgbImage) -> Result<Finding<Cells>, AnalysisError> {
    let ink = Ink::new(image)?;
    measure(&ink)
}

/// The grid of a picture as a finding.
pub(super) fn measure(ink: &Ink) -> Result<Finding<Cells>, AnalysisError> {
    let faint: Vec<bool> = ink.magnitude.iter().map(|m| *m > FAINT).collect();
    let upright = [&ink.mask, &faint]
        .into_iter()
        .filter_map(|mask| ruling(mask, ink.width))
        .max_by(|a, b| a.confidence().total_cmp(&b.confidence()));
    let best = match upright {
        Some(grid) if grid.confidence() >= UPRIGHT_ENOUGH => Some(grid),
        other => straightened(ink)
            .and_then(|(mask, width)| ruling(&mask, width))
            .into_iter()
            .chain(other)
            .max_by(|a, b| a.confidence().total_cmp(&b.confidence())),
    };
    let grid = best.ok_or(AnalysisError::NotFound("crossing ruling lines"))?;
    let evidence = format!(
        "{} horizontal and {} vertical lines bound {} rows and {} columns",
        grid.horizontal.len(),
        grid.vertical.len(),
        grid.rows(),
        grid.columns()
    );
    Ok(Finding {
        value: (grid.rows(), grid.columns()),
        confidence: grid.confidence() as f32,
        evidence,
    })
}

/// A ruling line: its pixel rows (or columns), and from where to where it runs.
#[derive(Debug, Clone, Copy)]
struct Rule {
    first: usize,
    last: usize,
    from: usize,
    to: usize,
    /// Most pixels of it that are inked in one row.
    inked: usize,
    /// The same as a share of what the fullest line has.
    cover: f64,
}

impl Rule {
    fn middle(&self) -> f64 {
        (self.first + self.last) as f64 / 2.0
    }

    fn thickness(&self) -> f64 {
        (self.last - self.first + 1) as f64
    }
}

#[derive(Debug)]
struct Grid {
    horizontal: Vec<Rule>,
    vertical: Vec<Rule>,
    /// Share of the crossings of lines that are inked.
    crossings: f64,
}

impl Grid {
    fn rows(&self) -> u32 {
        cells(&self.horizontal, &self.vertical)
    }

    fn columns(&self) -> u32 {
        cells(&self.vertical, &self.horizontal)
    }

    fn confidence(&self) -> f64 {
        let weakest = spanning(&self.horizontal, &self.vertical)
            .min(spanning(&self.vertical, &self.horizontal));
        // One cell alone may be any rectangle, and one lone line across others is rarely a table.
        let shape = match (
            self.rows() * self.columns(),
            self.horizontal.len(),
            self.vertical.len(),
        ) {
            (0 | 1, ..) => 0.4,
            (_, 1, _) | (_, _, 1) => 0.8,
            _ => 1.0,
        };
        // Lines are thin beside the cells between them; rows of filled shapes are not.
        let solid = solidity(&self.horizontal).max(solidity(&self.vertical));
        let ruled = if solid > MOST_SOLID { 0.6 } else { 1.0 };
        // Lines of a grid keep their distance; nested or scattered rectangles do not.
        let even = evenness(&self.horizontal).min(evenness(&self.vertical));
        0.99 * shape * ruled * weakest * self.crossings.powi(2) * (0.6 + 0.4 * even)
    }
}

/// Cells along one axis: gaps between the lines, and open cells beyond the outermost ones.
fn cells(lines: &[Rule], crossing: &[Rule]) -> u32 {
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
        return 0;
    };
    let mut thickness: Vec<f64> = lines.iter().map(Rule::thickness).collect();
    let thickness = quantile(&mut thickness, 0.5);
    let mut spacing: Vec<f64> = lines
        .windows(2)
        .map(|w| w[1].middle() - w[0].middle())
        .collect();
    let spacing = if spacing.is_empty() {
        6.0 * thickness
    } else {
        quantile(&mut spacing, 0.5)
    };
    let open = (0.25 * spacing).max(1.5 * thickness).max(3.0);
    let mut starts: Vec<f64> = crossing.iter().map(|r| r.from as f64).collect();
    let mut ends: Vec<f64> = crossing.iter().map(|r| r.to as f64).collect();
    let before = first.first as f64 - quantile(&mut starts, 0.5) > open;
    let after = quantile(&mut ends, 0.5) - last.last as f64 > open;
    (lines.len() as u32 - 1) + u32::from(before) + u32::from(after)
}

/// How far the weakest of the lines is inked between the outermost lines that cross it.
fn spanning(lines: &[Rule], crossing: &[Rule]) -> f64 {
    let width = crossing
        .first()
        .zip(crossing.last())
        .map_or(0, |(a, b)| b.last - a.first + 1);
    lines
        .iter()
        .map(|r| (r.inked as f64 / width.max(1) as f64).min(1.0).min(r.cover))
        .fold(1.0, f64::min)
}

/// Thickness of the lines as a share of their spacing.
fn solidity(lines: &[Rule]) -> f64 {
    let thickest = lines.iter().map(Rule::thickness).fold(0.0, f64::max);
    let extent = lines
        .first()
        .zip(lines.last())
        .map_or(0, |(a, b)| b.last - a.first + 1);
    match lines.len() {
        0 | 1 => 0.0,
        n => thickest * (n - 1) as f64 / extent as f64,
    }
}

/// 1 for equal spacing, towards 0 as some gaps are many times others.
fn evenness(lines: &[Rule]) -> f64 {
    let gaps: Vec<f64> = lines
        .windows(2)
        .map(|w| w[1].middle() - w[0].middle())
        .collect();
    let smallest = gaps.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = gaps.iter().copied().fold(0.0, f64::max);
    if gaps.len() < 2 {
        1.0
    } else {
        (3.0 * smallest / largest).min(1.0)
    }
}

fn ruling(mask: &[bool], width: usize) -> Option<Grid> {
    let height = mask.len() / width.max(1);
    let transposed: Vec<bool> = (0..mask.len())
        .map(|i| mask[(i % height) * width + i / height])
        .collect();
    let horizontal = rules(mask, width);
    let vertical = rules(&transposed, height);
    let enough = horizontal.len() + vertical.len() >= 3;
    if horizontal.is_empty() || vertical.is_empty() || !enough {
        return None;
    }
    let mut inked = 0;
    for h in &horizontal {
        for v in &vertical {
            let hit = (h.first..=h.last).any(|y| (v.first..=v.last).any(|x| mask[y * width + x]));
            inked += usize::from(hit);
        }
    }
    let crossings = inked as f64 / (horizontal.len() * vertical.len()) as f64;
    Some(Grid {
        horizontal,
        vertical,
        crossings,
    })
}

/// The horizontal ruling lines of a mask, from top to bottom.
fn rules(mask: &[bool], width: usize) -> Vec<Rule> {
    let inked = mask
        .iter()
        .enumerate()
        .filter(|(_, m)| **m)
        .map(|(i, _)| i % width);
    let (left, right) = inked.fold((width, 0), |(l, r), x| (l.min(x), r.max(x)));
    if right <= left {
        return Vec::new();
    }
    let least = (LEAST_RUN * (right - left) as f64).max(8.0) as usize;
    let covers: Vec<Cover> = mask.chunks(width).map(|row| cover(row, least)).collect();
    let fullest = covers.iter().map(|c| c.inked).max().unwrap_or(0);
    if fullest < least {
        return Vec::new();
    }
    let full = |c: &Cover| c.inked as f64 >= LEAST_COVER * fullest as f64;

    let mut found: Vec<Rule> = Vec::new();
    for (y, c) in covers.iter().enumerate().filter(|(_, c)| full(c)) {
        let share = c.inked as f64 / fullest as f64;
        match found.last_mut() {
            Some(rule) if y <= rule.last + 2 => {
                rule.last = y;
                rule.from = rule.from.min(c.from);
                rule.to = rule.to.max(c.to);
                rule.cover = rule.cover.max(share);
                rule.inked = rule.inked.max(c.inked);
            }
            _ => found.push(Rule {
                first: y,
                last: y,
                from: c.from,
                to: c.to,
                inked: c.inked,
                cover: share,
            }),
        }
    }
    split_filled(found)
}

/// A filled header row is much thicker than a line: its two edges are the lines, though it may
/// also be no ruling at all, which halves its cover.
fn split_filled(rules: Vec<Rule>) -> Vec<Rule> {
    let mut thickness: Vec<f64> = rules.iter().map(Rule::thickness).collect();
    let typical = quantile(&mut thickness, 0.5);
    rules
        .into_iter()
        .flat_map(|r| {
            let filled = r.thickness() > (5.0 * typical).max(10.0);
            let edge = |y: usize| Rule {
                first: y,
                last: y,
                cover: r.cover / 2.0,
                ..r
            };
            let edges = [edge(r.first), edge(r.last)];
            let whole = [r];
            if filled {
                edges.to_vec()
            } else {
                whole.to_vec()
            }
        })
        .collect()
}

/// The long runs of one pixel row.
#[derive(Debug, Clone, Copy)]
struct Cover {
    inked: usize,
    from: usize,
    to: usize,
}

fn cover(row: &[bool], least: usize) -> Cover {
    /// Breaks up to this length are compression noise.
    const BREAK: usize = 2;
    let mut cover = Cover {
        inked: 0,
        from: row.len(),
        to: 0,
    };
    let mut start: Option<usize> = None;
    let mut last = 0;
    for (x, inked) in row.iter().copied().chain([false; BREAK + 1]).enumerate() {
        if inked {
            start.get_or_insert(x);
            last = x;
        } else if let Some(from) = start.filter(|_| x > last + BREAK) {
            if last + 1 - from >= least {
                cover.inked += last + 1 - from;
                cover.from = cover.from.min(from);
                cover.to = cover.to.max(last);
            }
            start = None;
        }
    }
    cover
}

/// The picture turned upright by the tilt of its longest strokes, if they agree on one.
fn straightened(ink: &Ink) -> Option<(Vec<bool>, usize)> {
    let side = ink.width.min(ink.height) as f64;
    let strokes = straight_strokes(ink, &ink.mask, ink.stroke, side / 6.0);
    let quarter = std::f64::consts::FRAC_PI_2;
    let mut tilts: Vec<f64> = strokes
        .iter()
        .map(|s| {
            let angle = s
                .line
                .direction
                .y
                .atan2(s.line.direction.x)
                .rem_euclid(quarter);
            if angle > quarter / 2.0 {
                angle - quarter
            } else {
                angle
            }
        })
        .collect();
    if tilts.len() < 3 {
        return None;
    }
    let tilt = quantile(&mut tilts, 0.5);
    let agreeing = tilts.iter().filter(|t| (**t - tilt).abs() < 0.03).count();
    if agreeing * 3 < tilts.len() * 2 || tilt.abs() < 0.002 {
        return None;
    }
    let centre = Vec2::new(ink.width as f64 / 2.0, ink.height as f64 / 2.0);
    let diagonal = (ink.width as f64).hypot(ink.height as f64).ceil();
    let target = Vec2::new(diagonal / 2.0, diagonal / 2.0);
    let size = diagonal as usize;
    let mask = (0..size * size)
        .map(|i| {
            let point = Vec2::new((i % size) as f64, (i / size) as f64);
            ink.is_ink(point.minus(target).turned(tilt).plus(centre))
        })
        .collect();
    Some((mask, size))
}

//! Finds the character of a line of writing that a mark of another colour encloses.
//!
//! The mark is an ink whose pixels lie on an ellipse or an upright rectangle. It may hide parts of
//! the letters beside the marked one, so the writing is taken apart at the mark: what is in its
//! middle is the marked character, what lies outside of it are the others, piece by piece. Which
//! letter it is, a reader of text says.

use image::RgbImage;

use super::bounds::Bounds;
use super::geometry::{Vec2, quantile};
use super::ink::{Ink, groups, stroke_width};
use super::palette::Palette;
use super::{AnalysisError, Finding, hex};

/// An ink makes up at least this share of the picture's.
const LEAST_INK: f32 = 0.004;
/// At least this share of a mark's pixels lies on its outline.
const ON_OUTLINE: f64 = 0.85;
/// A mark's outline is drawn in at least this share of the directions from its centre.
const CLOSED: f64 = 0.8;
/// Pieces of writing from which on a line is a word.
const LEAST_LETTERS: usize = 3;
/// Directions in which a mark is looked for.
const DIRECTIONS: usize = 48;
/// Writing is ink of at least this share of its own full strength.
const FULL: f32 = 0.45;
/// Pieces that share this part of the narrower one's columns are one letter: a dot, an accent.
const STACKED: f64 = 0.5;

/// A marked character in a line of writing. Positions are pixels of the given picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Highlight {
    /// The box around the mark.
    pub mark: Bounds,
    /// The mark's colour.
    pub colour: [u8; 3],
    /// The box around the line of writing.
    pub line: Bounds,
    /// The box around each piece of writing in the line, left to right. Letters that touch are one
    /// piece.
    pub characters: Vec<Bounds>,
    /// Which of them is marked.
    pub index: usize,
}

impl Highlight {
    /// Whether the line looks like a word: several pieces of about the mark's height. A figure
    /// inside another figure is not.
    pub(super) fn is_word(&self) -> bool {
        let high = self.mark.height();
        let alike = |c: &&Bounds| (0.2..1.2).contains(&(c.height() / high));
        let letters = self.characters.iter().filter(alike).count();
        self.characters.len() >= LEAST_LETTERS && letters * 5 >= self.characters.len() * 4
    }
}

/// Finds the mark and the character inside it.
///
/// # Errors
/// [`AnalysisError::TooSmall`], [`AnalysisError::Blank`], or [`AnalysisError::NotFound`] when there
/// is no closed outline of a colour of its own, or no writing in it.
pub fn highlighted_character(image: &RgbImage) -> Result<Finding<Highlight>, AnalysisError> {
    measure(&Ink::new(image)?)
}

/// As [`highlighted_character`].
pub(super) fn measure(ink: &Ink) -> Result<Finding<Highlight>, AnalysisError> {
    let palette = Palette::new(ink, &ink.mask, LEAST_INK);
    let mark = (0..palette.colours.len())
        .filter_map(|k| Mark::of(ink, palette.layer(k), palette.colours[k]))
        .max_by(|a, b| a.fit.total_cmp(&b.fit))
        .ok_or(AnalysisError::NotFound("a mark of a colour of its own"))?;
    let line = Line::of(ink, &mark).ok_or(AnalysisError::NotFound("writing inside the mark"))?;
    let centre = mark.bounds.centre();
    let index = line
        .letters
        .partition_point(|l| l.centre().x < line.marked.centre().x);
    let mut letters = line.letters;
    letters.insert(index, line.marked);
    let whole = letters.iter().fold(line.marked, |all, l| all.joined(l));
    let off = (line.marked.centre().x - centre.x).abs() / mark.bounds.width();
    let value = Highlight {
        mark: mark.bounds.scaled(ink.scale),
        colour: mark.colour,
        line: whole.scaled(ink.scale),
        characters: letters.iter().map(|l| l.scaled(ink.scale)).collect(),
        index,
    };
    Ok(Finding {
        confidence: ((0.98 - off.min(0.5)) * mark.fit).clamp(0.05, 1.0) as f32,
        evidence: format!(
            "a mark in {} around character {} of {} at ({:.0}, {:.0})",
            hex(mark.colour),
            index + 1,
            letters.len(),
            centre.x * ink.scale,
            centre.y * ink.scale
        ),
        value,
    })
}

/// A closed outline.
struct Mark {
    own: Vec<bool>,
    bounds: Bounds,
    colour: [u8; 3],
    /// Whether it is an ellipse; else it is a rectangle.
    oval: bool,
    /// Share of its pixels on the outline.
    fit: f64,
}

impl Mark {
    /// The layer as a mark, if it is one.
    fn of(ink: &Ink, layer: Vec<bool>, colour: [u8; 3]) -> Option<Self> {
        // Blends at the edge of other ink may have got the mark's colour.
        let pieces = groups(&layer, ink.width, true);
        let total: usize = pieces.iter().map(Vec::len).sum();
        let mut own = vec![false; layer.len()];
        for i in pieces.iter().filter(|p| p.len() * 40 >= total).flatten() {
            own[*i] = true;
        }
        let pixels = || (0..own.len()).filter(|i| own[*i]).map(|i| ink.point(i));
        let bounds = Bounds::of(pixels());
        let width = stroke_width(&own, ink.width);
        if bounds.width().min(bounds.height()) < 2.0 * width + 2.0 {
            return None;
        }
        let (a, b) = (
            (bounds.width() - width) / 2.0,
            (bounds.height() - width) / 2.0,
        );
        let centre = bounds.centre().minus(Vec2::new(0.5, 0.5));
        let reach = 0.5 * width + 1.5;
        let oval = |p: Vec2| {
            let (x, y) = (p.x - centre.x, p.y - centre.y);
            let level = (x / a).powi(2) + (y / b).powi(2) - 1.0;
            level.abs() / (2.0 * (x / (a * a)).hypot(y / (b * b))).max(1e-9)
        };
        let frame = |p: Vec2| {
            let (x, y) = ((p.x - centre.x).abs(), (p.y - centre.y).abs());
            (a - x).abs().min((b - y).abs())
        };
        let count = pixels().count() as f64;
        let near = |distance: &dyn Fn(Vec2) -> f64| {
            pixels().filter(|p| distance(*p) <= reach).count() as f64 / count
        };
        let (on_oval, on_frame) = (near(&oval), near(&frame));
        let fit = on_oval.max(on_frame);
        let mut seen = [false; DIRECTIONS];
        for point in pixels() {
            let (x, y) = ((point.x - centre.x) / a, (point.y - centre.y) / b);
            let turn = y.atan2(x).rem_euclid(std::f64::consts::TAU) / std::f64::consts::TAU;
            seen[((turn * DIRECTIONS as f64) as usize).min(DIRECTIONS - 1)] = true;
        }
        let drawn = seen.iter().filter(|s| **s).count() as f64 / DIRECTIONS as f64;
        (fit >= ON_OUTLINE && drawn >= CLOSED).then_some(Self {
            own,
            bounds,
            colour,
            oval: on_oval >= on_frame,
            fit,
        })
    }

    /// Is the point within the mark's outline.
    fn encloses(&self, point: Vec2) -> bool {
        let centre = self.bounds.centre();
        let x = (point.x + 0.5 - centre.x).abs() / (self.bounds.width() / 2.0);
        let y = (point.y + 0.5 - centre.y).abs() / (self.bounds.height() / 2.0);
        if self.oval {
            x.hypot(y) < 1.0
        } else {
            x.max(y) < 1.0
        }
    }
}

/// The line of writing under a mark.
struct Line {
    /// What the mark encloses.
    marked: Bounds,
    /// The other pieces, left to right.
    letters: Vec<Bounds>,
}

impl Line {
    fn of(ink: &Ink, mark: &Mark) -> Option<Self> {
        let (inside, outside) = writing(ink, mark);
        let mut marked = middle_piece(&pieces(ink, mark, &inside), &mark.bounds)?;
        let core = Bounds {
            top: mark.bounds.top + 0.3 * mark.bounds.height(),
            bottom: mark.bounds.bottom - 0.3 * mark.bounds.height(),
            ..mark.bounds
        };
        let (mut letters, rest): (Vec<Piece>, Vec<Piece>) = pieces(ink, mark, &outside)
            .into_iter()
            .partition(|p| p.bounds.shared_rows(&core) > 0.0);
        // Dots, accents and punctuation of this line, not letters of the next.
        let band = letters.iter().fold(marked, |all, l| all.joined(&l.bounds));
        let margin = 0.15 * band.height();
        let on_line = |p: &Piece| {
            p.bounds.top >= band.top - margin && p.bounds.bottom <= band.bottom + margin
        };
        letters.extend(rest.into_iter().filter(on_line));
        // What sticks out of the mark above and below is of the marked character.
        letters.retain(|piece| {
            let own = piece.bounds.shared_columns(&marked) > 0.6 * piece.bounds.width();
            if own {
                marked = marked.joined(&piece.bounds);
            }
            !own
        });
        // The mark may cut the letter beside it in two.
        let (cut, whole): (Vec<Piece>, Vec<Piece>) = letters.into_iter().partition(|p| p.cut);
        let (before, after): (Vec<Piece>, Vec<Piece>) = cut
            .into_iter()
            .partition(|p| p.bounds.centre().x < marked.centre().x);
        let joined = |parts: Vec<Piece>| {
            let bounds = parts.into_iter().map(|p| p.bounds);
            bounds.reduce(|a, b| a.joined(&b))
        };
        let mut letters: Vec<Bounds> = whole.into_iter().map(|p| p.bounds).collect();
        letters.extend(joined(before));
        letters.extend(joined(after));
        Some(Self {
            marked,
            letters: stack(letters),
        })
    }
}

/// A connected piece of writing.
struct Piece {
    bounds: Bounds,
    area: usize,
    /// Whether it ends at the mark.
    cut: bool,
}

/// Writing inside and outside of the mark; what the mark covers is in neither.
fn writing(ink: &Ink, mark: &Mark) -> (Vec<bool>, Vec<bool>) {
    // The mark's soft edge is no writing either.
    let free: Vec<bool> = (0..ink.mask.len())
        .map(|i| ink.mask[i] && !ink.around(i, 1).any(|j| mark.own[j]))
        .collect();
    let mut strengths: Vec<f64> = (0..free.len())
        .filter(|i| free[*i])
        .map(|i| f64::from(ink.magnitude[i]))
        .collect();
    let full = FULL * quantile(&mut strengths, 0.9) as f32;
    let strong = |i: usize| free[i] && ink.magnitude[i] >= full;
    (0..free.len())
        .map(|i| (strong(i), mark.encloses(ink.point(i))))
        .map(|(strong, inside)| (strong && inside, strong && !inside))
        .unzip()
}

fn pieces(ink: &Ink, mark: &Mark, writing: &[bool]) -> Vec<Piece> {
    groups(writing, ink.width, true)
        .iter()
        .filter(|g| g.len() >= 3)
        .map(|g| Piece {
            bounds: Bounds::of(g.iter().map(|i| ink.point(*i))),
            area: g.len(),
            cut: g.iter().any(|i| ink.around(*i, 2).any(|j| mark.own[j])),
        })
        .collect()
}

/// The piece in the middle of the mark, with what stands above and below it.
fn middle_piece(pieces: &[Piece], mark: &Bounds) -> Option<Bounds> {
    let largest = pieces.iter().map(|p| p.area).max()?;
    let centre = mark.centre().x;
    // Parts of other letters reach in from the sides.
    let off = |b: &Bounds| {
        let beside = (b.left - centre).max(centre - b.right).max(0.0);
        (beside, (b.centre().x - centre).abs())
    };
    let first = pieces
        .iter()
        .filter(|piece| piece.area * 4 >= largest)
        .map(|piece| piece.bounds)
        .min_by(|a, b| {
            let (a, b) = (off(a), off(b));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        })?;
    let own = |b: &Bounds| b.shared_columns(&first) >= STACKED * b.width().min(first.width());
    let mine = pieces.iter().map(|p| p.bounds).filter(own);
    Some(mine.fold(first, |all, b| all.joined(&b)))
}

/// Joins dots and accents to their letters, and what the mark cut apart; left to right.
fn stack(mut pieces: Vec<Bounds>) -> Vec<Bounds> {
    pieces.sort_by(|a, b| a.left.total_cmp(&b.left));
    let mut joined: Vec<Bounds> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if stacked(last, &piece) => *last = last.joined(&piece),
            _ => joined.push(piece),
        }
    }
    joined
}

fn stacked(a: &Bounds, b: &Bounds) -> bool {
    let apart = a.shared_rows(b) <= 0.2 * a.height().min(b.height());
    a.shared_columns(b) >= if apart { STACKED } else { 0.8 } * a.width().min(b.width())
}

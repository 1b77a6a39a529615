//! Tells which kind of diagram a picture is from its pixels alone.

use image::RgbImage;

use super::geometry::quantile;
use super::ink::{Ink, groups};
use super::polygon::{self, outline_strokes, polygons};
use super::strokes::{Stroke, near};
use super::{AnalysisError, Finding, circle, grid, highlight, polyline, squares};

/// Colours (5 bits a channel) that cover most of a picture: drawings need fewer, photographs more.
const PHOTOGRAPH_COLOURS: usize = 48;
/// Separate pieces of ink from which on a picture is lettering rather than a drawing.
const LETTERING: usize = 9;
/// Pieces of ink from which on lettering fills a page.
const PAGE: usize = 120;
/// Strokes along the raster, in more than one colour, from which on a drawing is a map of routes.
const LEAST_ROUTED: usize = 8;
/// A kind of figure must account for this share of the ink.
const LEAST_EXPLAINED: f64 = 0.9;

/// A kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiagramKind {
    /// Two differently coloured paths of straight strokes.
    LinePaths,
    /// A ruled grid or table.
    Grid,
    /// Squares inside one another.
    NestedSquares,
    /// Exactly two circles.
    CirclePair,
    /// One circle, or more than two.
    Circles,
    /// Outlined pentagons.
    Pentagons,
    /// Many coloured routes along a raster, as on a map of underground lines.
    RouteMap,
    /// Writing of which a coloured outline encloses one character.
    MarkedText,
    /// A few words.
    Text,
    /// A page of text.
    Document,
    /// A photograph or another picture of many colours.
    Photograph,
    /// None of these.
    Other,
}

/// Decides which kind of diagram the picture is.
///
/// # Errors
/// [`AnalysisError::TooSmall`] or [`AnalysisError::Blank`].
pub fn classify(image: &RgbImage) -> Result<Finding<DiagramKind>, AnalysisError> {
    let ink = Ink::new(image)?;
    let colours = colours_needed(image, 0.9);
    if colours > PHOTOGRAPH_COLOURS || ink.background_share < 0.2 {
        let confidence = (colours as f32 / (3 * PHOTOGRAPH_COLOURS) as f32).clamp(0.5, 0.95);
        let evidence = format!("{colours} colours are needed to cover the picture");
        return Ok(Finding {
            value: DiagramKind::Photograph,
            confidence,
            evidence,
        });
    }
    if let Ok(found) = grid::measure(&ink)
        && found.confidence > 0.85
    {
        return Ok(found.of_kind(DiagramKind::Grid));
    }
    // Rings among rings look like a marked letter, too.
    if let Ok(found) = highlight::measure(&ink)
        && found.value.is_word()
        && figure(&ink).value == DiagramKind::Other
    {
        return Ok(found.of_kind(DiagramKind::MarkedText));
    }
    let pieces = groups(&ink.mask, ink.width, true);
    if let Some(found) = lettering(&ink, &pieces) {
        return Ok(found);
    }
    Ok(figure(&ink))
}

impl<T> Finding<T> {
    fn of_kind(self, kind: DiagramKind) -> Finding<DiagramKind> {
        Finding {
            value: kind,
            confidence: self.confidence,
            evidence: self.evidence,
        }
    }
}

/// How many colours cover this share of the pixels.
fn colours_needed(image: &RgbImage, share: f64) -> usize {
    let mut counts = vec![0u32; 1 << 15];
    for pixel in image.pixels() {
        let [r, g, b] = pixel.0.map(|c| usize::from(c >> 3));
        counts[(r << 10) | (g << 5) | b] += 1;
    }
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let wanted = share * f64::from(image.width()) * f64::from(image.height());
    let mut covered = 0.0;
    counts
        .iter()
        .take_while(|n| {
            let more = covered < wanted;
            covered += f64::from(**n);
            more
        })
        .count()
}

/// Text, if most pieces of ink are of letter size.
fn lettering(ink: &Ink, pieces: &[Vec<usize>]) -> Option<Finding<DiagramKind>> {
    let mut heights: Vec<f64> = pieces
        .iter()
        .map(|piece| {
            let rows = piece.iter().map(|i| i / ink.width);
            let (low, high) = rows.fold((usize::MAX, 0), |(l, h), y| (l.min(y), h.max(y)));
            (high - low + 1) as f64
        })
        .collect();
    let count = heights.len();
    let typical = quantile(&mut heights, 0.5);
    let small = typical < 0.12 * ink.height as f64;
    if count < LETTERING || !small {
        return None;
    }
    let value = if count >= PAGE {
        DiagramKind::Document
    } else {
        DiagramKind::Text
    };
    let doubt = (count as f32 / PAGE as f32).ln().abs();
    Some(Finding {
        value,
        confidence: (0.7 + 0.2 * doubt).min(0.95),
        evidence: format!("{count} pieces of ink, typically {typical:.0} px high"),
    })
}

/// The kind of figure that accounts for the ink.
fn figure(ink: &Ink) -> Finding<DiagramKind> {
    let rounds = circle::circles(ink);
    if circle::explained(ink, &rounds) >= LEAST_EXPLAINED {
        let kind = if rounds.len() == 2 {
            DiagramKind::CirclePair
        } else {
            DiagramKind::Circles
        };
        if let Ok(found) = circle::count(ink, &rounds) {
            return found.of_kind(kind);
        }
    }
    let strokes = outline_strokes(ink);
    let routed = routed(ink, &strokes);
    if strokes.len() >= LEAST_ROUTED && routed > 0.6 && polyline::two_inks(ink).is_some() {
        let evidence = format!(
            "{} strokes, {:.0} % on a raster",
            strokes.len(),
            100.0 * routed
        );
        let confidence = (0.95 * routed) as f32;
        return Finding {
            value: DiagramKind::RouteMap,
            confidence,
            evidence,
        };
    }
    let pentagons = polygons(ink, &strokes, 5);
    if polygon::explained(ink, &pentagons) >= LEAST_EXPLAINED
        && let Ok(found) = polygon::count(ink, &pentagons)
    {
        return found.of_kind(DiagramKind::Pentagons);
    }
    let quads = polygons(ink, &strokes, 4);
    if polygon::explained(ink, &quads) >= LEAST_EXPLAINED
        && let Ok(found) = squares::count(ink, &quads)
    {
        return found.of_kind(DiagramKind::NestedSquares);
    }
    if let Ok(paths) = polyline::two_paths(ink)
        && paths
            .iter()
            .all(|p| p.unexplained < 1.0 - LEAST_EXPLAINED && p.strokes.len() <= 8)
    {
        let mut found = polyline::crossings(ink, &paths).of_kind(DiagramKind::LinePaths);
        // How sure the kind is does not depend on how close a crossing is.
        found.confidence = (0.98 - paths[0].unexplained - paths[1].unexplained).max(0.0) as f32;
        return found;
    }
    let evidence = "no figure accounts for the ink".to_owned();
    Finding {
        value: DiagramKind::Other,
        confidence: 0.5,
        evidence,
    }
}

/// Share of the ink on strokes that run along the raster (multiples of 45 degrees).
fn routed(ink: &Ink, strokes: &[Stroke]) -> f64 {
    let mut covered = vec![false; ink.mask.len()];
    let eighth = std::f64::consts::FRAC_PI_4;
    for stroke in strokes {
        let d = stroke.line.direction;
        let turn = d.y.atan2(d.x).rem_euclid(eighth);
        if turn.min(eighth - turn) < 0.03 {
            for (i, _) in near(ink, &ink.mask, stroke, ink.stroke / 2.0 + 1.5) {
                covered[i] = true;
            }
        }
    }
    covered.iter().filter(|c| **c).count() as f64 / ink.area().max(1) as f64
}

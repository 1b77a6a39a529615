//! Counts squares drawn inside one another.

use image::RgbImage;
use imageproc::contours::{BorderType, find_contours};
use imageproc::geometry::{contour_area, min_area_rect};

use super::ink::Ink;
use super::polygon::{Polygon, explained, outline_strokes, polygons};
use super::{AnalysisError, Finding};

/// Longest side over shortest side up to which a rectangle counts as a square.
const MOST_ELONGATED: f64 = 1.12;

/// Counts outlined squares inside one another.
///
/// Two ways of counting must agree for a high confidence: closed square contours, and squares
/// fitted to straight strokes (which also tells squares whose outlines touch).
///
/// # Errors
/// [`AnalysisError::TooSmall`], [`AnalysisError::Blank`], or [`AnalysisError::NotFound`] when
/// there is no square.
pub fn nested_squares(image: &RgbImage) -> Result<Finding<u32>, AnalysisError> {
    let ink = Ink::new(image)?;
    count(&ink, &polygons(&ink, &outline_strokes(&ink), 4))
}

/// The number of squares as a finding, from fitted squares and the picture's contours.
pub(super) fn count(ink: &Ink, fitted: &[Polygon]) -> Result<Finding<u32>, AnalysisError> {
    let enclosed = enclosed_squares(ink);
    if fitted.is_empty() && enclosed == 0 {
        return Err(AnalysisError::NotFound("a square"));
    }
    let explained = if fitted.is_empty() {
        0.0
    } else {
        explained(ink, fitted)
    };
    // Touching outlines merge into one contour each; a fit that explains the ink knows better.
    let value = if explained > 0.9 {
        fitted.len()
    } else {
        enclosed.max(fitted.len())
    };
    let agree = if fitted.len() == enclosed { 1.0 } else { 0.7 };
    let confidence = (0.99 * agree * (0.4 + 0.6 * (explained / 0.97).min(1.0).powi(2))) as f32;
    let evidence = format!(
        "{} fitted squares cover {:.0} % of the ink; {enclosed} closed square outlines",
        fitted.len(),
        100.0 * explained
    );
    Ok(Finding {
        value: value as u32,
        confidence,
        evidence,
    })
}

/// Number of holes in the ink that are squares.
fn enclosed_squares(ink: &Ink) -> usize {
    find_contours::<i32>(&ink.mask_image())
        .iter()
        .filter(|c| c.border_type == BorderType::Outer && c.points.len() >= 16)
        .filter(|c| {
            let corners = min_area_rect(&c.points).map(|p| (f64::from(p.x), f64::from(p.y)));
            let side = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).hypot(a.1 - b.1) + 1.0;
            let (a, b) = (side(corners[0], corners[1]), side(corners[1], corners[2]));
            let filled = contour_area(&c.points) / ((a - 1.0) * (b - 1.0)).max(1.0);
            a.max(b) <= MOST_ELONGATED * a.min(b) && filled > 0.93
        })
        .filter(|c| {
            // An outline, not a filled shape: its middle is clear or holds another outline.
            let outline = c.points.len() as f64 * ink.stroke * 1.5;
            outline < contour_area(&c.points)
        })
        .count()
}

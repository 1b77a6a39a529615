//! Finds which stations of a route map are joined by lines of one colour.
//!
//! A line ends where its ink stops on open paper. Every such end has a colour and a station nearby;
//! two ends of a colour are the two ends of a route. How the line winds between them, under and
//! over others, does not matter then.

use image::{RgbImage, imageops};

use super::geometry::Vec2;
use super::ink::{Ink, groups, stroke_width};
use super::palette::Palette;
use super::{AnalysisError, Bounds, Finding, hex};

/// A piece of ink up to this share of the picture's shorter side is lettering, not a line.
const LETTER: f64 = 0.13;
/// Letters closer than this share of their height stand in one name.
const LETTER_GAP: f64 = 0.6;
/// An end is at most this share of the shorter side away from its station's name.
const FAR: f64 = 0.2;
/// An ink makes up at least this share of the lines.
const LEAST_INK: f32 = 0.012;
/// Lines are reduced to about this width in pixels.
const WORKING_STROKE: f64 = 4.0;
/// Places on the circle around a pixel where its surroundings are looked at.
const DIRECTIONS: usize = 72;
/// The ink leaves an end in one direction, seen under at most this angle, as a share of the circle.
const WIDEST: f64 = 0.42;

/// A route between two stations, by their place in the list of stations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its stations, lower place first.
    pub stations: [usize; 2],
    /// Its colour.
    pub colour: [u8; 3],
}

/// A map of coloured routes.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteMap {
    /// Where the name of each station stands, in reading order of the tops and left sides.
    pub stations: Vec<Bounds>,
    /// The routes, each once.
    pub routes: Vec<Route>,
}

/// A place where a line stops.
#[derive(Debug, Clone, Copy)]
struct End {
    at: Vec2,
    ink: usize,
    station: usize,
    /// Which connected piece of its ink it lies on.
    piece: usize,
}

/// Finds the stations and the single-coloured routes between them.
///
/// # Errors
/// [`AnalysisError::TooSmall`], [`AnalysisError::Blank`], or [`AnalysisError::NotFound`] when there
/// are no names of stations beside the ends of lines.
pub fn route_map(image: &RgbImage) -> Result<Finding<RouteMap>, AnalysisError> {
    let ink = Ink::new(image)?;
    let coarse = ink.stroke / WORKING_STROKE;
    if coarse <= 1.2 {
        return measure(&ink);
    }
    // Wide lines hold no more than narrow ones, and take long to follow.
    let side = |full: u32| ((f64::from(full) / (coarse * ink.scale)).round() as u32).max(1);
    let (width, height) = (side(image.width()), side(image.height()));
    let reduced = imageops::resize(image, width, height, imageops::FilterType::Triangle);
    let mut reduced = Ink::new(&reduced)?;
    reduced.scale *= f64::from(image.width()) / f64::from(width);
    measure(&reduced)
}

/// As [`route_map`].
pub(super) fn measure(ink: &Ink) -> Result<Finding<RouteMap>, AnalysisError> {
    let (lines, names) = lines_and_names(ink);
    if !lines.contains(&true) {
        return Err(AnalysisError::NotFound("lines between names"));
    }
    let palette = Palette::new(ink, &lines, LEAST_INK);
    let mut ends = Vec::new();
    let mut stray = 0;
    for (at, ink_number, pixel) in ends_of_lines(ink, &lines, &palette) {
        match nearest(&names, at, FAR * ink.width.min(ink.height) as f64) {
            Some(station) => ends.push((at, ink_number, pixel, station)),
            None => stray += 1,
        }
    }
    let mut used: Vec<usize> = ends.iter().map(|e| e.3).collect();
    used.sort_unstable();
    used.dedup();
    if used.len() < 2 {
        return Err(AnalysisError::NotFound("names beside the ends of lines"));
    }
    let pieces = pieces(ink, &palette);
    let ends: Vec<End> = ends
        .into_iter()
        .map(|(at, ink, pixel, station)| End {
            at,
            ink,
            piece: pieces[pixel],
            station: used.partition_point(|u| *u < station),
        })
        .collect();
    let stations = used.iter().map(|k| names[*k].scaled(ink.scale)).collect();
    Ok(finding(ink, &palette, stations, &ends, stray))
}

/// Splits the ink into lines and the bounds of names, which are sorted by top, then left.
fn lines_and_names(ink: &Ink) -> (Vec<bool>, Vec<Bounds>) {
    let letter = LETTER * ink.width.min(ink.height) as f64;
    let mut lines = vec![false; ink.mask.len()];
    let mut names: Vec<Bounds> = Vec::new();
    for piece in groups(&ink.mask, ink.width, true) {
        let bounds = Bounds::of(piece.iter().map(|i| ink.point(*i)));
        if bounds.width().max(bounds.height()) <= letter {
            names.push(bounds);
        } else {
            for i in piece {
                lines[i] = true;
            }
        }
    }
    // Letters of a name, and the dots of its letters, stand close to each other.
    while let Some((a, b)) = neighbours(&names) {
        let joined = names[a].joined(&names[b]);
        names.swap_remove(b);
        names[a] = joined;
    }
    names.retain(|n| n.height() >= 4.0);
    names.sort_by(|a, b| a.top.total_cmp(&b.top).then(a.left.total_cmp(&b.left)));
    (lines, names)
}

/// Two pieces of lettering that belong to one name.
fn neighbours(names: &[Bounds]) -> Option<(usize, usize)> {
    (0..names.len())
        .flat_map(|b| (0..b).map(move |a| (a, b)))
        .find(|(a, b)| {
            let (a, b) = (&names[*a], &names[*b]);
            a.gap(b) <= LETTER_GAP * a.height().max(b.height())
        })
}

/// The name nearest to a point, if it is near.
fn nearest(names: &[Bounds], at: Vec2, reach: f64) -> Option<usize> {
    let point = Bounds::of([at].into_iter());
    let distances = names.iter().map(|n| n.gap(&point));
    let (k, distance) = distances
        .enumerate()
        .min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (distance <= reach).then_some(k)
}

/// Where lines stop: place, ink, and a pixel of that ink.
fn ends_of_lines(ink: &Ink, lines: &[bool], palette: &Palette) -> Vec<(Vec2, usize, usize)> {
    let width = stroke_width(lines, ink.width);
    let radius = 1.8 * width + 2.0;
    let stops: Vec<bool> = (0..lines.len())
        .map(|i| lines[i] && is_stop(ink, lines, i, radius))
        .collect();
    let mut found = Vec::new();
    for group in groups(&stops, ink.width, true) {
        let sum = group
            .iter()
            .fold(Vec2::new(0.0, 0.0), |sum, i| sum.plus(ink.point(*i)));
        let at = sum.scaled(1.0 / group.len() as f64);
        let mut votes = vec![0usize; palette.colours.len()];
        for k in group.iter().filter_map(|i| palette.owner[*i]) {
            votes[usize::from(k)] += 1;
        }
        let Some(most) = votes.iter().copied().max().filter(|v| *v > 0) else {
            continue;
        };
        let ink_number = votes.iter().position(|v| *v == most).unwrap_or(0);
        let owned = |i: &&usize| palette.owner[**i].map(usize::from) == Some(ink_number);
        if let Some(pixel) = group.iter().find(owned) {
            found.push((at, ink_number, *pixel));
        }
    }
    found
}

/// Does the line's ink leave the surroundings of a pixel in one direction only.
fn is_stop(ink: &Ink, lines: &[bool], pixel: usize, radius: f64) -> bool {
    let centre = ink.point(pixel);
    // Another line that passes nearby is no part of this one: only what the pixel reaches counts.
    let mut on: Option<Vec<bool>> = None;
    let reached = |at: Vec2, on: &mut Option<Vec<bool>>| -> bool {
        let Some(i) = ink.index(at).filter(|i| lines[*i]) else {
            return false;
        };
        let side = 2 * radius.ceil() as usize + 3;
        let local = on.get_or_insert_with(|| flood(ink, lines, pixel, radius + 1.0));
        let half = (side / 2) as isize;
        let dx = (i % ink.width) as isize - (pixel % ink.width) as isize + half;
        let dy = (i / ink.width) as isize - (pixel / ink.width) as isize + half;
        let inside = dx >= 0 && dy >= 0 && dx < side as isize && dy < side as isize;
        inside && local[dy as usize * side + dx as usize]
    };
    let circle: Vec<bool> = (0..DIRECTIONS)
        .map(|k| {
            let turn = std::f64::consts::TAU * k as f64 / DIRECTIONS as f64;
            reached(centre.plus(Vec2::from_angle(turn).scaled(radius)), &mut on)
        })
        .collect();
    let inked = circle.iter().filter(|c| **c).count();
    let starts = (0..DIRECTIONS)
        .filter(|k| circle[*k] && !circle[(k + DIRECTIONS - 1) % DIRECTIONS])
        .count();
    starts == 1 && (inked as f64) < WIDEST * DIRECTIONS as f64
}

/// The ink within `radius` that is connected to the pixel, as a square window around it.
fn flood(ink: &Ink, lines: &[bool], pixel: usize, radius: f64) -> Vec<bool> {
    let half = radius.ceil() as isize;
    let side = 2 * half + 1;
    let mut seen = vec![false; (side * side) as usize];
    let (cx, cy) = ((pixel % ink.width) as isize, (pixel / ink.width) as isize);
    let mut next = vec![(0isize, 0isize)];
    seen[(half * side + half) as usize] = true;
    while let Some((dx, dy)) = next.pop() {
        for (nx, ny) in [(dx + 1, dy), (dx - 1, dy), (dx, dy + 1), (dx, dy - 1)] {
            let (x, y) = (cx + nx, cy + ny);
            let inside = x >= 0 && y >= 0 && x < ink.width as isize && y < ink.height as isize;
            if !inside || (nx as f64).hypot(ny as f64) > radius {
                continue;
            }
            let slot = ((ny + half) * side + nx + half) as usize;
            if !seen[slot] && lines[y as usize * ink.width + x as usize] {
                seen[slot] = true;
                next.push((nx, ny));
            }
        }
    }
    seen
}

/// Number of the connected piece of its own ink, per pixel.
fn pieces(ink: &Ink, palette: &Palette) -> Vec<usize> {
    let mut numbers = vec![usize::MAX; ink.mask.len()];
    let mut count = 0;
    for k in 0..palette.colours.len() {
        for group in groups(&palette.layer(k), ink.width, true) {
            for i in group {
                numbers[i] = count;
            }
            count += 1;
        }
    }
    numbers
}

/// Pairs the ends of each ink: first those on one piece, then those whose piece is cut by others.
fn pair(ends: &[End]) -> (Vec<(End, End)>, usize) {
    let mut open: Vec<End> = ends.to_vec();
    let mut pairs = Vec::new();
    for same in [
        (|a: &End, b: &End| a.piece == b.piece) as fn(&End, &End) -> bool,
        |a, b| a.ink == b.ink,
    ] {
        let mut left: Vec<End> = Vec::new();
        for end in open {
            match left.iter().position(|other| same(other, &end)) {
                Some(k) => pairs.push((left.swap_remove(k), end)),
                None => left.push(end),
            }
        }
        open = left;
    }
    (pairs, open.len())
}

fn finding(
    ink: &Ink,
    palette: &Palette,
    stations: Vec<Bounds>,
    ends: &[End],
    stray: usize,
) -> Finding<RouteMap> {
    let (pairs, unpaired) = pair(ends);
    let mut told = Vec::new();
    let mut routes: Vec<Route> = Vec::new();
    for (a, b) in pairs {
        let colour = palette.colours[a.ink];
        let mut stations = [a.station, b.station];
        stations.sort_unstable();
        let place = |p: Vec2| format!("({:.0}, {:.0})", p.x * ink.scale, p.y * ink.scale);
        told.push(format!(
            "{} from {} to {}",
            hex(colour),
            place(a.at),
            place(b.at)
        ));
        if stations[0] != stations[1] {
            routes.push(Route { stations, colour });
        }
    }
    // Several lines of one ink may have been paired crosswise.
    let mut inks: Vec<usize> = ends.iter().map(|e| e.ink).collect();
    inks.sort_unstable();
    let shared = inks.windows(3).filter(|w| w[0] == w[2]).count();
    let doubt = (unpaired + stray) as f32 * 0.15 + if shared > 0 { 0.3 } else { 0.0 };
    let value = RouteMap { stations, routes };
    Finding {
        value,
        confidence: (0.97 - doubt).clamp(0.1, 1.0),
        evidence: format!("{} lines: {}", told.len(), told.join("; ")),
    }
}

//! Diagrams with known answers, for the tests.

use std::f64::consts::{PI, TAU};

use image::{Rgb, RgbImage};

use super::geometry::Vec2;
use super::synthetic::{Canvas, Dice, Look};

/// A drawn picture and its answer.
pub(super) struct Scene<T> {
    pub(super) image: RgbImage,
    pub(super) truth: T,
}

/// Two bent paths; the truth is how often they cross. Near misses closer than a stroke are drawn
/// anew, as there the answer depends on what one calls a line.
pub(super) fn paths(look: &Look, dice: &mut Dice, corners: u32) -> Scene<u32> {
    let (w, h) = (f64::from(look.width), f64::from(look.height));
    loop {
        let mut path = || -> Vec<Vec2> {
            (0..corners + 2)
                .map(|k| {
                    let x = 0.04 + 0.92 * f64::from(k) / f64::from(corners + 1);
                    Vec2::new(x * w, dice.real(0.05, 0.95) * h)
                })
                .collect()
        };
        let (a, b) = (path(), path());
        let mut truth = 0;
        let mut clear = true;
        for p in a.windows(2) {
            for q in b.windows(2) {
                truth += u32::from(cross(p, q));
            }
        }
        for (line, other) in [(&a, &b), (&b, &a)] {
            for point in line.iter() {
                clear &= other
                    .windows(2)
                    .all(|s| from_segment(*point, s) > look.stroke + 2.0);
            }
        }
        if clear {
            let mut canvas = Canvas::new(look);
            canvas.path(look.inks[0], &a, look.stroke);
            canvas.path(look.inks[1], &b, look.stroke);
            return Scene {
                image: canvas.finish(dice),
                truth,
            };
        }
    }
}

fn cross(p: &[Vec2], q: &[Vec2]) -> bool {
    let side = |a: Vec2, b: Vec2, c: Vec2| b.minus(a).cross(c.minus(a)) > 0.0;
    side(p[0], p[1], q[0]) != side(p[0], p[1], q[1])
        && side(q[0], q[1], p[0]) != side(q[0], q[1], p[1])
}

fn from_segment(p: Vec2, s: &[Vec2]) -> f64 {
    let along = s[1].minus(s[0]);
    let t = (p.minus(s[0]).dot(along) / along.dot(along)).clamp(0.0, 1.0);
    p.distance(s[0].plus(along.scaled(t)))
}

/// A table with writing in some cells; the truth is its rows and columns.
pub(super) fn table(
    look: &Look,
    dice: &mut Dice,
    border: bool,
    writing: bool,
) -> Scene<(u32, u32)> {
    let least = if border { 1 } else { 3 };
    let (rows, columns) = (dice.whole(least.max(2), 9), dice.whole(least, 9));
    let room = 1.0 - 0.9 * look.tilt.abs();
    let (w, h) = (
        0.9 * room * f64::from(look.width),
        0.9 * room * f64::from(look.height),
    );
    let corner = look.centre().minus(Vec2::new(w / 2.0, h / 2.0));
    let at = |c: f64, r: f64| {
        corner.plus(Vec2::new(
            w * c / f64::from(columns),
            h * r / f64::from(rows),
        ))
    };
    let mut canvas = Canvas::new(look);
    let ink = look.inks[0];
    let skip = u32::from(!border);
    for r in skip..=rows - skip {
        canvas.segment(
            ink,
            at(0.0, f64::from(r)),
            at(f64::from(columns), f64::from(r)),
            look.stroke,
        );
    }
    for c in skip..=columns - skip {
        canvas.segment(
            ink,
            at(f64::from(c), 0.0),
            at(f64::from(c), f64::from(rows)),
            look.stroke,
        );
    }
    let size = (h / f64::from(rows) * 0.3).min(w / f64::from(columns) / 6.0);
    if writing && size > 3.0 {
        for r in 0..rows {
            for c in 0..columns {
                let letters = dice.whole(1, 4);
                let spot = at(f64::from(c) + 0.5, f64::from(r) + 0.5);
                canvas.scribble(dice, look.inks[1], spot, size, letters);
            }
        }
    }
    Scene {
        image: canvas.finish(dice),
        truth: (rows, columns),
    }
}

/// Corners of a regular polygon.
pub(super) fn regular(sides: u32, centre: Vec2, radius: f64, angle: f64) -> Vec<Vec2> {
    (0..sides)
        .map(|k| {
            let turn = angle + TAU * f64::from(k) / f64::from(sides);
            centre.plus(Vec2::from_angle(turn).scaled(radius))
        })
        .collect()
}

/// Squares inside one another, off centre; the truth is their number.
pub(super) fn squares(look: &Look, dice: &mut Dice) -> Scene<u32> {
    let mut canvas = Canvas::new(look);
    let mut side = look.side() * dice.real(0.6, 0.9) / (1.0 + look.tilt.abs());
    let mut centre = look.centre();
    let apart = look.stroke + 3.0;
    let wanted = dice.whole(1, 6);
    let mut truth = 0;
    while truth < wanted && side > 5.0 * look.stroke + 12.0 {
        canvas.polygon(
            look.inks[0],
            &regular(4, centre, side / 2f64.sqrt(), PI / 4.0),
            look.stroke,
        );
        truth += 1;
        let smaller = (side * dice.real(0.5, 0.85)).min(side - 2.0 * apart);
        let room = (side - smaller) / 2.0 - apart;
        centre = centre.plus(Vec2::new(dice.real(-room, room), dice.real(-room, room)));
        side = smaller;
    }
    Scene {
        image: canvas.finish(dice),
        truth,
    }
}

/// Two circles at a gap; the truth is (touching, overlapping).
pub(super) fn pair(look: &Look, dice: &mut Dice, gap: f64, filled: bool) -> Scene<(bool, bool)> {
    let radius = look.side() * dice.real(0.1, 0.17);
    let other = radius * dice.real(0.7, 1.0);
    let direction = Vec2::from_angle(dice.real(0.0, TAU));
    let shift = Vec2::new(dice.real(-9.0, 9.0), dice.real(-9.0, 9.0));
    let distance = radius + other + gap;
    let a = look
        .centre()
        .plus(shift)
        .minus(direction.scaled(distance / 2.0));
    let b = a.plus(direction.scaled(distance));
    let mut canvas = Canvas::new(look);
    if filled {
        canvas.disc(look.inks[0], a, radius);
        canvas.disc(look.inks[1], b, other);
    } else {
        canvas.ring(look.inks[0], a, radius, look.stroke);
        canvas.ring(look.inks[1], b, other, look.stroke);
    }
    let clear = if filled { 0.0 } else { look.stroke };
    Scene {
        image: canvas.finish(dice),
        truth: (gap <= clear, gap < 0.0),
    }
}

/// Overlapping shapes in two staggered rows: rings for 0 sides, else regular polygons.
pub(super) fn staggered(look: &Look, dice: &mut Dice, sides: u32) -> Scene<u32> {
    let truth = dice.whole(3, 9);
    let columns = f64::from(truth.div_ceil(2));
    let pitch = f64::from(look.width) * 0.8 / (columns + 0.7);
    let radius = (pitch * dice.real(0.42, 0.58)).min(look.side() * 0.24);
    let angle = if dice.whole(0, 1) == 0 {
        -PI / 2.0
    } else {
        dice.real(0.0, TAU)
    };
    let mut canvas = Canvas::new(look);
    let left = look
        .centre()
        .minus(Vec2::new(pitch * (columns - 0.5) / 2.0, radius / 2.0));
    for k in 0..truth {
        let (row, column) = (f64::from(k % 2), f64::from(k / 2));
        let centre = left.plus(Vec2::new(pitch * (column + row / 2.0), radius * row));
        let ink = look.inks[dice.whole(0, 1) as usize];
        if sides == 0 {
            canvas.ring(ink, centre, radius, look.stroke);
        } else {
            canvas.polygon(ink, &regular(sides, centre, radius, angle), look.stroke);
        }
    }
    Scene {
        image: canvas.finish(dice),
        truth,
    }
}

/// A line of writing.
pub(super) fn writing(look: &Look, dice: &mut Dice, lines: u32) -> RgbImage {
    let mut canvas = Canvas::new(look);
    let size = look.side() / f64::from(lines.max(8)) * 0.5;
    for k in 0..lines {
        let y = f64::from(look.height) * (f64::from(k) + 1.0) / (f64::from(lines) + 1.0);
        let letters = (f64::from(look.width) * 0.8 / size) as u32;
        let spot = Vec2::new(look.centre().x, y);
        canvas.scribble(dice, look.inks[0], spot, size, letters.min(40));
    }
    canvas.finish(dice)
}

/// Smooth colour texture, as of a photograph.
pub(super) fn texture(look: &Look, dice: &mut Dice) -> RgbImage {
    let waves: Vec<[f64; 4]> = (0..18)
        .map(|_| {
            [
                dice.real(-0.1, 0.1),
                dice.real(-0.1, 0.1),
                dice.real(0.0, TAU),
                dice.real(8.0, 40.0),
            ]
        })
        .collect();
    RgbImage::from_fn(look.width, look.height, |x, y| {
        Rgb(std::array::from_fn(|c| {
            let sum: f64 = waves
                .iter()
                .skip(c)
                .step_by(3)
                .map(|[fx, fy, phase, a]| a * (f64::from(x) * fx + f64::from(y) * fy + phase).sin())
                .sum();
            (128.0 + sum).clamp(0.0, 255.0) as u8
        }))
    })
}

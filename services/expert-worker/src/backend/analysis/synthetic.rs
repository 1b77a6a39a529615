//! Draws diagrams with known answers in many looks, for the tests.

use std::f64::consts::{PI, TAU};

use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, Rgb, RgbImage};

use super::geometry::Vec2;

/// A small deterministic generator (xorshift64*, Vigna 2016), so that every run draws the same.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Evenly distributed in `low..high`.
    pub(super) fn real(&mut self, low: f64, high: f64) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        low + (high - low) * bits as f64 / (1u64 << 53) as f64
    }

    /// Evenly distributed in `low..=high`.
    pub(super) fn whole(&mut self, low: u32, high: u32) -> u32 {
        (self.real(f64::from(low), f64::from(high) + 1.0) as u32).min(high)
    }
}

/// How a diagram is drawn and what happens to the picture afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) name: &'static str,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Stroke width in pixels.
    pub(super) stroke: f64,
    pub(super) paper: [u8; 3],
    pub(super) inks: [[u8; 3]; 2],
    /// Samples per pixel and axis: 1 draws hard edges.
    pub(super) samples: u32,
    /// Quality of a JPEG round trip.
    pub(super) jpeg: Option<u8>,
    /// Standard deviation of added noise, in levels.
    pub(super) noise: f64,
    /// The whole drawing is turned by this, in radians.
    pub(super) tilt: f64,
}

const PLAIN: Look = Look {
    name: "plain",
    width: 420,
    height: 420,
    stroke: 3.0,
    paper: [255, 255, 255],
    inks: [[20, 40, 220], [230, 30, 20]],
    samples: 4,
    jpeg: None,
    noise: 0.0,
    tilt: 0.0,
};

/// The looks that every analysis must hold for.
pub(super) const LOOKS: [Look; 14] = [
    PLAIN,
    Look {
        name: "small",
        width: 210,
        height: 180,
        stroke: 2.0,
        ..PLAIN
    },
    Look {
        name: "large",
        width: 1500,
        height: 1100,
        stroke: 7.0,
        ..PLAIN
    },
    Look {
        name: "wide",
        width: 700,
        height: 300,
        ..PLAIN
    },
    Look {
        name: "thin",
        stroke: 1.2,
        ..PLAIN
    },
    Look {
        name: "thick",
        stroke: 7.0,
        ..PLAIN
    },
    Look {
        name: "green and orange",
        inks: [[0, 120, 60], [240, 140, 0]],
        ..PLAIN
    },
    Look {
        name: "pale",
        inks: [[140, 190, 230], [240, 170, 190]],
        ..PLAIN
    },
    Look {
        name: "black and grey",
        inks: [[0, 0, 0], [150, 150, 150]],
        ..PLAIN
    },
    Look {
        name: "dark paper",
        paper: [18, 22, 30],
        inks: [[250, 220, 60], [80, 220, 250]],
        ..PLAIN
    },
    Look {
        name: "cream paper",
        paper: [244, 236, 214],
        ..PLAIN
    },
    Look {
        name: "hard edges",
        samples: 1,
        ..PLAIN
    },
    Look {
        name: "jpeg 60",
        jpeg: Some(60),
        ..PLAIN
    },
    Look {
        name: "noise",
        noise: 6.0,
        ..PLAIN
    },
];

impl Look {
    pub(super) fn tilted(self, radians: f64) -> Self {
        Self {
            tilt: radians,
            ..self
        }
    }

    /// Shorter side of the picture.
    pub(super) fn side(&self) -> f64 {
        f64::from(self.width.min(self.height))
    }

    pub(super) fn centre(&self) -> Vec2 {
        Vec2::new(f64::from(self.width) / 2.0, f64::from(self.height) / 2.0)
    }
}

/// A picture being drawn.
pub(super) struct Canvas {
    look: Look,
    pixels: Vec<[f64; 3]>,
}

impl Canvas {
    pub(super) fn new(look: &Look) -> Self {
        let count = (look.width * look.height) as usize;
        Self {
            look: *look,
            pixels: vec![look.paper.map(f64::from); count],
        }
    }

    fn place(&self, point: Vec2) -> Vec2 {
        let centre = self.look.centre();
        point.minus(centre).turned(self.look.tilt).plus(centre)
    }

    /// Paints what is inside, sampled within the box around the given points.
    fn paint(&mut self, ink: [u8; 3], around: &[Vec2], margin: f64, inside: impl Fn(Vec2) -> bool) {
        let low = |f: fn(&Vec2) -> f64| around.iter().map(f).fold(f64::INFINITY, f64::min) - margin;
        let high = |f: fn(&Vec2) -> f64| around.iter().map(f).fold(0.0, f64::max) + margin + 1.0;
        let range = |a: f64, b: f64, limit: u32| a.max(0.0) as u32..(b.max(0.0) as u32).min(limit);
        let n = self.look.samples;
        for y in range(low(|p| p.y), high(|p| p.y), self.look.height) {
            for x in range(low(|p| p.x), high(|p| p.x), self.look.width) {
                let mut hit = 0;
                for s in 0..n * n {
                    let offset = |k: u32| (f64::from(k) + 0.5) / f64::from(n) - 0.5;
                    let at = Vec2::new(f64::from(x) + offset(s % n), f64::from(y) + offset(s / n));
                    hit += u32::from(inside(at));
                }
                let share = f64::from(hit) / f64::from(n * n);
                let pixel = &mut self.pixels[(y * self.look.width + x) as usize];
                for (p, i) in pixel.iter_mut().zip(ink) {
                    *p += share * (f64::from(i) - *p);
                }
            }
        }
    }

    pub(super) fn segment(&mut self, ink: [u8; 3], from: Vec2, to: Vec2, width: f64) {
        let (from, to) = (self.place(from), self.place(to));
        let along = to.minus(from);
        let squared = along.dot(along).max(1e-9);
        self.paint(ink, &[from, to], width, |p| {
            let t = (p.minus(from).dot(along) / squared).clamp(0.0, 1.0);
            p.distance(from.plus(along.scaled(t))) <= width / 2.0
        });
    }

    pub(super) fn path(&mut self, ink: [u8; 3], points: &[Vec2], width: f64) {
        for pair in points.windows(2) {
            self.segment(ink, pair[0], pair[1], width);
        }
    }

    pub(super) fn ring(&mut self, ink: [u8; 3], centre: Vec2, radius: f64, width: f64) {
        let centre = self.place(centre);
        self.paint(ink, &[centre], radius + width, |p| {
            (p.distance(centre) - radius).abs() <= width / 2.0
        });
    }

    pub(super) fn disc(&mut self, ink: [u8; 3], centre: Vec2, radius: f64) {
        let centre = self.place(centre);
        self.paint(ink, &[centre], radius + 1.0, |p| {
            p.distance(centre) <= radius
        });
    }

    pub(super) fn polygon(&mut self, ink: [u8; 3], corners: &[Vec2], width: f64) {
        for k in 0..corners.len() {
            self.segment(ink, corners[k], corners[(k + 1) % corners.len()], width);
        }
    }

    /// Writing: letter-sized scribbles in a row, centred at a point.
    pub(super) fn scribble(
        &mut self,
        dice: &mut Dice,
        ink: [u8; 3],
        centre: Vec2,
        size: f64,
        letters: u32,
    ) {
        for k in 0..letters {
            let x = (f64::from(k) - f64::from(letters - 1) / 2.0) * size;
            let spot = centre.plus(Vec2::new(x, 0.0));
            let mut pen = || {
                spot.plus(Vec2::new(
                    dice.real(-0.3, 0.3) * size,
                    dice.real(-0.5, 0.5) * size,
                ))
            };
            let points = [pen(), pen(), pen(), pen()];
            self.path(ink, &points, (size / 8.0).max(1.0));
        }
    }

    /// The finished picture, with the look's noise and compression.
    pub(super) fn finish(self, dice: &mut Dice) -> RgbImage {
        let look = self.look;
        let noisy = look.noise > 0.0;
        let mut image = RgbImage::from_fn(look.width, look.height, |x, y| {
            let pixel = self.pixels[(y * look.width + x) as usize];
            Rgb(pixel.map(|c| {
                // The sum of four even variables is normal enough.
                let sum: f64 = (0..if noisy { 4 } else { 0 })
                    .map(|_| dice.real(-1.0, 1.0))
                    .sum();
                let noise = 0.866 * sum;
                (c + look.noise * noise).round().clamp(0.0, 255.0) as u8
            }))
        });
        if let Some(quality) = look.jpeg {
            let mut bytes = Vec::new();
            JpegEncoder::new_with_quality(&mut bytes, quality)
                .encode_image(&image)
                .unwrap();
            image = image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg)
                .unwrap()
                .to_rgb8();
        }
        image
    }
}

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

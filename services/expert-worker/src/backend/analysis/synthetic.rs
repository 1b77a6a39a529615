//! Draws strokes, rings and writing in many looks, for the tests.

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

    /// An upright ellipse with these half axes.
    pub(super) fn ellipse(&mut self, ink: [u8; 3], centre: Vec2, half: Vec2, width: f64) {
        let centre = self.place(centre);
        let reach = half.x.max(half.y) + width;
        self.paint(ink, &[centre], reach, |p| {
            let (x, y) = (p.x - centre.x, p.y - centre.y);
            let level = (x / half.x).hypot(y / half.y);
            let slope = (x / half.x.powi(2)).hypot(y / half.y.powi(2)).max(1e-9);
            (level * (level - 1.0) / slope).abs() <= width / 2.0
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

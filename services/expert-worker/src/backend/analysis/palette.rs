//! Tells the inks of a drawing apart by their colour, however many there are.

use super::ink::{Ink, Tint, length};
use super::polyline::is_core;

/// Features nearer than this to a colour's centre are of that colour.
const REACH: f32 = 0.13;
/// Centres nearer than this are shades of one ink.
const LEAST_CONTRAST: f32 = 0.2;
/// A pixel further than this from every centre is a blend of inks.
const FARTHEST: f32 = 0.3;
/// Most inks that are looked for.
const MOST_INKS: usize = 16;
/// Most pixels that the centres are found from.
const SAMPLE: usize = 6000;
/// Rounds in which edge pixels take the ink of their neighbours.
const SPREAD: usize = 4;

/// The inks of a drawing.
#[derive(Debug, Clone)]
pub(super) struct Palette {
    /// Mean colour of each ink, most used first.
    pub(super) colours: Vec<[u8; 3]>,
    /// Per pixel: which ink, if any.
    pub(super) owner: Vec<Option<u8>>,
}

impl Palette {
    /// Finds every ink that makes up at least `least` (a share) of the pixels in `mask`.
    pub(super) fn new(ink: &Ink, mask: &[bool], least: f32) -> Self {
        let strongest = ink.magnitude.iter().copied().fold(1.0, f32::max);
        // Hue dominates; lightness decides between inks of one hue.
        let feature = |i: usize| -> Tint {
            let m = ink.magnitude[i].max(1.0);
            ink.tint[i].map(|c| c / m * (1.0 + 0.5 * m / strongest))
        };
        let core: Vec<usize> = (0..mask.len())
            .filter(|i| mask[*i] && is_core(ink, *i))
            .collect();
        let step = (core.len() / SAMPLE).max(1);
        let sample: Vec<Tint> = core.iter().step_by(step).map(|i| feature(*i)).collect();
        let centres = centres(sample, least);
        let mut owner: Vec<Option<u8>> = vec![None; mask.len()];
        for i in core {
            owner[i] = nearest(&centres, &feature(i));
        }
        let mut colours = Colours::new(centres.len());
        for (i, ink_number) in owner.iter().enumerate() {
            if let Some(k) = ink_number {
                colours.add(usize::from(*k), ink.colour(i));
            }
        }
        spread(ink, mask, &mut owner);
        Self {
            colours: colours.means(),
            owner,
        }
    }

    /// The pixels of one ink.
    pub(super) fn layer(&self, ink: usize) -> Vec<bool> {
        self.owner
            .iter()
            .map(|o| o.is_some_and(|k| usize::from(k) == ink))
            .collect()
    }
}

/// Sums of colours by ink.
struct Colours(Vec<([f64; 3], f64)>);

impl Colours {
    fn new(count: usize) -> Self {
        Self(vec![([0.0; 3], 0.0); count])
    }

    fn add(&mut self, ink: usize, colour: [f32; 3]) {
        let (sum, count) = &mut self.0[ink];
        for (s, c) in sum.iter_mut().zip(colour) {
            *s += f64::from(c);
        }
        *count += 1.0;
    }

    fn means(self) -> Vec<[u8; 3]> {
        let mean = |(sum, count): ([f64; 3], f64)| {
            sum.map(|s| (s / count.max(1.0)).round().clamp(0.0, 255.0) as u8)
        };
        self.0.into_iter().map(mean).collect()
    }
}

/// Densest places among the features, one after another, until less than `least` is left.
fn centres(mut sample: Vec<Tint>, least: f32) -> Vec<Tint> {
    let total = sample.len() as f32;
    let mut found: Vec<Tint> = Vec::new();
    while found.len() < MOST_INKS && !sample.is_empty() {
        let seeds = sample.iter().step_by((sample.len() / 120).max(1));
        let Some(seed) = seeds.max_by_key(|s| within(&sample, s).count()).copied() else {
            break;
        };
        let mut centre = seed;
        for _ in 0..3 {
            centre = average(within(&sample, &centre)).unwrap_or(centre);
        }
        let members = within(&sample, &centre).count() as f32;
        if members < (least * total).max(1.0) {
            break;
        }
        // What lies around an ink are its own shades.
        sample.retain(|f| gap(f, &centre) > 1.5 * REACH);
        if found.iter().all(|c| gap(c, &centre) > LEAST_CONTRAST) {
            found.push(centre);
        }
    }
    found
}

fn within<'a>(sample: &'a [Tint], centre: &'a Tint) -> impl Iterator<Item = &'a Tint> {
    sample.iter().filter(move |f| gap(f, centre) <= REACH)
}

fn average<'a>(tints: impl Iterator<Item = &'a Tint>) -> Option<Tint> {
    let (sum, count) = tints.fold(([0.0f32; 3], 0.0f32), |(sum, n), t| {
        (std::array::from_fn(|c| sum[c] + t[c]), n + 1.0)
    });
    (count > 0.0).then(|| sum.map(|s| s / count))
}

fn nearest(centres: &[Tint], feature: &Tint) -> Option<u8> {
    let distances = centres.iter().map(|c| gap(c, feature));
    let (k, distance) = distances
        .enumerate()
        .min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (distance <= FARTHEST).then(|| u8::try_from(k).ok())?
}

fn gap(a: &Tint, b: &Tint) -> f32 {
    length(&std::array::from_fn(|c| a[c] - b[c]))
}

/// Edge pixels are blends; they take the ink of the most of their neighbours.
fn spread(ink: &Ink, mask: &[bool], owner: &mut [Option<u8>]) {
    for _ in 0..SPREAD {
        let previous = owner.to_vec();
        for i in (0..owner.len()).filter(|i| mask[*i] && previous[*i].is_none()) {
            let mut votes = [0u8; MOST_INKS];
            for j in ink.around(i, 1) {
                if let Some(k) = previous[j] {
                    votes[usize::from(k)] += 1;
                }
            }
            let most = votes.iter().copied().max().unwrap_or(0);
            if most > 0 {
                owner[i] = votes.iter().position(|v| *v == most).map(|k| k as u8);
            }
        }
    }
}

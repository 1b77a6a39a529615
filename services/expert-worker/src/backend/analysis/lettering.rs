//! Letters as strokes of a pen, in several hands, and the drawings with writing made of them.

use super::geometry::Vec2;
use super::scenes::Scene;
use super::synthetic::{Canvas, Dice, Look};

/// Strokes of each letter as points "xy": x in 0..=4, y from the top of capitals (0) over that of
/// small letters (2) and the base line (6) to the foot of long letters (8).
const LETTERS: [(char, &str); 40] = [
    ('A', "06 20 46,14 34"),
    ('B', "00 06 36 45 44 33 03,33 42 41 30 00"),
    ('C', "41 30 10 01 05 16 36 45"),
    ('D', "00 06 26 44 42 20 00"),
    ('E', "40 00 06 46,03 33"),
    ('F', "40 00 06,03 33"),
    ('H', "00 06,40 46,03 43"),
    ('K', "00 06,40 03,03 46"),
    ('L', "00 06 46"),
    ('M', "06 00 24 40 46"),
    ('N', "06 00 46 40"),
    ('R', "06 00 30 41 42 33 03,23 46"),
    ('S', "41 30 10 01 02 13 33 44 45 36 16 05"),
    ('T', "00 40,20 26"),
    ('W', "00 16 22 36 40"),
    ('X', "00 46,40 06"),
    ('Z', "00 40 06 46"),
    ('a', "42 46,43 32 12 03 05 16 36 45"),
    ('b', "00 06,03 12 32 43 45 36 16 05"),
    ('c', "43 32 12 03 05 16 36 45"),
    ('d', "40 46,43 32 12 03 05 16 36 45"),
    ('e', "04 44 43 32 12 03 05 16 36 45"),
    ('g', "42 47 38 18 07,43 32 12 03 05 16 36 45"),
    ('h', "00 06,03 12 32 43 46"),
    ('i', "22 26,20 21"),
    ('k', "00 06,42 04,04 46"),
    ('l', "20 26"),
    ('m', "02 06,03 12 23 26,23 32 43 46"),
    ('n', "02 06,03 12 32 43 46"),
    ('o', "12 32 43 45 36 16 05 03 12"),
    ('p', "02 08,03 12 32 43 45 36 16 05"),
    ('q', "42 48,43 32 12 03 05 16 36 45"),
    ('r', "02 06,03 12 32 43"),
    ('s', "43 32 12 03 14 34 45 36 16 05"),
    ('t', "20 25 36 46,02 42"),
    ('u', "02 05 16 36 45,42 46"),
    ('v', "02 26 42"),
    ('w', "02 16 23 36 42"),
    ('x', "02 46,42 06"),
    ('y', "02 25,42 18 08"),
];

/// How letters are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hand {
    pub(super) name: &'static str,
    /// Width of a letter as a share of the height of capitals.
    pub(super) width: f64,
    /// Stroke width as a share of that height.
    pub(super) weight: f64,
    /// How far the top leans over, as a share of the height.
    pub(super) lean: f64,
    /// Whether corners are rounded.
    pub(super) round: bool,
    /// Whether upright strokes have feet.
    pub(super) feet: bool,
}

const SANS: Hand = Hand {
    name: "sans",
    width: 0.6,
    weight: 0.12,
    lean: 0.0,
    round: true,
    feet: false,
};

/// The hands that every analysis of writing must hold for.
pub(super) const HANDS: [Hand; 6] = [
    SANS,
    Hand {
        name: "light",
        weight: 0.08,
        ..SANS
    },
    Hand {
        name: "bold",
        weight: 0.17,
        ..SANS
    },
    Hand {
        name: "leaning",
        lean: 0.2,
        ..SANS
    },
    Hand {
        name: "wide, angular",
        width: 0.8,
        round: false,
        ..SANS
    },
    Hand {
        name: "with feet",
        feet: true,
        weight: 0.1,
        ..SANS
    },
];

/// Columns that a letter's strokes span, of 0..=4.
fn span(letter: char) -> (f64, f64) {
    match letter {
        'i' | 'l' => (1.6, 2.4),
        _ => (0.0, 4.0),
    }
}

/// How wide a letter is written, without the room around it.
fn width(hand: &Hand, height: f64, letter: char) -> f64 {
    let (from, to) = span(letter);
    let wide = if "mwMW".contains(letter) { 1.4 } else { 1.0 };
    (to - from) / 4.0 * wide * hand.width * height
}

fn strokes(letter: char) -> impl Iterator<Item = Vec<Vec2>> {
    let found = LETTERS.iter().find(|(c, _)| *c == letter);
    let digit = |b: u8| f64::from(b - b'0');
    found.into_iter().flat_map(move |(_, strokes)| {
        strokes.split(',').map(move |stroke| {
            let points = stroke.split(' ').map(str::as_bytes);
            points
                .map(|p| Vec2::new(digit(p[0]), digit(p[1])))
                .collect()
        })
    })
}

/// Cuts corners twice (G. Chaikin, 1974).
fn rounded(mut points: Vec<Vec2>) -> Vec<Vec2> {
    for _ in 0..2 {
        let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else {
            return points;
        };
        let mix = |a: Vec2, b: Vec2, t: f64| a.scaled(1.0 - t).plus(b.scaled(t));
        let inner = points.windows(2);
        let cut = inner.flat_map(|p| [mix(p[0], p[1], 0.25), mix(p[0], p[1], 0.75)]);
        points = [first].into_iter().chain(cut).chain([last]).collect();
    }
    points
}

/// Writes a letter whose left edge and base line are at `at`.
fn letter(canvas: &mut Canvas, hand: &Hand, ink: [u8; 3], at: Vec2, height: f64, letter: char) {
    let (from, to) = span(letter);
    let across = width(hand, height, letter) / (to - from);
    let pen = (hand.weight * height).max(1.0);
    let place = |p: Vec2| {
        let up = (6.0 - p.y) / 6.0 * height;
        Vec2::new(at.x + (p.x - from) * across + hand.lean * up, at.y - up)
    };
    for stroke in strokes(letter) {
        if hand.feet {
            for pair in stroke
                .windows(2)
                .filter(|p| p[0].x == p[1].x && (p[0].y - p[1].y).abs() >= 4.0)
            {
                let foot = pair[0].y.max(pair[1].y);
                let side =
                    |d: f64| place(Vec2::new((pair[0].x + d).clamp(from - 0.4, to + 0.4), foot));
                canvas.segment(ink, side(-0.5), side(0.5), pen * 0.8);
            }
        }
        let stroke = if hand.round { rounded(stroke) } else { stroke };
        let points: Vec<Vec2> = stroke.into_iter().map(place).collect();
        canvas.path(ink, &points, pen);
    }
}

/// A word of random letters in which one is ringed; the truth is (which from 0, of how many). In
/// a drawing the mark has the second ink of the look.
pub(super) fn ringed_word(look: &Look, hand: &Hand, dice: &mut Dice) -> Scene<(usize, usize)> {
    let count = dice.whole(4, 11) as usize;
    let word: Vec<char> = (0..count)
        .map(|_| LETTERS[dice.whole(0, LETTERS.len() as u32 - 1) as usize].0)
        .collect();
    let room = |height: f64| (hand.weight + 0.16) * height;
    let length = |height: f64| -> f64 {
        let letters = word.iter().map(|c| width(hand, height, *c) + room(height));
        letters.sum::<f64>() + 2.0 * hand.lean.abs() * height
    };
    let height = (0.86 * f64::from(look.width) / length(1.0)).min(0.3 * look.side());
    let mut canvas = Canvas::new(look);
    let mut at = Vec2::new(
        (f64::from(look.width) - length(height)) / 2.0,
        look.centre().y + height * dice.real(0.0, 1.0),
    );
    let truth = dice.whole(0, count as u32 - 1) as usize;
    let mut marked = (at, 0.0);
    for (k, c) in word.iter().enumerate() {
        letter(&mut canvas, hand, look.inks[0], at, height, *c);
        let across = width(hand, height, *c);
        if k == truth {
            marked = (at, across);
        }
        at.x += across + room(height);
    }
    let (corner, across) = marked;
    let low = if "gpqy".contains(word[truth]) {
        height / 3.0
    } else {
        0.0
    };
    let top = if word[truth].is_lowercase() && !"bdhiklt".contains(word[truth]) {
        height * 2.0 / 3.0
    } else {
        height
    };
    let pen = (hand.weight * height).max(1.0);
    let centre = Vec2::new(
        corner.x + across / 2.0 + hand.lean * (top - low) / 2.0,
        corner.y + (low - top) / 2.0,
    );
    let line = look.stroke.min(height / 8.0).max(1.2);
    let around = dice.real(0.06, 0.2) * height + line + pen;
    let half = Vec2::new(
        (across + hand.lean.abs() * (top + low)) / 2.0 + around,
        (top + low) / 2.0 + around + 0.15 * height,
    );
    canvas.ellipse(look.inks[1], centre, half, line);
    Scene {
        image: canvas.finish(dice),
        truth: (truth, count),
    }
}

/// Inks of the lines of a map.
const LINES: [[u8; 3]; 6] = [
    [31, 90, 200],
    [240, 130, 20],
    [40, 150, 60],
    [210, 30, 50],
    [140, 90, 190],
    [120, 80, 60],
];

/// A map of four stations and winding lines between them; the truth is the sorted pairs of
/// stations, numbered by the tops and left sides of their names.
pub(super) fn underground(look: &Look, hand: &Hand, dice: &mut Dice) -> Scene<Vec<[usize; 2]>> {
    let cells = 14;
    let cell = look.side() / 18.0;
    let corner = look
        .centre()
        .minus(Vec2::new(cell, cell).scaled(f64::from(cells) / 2.0));
    let at = |x: i32, y: i32| corner.plus(Vec2::new(f64::from(x) * cell, f64::from(y) * cell));
    let middle = cells / 2;
    // Top, left, right, bottom, as reading order has it; each has three places where lines end.
    let end = |station: usize, slot: i32| match station {
        0 => ((middle + slot, 0), (0, 1)),
        1 => ((0, middle + slot), (1, 0)),
        2 => ((cells, middle + slot), (-1, 0)),
        _ => ((middle + slot, cells), (0, -1)),
    };
    let line = look.stroke.min(0.28 * cell).max(1.2);
    let mut canvas = Canvas::new(look);
    let mut free = [[-1, 0, 1]; 4].map(|slots| slots.to_vec());
    let mut truth = Vec::new();
    for ink in LINES.iter().take(dice.whole(2, 6) as usize) {
        let open: Vec<usize> = (0..4).filter(|s| !free[*s].is_empty()).collect();
        if open.len() < 2 {
            break;
        }
        let first = dice.whole(0, open.len() as u32 - 1) as usize;
        let second = (first + dice.whole(1, open.len() as u32 - 1) as usize) % open.len();
        let mut pair = [open[first], open[second]];
        let mut take = |station: usize, dice: &mut Dice| {
            let slots = &mut free[station];
            let slot = slots.swap_remove(dice.whole(0, slots.len() as u32 - 1) as usize);
            end(station, slot)
        };
        let ((ax, ay), (adx, ady)) = take(pair[0], dice);
        let ((bx, by), (bdx, bdy)) = take(pair[1], dice);
        // Leads off at right angles, then turns at some places in between.
        let (sx, sy) = (ax + 2 * adx, ay + 2 * ady);
        let (tx, ty) = (bx + 2 * bdx, by + 2 * bdy);
        let inner = |dice: &mut Dice| dice.whole(2, cells as u32 - 2) as i32;
        let (mx, my) = (inner(dice), inner(dice));
        let stops = [
            (ax, ay),
            (sx, sy),
            (mx, sy),
            (mx, my),
            (tx, my),
            (tx, ty),
            (bx, by),
        ];
        let points: Vec<Vec2> = stops.iter().map(|(x, y)| at(*x, *y)).collect();
        canvas.path(*ink, &points, line);
        pair.sort_unstable();
        truth.push(pair);
    }
    truth.sort_unstable();
    let height = 1.3 * cell;
    for (station, name) in ['A', 'B', 'C', 'D'].into_iter().enumerate() {
        let used = truth.iter().flatten().any(|s| *s == station);
        if !used {
            continue;
        }
        let ((x, y), (dx, dy)) = end(station, 0);
        let middle = at(x, y).minus(Vec2::new(f64::from(dx), f64::from(dy)).scaled(1.05 * cell));
        let across = width(hand, height, name);
        let base = middle.plus(Vec2::new(-across / 2.0, height / 2.0));
        let black = if look.paper[0] < 99 {
            [240; 3]
        } else {
            [10; 3]
        };
        letter(&mut canvas, hand, black, base, height, name);
    }
    // Stations without a line are not drawn: those left move up.
    let drawn: Vec<usize> = (0..4)
        .filter(|s| truth.iter().flatten().any(|t| t == s))
        .collect();
    let truth = truth
        .iter()
        .map(|pair| pair.map(|s| drawn.partition_point(|d| *d < s)))
        .collect();
    Scene {
        image: canvas.finish(dice),
        truth,
    }
}

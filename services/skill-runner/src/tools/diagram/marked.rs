//! Tells which letter of a word that was read stands at a marked place of the drawing.
//!
//! The analysis counts pieces of ink; letters that touch are one piece, and a reader may leave a
//! letter out or see one twice. So letters are laid along the pieces with the least disagreement of
//! their widths; the marked piece, which the analysis knows to be one letter, takes exactly one.

use super::{Bounds, Picked, Reading};

/// Most letters and pieces of a line; longer ones are no question about a letter.
const MOST: usize = 160;
/// Most letters that touch each other.
const MOST_TOUCHING: usize = 6;
/// What a letter costs for each other one that it shares a piece with, in widths of an "n".
const TOUCHING: f32 = 0.15;
/// What it costs that a letter has two pieces.
const SPLIT: f32 = 0.35;
/// What it costs that a letter or a piece has no counterpart, beside its width.
const UNMATCHED: f32 = 0.5;

/// The letter at the marked piece. `pieces` are the boxes of the line's pieces from left to right,
/// `marked` is the place of the marked one among them.
pub fn marked_character(readings: &[Reading], pieces: &[Bounds], marked: usize) -> Option<Picked> {
    let mut readings: Vec<&Reading> = readings.iter().collect();
    readings.sort_by(|a, b| a.bounds[0].total_cmp(&b.bounds[0]));
    let letters: Vec<char> = readings
        .iter()
        .flat_map(|reading| reading.text.chars())
        .filter(|c| !c.is_whitespace())
        .collect();
    let usable = !letters.is_empty() && letters.len() <= MOST && pieces.len() <= MOST;
    if !usable || marked >= pieces.len() {
        return None;
    }
    let same = letters.len() == pieces.len();
    let place = if same {
        marked
    } else {
        align(&letters, &advances(pieces), marked)?
    };
    let word: String = letters.iter().collect();
    Some(Picked {
        value: letters[place].to_string(),
        confidence: if same { 1.0 } else { 0.8 },
        evidence: format!(
            "letter {} of {:?}, read over {} pieces of ink of which number {} is marked",
            place + 1,
            word,
            pieces.len(),
            marked + 1
        ),
    })
}

/// How far each piece reaches, up to where the next begins.
fn advances(pieces: &[Bounds]) -> Vec<f32> {
    let ends = pieces.iter().skip(1).map(|next| next[0]);
    let last = pieces.last().map(|last| last[2]);
    pieces
        .iter()
        .zip(ends.chain(last))
        .map(|(piece, end)| (end - piece[0]).max(0.0))
        .collect()
}

/// Usual width of a letter, where that of an "n" is 1.
fn width(letter: char) -> f32 {
    match letter {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '!' | '|' => 0.45,
        'f' | 'r' | 't' | '(' | ')' | '-' | '/' | '"' | '1' => 0.65,
        'm' | 'w' | 'M' | '@' | '%' => 1.5,
        'W' => 1.75,
        'c' | 'k' | 's' | 'v' | 'x' | 'y' | 'z' | 'J' | 'L' => 0.9,
        'O' | 'Q' | 'G' | 'D' | 'H' | 'N' | 'U' | 'C' => 1.3,
        upper if upper.is_uppercase() => 1.15,
        _ => 1.0,
    }
}

/// The letter that the marked piece takes in the cheapest layout of letters along pieces.
fn align(letters: &[char], advances: &[f32], marked: usize) -> Option<usize> {
    let widths: Vec<f32> = letters.iter().map(|c| width(*c)).collect();
    let unit = advances.iter().sum::<f32>() / widths.iter().sum::<f32>();
    if unit.is_nan() || unit <= 0.0 {
        return None;
    }
    let advances: Vec<f32> = advances.iter().map(|a| a / unit).collect();
    let (n, m) = (widths.len(), advances.len());
    // Least cost of laying the first i letters along the first j pieces, and where it comes from.
    let mut best = vec![vec![(f32::INFINITY, (0, 0)); m + 1]; n + 1];
    best[0][0].0 = 0.0;
    for i in 0..=n {
        for j in 0..=m {
            let so_far = best[i][j].0;
            if so_far.is_infinite() {
                continue;
            }
            let mut step = |di: usize, dj: usize, cost: f32| {
                let slot = &mut best[i + di][j + dj];
                if so_far + cost < slot.0 {
                    *slot = (so_far + cost, (i, j));
                }
            };
            if i < n {
                step(1, 0, UNMATCHED + widths[i]);
            }
            if j == m {
                continue;
            }
            if j != marked {
                step(0, 1, UNMATCHED + advances[j]);
            }
            let most = if j == marked { 1 } else { MOST_TOUCHING };
            for count in 1..=most.min(n - i) {
                let wide: f32 = widths[i..i + count].iter().sum();
                let touching = TOUCHING * (count - 1) as f32;
                step(count, 1, (wide - advances[j]).abs() + touching);
            }
            let split = i < n && j + 2 <= m && j != marked && j + 1 != marked;
            if split {
                let wide = advances[j] + advances[j + 1];
                step(1, 2, (widths[i] - wide).abs() + SPLIT);
            }
        }
    }
    let (mut i, mut j) = (n, m);
    while (i, j) != (0, 0) {
        let from = best[i][j].1;
        if from.1 == marked && j == marked + 1 {
            return Some(from.0);
        }
        (i, j) = from;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<Reading> {
        vec![Reading {
            text: text.into(),
            bounds: [0.0, 0.0, 100.0, 20.0],
        }]
    }

    /// Boxes of pieces, each of which holds these letters.
    fn drawn(pieces: &[&str]) -> Vec<Bounds> {
        let mut left = 5.0;
        pieces
            .iter()
            .map(|piece| {
                let wide: f32 = piece.chars().map(|c| 20.0 * width(c)).sum();
                let bounds = [left, 0.0, left + wide - 3.0, 20.0];
                left += wide;
                bounds
            })
            .collect()
    }

    fn picked(text: &str, pieces: &[&str], marked: usize) -> String {
        marked_character(&read(text), &drawn(pieces), marked)
            .map(|p| p.value)
            .unwrap_or_default()
    }

    #[test]
    fn as_many_letters_as_pieces_are_counted_off() {
        assert_eq!(picked("Zebra", &["Z", "e", "b", "r", "a"], 3), "r");
        let halves = [
            Reading {
                text: "bra".into(),
                bounds: [60.0, 0.0, 90.0, 20.0],
            },
            Reading {
                text: "Z e".into(),
                bounds: [0.0, 0.0, 50.0, 20.0],
            },
        ];
        let pieces = drawn(&["Z", "e", "b", "r", "a"]);
        let found = marked_character(&halves, &pieces, 1).unwrap();
        assert_eq!((found.value.as_str(), found.confidence), ("e", 1.0));
    }

    #[test]
    fn touching_split_and_unread_letters_are_allowed_for() {
        assert_eq!(
            picked("Marmelade", &["M", "a", "rm", "e", "l", "a", "d", "e"], 4),
            "l"
        );
        assert_eq!(picked("Marmelade", &["Ma", "rm", "e", "l", "ade"], 2), "e");
        assert_eq!(
            picked("window", &["w", "i", "n", "d", "o", "i", "r"], 3),
            "d"
        );
        assert_eq!(
            picked("quckly", &["q", "u", "i", "c", "k", "l", "y"], 4),
            "k"
        );
    }

    #[test]
    fn nothing_read_is_nothing_found() {
        assert_eq!(marked_character(&[], &drawn(&["a"]), 0), None);
        assert_eq!(marked_character(&read("a"), &drawn(&["a"]), 1), None);
    }

    proptest! {
        #[test]
        fn any_input_is_survived(text in ".{0,30}", lefts in prop::collection::vec(any::<f32>(), 0..20), marked in 0usize..25) {
            let pieces: Vec<Bounds> = lefts.iter().map(|l| [*l, 0.0, l + 9.0, 9.0]).collect();
            let found = marked_character(&read(&text), &pieces, marked);
            if let Some(found) = found {
                prop_assert!(text.contains(&found.value));
            }
        }

        #[test]
        fn every_letter_is_found_where_letters_touch(joined in 0usize..8, marked in 0usize..9) {
            let word = "Holzkisten";
            let letters: Vec<String> = word.chars().map(String::from).collect();
            let mut pieces = letters.clone();
            let second = pieces.remove(joined + 1);
            pieces[joined].push_str(&second);
            prop_assume!(marked != joined);
            let expected = pieces[marked].clone();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(picked(word, &pieces, marked), expected);
        }
    }
}

//! Words in text that was read with slips: `T0TAL`, `SON BHD`, `TOTALAMOUNT`.

use std::ops::Range;

/// The letters of `text` in upper case, without anything between them. Digits and signs that
/// readers take for letters become those letters.
pub(super) fn letters(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '0' => Some('O'),
            '1' | '|' | '!' => Some('I'),
            '5' | '$' => Some('S'),
            '6' => Some('G'),
            '8' => Some('B'),
            c if c.is_alphabetic() => c.to_uppercase().next(),
            _ => None,
        })
        .collect()
}

/// How many letters of a stem may be wrong, missing or extra.
fn slips(stem: &str) -> usize {
    match stem.len() {
        0..=4 => 0,
        5..=9 => 1,
        _ => 2,
    }
}

/// Whether `stem` (upper-case ASCII letters) occurs anywhere in `letters`, up to a few slips.
pub(super) fn contains(letters: &str, stem: &str) -> bool {
    find(letters, stem, slips(stem)).is_some()
}

/// Whether any of the stems occurs.
pub(super) fn contains_any(letters: &str, stems: &[&str]) -> bool {
    stems.iter().any(|stem| contains(letters, stem))
}

/// Where the best occurrence of `stem` with at most `slips` edits stands, in characters of
/// `letters`; the last of equally good ones.
///
/// Approximate substring search by dynamic programming (Sellers, 1980): the row of edit distances
/// starts at zero at every position of the text, and each distance carries where it began.
pub(super) fn find(letters: &str, stem: &str, slips: usize) -> Option<Range<usize>> {
    let stem: Vec<char> = stem.chars().collect();
    let mut column: Vec<(usize, usize)> = (0..=stem.len()).map(|distance| (distance, 0)).collect();
    let mut best: Option<(usize, Range<usize>)> = None;
    for (position, letter) in letters.chars().enumerate() {
        let mut diagonal = column[0];
        column[0] = (0, position + 1);
        for (index, expected) in stem.iter().enumerate() {
            let substituted = (diagonal.0 + usize::from(*expected != letter), diagonal.1);
            diagonal = column[index + 1];
            let (above, left) = (column[index], diagonal);
            column[index + 1] = [substituted, (left.0 + 1, left.1), (above.0 + 1, above.1)]
                .into_iter()
                .min_by_key(|(distance, _)| *distance)
                .unwrap_or(substituted);
        }
        let (distance, start) = column[stem.len()];
        if distance <= slips && best.as_ref().is_none_or(|(least, _)| distance <= *least) {
            best = Some((distance, start..position + 1));
        }
    }
    best.map(|(_, span)| span)
}

/// How many letters differ, are missing or are extra between two words (Levenshtein, 1966).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

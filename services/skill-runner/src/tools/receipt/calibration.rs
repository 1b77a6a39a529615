//! From signs to the share of answers with these signs that is right.
//!
//! Logistic regressions (ridge penalty 1 on standardised signs), and counts for the date, over the
//! answers to 60 receipts read by two readers of very different quality. Over five folds by
//! receipt, the answers given 0.95 and more for a total were all right, those given less than 0.5
//! were wrong more often than right.

use super::company::Ground;

/// Confidences stay within these: 120 answers cannot tell more.
const LEAST: f32 = 0.05;
const MOST: f32 = 0.98;

fn logistic(logit: f32) -> f32 {
    (1.0 / (1.0 + (-logit).exp())).clamp(LEAST, MOST)
}

/// What a total was found by.
pub(super) struct TotalSigns {
    /// How far its score is above the next amount's.
    pub(super) margin: f32,
    /// Arithmetic between the amounts yields it.
    pub(super) proven: bool,
    /// How often it is printed.
    pub(super) times: usize,
    /// The reader's confidence in the row.
    pub(super) reading: f32,
}

/// The confidence in a total.
pub(super) fn total(signs: &TotalSigns) -> f32 {
    let proven = if signs.proven { 2.77 } else { 0.0 };
    let again = signs.times.clamp(1, 3) - 1;
    logistic(
        -5.36
            + 0.73 * signs.margin.min(4.0)
            + proven
            + 0.53 * again as f32
            + 5.28 * signs.reading.max(0.5),
    )
}

/// What a date was found by.
pub(super) struct DateSigns {
    /// In how many places it is printed.
    pub(super) times: usize,
    /// Another date is as likely.
    pub(super) rivals: bool,
    /// It is day first, with a month's name, or year first: the notations that need no guess.
    pub(super) plain: bool,
    /// The reader's confidence in the words that make it, the least of them.
    pub(super) reading: f32,
}

/// From this confidence of the reader on a date's digits can be trusted: it was never wrong there.
const WELL_READ: f32 = 0.91;

/// The confidence in a date. A single misread digit makes another valid date, so only a second
/// place or a good reader tells.
pub(super) fn date(signs: &DateSigns) -> f32 {
    let share = match (signs.times > 1, signs.reading >= WELL_READ) {
        (true, _) => 0.97,
        (false, true) => 0.96,
        // About 0.85 of those just below, fewer of the faint ones.
        (false, false) => 0.55 + 0.35 * signs.reading.max(0.0),
    };
    let share = if signs.rivals { share * 0.6 } else { share };
    if signs.plain { share } else { share * 0.6 }
}

/// What a company's name was found by.
pub(super) struct CompanySigns {
    pub(super) ground: Ground,
    /// The reader's confidence in the row.
    pub(super) reading: f32,
    /// It has signs that names don't have.
    pub(super) odd: bool,
}

/// The confidence in a name.
pub(super) fn company(signs: &CompanySigns) -> f32 {
    let legal = if signs.ground == Ground::LegalForm {
        1.03
    } else {
        0.0
    };
    let odd = if signs.odd { -4.24 } else { 0.0 };
    logistic(-9.41 + legal + 10.97 * signs.reading.max(0.5) + odd)
}

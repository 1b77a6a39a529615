//! Numbers as answers.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// How far a numeric answer may be off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerance {
    /// The convention of ChartQA (Masry et al. 2022, arXiv 2203.10244): 5 % of the
    /// reference, and nothing for years. A year is a whole number from 1000 to 2999 without sign,
    /// separator or percent sign; a count is best given as an integer.
    #[default]
    ChartQa,
    /// At most this share of the reference.
    Relative(f64),
    /// At most this much.
    Absolute(f64),
    /// The same number, however it is written: "0.12" for "12%", not "12".
    Exact,
}

/// Allows for the binary form of decimal fractions, as a share of the reference.
const ROUNDING: f64 = 8.0 * f64::EPSILON;
const CHART_QA: f64 = 0.05;

impl Tolerance {
    pub(super) fn is_valid(self) -> bool {
        match self {
            Self::Relative(share) | Self::Absolute(share) => share.is_finite() && share >= 0.0,
            Self::ChartQa | Self::Exact => true,
        }
    }

    /// Numbers agree as they are written ("12" for "12%"), or by their values ("0.12" for "12%").
    pub(super) fn accepts(self, truth: Numeral, given: Numeral) -> bool {
        let by_value = || match self {
            // What is allowed counts in the unit of the reference.
            Self::Absolute(most) if truth.percent => {
                Self::Absolute(most / 100.0).is_near(truth, truth.value(), given.value())
            }
            _ => self.is_near(truth, truth.value(), given.value()),
        };
        match self {
            Self::Exact => by_value(),
            _ => {
                self.is_near(truth, truth.written, given.written)
                    || (truth.percent != given.percent && by_value())
            }
        }
    }

    fn is_near(self, numeral: Numeral, truth: f64, given: f64) -> bool {
        let allowed = match self {
            Self::ChartQa if numeral.is_year => 0.0,
            Self::ChartQa => CHART_QA * truth.abs(),
            Self::Relative(share) => share * truth.abs(),
            Self::Absolute(most) => most,
            Self::Exact => 0.0,
        };
        (truth - given).abs() <= allowed + ROUNDING * truth.abs()
    }
}

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Numeral {
    /// The number before a percent sign.
    written: f64,
    percent: bool,
    is_year: bool,
}

impl Numeral {
    /// Reads a text that is one number and nothing else: a sign, digits whose thousands may be
    /// grouped by commas, a fraction, a currency sign before, a percent sign behind.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Folding would make "7²" of them 72.
        if text.contains(super::text::RAISED) {
            return None;
        }
        let text: String = text.nfkc().collect();
        let text = text.trim().trim_end_matches('.').trim_end();
        let (text, percent) = match text.strip_suffix('%') {
            Some(before) => (before.trim_end(), true),
            None => (text, false),
        };
        let (text, negative) = match text.strip_prefix(['-', '\u{2212}']) {
            Some(rest) => (rest.trim_start(), true),
            None => (text.strip_prefix('+').unwrap_or(text), false),
        };
        let digits = text.strip_prefix(['$', '€', '£', '¥']).unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let grouped = whole.contains(',');
        let whole = ungrouped(whole)?;
        let is_digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(&whole) || !is_digits(fraction) {
            return None;
        }
        let number: f64 = format!("0{whole}.{fraction}0").parse().ok()?;
        let is_year = !percent
            && !negative
            && !grouped
            && digits == text
            && !digits.contains('.')
            && (1000.0..3000.0).contains(&number);
        let written = if negative { -number } else { number };
        written.is_finite().then_some(Self {
            written,
            percent,
            is_year,
        })
    }

    fn value(self) -> f64 {
        if self.percent {
            self.written / 100.0
        } else {
            self.written
        }
    }
}

/// The digits of a whole number without the commas between groups of three.
fn ungrouped(text: &str) -> Option<String> {
    let mut groups = text.split(',');
    let first = groups.next()?;
    let mut digits = first.to_owned();
    for group in groups {
        if group.len() != 3 || !(1..=3).contains(&first.len()) {
            return None;
        }
        digits.push_str(group);
    }
    Some(digits)
}

/// Reads a text that is one whole number: "7", "-5", "1,234", "3.0".
pub(super) fn whole(text: &str) -> Option<i64> {
    /// Beyond this a floating-point number skips whole ones.
    const MOST: f64 = (1_u64 << 53) as f64;
    let numeral = Numeral::parse(text)?;
    let is_whole = numeral.written.fract() == 0.0 && numeral.written.abs() < MOST;
    (is_whole && !numeral.percent).then_some(numeral.written as i64)
}

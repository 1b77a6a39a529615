//! The date of a receipt.

use super::{
    Field, calibration,
    layout::Row,
    words::{contains_any, letters},
};
use maestro_core::answer::dates::{FoundDate, find_dates};

struct Candidate {
    found: FoundDate,
    score: f32,
    row: usize,
    confidence: f32,
}

/// Words beside dates on which nothing was bought.
const OTHER_DATES: [&str; 7] = [
    "EXPIR",
    "DUEDATE",
    "VALIDUNTIL",
    "BESTBEFORE",
    "APPROVED",
    "EFFECTIVE",
    "PROMO",
];

/// The day of the purchase, as printed.
pub(super) fn date(rows: &[Row]) -> Option<Field> {
    let mut candidates = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let text = row.text();
        let all = letters(&text);
        let other = contains_any(&all, &OTHER_DATES);
        for found in find_dates(&text) {
            let before = letters(&text[..found.span.start]);
            let labelled = contains_any(&before, &["DATE", "TARIKH"]);
            let timed = text[found.span.end..].contains(':');
            let mut score = 1.0;
            score += if labelled { 1.0 } else { 0.0 };
            score += if timed { 0.6 } else { 0.0 };
            score -= if other { 1.5 } else { 0.0 };
            // A short year is more often a part of another number.
            let separators = found
                .printed
                .chars()
                .filter(|c| !c.is_alphanumeric())
                .count();
            if found.printed.len() < 8 || separators == 0 {
                score -= 0.4;
            }
            // Dots stand in versions and amounts, too; a month before its day is a guess.
            if found.printed.contains('.') || found.guessed {
                score -= 0.4;
            }
            candidates.push(Candidate {
                score,
                row: index,
                confidence: row.least_confidence(&found.span),
                found,
            });
        }
    }
    let total = |candidate: &Candidate| {
        let same = candidates
            .iter()
            .filter(|c| c.found.date == candidate.found.date)
            .count();
        candidate.score + 0.7 * (same.min(3) - 1) as f32
    };
    // The first of equally good ones: receipts begin with their date.
    let best = candidates
        .iter()
        .rev()
        .max_by(|a, b| total(a).total_cmp(&total(b)))?;
    let same = candidates
        .iter()
        .filter(|c| c.found.date == best.found.date)
        .count();
    let rivals = candidates
        .iter()
        .any(|c| c.found.date != best.found.date && total(c) > total(best) - 0.5);
    Some(Field {
        value: best.found.printed.clone(),
        confidence: calibration::date(&calibration::DateSigns {
            times: same,
            rivals,
            plain: !best.found.guessed,
            reading: best.confidence,
        }),
        evidence: rows[best.row].text(),
    })
}

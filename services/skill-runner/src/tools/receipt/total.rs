//! The total of a receipt: labels beside amounts, and the arithmetic between them.

use super::{
    Field,
    amounts::{self, Amount},
    calibration,
    layout::Row,
    words::{contains, contains_any, letters},
};

/// What the words beside an amount say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    /// The total after rounding, or of all that is to be paid.
    Payable,
    Total,
    /// A total that may count something else, or leaves something out.
    WeakTotal,
    Subtotal,
    Amount,
    Card,
    Cash,
    Change,
    Rounding,
    Tax,
    Discount,
    /// Other words.
    Other,
}

impl Label {
    /// How well an amount with this label may be the total.
    fn weight(self) -> f32 {
        match self {
            Self::Payable => 5.0,
            Self::Total => 4.0,
            Self::Card => 2.0,
            Self::WeakTotal | Self::Subtotal => 1.8,
            Self::Cash | Self::Amount => 1.2,
            Self::Other => 0.0,
            Self::Change | Self::Rounding | Self::Tax | Self::Discount => -2.0,
        }
    }
}

fn label(text: &str) -> Label {
    let letters = letters(text);
    let has = |stems: &[&str]| contains_any(&letters, stems);
    let total = has(&["TOTAL", "JUMLAH"]);
    let round = contains(&letters, "ROUND");
    let inclusive = has(&["INCL", "WITHGST", "WITHTAX"]);
    if letters == "DUE" || has(&["AMOUNTDUE", "AMTDUE", "BALANCEDUE", "TOTALDUE"]) {
        return Label::Payable;
    }
    if has(&["CHANGE", "BALANCE", "BAKI"]) && !total {
        return Label::Change;
    }
    if has(&["DISCOUNT", "SAVING", "SAVED"]) && !has(&["AFTERDISC"]) {
        return if has(&["SUBTOTAL"]) {
            Label::Subtotal
        } else {
            Label::Discount
        };
    }
    if total && has(&["SUBTOTAL", "SUBTTL", "EXCL", "BEFORE", "WITHOUT"]) {
        return Label::Subtotal;
    }
    if round
        && !(total && (has(&["ROUNDED", "AFTERROUND"])))
        && !has(&["ROUNDEDTOTAL", "TOTALROUND"])
    {
        return Label::Rounding;
    }
    let tax = has(&["GST", "TAX", "VAT", "SERVICECH", "SVCCHG"]);
    if tax && !inclusive && !has(&["PAYABLE", "GRANDTOTAL", "NETTOTAL", "NETTTOTAL"]) {
        return Label::Tax;
    }
    if total {
        if round || has(&["GRANDTOTAL", "PAYABLE", "NETTOTAL", "NETTTOTAL", "TOTALPAY"]) {
            return Label::Payable;
        }
        if has(&[
            "QTY", "QUANTITY", "ITEM", "UNIT", "PCS", "POINT", "DISC", "SUPPLIES", "SAVE", "TYPE",
        ]) {
            return Label::WeakTotal;
        }
        return Label::Total;
    }
    if has(&["PAYABLE", "NETTAMOUNT", "NETAMOUNT"]) {
        return Label::Payable;
    }
    if has(&["CASHIER"]) {
        return Label::Other;
    }
    if has(&["CASH", "TENDER", "RECEIVED", "TUNAI", "PAID"]) {
        return Label::Cash;
    }
    if has(&[
        "VISA",
        "MASTERCARD",
        "DEBIT",
        "CREDIT",
        "CARD",
        "AMEX",
        "PAYMENT",
    ]) {
        return Label::Card;
    }
    if has(&["AMOUNT", "NETT"]) {
        return Label::Amount;
    }
    Label::Other
}

struct Labelled {
    cents: i64,
    label: Label,
    weight: f32,
    row: usize,
    confidence: f32,
}

/// Labels that stand in a table's heading name its columns, not the row.
const HEADING: [&str; 7] = ["QTY", "QUANTITY", "ITEM", "PRICE", "DESC", "CODE", "DISC"];

/// Every amount with its label. A label may also stand in the row above or, without an amount of
/// its own, in the row below.
fn labelled(rows: &[Row]) -> Vec<Labelled> {
    let texts: Vec<String> = rows.iter().map(Row::text).collect();
    let found: Vec<Vec<Amount>> = texts.iter().map(|text| amounts::amounts(text)).collect();
    let own_words = |row: usize| {
        let end = found[row]
            .first()
            .map_or(texts[row].len(), |amount| amount.start);
        let words = &texts[row][..end];
        // A currency sign is no label.
        (letters(words).len() >= 3 && !matches!(letters(words).as_str(), "MYR" | "USD" | "EUR"))
            .then_some(words)
    };
    let mut summary = false;
    let mut result = Vec::new();
    for row in 0..rows.len() {
        let squeezed = letters(&texts[row]);
        // A table of taxes by rate: its sums are parts of the total.
        summary |= contains_any(&squeezed, &["GSTSUMMARY", "TAXSUMMARY", "GSTANALYSIS"])
            || (contains_any(&squeezed, &["SUMMARY"]) && found[row].is_empty());
        if found[row].is_empty() {
            continue;
        }
        let near = |other: usize| {
            let (a, b) = (&rows[row], &rows[other]);
            (a.middle() - b.middle()).abs() < 2.0 * a.height().max(b.height())
                && found[other].is_empty()
                && !contains_any(&letters(&texts[other]), &HEADING)
        };
        let (label, trust) = match own_words(row) {
            Some(words) => (label(words), 1.0),
            None => {
                let above = row
                    .checked_sub(1)
                    .filter(|other| near(*other))
                    .map(|r| label(&texts[r]));
                let below = Some(row + 1)
                    .filter(|r| *r < rows.len() && near(*r))
                    .map(|r| label(&texts[r]));
                match (above, below) {
                    (Some(label), _) if label != Label::Other => (label, 0.8),
                    (_, Some(label)) if label != Label::Other => (label, 0.6),
                    _ => (Label::Other, 1.0),
                }
            }
        };
        let last = found[row].len() - 1;
        for (index, amount) in found[row].iter().enumerate() {
            // A line "rounding" with more than a rounding is the total after it.
            let label = match label {
                Label::Rounding if amount.cents > LARGEST_ROUNDING => Label::Payable,
                label => label,
            };
            let mut weight = label.weight() * trust;
            if summary && weight > 0.0 {
                weight *= 0.25;
            } else if index != last && weight > 0.0 {
                weight *= 0.5;
            }
            result.push(Labelled {
                cents: amount.cents,
                label,
                weight,
                row,
                confidence: rows[row].confidence(),
            });
        }
    }
    result
}

/// Largest rounding of a cash total, in hundredths.
const LARGEST_ROUNDING: i64 = 5;
/// An answer's score must reach this.
const LEAST_SCORE: f32 = 0.5;

struct Candidate {
    cents: i64,
    score: f32,
    proven: bool,
    times: usize,
    confidence: f32,
    rows: Vec<usize>,
}

/// Whether at least two prices above the first label that names `cents` add up to it. What is
/// printed last in a row without a label is taken for its price.
fn summed(amounts: &[Labelled], cents: i64) -> bool {
    let Some(end) = amounts
        .iter()
        .find(|a| a.cents == cents && a.weight > 1.0)
        .map(|a| a.row)
    else {
        return false;
    };
    let mut prices: Vec<(usize, i64)> = Vec::new();
    for amount in amounts
        .iter()
        .filter(|a| a.row < end && a.label == Label::Other)
    {
        match prices.last_mut() {
            Some((row, price)) if *row == amount.row => *price = amount.cents,
            _ => prices.push((amount.row, amount.cents)),
        }
    }
    let sums = prices
        .iter()
        .rev()
        .scan((0, 0), |(sum, count), (_, price)| {
            *sum += price;
            *count += 1;
            Some((*sum, *count))
        });
    sums.into_iter()
        .any(|(sum, count)| sum == cents && count >= 2)
}

fn candidates(amounts: &[Labelled]) -> Vec<Candidate> {
    let with = |label: Label| amounts.iter().filter(move |amount| amount.label == label);
    let largest = amounts
        .iter()
        .filter(|a| !matches!(a.label, Label::Cash | Label::Change))
        .map(|a| a.cents)
        .max()
        .unwrap_or(0);
    let mut values: Vec<i64> = amounts
        .iter()
        .map(|a| a.cents)
        .filter(|cents| *cents > 0)
        .collect();
    values.sort_unstable();
    values.dedup();
    let mut result: Vec<Candidate> = values
        .into_iter()
        .map(|cents| {
            let same: Vec<&Labelled> = amounts.iter().filter(|a| a.cents == cents).collect();
            let best = same
                .iter()
                .map(|a| a.weight)
                .fold(f32::NEG_INFINITY, f32::max);
            let rows_with_label = same.iter().filter(|a| a.weight > 1.0).count();
            let mut score = best + 0.4 * (rows_with_label.saturating_sub(1).min(3) as f32);
            // Cash − change: the change may be zero, then the cash says it.
            let paid = with(Label::Cash).any(|cash| {
                with(Label::Change)
                    .any(|change| change.row > cash.row && cash.cents - change.cents.abs() == cents)
            });
            // A total plus a rounding other than zero.
            let rounded = with(Label::Rounding).any(|rounding| {
                let delta = rounding.cents;
                delta != 0
                    && delta.abs() <= LARGEST_ROUNDING
                    && amounts.iter().any(|total| {
                        total.row <= rounding.row
                            && total.weight >= 1.0
                            && (total.cents + delta == cents
                                || total.cents - delta == cents && cents % 5 == 0)
                    })
            });
            let taxed = with(Label::Tax).any(|tax| {
                tax.cents > 0 && with(Label::Subtotal).any(|base| base.cents + tax.cents == cents)
            });
            let summed = summed(amounts, cents);
            if summed {
                score += 1.0;
            }
            if paid {
                score += 2.5;
            }
            if rounded && cents % 5 == 0 {
                score += 1.5;
            }
            if taxed {
                score += 1.5;
            }
            if cents == largest {
                score += 0.7;
            }
            // What becomes a printed amount with the tax is not yet all.
            let untaxed = with(Label::Tax).any(|tax| {
                tax.cents > 0
                    && same.iter().all(|a| a.weight < Label::Total.weight())
                    && amounts.iter().any(|a| a.cents == cents + tax.cents)
            });
            if untaxed {
                score -= 1.0;
            }
            // A total below one of its prices counts something else, such as the tax in it.
            let below_price = amounts.iter().any(|price| {
                price.label == Label::Other
                    && price.cents > cents
                    && same.iter().all(|a| price.row < a.row)
            });
            if below_price && !paid {
                score -= 1.5;
            }
            let rows = same.iter().map(|a| a.row).collect();
            Candidate {
                cents,
                score,
                proven: paid || rounded || taxed || summed,
                times: same.len(),
                confidence: same.iter().map(|a| a.confidence).fold(0.0, f32::max),
                rows,
            }
        })
        .collect();
    result.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.cents.cmp(&a.cents)));
    result
}

/// The total that was to be paid, with two decimals and no currency sign.
pub(super) fn total(rows: &[Row]) -> Option<Field> {
    let amounts = labelled(rows);
    let candidates = candidates(&amounts);
    let best = candidates
        .first()
        .filter(|best| best.score >= LEAST_SCORE)?;
    let margin = best.score
        - candidates
            .get(1)
            .map_or(0.0, |second| second.score.max(0.0));
    let mut evidence: Vec<String> = Vec::new();
    for row in &best.rows {
        let text = rows[*row].text();
        if !evidence.contains(&text) {
            evidence.push(text);
        }
    }
    Some(Field {
        value: amounts::printed(best.cents),
        confidence: calibration::total(&calibration::TotalSigns {
            margin,
            proven: best.proven,
            times: best.times,
            reading: best.confidence,
        }),
        evidence: evidence.join("\n"),
    })
}

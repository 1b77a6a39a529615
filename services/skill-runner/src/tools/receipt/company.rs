//! The name of the company at the head of a receipt.

use super::{
    Field, calibration,
    layout::Row,
    names::{before_address, follows_name, is_heading, names_business, tidy, to_legal_form},
};

/// How many rows the head of a receipt has at most.
const HEAD_ROWS: usize = 16;

/// What makes a line the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// A legal form such as "Ltd" ends it.
    LegalForm,
    /// It names a kind of business.
    Business,
    /// It is the first line of words.
    First,
}

/// The name of the company that gave the receipt, as printed, without its registration number.
pub(super) fn company(rows: &[Row]) -> Option<Field> {
    let head: Vec<&Row> = rows.iter().take(HEAD_ROWS).collect();
    let texts: Vec<String> = head.iter().map(|row| row.text()).collect();
    let shop = shop(&head, &texts);
    match legal_entity(&head, &texts) {
        // "Owned by … Ltd" behind the address is not how the shop calls itself.
        Some((legal, true))
            if shop
                .as_ref()
                .is_some_and(|(_, ground)| *ground == Ground::Business) =>
        {
            shop.map(|(field, _)| field).or(Some(legal))
        }
        Some((legal, _)) => Some(legal),
        None => shop.map(|(field, _)| field),
    }
}

/// Most lines that a name runs over.
const MOST_LINES: usize = 3;

/// Whether a line cannot begin a name: "(PLACE) LTD", "& SONS LTD", "PLACE) LTD".
fn goes_on_from_above(text: &str) -> bool {
    text.trim_start().starts_with(['(', '&', ')'])
        || text.matches(')').count() > text.matches('(').count()
}

/// The first name with a legal form, and whether an address or the like stands between it and an
/// earlier name.
fn legal_entity(head: &[&Row], texts: &[String]) -> Option<(Field, bool)> {
    let mut named = false;
    let mut late = false;
    for (index, text) in texts.iter().enumerate() {
        if let Some((mut name, whole)) = to_legal_form(text) {
            let mut evidence = text.clone();
            let mut whole = whole;
            for above in texts[..index].iter().rev().take(MOST_LINES - 1) {
                let begins = whole && !goes_on_from_above(&name);
                if begins || is_heading(above) || follows_name(above) {
                    break;
                }
                name = format!("{} {name}", above.trim());
                evidence = format!("{above}\n{evidence}");
                whole = true;
            }
            let name = tidy(&name);
            if name.chars().filter(|c| c.is_alphabetic()).count() >= 5 {
                return Some((field(name, Ground::LegalForm, evidence, head[index]), late));
            }
        }
        if !is_heading(text) {
            let follows = follows_name(text);
            late |= named && follows;
            named |= !follows;
        }
    }
    None
}

/// The first line of words before the address, or a following one that names a kind of business.
fn shop(head: &[&Row], texts: &[String]) -> Option<(Field, Ground)> {
    let mut first: Option<usize> = None;
    let mut business: Option<usize> = None;
    for (index, text) in texts.iter().enumerate() {
        if is_heading(text) {
            continue;
        }
        if follows_name(text) {
            if first.is_some() {
                break;
            }
            continue;
        }
        first = first.or(Some(index));
        if business.is_none() && names_business(text) {
            business = Some(index);
        }
    }
    let first = first?;
    let (index, ground) = match business {
        Some(index) if index <= first + 2 => (index, Ground::Business),
        _ => (first, Ground::First),
    };
    let mut name = texts[index].clone();
    let mut evidence = name.clone();
    if let Some(next) = texts.get(index + 1) {
        let goes_on = name.trim_end().ends_with('&')
            || (next.trim_start().starts_with('(') && !is_heading(next))
            || (ground == Ground::Business && !is_heading(next) && names_business(next))
            || name.matches('(').count() > name.matches(')').count();
        if goes_on && !follows_name(next) {
            name = format!("{name} {next}");
            evidence = format!("{evidence}\n{next}");
        }
    }
    let name = tidy(before_address(&name));
    Some((field(name, ground, evidence, head[index]), ground))
}

fn field(value: String, ground: Ground, evidence: String, row: &Row) -> Field {
    let odd = value
        .chars()
        .any(|c| !c.is_alphanumeric() && !" &.,'()-/@".contains(c));
    let signs = calibration::CompanySigns {
        ground,
        reading: row.confidence(),
        odd,
    };
    Field {
        value,
        confidence: calibration::company(&signs),
        evidence,
    }
}

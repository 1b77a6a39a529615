//! Names of companies in text that was read with slips.

use std::sync::LazyLock;

use regex::Regex;

use super::words::{contains_any, distance, find, letters};
use maestro_core::answer::dates::find_dates;

/// Legal forms: letters, slips allowed, and how they are printed. The longest are first.
const LEGAL_FORMS: [(&str, usize, &str); 9] = [
    ("SENDIRIANBERHAD", 3, "SENDIRIAN BERHAD"),
    ("SDNBHD", 2, "SDN BHD"),
    ("BERHAD", 1, "BERHAD"),
    ("LIMITED", 1, "LIMITED"),
    ("PTELTD", 1, "PTE LTD"),
    ("PTYLTD", 1, "PTY LTD"),
    ("GMBH", 0, "GMBH"),
    ("LTD", 0, "LTD"),
    ("BHD", 0, "BHD"),
];

/// "S/B", short for Sendirian Berhad, behind a name.
static SHORT_FORM: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(.*[A-Za-z].*\s)[S5$s]\s?/\s?[B8b](?:[^A-Za-z0-9]|$)").ok());

/// Kinds of business, in English and Malay.
const BUSINESS: [&str; 47] = [
    "ENTERPRISE",
    "TRADING",
    "RESTAURANT",
    "RESTORAN",
    "HARDWARE",
    "STATIONERY",
    "SUPERMARKET",
    "MARKET",
    "MART",
    "STORE",
    "SHOP",
    "BAKERY",
    "BAKERIES",
    "CONFECTIONERY",
    "PHARMACY",
    "FARMASI",
    "CLINIC",
    "KLINIK",
    "COMPANY",
    "SYARIKAT",
    "PERNIAGAAN",
    "KEDAI",
    "PASARRAYA",
    "CAFE",
    "KOPITIAM",
    "SEAFOOD",
    "CORNER",
    "HOUSE",
    "HOTEL",
    "STATION",
    "SERVICE",
    "CENTRE",
    "CENTER",
    "ELECTRICAL",
    "BOOK",
    "DEPARTMENT",
    "INDUSTR",
    "MARKETING",
    "HOLDINGS",
    "GROUP",
    "INTERNATIONAL",
    "GALLERY",
    "KITCHEN",
    "BISTRO",
    "FOOD",
    "PETROL",
    "RESOURCES",
];

/// Words that begin what follows the name: address, registration, contact, the document. Those of
/// five letters and more may also be a part of a word, as readers of images lose blanks.
const AFTER_NAME: [&str; 31] = [
    "JALAN",
    "JLN",
    "LORONG",
    "LOT",
    "LEVEL",
    "FLOOR",
    "TAMAN",
    "ROAD",
    "STREET",
    "AVENUE",
    "BLOCK",
    "BANDAR",
    "KAWASAN",
    "SEKSYEN",
    "SECTION",
    "TEL",
    "PHONE",
    "FAX",
    "GST",
    "GSTID",
    "REG",
    "ROC",
    "COMPANYNO",
    "VAT",
    "INVOICE",
    "RECEIPT",
    "CASHBILL",
    "WWW",
    "HTTP",
    "EMAIL",
    "BRANCH",
];
/// From this length on a word of [`AFTER_NAME`] may be a part of another.
const PART_LETTERS: usize = 5;

/// The name up to the end of its legal form, which is printed without slips, and whether anything
/// stands before the legal form.
pub(super) fn to_legal_form(text: &str) -> Option<(String, bool)> {
    if let Some(form) = SHORT_FORM.as_ref().and_then(|form| form.captures(text)) {
        return Some((format!("{} S/B", form[1].trim_end()), true));
    }
    let all = letters(text);
    for (form, slips, printed) in LEGAL_FORMS {
        let Some(span) = find(&all, form, slips) else {
            continue;
        };
        let exact = all
            .chars()
            .take(span.end)
            .collect::<String>()
            .ends_with(form);
        // A short form inside a word says nothing; a misread long one must not be a whole word.
        let Some((start_byte, end_byte)) = span_of_letters(text, span.start, span.end) else {
            continue;
        };
        let after = text[end_byte..].chars().next();
        if after.is_some_and(|c| c.is_alphabetic()) && form.len() < 6 {
            continue;
        }
        if form.len() < 6
            && text[..start_byte]
                .chars()
                .next_back()
                .is_some_and(char::is_alphabetic)
        {
            continue;
        }
        let alone = span.start == 0;
        if exact {
            return Some((text[..end_byte].to_owned(), !alone));
        }
        let name = text[..start_byte].trim_end();
        return Some((format!("{name} {printed}"), !alone));
    }
    None
}

/// The bytes from the letter number `from` to behind the letter number `to`, counted as
/// [`letters`] counts.
fn span_of_letters(text: &str, from: usize, to: usize) -> Option<(usize, usize)> {
    let mut count = 0;
    let mut start = None;
    for (at, c) in text.char_indices() {
        let taken = letters(c.encode_utf8(&mut [0; 4])).chars().count();
        if taken == 0 {
            continue;
        }
        if count == from {
            start = Some(at);
        }
        count += taken;
        if count >= to {
            return Some((start?, at + c.len_utf8()));
        }
    }
    None
}

/// Registration numbers in brackets or behind the name, and signs at its ends.
pub(super) fn tidy(text: &str) -> String {
    let mut text = text.trim();
    // A number before the name: "#000002 NAME".
    if let Some(rest) = text.strip_prefix('#') {
        text = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    if let Some(open) = text.rfind(['(', '[', '{']) {
        let inside: String = text[open..]
            .chars()
            .filter(|c| c.is_alphanumeric())
            .collect();
        let digits = inside.chars().filter(char::is_ascii_digit).count();
        if open > 0 && digits >= 4 {
            text = &text[..open];
        }
    }
    let text = text.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '(' | ')' | '&'));
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| known(&repair(word)))
        .collect();
    words.join(" ")
}

/// The part of a line before an address that a reader put on the same line: "NAME Unit 7, Yard".
pub(super) fn before_address(text: &str) -> &str {
    static ADDRESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)\S\s+[,(]?(?:unit|suite|lot|no|level|shoplot|block)\b[.:]?\s*#?\d").ok()
    });
    // A name has a word at least: what begins like an address is left as it is.
    match ADDRESS.as_ref().and_then(|address| address.find(text)) {
        Some(found) => {
            let name = text[..found.start()].chars().count() + 1;
            let end = text
                .char_indices()
                .nth(name)
                .map_or(text.len(), |(at, _)| at);
            text[..end].trim_end()
        }
        None => text,
    }
}

/// A word that is, but for a slip or two, a kind of business is that.
fn known(word: &str) -> String {
    let all = letters(word);
    let plain = word.chars().all(char::is_alphanumeric);
    let singular = all.strip_suffix('S').unwrap_or(&all);
    let is_known = BUSINESS.contains(&all.as_str()) || BUSINESS.contains(&singular);
    if all.len() < 6 || !plain || is_known {
        return word.to_owned();
    }
    let allowed = if all.len() < 9 { 1 } else { 2 };
    BUSINESS
        .iter()
        .filter(|business| business.len() >= 6)
        .map(|business| (distance(&all, business), business))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(|| word.to_owned(), |(_, business)| (*business).to_owned())
}

/// A digit between the letters of a word is a misread letter.
fn repair(word: &str) -> String {
    let letter = |c: Option<&char>| c.is_some_and(|c| c.is_alphabetic());
    let chars: Vec<char> = word.chars().collect();
    let known = chars.iter().filter(|c| c.is_alphabetic()).count();
    chars
        .iter()
        .enumerate()
        .map(|(at, c)| {
            let inside = at > 0 && letter(chars.get(at - 1)) && letter(chars.get(at + 1));
            match c {
                '0' if inside && known >= 3 => 'O',
                '1' | '|' | '!' if inside && known >= 3 => 'I',
                '5' if inside && known >= 3 => 'S',
                '8' if inside && known >= 3 => 'B',
                c => *c,
            }
        })
        .collect()
}

/// Whether a line is no name: too few letters, or more digits than letters.
pub(super) fn is_heading(text: &str) -> bool {
    let letters_count = text.chars().filter(|c| c.is_alphabetic()).count();
    let digits = text.chars().filter(char::is_ascii_digit).count();
    letters_count < 4 || digits > letters_count
}

/// Whether a line is what follows a name: an address, a number, a contact, a date.
pub(super) fn follows_name(text: &str) -> bool {
    let upper = text.trim().to_uppercase();
    let squeezed: String = upper.chars().filter(|c| c.is_alphabetic()).collect();
    let words = || {
        upper
            .split(|c: char| !c.is_alphabetic())
            .filter(|word| !word.is_empty())
    };
    let digits = upper.chars().take_while(char::is_ascii_digit).count();
    // "No. 5", "12, Long Road" and "55100 Town".
    let numbered = words().next() == Some("NO") && digits == 0
        || (1..=6).contains(&digits) && (upper.contains(',') || digits >= 4);
    numbered
        || words().any(|word| AFTER_NAME.contains(&word))
        || AFTER_NAME
            .iter()
            .any(|stem| stem.len() >= PART_LETTERS && squeezed.contains(stem))
        || !find_dates(text).is_empty()
}

/// Whether a line names a kind of business.
pub(super) fn names_business(text: &str) -> bool {
    contains_any(&letters(text), &BUSINESS)
}

//! Amounts of money in text that was read with slips.

use std::sync::LazyLock;

use regex::Regex;

/// An amount in hundredths of the currency's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) cents: i64,
    /// Where it begins in the text, in bytes.
    pub(super) start: usize,
}

/// More digits before the point than any receipt has.
const MAX_DIGITS: usize = 9;

/// A number with two decimals; letters that readers take for digits may stand in it, and blanks
/// around the point.
static AMOUNT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?P<minus>-\s?)?(?P<whole>[0-9OolISB]{1,3}(?:[,.]?[0-9]{3})*|[0-9OolIB]+|)\s?[.,。]\s?(?P<cents>[0-9OolSB]{2})").ok()
});

/// The amounts with two decimals in `text`, from left to right. Dates, times, percentages and
/// longer numbers are none.
pub(super) fn amounts(text: &str) -> Vec<Amount> {
    let Some(pattern) = AMOUNT.as_ref() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(captures) = pattern.captures_at(text, start) {
        let Some(whole) = captures.get(0) else { break };
        let step = text[whole.start()..]
            .chars()
            .next()
            .map_or(1, char::len_utf8);
        start = whole.start() + step;
        if !stands_alone(
            &text[..whole.start()],
            &text[whole.end()..],
            captures["whole"].is_empty(),
        ) {
            continue;
        }
        let Some(cents) = read(&captures["whole"], &captures["cents"]) else {
            continue;
        };
        let negative = captures.name("minus").is_some() || text[whole.end()..].starts_with('-');
        start = whole.end();
        found.push(Amount {
            cents: if negative { -cents } else { cents },
            start: whole.start(),
        });
    }
    found
}

fn stands_alone(before: &str, after: &str, bare: bool) -> bool {
    let mut after = after.chars();
    let ends = match after.next() {
        Some('%') => false,
        Some(c) if c.is_ascii_digit() => false,
        Some('.' | ',' | '/' | ':') => !after.next().is_some_and(|c| c.is_ascii_digit()),
        Some(' ') => after.next() != Some('%'),
        _ => true,
    };
    let mut before = before.chars().rev();
    // ".40" is an amount only where a word ends before it.
    if bare {
        return ends && before.next().is_none_or(|c| c.is_whitespace());
    }
    ends && match before.next() {
        Some(c) if c.is_ascii_digit() => false,
        Some('.' | ',' | '/' | ':' | '-') => !before.next().is_some_and(|c| c.is_ascii_digit()),
        _ => true,
    }
}

fn read(whole: &str, cents: &str) -> Option<i64> {
    let parts = format!("{whole}{cents}");
    let real = parts.chars().filter(char::is_ascii_digit).count();
    let digits: String = parts
        .chars()
        .filter_map(|c| match c {
            'O' | 'o' => Some('0'),
            'l' | 'I' => Some('1'),
            'S' => Some('5'),
            'B' => Some('8'),
            c => c.is_ascii_digit().then_some(c),
        })
        .collect();
    // Most of it must have been read as digits: "SO.IS" is no amount.
    if real * 2 < digits.len() || digits.len() > MAX_DIGITS {
        return None;
    }
    digits.parse().ok()
}

/// The amount with two decimals and no currency.
pub(super) fn printed(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

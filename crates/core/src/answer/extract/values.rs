//! Reads values of one form out of a part of a text.

use std::{ops::Range, sync::LazyLock};

use crate::answer::{AnswerKind, calculator, canonical, dates::find_dates};
use regex::{Captures, Regex};

use super::{Extracted, Form};

/// A value in a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) value: String,
    /// Equal for two values that say the same.
    pub(super) canonical: String,
    pub(super) span: Range<usize>,
}

impl Value {
    fn new(value: impl Into<String>, span: Range<usize>) -> Self {
        let value = value.into();
        Self {
            canonical: value.to_lowercase(),
            value,
            span,
        }
    }

    pub(super) fn into_extracted(self, confidence: f32) -> Extracted {
        Extracted {
            value: self.value,
            confidence,
            span: self.span,
        }
    }
}

/// Everything of the form that `text[span]` claims.
pub(super) fn read(text: &str, span: Range<usize>, form: &Form) -> Vec<Value> {
    let part = &text[span.clone()];
    let mut values = match form {
        Form::Integer => numbers(part)
            .into_iter()
            .filter(|v| !v.value.contains('.'))
            .collect(),
        Form::Number => numbers(part),
        Form::YesNo => yes_no(part),
        Form::Choice { options } => choice(part, options),
        Form::ShortText => short_text(part).into_iter().collect(),
        Form::Date => find_dates(part)
            .into_iter()
            .map(|found| Value {
                canonical: found.date.to_string(),
                ..Value::new(found.printed, found.span)
            })
            .collect(),
        Form::Pair => pairs(part),
        Form::Set => set(part).into_iter().collect(),
        Form::Expression => expression(part).into_iter().collect(),
        Form::FreeText | Form::Program => Vec::new(),
    };
    for value in &mut values {
        value.span = value.span.start + span.start..value.span.end + span.start;
    }
    values
}

const SMALL_NUMBERS: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?:-\s?)?(?:[$€£]\s?)?-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|-?\.[0-9]+",
    )
    .ok()
});
static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?i)\b[a-z]+\b").ok());

/// The numbers of a part, in digits or, where there is none, in words up to twenty. Of an equation
/// only what follows the last equals sign counts.
fn numbers(part: &str) -> Vec<Value> {
    let offset = part.rfind(['=', '≈']).map_or(0, |at| {
        at + part[at..].chars().next().map_or(1, char::len_utf8)
    });
    let side = &part[offset..];
    let mut values: Vec<Value> = NUMBER
        .iter()
        .flat_map(|pattern| pattern.find_iter(side))
        .filter_map(|found| number(side, found.range()))
        .collect();
    if values.is_empty() {
        values = WORDS
            .iter()
            .flat_map(|pattern| pattern.find_iter(side))
            .filter_map(|word| {
                let value = SMALL_NUMBERS
                    .iter()
                    .position(|name| word.as_str().eq_ignore_ascii_case(name))?;
                // "this one", "no one": a pronoun more often than a number.
                (value != 1 || side.trim().len() <= 4)
                    .then(|| Value::new(value.to_string(), word.range()))
            })
            .collect();
    }
    for value in &mut values {
        value.span = value.span.start + offset..value.span.end + offset;
        value.canonical = canonical(&AnswerKind::Number, &value.value);
    }
    values
}

fn number(side: &str, span: Range<usize>) -> Option<Value> {
    let written = &side[span.clone()];
    let before = side[..span.start].chars().next_back();
    let negative =
        written.contains('-') && !before.is_some_and(|c| c.is_alphanumeric() || c == ')');
    // "B2" is a name, "3rd" and "4x5" are more than a number.
    if before.is_some_and(|c| c.is_alphabetic() || c == '_')
        && !written.starts_with(['$', '€', '£'])
    {
        return None;
    }
    let digits: String = written
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let digits = if digits.starts_with('.') {
        format!("0{digits}")
    } else {
        digits
    };
    let plain = match digits.split_once('.') {
        Some((whole, fraction)) if fraction.chars().all(|c| c == '0') => whole.to_owned(),
        _ => digits,
    };
    Some(Value::new(
        if negative { format!("-{plain}") } else { plain },
        span,
    ))
}

static YES_NO: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\b(?:(yes|true)|(no|false))\b").ok());

/// Yes or no at the beginning settles it, as in "No, there is no overlap"; elsewhere every one
/// counts.
fn yes_no(part: &str) -> Vec<Value> {
    let said = |found: &Captures<'_>| {
        let span = found.get(0).map_or(0..0, |word| word.range());
        Value::new(if found.get(1).is_some() { "Yes" } else { "No" }, span)
    };
    let all: Vec<Value> = YES_NO
        .iter()
        .flat_map(|pattern| pattern.captures_iter(part))
        // "There is no overlap" negates one word; it does not answer.
        .filter(|found| found.get(0).is_some_and(|word| answers(part, word.range())))
        .map(|found| said(&found))
        .collect();
    match all.first() {
        Some(first)
            if part[..first.span.start]
                .chars()
                .all(|c| !c.is_alphanumeric()) =>
        {
            all.into_iter().take(1).collect()
        }
        _ => all,
    }
}

/// Whether a yes or no stands by itself: at the beginning, or before a sign or the end.
fn answers(part: &str, word: Range<usize>) -> bool {
    let before = part[..word.start].chars().all(|c| !c.is_alphanumeric());
    let after = part[word.end..]
        .trim_start_matches(['*', '_', '"', '\''])
        .chars()
        .next();
    before || after.is_none_or(|c| matches!(c, '.' | ',' | '!' | ';' | ':' | ')' | '\n'))
}

static LETTER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:^|[\s*_(\[])([A-Za-z])(?:[)\].:,;*_]|$|\s*$|\s+[-–—]\s)").ok()
});

/// The letters that are set apart as letters are, and the options that are written out. A letter
/// with the text of another option is two claims.
fn choice(part: &str, options: &[String]) -> Vec<Value> {
    let letter_of = |index: usize| char::from(b'A' + u8::try_from(index).unwrap_or(0));
    let lettered = LETTER
        .iter()
        .flat_map(|pattern| pattern.captures_iter(part))
        .filter_map(|found| {
            let letter = found.get(1)?;
            let c = letter.as_str().chars().next()?.to_ascii_uppercase();
            let index = usize::from(u8::try_from(c).ok()?.checked_sub(b'A')?);
            // A small "a" or "i" within a sentence is a word.
            let small = letter.as_str().chars().all(char::is_lowercase);
            let alone = part
                .trim_matches(|c: char| !c.is_alphanumeric())
                .chars()
                .count()
                == 1;
            let bracketed = part[letter.end()..].starts_with([')', ']']);
            (index < options.len().min(26) && (!small || alone || bracketed))
                .then(|| Value::new(letter_of(index).to_string(), letter.range()))
        });
    let mut values: Vec<Value> = lettered.collect();
    let lower = part.to_lowercase();
    // Lower case may change lengths; then only letters are read.
    if lower.len() != part.len() {
        return values;
    }
    let mut written: Vec<(usize, Range<usize>)> = Vec::new();
    for (index, option) in options.iter().enumerate().take(26) {
        let option = option.trim().to_lowercase();
        let found = lower.match_indices(&option).find(|(at, _)| {
            let edge = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
            // An option of one letter is read as a letter only if it is alone.
            (option.chars().count() > 1
                || lower.trim() == option
                || option.chars().all(|c| c.is_ascii_digit()))
                && edge(lower[..*at].chars().next_back())
                && edge(lower[at + option.len()..].chars().next())
        });
        if let Some((at, _)) = found {
            written.push((index, at..at + option.len()));
        }
    }
    // "New York" within "New York City" is not claimed.
    let inner = |span: &Range<usize>| {
        written.iter().any(|(_, other)| {
            other.len() > span.len() && other.start <= span.start && span.end <= other.end
        })
    };
    values.extend(
        written
            .iter()
            .filter(|(_, span)| !inner(span))
            .map(|(index, span)| Value::new(letter_of(*index).to_string(), span.clone())),
    );
    values
}

/// A phrase without quotes, emphasis and the full stop at its end.
fn short_text(part: &str) -> Option<Value> {
    let frame = |c: char| {
        c.is_whitespace() || matches!(c, '*' | '_' | '`' | '"' | '\'' | '“' | '”' | '‘' | '’')
    };
    let start = part.len() - part.trim_start_matches(frame).len();
    let mut end = part.trim_end_matches(frame).len();
    let full_stop = part[..end].ends_with('.') && part[..end].matches('.').count() == 1;
    if full_stop {
        end = part[..end - 1].trim_end_matches(frame).len();
    }
    if start >= end || end - start > super::SHORT_TEXT {
        return None;
    }
    let text = &part[start..end];
    let mut value = Value::new(text, start..end);
    value.canonical = canonical(&AnswerKind::ShortText, text);
    (!value.canonical.is_empty()).then_some(value)
}

static PAIRS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"(?i)\b(?P<r>[0-9]{1,3})\s*rows?\b[^0-9\n]{0,20}?\b(?P<c>[0-9]{1,3})\s*col",
        r"(?i)\b(?P<c>[0-9]{1,3})\s*col[a-z]*\b[^0-9\n]{0,20}?\b(?P<r>[0-9]{1,3})\s*rows?",
        r"(?i)\brows?\s*(?:=|:|is|are)\s*(?P<r>[0-9]{1,3})\b[^0-9]{0,30}?\bcol[a-z]*\s*(?:=|:|is|are)\s*(?P<c>[0-9]{1,3})\b",
        r"(?i)\bcol[a-z]*\s*(?:=|:|is|are)\s*(?P<c>[0-9]{1,3})\b[^0-9]{0,30}?\brows?\s*(?:=|:|is|are)\s*(?P<r>[0-9]{1,3})\b",
        r"(?:^|[^0-9.,])(?P<r>[0-9]{1,3})\s*(?:,|x|X|×|by)\s*(?P<c>[0-9]{1,3})(?:$|[^0-9.,]|[.,](?:\s|$))",
    ]
    .iter()
    .filter_map(|source| Regex::new(source).ok())
    .collect()
});

/// Pairs "rows,columns"; where the words stand, they decide which is which.
fn pairs(part: &str) -> Vec<Value> {
    PAIRS
        .iter()
        .map(|pattern| {
            pattern
                .captures_iter(part)
                .filter_map(|found| {
                    let (rows, columns) = (found.name("r")?, found.name("c")?);
                    let (row, column): (u16, u16) =
                        (rows.as_str().parse().ok()?, columns.as_str().parse().ok()?);
                    let span = rows.start().min(columns.start())..rows.end().max(columns.end());
                    Some(Value::new(format!("{row},{column}"), span))
                })
                .collect::<Vec<_>>()
        })
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

/// Items between commas, semicolons or "and", in the order of the text.
fn set(part: &str) -> Option<Value> {
    let text = short_text(part)?;
    let items: Vec<String> = text
        .value
        .trim_matches(['[', ']', '{', '}', '(', ')'])
        .replace(" and ", ",")
        .split([',', ';'])
        .map(|item| {
            item.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`'))
                .to_owned()
        })
        .filter(|item| !item.is_empty())
        .collect();
    let value = items.join(", ");
    let canonical = canonical(&AnswerKind::Set, &value);
    (!items.is_empty()).then(|| Value {
        canonical,
        ..Value::new(value, text.span)
    })
}

/// Arithmetic, or a short formula as it is.
fn expression(part: &str) -> Option<Value> {
    match calculator::find_expression(part) {
        Some(found) => {
            let canonical = calculator::calculate(&found).unwrap_or_else(|_| found.clone());
            Some(Value {
                canonical,
                ..Value::new(found, 0..part.len())
            })
        }
        None => {
            let text = short_text(part)?;
            let plain = text.value.trim_matches('$').trim().to_owned();
            let formula = plain
                .chars()
                .any(|c| c.is_ascii_digit() || "=+-*/^\\()".contains(c))
                || plain.chars().count() == 1;
            let canonical = plain.chars().filter(|c| !c.is_whitespace()).collect();
            formula.then(|| Value {
                canonical,
                ..Value::new(plain, text.span)
            })
        }
    }
}

#[cfg(test)]
pub(super) fn pair_patterns() -> usize {
    PAIRS.len()
}

//! Reads the answer out of a model's free text, by the kind of answer that is wanted.
//!
//! Strict: a text that claims two different answers has none.

use std::{ops::Range, sync::LazyLock};

use super::AnswerKind;
use regex::Regex;

use super::visible;

mod values;

use values::Value;

/// The form of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A whole number.
    Integer,
    /// A decimal number.
    Number,
    /// Yes or no.
    YesNo,
    /// One of the options, as its letter.
    Choice {
        /// The options in order; the first is A.
        options: Vec<String>,
    },
    /// A name, word or phrase.
    ShortText,
    /// A calendar date.
    Date,
    /// Two whole numbers, "rows,columns".
    Pair,
    /// Several short texts.
    Set,
    /// An arithmetic or mathematical expression.
    Expression,
    /// All that the model says.
    FreeText,
    /// Program source: the last fenced block, or all of the text.
    Program,
}

impl From<&AnswerKind> for Form {
    fn from(kind: &AnswerKind) -> Self {
        match kind {
            AnswerKind::FreeText => Self::FreeText,
            AnswerKind::Integer => Self::Integer,
            AnswerKind::Number => Self::Number,
            AnswerKind::YesNo => Self::YesNo,
            AnswerKind::Choice { options } => Self::Choice {
                options: options.clone(),
            },
            AnswerKind::ShortText => Self::ShortText,
            AnswerKind::Date => Self::Date,
            AnswerKind::Set => Self::Set,
            AnswerKind::Expression => Self::Expression,
            AnswerKind::Program => Self::Program,
        }
    }
}

/// An answer and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// The answer: a number without separators or unit, `Yes` or `No`, a letter, `rows,columns`,
    /// a date as written, or text.
    pub value: String,
    /// How clearly the text claims it, 0 to 1: marked as the answer, said to be the answer, the
    /// whole text, or the only such value in it. It says nothing about its being right.
    pub confidence: f32,
    /// The bytes of the text that were read as the answer.
    pub span: Range<usize>,
}

/// Why a text has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// Nothing in it has the form that is wanted.
    #[error("the text holds no answer of the kind {0}")]
    Missing(&'static str),
    /// It claims two different answers.
    #[error("the text claims both '{0}' and '{1}'")]
    Conflict(String, String),
}

/// How clearly a part of the text is claimed to be the answer.
const MARKED: f32 = 0.97;
const SAID: f32 = 0.92;
const WHOLE: f32 = 0.85;
const LAST_LINE: f32 = 0.7;
const ONLY: f32 = 0.5;

/// Longest text, in bytes, that is taken for a short answer as a whole.
const SHORT_TEXT: usize = 120;

/// Tags, boxes and labels around an answer.
static MARKS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"(?is)<answer>(.*?)</answer>",
        r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}",
        r"(?m)^\s*####\s*(.+)$",
        r#"(?i)"(?:final_)?answer"\s*:\s*"?([^"}\n]*)"#,
    ]
    .iter()
    .filter_map(|source| Regex::new(source).ok())
    .collect()
});

/// Sentences that say what the answer is. The last group holds it, up to the end of the line.
static SAYINGS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?im)\b(?:(?:final|correct|right|best)\s+)?(?:answer|choice|option|result)(?:\s+to\s+[^:\n]{1,60}?)?[*_]*\s*(?:\s+is\b|\s+are\b|:|=)(?:\s+option\b)?\s*[:*_]*\s*([^\n]+)",
    )
    .ok()
});

/// Reads the answer of the wanted form.
///
/// Thinking is left out. What is marked as the answer (`<answer>`, `\boxed`, `####`) goes before
/// what is said to be it ("the answer is …"), then comes the whole text if it is short, then the
/// last line, then the only value of that form anywhere.
///
/// # Errors
///
/// [`ExtractError::Missing`] if nothing has the form; [`ExtractError::Conflict`] if equally clear
/// claims differ.
pub fn extract(text: &str, form: &Form) -> Result<Extracted, ExtractError> {
    let shown = visible(text);
    match form {
        Form::FreeText => return whole(&shown, form),
        Form::Program => return program(&shown, form),
        _ => {}
    }
    let marked: Vec<Range<usize>> = MARKS
        .iter()
        .flat_map(|mark| {
            mark.captures_iter(&shown)
                .filter_map(|found| Some(found.get(1)?.range()))
        })
        .collect();
    let said = said(&shown);
    for (claims, confidence) in [(marked, MARKED), (said, SAID)] {
        if let Some(value) = agreed(&shown, claims, form)? {
            return Ok(value.into_extracted(confidence));
        }
    }
    let all = trimmed(&shown, 0..shown.len());
    if !shown[all.clone()].contains('\n') && all.len() <= SHORT_TEXT {
        let found = agreed(&shown, vec![all], form)?;
        return found
            .map(|value| value.into_extracted(WHOLE))
            .ok_or_else(|| missing(form));
    }
    // Of a long text only forms that cannot be mistaken for other words are taken.
    if matches!(form, Form::ShortText | Form::Set) {
        return Err(missing(form));
    }
    let last = shown[..all.end]
        .rfind('\n')
        .map_or(all.start, |at| at + 1)
        .max(all.start);
    match agreed(&shown, vec![trimmed(&shown, last..all.end)], form) {
        Ok(Some(value)) => return Ok(value.into_extracted(LAST_LINE)),
        Ok(None) => {}
        // A last line with two answers is no answer, and neither is what stands above it.
        Err(conflict) => return Err(conflict),
    }
    let found = agreed(&shown, vec![all], form)?;
    found
        .map(|value| value.into_extracted(ONLY))
        .ok_or_else(|| missing(form))
}

fn missing(form: &Form) -> ExtractError {
    ExtractError::Missing(match form {
        Form::Integer => "integer",
        Form::Number => "number",
        Form::YesNo => "yes_no",
        Form::Choice { .. } => "choice",
        Form::ShortText => "short_text",
        Form::Date => "date",
        Form::Pair => "pair",
        Form::Set => "set",
        Form::Expression => "expression",
        Form::FreeText => "free_text",
        Form::Program => "program",
    })
}

/// The one value that the claims agree on; claims without a value say nothing.
fn agreed(
    text: &str,
    claims: Vec<Range<usize>>,
    form: &Form,
) -> Result<Option<Value>, ExtractError> {
    let mut agreed: Option<Value> = None;
    for claim in claims {
        for value in values::read(text, claim, form) {
            match &agreed {
                Some(first) if first.canonical != value.canonical => {
                    return Err(ExtractError::Conflict(first.value.clone(), value.value));
                }
                Some(_) => {}
                None => agreed = Some(value),
            }
        }
    }
    Ok(agreed)
}

/// What sentences say is the answer; one line may hold several.
fn said(text: &str) -> Vec<Range<usize>> {
    let mut claims = Vec::new();
    let mut start = 0;
    while let Some(claim) = SAYINGS
        .as_ref()
        .and_then(|saying| saying.captures_at(text, start))
        .and_then(|found| found.get(1))
    {
        let claim = sentence(text, claim.range());
        start = claim.end.max(claim.start + 1);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        claims.push(claim);
    }
    claims
}

/// The span up to the end of its sentence: a full stop before a blank ends it, one in a number,
/// after a single letter ("B. Paris", "J. Smith") or a short title does not.
fn sentence(text: &str, span: Range<usize>) -> Range<usize> {
    let line = &text[span.clone()];
    let end = line.match_indices(". ").map(|(at, _)| at).find(|at| {
        let word = line[..*at]
            .rsplit(|c: char| !c.is_alphanumeric())
            .next()
            .unwrap_or_default();
        let initial = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
        !initial && !matches!(word, "Mr" | "Mrs" | "Ms" | "Dr" | "St" | "No")
    });
    trimmed(text, span.start..end.map_or(span.end, |at| span.start + at))
}

/// The span without blanks and emphasis at its ends.
fn trimmed(text: &str, span: Range<usize>) -> Range<usize> {
    let part = &text[span.clone()];
    let start = part.len() - part.trim_start_matches(is_frame).len();
    let end = part.trim_end_matches(is_frame).len();
    span.start + start.min(end)..span.start + end
}

fn is_frame(c: char) -> bool {
    c.is_whitespace() || matches!(c, '*' | '_' | '`')
}

fn whole(shown: &str, form: &Form) -> Result<Extracted, ExtractError> {
    let start = shown.len() - shown.trim_start().len();
    let end = shown.trim_end().len();
    if start >= end {
        return Err(missing(form));
    }
    Ok(Extracted {
        value: shown[start..end].to_owned(),
        confidence: WHOLE,
        span: start..end,
    })
}

/// The last fenced block; a text without one is a program as a whole.
fn program(shown: &str, form: &Form) -> Result<Extracted, ExtractError> {
    static FENCE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?ms)^[ \t]*```[^\n]*\n(.*?)^[ \t]*```").ok());
    let block = FENCE.as_ref().and_then(|fence| {
        fence
            .captures_iter(shown)
            .last()?
            .get(1)
            .map(|block| block.range())
    });
    match block {
        Some(span) if !shown[span.clone()].trim().is_empty() => Ok(Extracted {
            value: shown[span.clone()].to_owned(),
            confidence: MARKED,
            span,
        }),
        _ => whole(shown, form).map(|found| Extracted {
            confidence: ONLY,
            ..found
        }),
    }
}

#[cfg(test)]
mod tests;

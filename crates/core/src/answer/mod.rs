//! Kinds of answers, reading them out of text, and when two of them agree.

pub mod calculator;
pub mod dates;
pub mod extract;
mod thinking;

pub use thinking::visible;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::error::CoreError;

/// Most options of a choice.
pub const MAX_OPTIONS: usize = 64;
/// Longest option, in bytes.
pub const MAX_OPTION_BYTES: usize = 4096;

/// What the user wants to read at the end. It decides how an answer is extracted from an expert's
/// text and how two answers are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AnswerKind {
    /// Whatever the expert says.
    #[default]
    FreeText,
    /// A whole number.
    Integer,
    /// A decimal number.
    Number,
    /// Yes or no.
    YesNo,
    /// One of the options, written as its letter (A for the first).
    Choice {
        /// The options in order, at least two.
        options: Vec<String>,
    },
    /// A name, word or phrase.
    ShortText,
    /// A calendar date, in any notation.
    Date,
    /// Several short texts in any order, separated by commas.
    Set,
    /// A mathematical expression.
    Expression,
    /// Program source.
    Program,
}

impl AnswerKind {
    /// A stable short name: `integer`, `yes_no`, …
    pub fn name(&self) -> &'static str {
        match self {
            Self::FreeText => "free_text",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::YesNo => "yes_no",
            Self::Choice { .. } => "choice",
            Self::ShortText => "short_text",
            Self::Date => "date",
            Self::Set => "set",
            Self::Expression => "expression",
            Self::Program => "program",
        }
    }

    pub(crate) fn validate(&self) -> Result<(), CoreError> {
        let Self::Choice { options } = self else {
            return Ok(());
        };
        if !(2..=MAX_OPTIONS).contains(&options.len()) {
            return Err(CoreError::invalid(
                "answer_kind.choice.options",
                format!("{} options; must be 2 to {MAX_OPTIONS}", options.len()),
            ));
        }
        for (index, option) in options.iter().enumerate() {
            if option.trim().is_empty() || option.len() > MAX_OPTION_BYTES {
                return Err(CoreError::invalid(
                    format!("answer_kind.choice.options[{index}]"),
                    format!("must be 1 to {MAX_OPTION_BYTES} bytes"),
                ));
            }
        }
        Ok(())
    }
}

/// An answer read out of an expert's reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtractedAnswer {
    /// The answer as text.
    pub value: String,
    /// How sure the skill is that this is right, 0 to 1.
    pub confidence: f32,
}

/// The form under which two answers of one kind are compared for agreement. It is *not* a grader:
/// it only says whether two observations claim the same thing.
pub fn canonical(kind: &AnswerKind, value: &str) -> String {
    let value = value.trim();
    match kind {
        AnswerKind::Integer | AnswerKind::Number => number(value).unwrap_or_else(|| words(value)),
        AnswerKind::Set => {
            let mut parts: Vec<String> = value
                .split(',')
                .map(words)
                .filter(|part| !part.is_empty())
                .collect();
            parts.sort();
            parts.dedup();
            parts.join(",")
        }
        AnswerKind::Expression => value.chars().filter(|c| !c.is_whitespace()).collect(),
        AnswerKind::Program => value.to_owned(),
        AnswerKind::FreeText
        | AnswerKind::YesNo
        | AnswerKind::Choice { .. }
        | AnswerKind::ShortText
        | AnswerKind::Date => number(value).unwrap_or_else(|| words(value)),
    }
}

/// Whether two answers of one kind claim the same.
pub fn agree(kind: &AnswerKind, a: &str, b: &str) -> bool {
    canonical(kind, a) == canonical(kind, b)
}

fn number(value: &str) -> Option<String> {
    let plain: String = value
        .chars()
        .filter(|c| !matches!(c, ',' | '$' | '€' | '£' | ' '))
        .collect();
    let parsed: f64 = plain.parse().ok()?;
    // An integer list such as "4,5" is no number.
    let is_list = value.split(',').skip(1).any(|group| {
        group
            .trim()
            .split('.')
            .next()
            .is_none_or(|digits| digits.len() != 3)
    });
    (parsed.is_finite() && !is_list).then(|| {
        let text = format!("{parsed:.6}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text == "-0" {
            "0".to_owned()
        } else {
            text.to_owned()
        }
    })
}

/// Lower-case words (NFKC) separated by one space; punctuation separates.
fn words(value: &str) -> String {
    let lower = value.nfkc().collect::<String>().to_lowercase();
    lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_typed() {
        assert!(agree(&AnswerKind::Number, "$1,234.50", "1234.5"));
        assert!(!agree(&AnswerKind::Number, "12", "-12"));
        assert!(!agree(&AnswerKind::Integer, "2", "12"));
        assert!(agree(&AnswerKind::YesNo, "Yes.", "yes"));
        assert!(!agree(&AnswerKind::ShortText, "4,5", "45"));
        assert!(agree(&AnswerKind::ShortText, "4, 5", "4,5"));
        assert!(agree(&AnswerKind::Set, "b, a", "A,B"));
        assert!(!agree(&AnswerKind::ShortText, "e", "Go-Jek"));
    }

    #[test]
    fn choices_need_two_options() {
        let one = AnswerKind::Choice {
            options: vec!["x".into()],
        };
        assert!(one.validate().unwrap_err().to_string().contains("options"));
    }
}

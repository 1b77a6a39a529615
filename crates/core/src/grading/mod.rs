//! Whether an answer is right: strict matchers by the kind of answer, for learners and evaluations.
//!
//! A reference never enters the system: no task, message or observation has a field for it. The
//! matchers take the *whole* answer for a claim, so that neither a part of a word ("e" for
//! "Go-Jek"), a part of a number ("2" for "12%"), a list of all options nor an answer and its
//! opposite is right.

mod expression;
mod number;
mod text;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use self::number::Numeral;
pub use self::number::Tolerance;
use crate::{
    answer::{AnswerKind, dates},
    error::CoreError,
};

/// Longest answer that is looked at, in bytes; a longer one is wrong.
pub const MAX_ANSWER_BYTES: usize = 16 << 10;
/// Most members of a set.
pub const MAX_MEMBERS: usize = 64;

/// What an answer is measured against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reference {
    /// A whole number, exactly.
    Integer {
        /// The number.
        value: i64,
    },
    /// A number, within a tolerance.
    Number {
        /// The number as it is written, a percent sign included.
        value: String,
        /// How far an answer may be off.
        #[serde(default)]
        tolerance: Tolerance,
    },
    /// Yes or no.
    YesNo {
        /// Whether it is yes.
        value: bool,
    },
    /// One of several options.
    Choice {
        /// The options, A first.
        options: Vec<String>,
        /// The right one, from 0.
        index: usize,
    },
    /// A name, word or phrase.
    ShortText {
        /// Whichever is right.
        accepted: Vec<String>,
    },
    /// A calendar date.
    Date {
        /// The date.
        value: Date,
    },
    /// Several texts in any order.
    Set {
        /// The members, each with whatever it may be called.
        members: Vec<Vec<String>>,
    },
    /// A mathematical expression.
    Expression {
        /// The expression.
        value: String,
    },
    /// What a program prints. The answer that it is matched with is the output of a run, not the
    /// program.
    ProgramOutput {
        /// The output.
        value: String,
    },
}

impl Reference {
    /// The reference of a truth as data sets write it: the text of an answer of `kind`, with
    /// further texts that are right too (of short texts only). Numbers follow the ChartQA
    /// convention: see [`Tolerance::ChartQa`].
    ///
    /// # Errors
    /// [`CoreError::Invalid`] where the truth is no answer of its kind.
    pub fn new(kind: &AnswerKind, truth: &str, aliases: &[String]) -> Result<Self, CoreError> {
        let bad = |reason: &str| CoreError::invalid("truth", format!("{truth:?} {reason}"));
        let reference = match kind {
            AnswerKind::Integer => Self::Integer {
                value: number::whole(truth).ok_or_else(|| bad("is no whole number"))?,
            },
            AnswerKind::Number => Self::Number {
                value: truth.trim().to_owned(),
                tolerance: Tolerance::default(),
            },
            AnswerKind::YesNo => Self::YesNo {
                value: text::yes_no(truth).ok_or_else(|| bad("is neither yes nor no"))?,
            },
            AnswerKind::Choice { options } => Self::Choice {
                index: text::choice(truth, options).ok_or_else(|| bad("names no option"))?,
                options: options.clone(),
            },
            AnswerKind::Date => Self::Date {
                value: sole_date(truth).ok_or_else(|| bad("is no date"))?,
            },
            AnswerKind::Set => Self::Set {
                members: text::reference_members(truth)
                    .into_iter()
                    .map(|member| vec![member])
                    .collect(),
            },
            AnswerKind::Expression => Self::Expression {
                value: truth.trim().to_owned(),
            },
            // Programs are right by what they print, not by their text.
            AnswerKind::Program => {
                return Err(bad("is a program: give its output as the reference"));
            }
            AnswerKind::ShortText | AnswerKind::FreeText => Self::ShortText {
                accepted: std::iter::once(truth.to_owned())
                    .chain(aliases.iter().cloned())
                    .collect(),
            },
        };
        reference.validate()?;
        Ok(reference)
    }

    /// Whether the reference itself can be matched at all.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] names the field.
    pub fn validate(&self) -> Result<(), CoreError> {
        let invalid = |field: &'static str, reason: &str| Err(CoreError::invalid(field, reason));
        match self {
            Self::Number { value, tolerance } => {
                if Numeral::parse(value).is_none() {
                    return invalid("value", "is no number");
                }
                if !tolerance.is_valid() {
                    return invalid("tolerance", "must be at least 0 and finite");
                }
            }
            Self::Choice { options, index } => {
                let distinct: std::collections::BTreeSet<_> = options
                    .iter()
                    .map(|option| text::normalise(option))
                    .collect();
                if distinct.len() != options.len() {
                    return invalid("options", "two of them are the same");
                }
                if *index >= options.len() {
                    return invalid("index", "is beyond the options");
                }
            }
            Self::ShortText { accepted }
                if accepted.iter().all(|one| text::normalise(one).is_empty()) =>
            {
                return invalid("accepted", "holds no text");
            }
            Self::Set { members } => {
                let named =
                    |names: &Vec<String>| names.iter().any(|n| !text::normalise(n).is_empty());
                if members.is_empty() || members.len() > MAX_MEMBERS || !members.iter().all(named) {
                    return invalid("members", "must be 1 to 64, each with a name");
                }
                let mut names = std::collections::BTreeSet::new();
                for member in members {
                    let own: std::collections::BTreeSet<_> =
                        member.iter().map(|name| text::normalise(name)).collect();
                    if own.into_iter().any(|name| !names.insert(name)) {
                        return invalid("members", "two of them have a name in common");
                    }
                }
            }
            Self::Date { value } if !dates::YEARS.contains(&value.year()) => {
                return invalid("value", "is of a year that no answer is read as");
            }
            Self::Expression { value } if value.trim().is_empty() => {
                return invalid("value", "is empty");
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether an answer is right. Blank and over-long answers are wrong.
    pub fn matches(&self, answer: &str) -> bool {
        if answer.len() > MAX_ANSWER_BYTES || answer.trim().is_empty() {
            return false;
        }
        match self {
            Self::Integer { value } => number::whole(answer) == Some(*value),
            Self::Number { value, tolerance } => {
                match (Numeral::parse(value), Numeral::parse(answer)) {
                    (Some(truth), Some(given)) => tolerance.accepts(truth, given),
                    _ => false,
                }
            }
            Self::YesNo { value } => text::yes_no(answer) == Some(*value),
            Self::Choice { options, index } => text::choice(answer, options) == Some(*index),
            Self::ShortText { accepted } => {
                let given = text::normalise(answer);
                !given.is_empty() && accepted.iter().any(|one| text::normalise(one) == given)
            }
            Self::Date { value } => sole_date(answer) == Some(*value),
            Self::Set { members } => text::is_set(answer, members),
            Self::Expression { value } => expression::equal(value, answer),
            Self::ProgramOutput { value } => text::lines(answer).eq(text::lines(value)),
        }
    }
}

/// The date that a text is: one date, with nothing around it but blanks, quotes and a full stop.
fn sole_date(text: &str) -> Option<Date> {
    let mut found = dates::find_dates(text).into_iter();
    let (first, None) = (found.next()?, found.next()) else {
        return None;
    };
    let around = [text.get(..first.span.start)?, text.get(first.span.end..)?];
    let is_bare = |part: &str| part.chars().all(|c| !c.is_alphanumeric());
    around.into_iter().all(is_bare).then_some(first.date)
}

#[cfg(test)]
mod tests;

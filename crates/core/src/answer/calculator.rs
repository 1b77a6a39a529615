//! Arithmetic that a model wrote: finding it in its text, and evaluating it.
//!
//! Only numbers, the four operations, brackets and percentages pass; what remains is evaluated by
//! `exmex`, so nothing that a model writes is run as code.

use std::sync::LazyLock;

use regex::Regex;

use super::visible;

/// Longest expression, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 1024;
/// Most brackets that may be open at once.
pub const MAX_DEPTH: usize = 32;
/// Decimals that a result is rounded to.
pub const DECIMALS: usize = 6;

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalculatorError {
    /// There is nothing to evaluate.
    #[error("the expression is empty")]
    Empty,
    /// It is longer than [`MAX_EXPRESSION_BYTES`].
    #[error("the expression has {0} bytes; at most {MAX_EXPRESSION_BYTES} are allowed")]
    TooLong(usize),
    /// More than [`MAX_DEPTH`] brackets are open.
    #[error("more than {MAX_DEPTH} brackets are open at byte {0}")]
    TooDeep(usize),
    /// A character that is no part of arithmetic.
    #[error("{character:?} at byte {at} is no arithmetic")]
    Character {
        /// The character.
        character: char,
        /// Where it stands, in bytes.
        at: usize,
    },
    /// The characters are arithmetic but do not form an expression.
    #[error("the expression is malformed at byte {0}")]
    Malformed(usize),
    /// A division by zero, or a result beyond all numbers.
    #[error("the expression has no finite value")]
    NotFinite,
}

/// The value of an expression: decimal numbers, `+ - * / ( )`, signs, and `%` behind a number or a
/// bracket for a hundredth of it. A number beside an opening bracket multiplies it.
///
/// # Errors
///
/// [`CalculatorError`] says why there is no finite value.
pub fn evaluate(expression: &str) -> Result<f64, CalculatorError> {
    let checked = check(expression)?;
    let value = exmex::eval_str::<f64>(&checked)
        .map_err(|_| CalculatorError::Malformed(expression.len()))?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(CalculatorError::NotFinite)
    }
}

/// The value of an expression as text: see [`evaluate`] and [`format_number`].
///
/// # Errors
///
/// As [`evaluate`].
pub fn calculate(expression: &str) -> Result<String, CalculatorError> {
    evaluate(expression).map(format_number)
}

/// A number with at most [`DECIMALS`] decimals and no zeros at its end.
pub fn format_number(value: f64) -> String {
    let text = format!("{value:.DECIMALS$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// What came last in an expression.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The beginning, an operation, a sign or an opening bracket: an operand must follow.
    Open,
    Number,
    Closed,
}

/// Writes an expression so that only plain arithmetic remains.
fn check(expression: &str) -> Result<String, CalculatorError> {
    if expression.len() > MAX_EXPRESSION_BYTES {
        return Err(CalculatorError::TooLong(expression.len()));
    }
    let bytes = expression.as_bytes();
    let mut checked = String::with_capacity(2 * expression.len());
    // Where the operand that ended last begins in `checked`, for each open bracket.
    let mut starts: Vec<usize> = Vec::new();
    let mut operand = 0;
    let mut last = Last::Open;
    // An operation and its sign may be followed by no more signs.
    let mut signs = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'0'..=b'9' | b'.' => {
                if last != Last::Open {
                    return Err(CalculatorError::Malformed(at));
                }
                let end = at
                    + bytes[at..]
                        .iter()
                        .take_while(|b| b.is_ascii_digit() || **b == b'.')
                        .count();
                operand = checked.len();
                checked
                    .push_str(&number(&expression[at..end]).ok_or(CalculatorError::Malformed(at))?);
                (last, at) = (Last::Number, end);
            }
            b'(' => {
                if starts.len() == MAX_DEPTH {
                    return Err(CalculatorError::TooDeep(at));
                }
                if last != Last::Open {
                    checked.push('*');
                }
                starts.push(checked.len());
                checked.push('(');
                (last, signs, at) = (Last::Open, 0, at + 1);
            }
            b')' => {
                let start = starts.pop().filter(|_| last != Last::Open);
                operand = start.ok_or(CalculatorError::Malformed(at))?;
                checked.push(')');
                (last, at) = (Last::Closed, at + 1);
            }
            b'%' => {
                if last == Last::Open {
                    return Err(CalculatorError::Malformed(at));
                }
                checked.insert(operand, '(');
                checked.push_str("/100)");
                (last, at) = (Last::Closed, at + 1);
            }
            operation @ (b'+' | b'-') => {
                if last == Last::Open {
                    signs += 1;
                    if signs > 1 {
                        return Err(CalculatorError::Malformed(at));
                    }
                } else {
                    signs = 0;
                }
                checked.push(char::from(operation));
                (last, at) = (Last::Open, at + 1);
            }
            operation @ (b'*' | b'/') => {
                if last == Last::Open {
                    return Err(CalculatorError::Malformed(at));
                }
                checked.push(char::from(operation));
                (last, signs, at) = (Last::Open, 0, at + 1);
            }
            _ => {
                let character = expression[at..]
                    .chars()
                    .next()
                    .unwrap_or(char::REPLACEMENT_CHARACTER);
                return Err(CalculatorError::Character { character, at });
            }
        }
        if last != Last::Open {
            signs = 0;
        }
    }
    match (last, starts.is_empty()) {
        _ if checked.is_empty() => Err(CalculatorError::Empty),
        (Last::Open, _) | (_, false) => Err(CalculatorError::Malformed(expression.len())),
        _ => Ok(checked),
    }
}

/// A decimal number with a digit before its point.
fn number(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(if fraction.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{fraction}")
    })
}

/// A line that says it holds the expression.
static LABEL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)^[\s*_#>\-]*(?:expression|calculation|equation|formula|compute)[\s*_]*[:=][\s*_]*(?P<rest>.*)$").ok()
});
static FRACTION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}").ok());
static THOUSANDS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b([0-9]{1,3}(?:,[0-9]{3})+)(\.[0-9]+)?\b").ok());
static TIMES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"([0-9)]\s*)[xX](\s*[0-9(])").ok());
static RUN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"[0-9.(+\-][0-9.()+\-*/%\s]*").ok());
static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[A-Za-z_]+\.?").ok());

/// The arithmetic expression in a model's text, in the notation of [`evaluate`], which has a value
/// for it.
///
/// Thinking is left out. The last line that is labelled (`Expression: (3+4)*2`) counts, or else
/// the last line with an operation between numbers. Of an equation the side with an operation is
/// taken, `×`, `÷`, currency signs, thousands separators and the words beside numbers in a
/// labelled line ("3 apples + 4 apples") are read for what they mean.
pub fn find_expression(text: &str) -> Option<String> {
    let text = visible(text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("```"))
        .collect();
    let label = LABEL.as_ref()?;
    let labelled = lines.iter().enumerate().rev().find_map(|(index, line)| {
        let rest = label.captures(line)?.name("rest")?.as_str();
        // The expression may stand in the line below, or in a fence there.
        let rest = if rest.trim().is_empty() {
            lines.get(index + 1)?
        } else {
            rest
        };
        in_line(rest, true)
    });
    labelled.or_else(|| lines.iter().rev().find_map(|line| in_line(line, false)))
}

/// The expression of one line. Words between numbers and a number alone are fine where the line is
/// known to hold an expression.
fn in_line(line: &str, labelled: bool) -> Option<String> {
    let line = plain(line)?;
    let sides: Vec<&str> = line.split('=').collect();
    let found: Vec<String> = sides
        .iter()
        .filter_map(|side| in_side(side, labelled))
        .collect();
    let operates = |text: &&String| {
        text.char_indices()
            .any(|(at, c)| at > 0 && "+-*/".contains(c))
    };
    found
        .iter()
        .find(operates)
        .or_else(|| found.first().filter(|_| labelled))
        .cloned()
}

fn in_side(side: &str, labelled: bool) -> Option<String> {
    let without_words;
    let side = if labelled {
        without_words = WORD.as_ref()?.replace_all(side, " ");
        without_words.as_ref()
    } else {
        side
    };
    let mut best: Option<&str> = None;
    for run in RUN.as_ref()?.find_iter(side) {
        let run = run.as_str().trim();
        let run = run.trim_end_matches(['.', '+', '-', '*', '/', ' ', '(']);
        if evaluate(run).is_ok() && best.is_none_or(|best| run.len() >= best.len()) {
            best = Some(run);
        }
    }
    best.map(|run| run.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A line in plain notation.
fn plain(line: &str) -> Option<String> {
    if line.len() > 4 * MAX_EXPRESSION_BYTES {
        return None;
    }
    let line = line
        .replace("\\times", "*")
        .replace("\\cdot", "*")
        .replace("\\div", "/")
        .replace("\\left", "")
        .replace("\\right", "");
    let line = FRACTION.as_ref()?.replace_all(&line, "(($1)/($2))");
    let line: String = line
        .chars()
        .filter_map(|c| match c {
            '×' | '·' | '✕' | '∗' | '⋅' => Some('*'),
            '÷' | '∕' | '⁄' => Some('/'),
            '−' | '–' | '—' => Some('-'),
            '[' | '{' => Some('('),
            ']' | '}' => Some(')'),
            '$' | '€' | '£' | '`' | '\\' => None,
            c => Some(c),
        })
        .collect();
    let line = THOUSANDS
        .as_ref()?
        .replace_all(&line, |captures: &regex::Captures<'_>| {
            captures[0].replace(',', "")
        });
    // Twice: "2 x 3 x 4" shares its middle number.
    let times = TIMES.as_ref()?;
    let line = times.replace_all(&line, "$1*$2");
    let line = times.replace_all(&line, "$1*$2");
    // Emphasis, not powers.
    let line = line.replace("**", " ");
    Some(line)
}

#[cfg(test)]
mod tests;

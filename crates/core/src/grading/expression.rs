//! Mathematical expressions as answers: equal where they have equal values.

use std::{collections::BTreeSet, sync::LazyLock};

use exmex::Express;
use regex::{Captures, Regex};

/// Longest expression, in bytes.
const MAX_BYTES: usize = 1024;
/// Most brackets that may be open at once.
const MAX_DEPTH: usize = 32;
const MAX_VARIABLES: usize = 6;
/// Relative difference up to which values are the same.
const NEAR: f64 = 1e-9;
/// Where expressions with variables are compared: the fractional parts of multiples of square
/// roots, at which different expressions agree only by a rare accident.
const POINTS: usize = 6;
/// At how many of them both must have a value.
const NEEDED: usize = 3;

/// Whether two expressions are the same: as texts without blanks, or as functions, which is tried
/// at some points. What cannot be read is the same only as text.
pub(super) fn equal(truth: &str, given: &str) -> bool {
    let bare =
        |text: &str| -> String { tidy(text).chars().filter(|c| !c.is_whitespace()).collect() };
    let (a, b) = (bare(truth), bare(given));
    if a.is_empty() || b.is_empty() {
        return false;
    }
    a == b || equal_values(truth, given).unwrap_or(false)
}

fn equal_values(truth: &str, given: &str) -> Option<bool> {
    let (truth, given) = (sides(truth), sides(given));
    // "x = 3" answers "3"; two equations are the same where each of their sides is.
    let pairs: Vec<(&str, &str)> = match (truth.as_slice(), given.as_slice()) {
        ([a], [b]) => vec![(a, b)],
        ([name, a], [b]) | ([b], [name, a]) if is_name(name) => vec![(a, b)],
        ([a, b], [c, d]) => vec![(a, c), (b, d)],
        _ => return None,
    };
    let mut all = true;
    for (a, b) in pairs {
        all &= same_function(a, b)?;
    }
    Some(all)
}

fn sides(text: &str) -> Vec<String> {
    tidy(text)
        .split('=')
        .map(|side| side.trim().to_owned())
        .collect()
}

fn is_name(text: &str) -> bool {
    text.chars().count() == 1 && text.chars().all(char::is_alphabetic)
}

fn same_function(a: &str, b: &str) -> Option<bool> {
    let (a, b) = (parse(a)?, parse(b)?);
    let names: BTreeSet<String> = a.var_names().iter().chain(b.var_names()).cloned().collect();
    if names.len() > MAX_VARIABLES {
        return None;
    }
    let points = if names.is_empty() { 1 } else { POINTS };
    let mut compared = 0;
    for point in 0..points {
        let value = |expression: &exmex::FlatEx<f64>| {
            let at: Vec<f64> = expression
                .var_names()
                .iter()
                .filter_map(|name| names.iter().position(|other| other == name))
                .map(|index| coordinate(index, point))
                .collect();
            expression.eval(&at).ok()
        };
        let (left, right) = (value(&a)?, value(&b)?);
        if left.is_finite() && right.is_finite() {
            if (left - right).abs() > NEAR * left.abs().max(right.abs()).max(1.0) {
                return Some(false);
            }
            compared += 1;
        } else if left.is_finite() != right.is_finite() {
            return Some(false);
        }
    }
    Some(compared >= NEEDED.min(points))
}

/// Irrational numbers from ½ to 2½, different for each variable and point.
fn coordinate(variable: usize, point: usize) -> f64 {
    const PRIMES: [f64; MAX_VARIABLES] = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0];
    let root = PRIMES[variable % MAX_VARIABLES].sqrt();
    0.5 + 2.0 * (root * (point + 1) as f64).fract()
}

static FRACTION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}").ok());
static ROOT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\\sqrt\s*\{([^{}]*)\}").ok());
static THOUSANDS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b([0-9]{1,3}(?:,[0-9]{3})+)(\.[0-9]+)?\b").ok());

/// An expression without the marks of LaTeX.
fn tidy(text: &str) -> String {
    let mut text = text.trim().trim_end_matches('.').to_owned();
    for mark in [
        "$", "\\left", "\\right", "\\,", "\\;", "\\!", "\\(", "\\)", "\\[", "\\]",
    ] {
        text = text.replace(mark, "");
    }
    // From the inside out; each turn removes one level.
    for _ in 0..MAX_DEPTH {
        let Some((fraction, root)) = FRACTION.as_ref().zip(ROOT.as_ref()) else {
            break;
        };
        let next = fraction.replace_all(&text, "(($1)/($2))");
        let next = root.replace_all(&next, "sqrt($1)").into_owned();
        if next == text {
            break;
        }
        text = next;
    }
    let grouped = |captures: &Captures<'_>| captures[0].replace(',', "");
    if let Some(thousands) = THOUSANDS.as_ref() {
        text = thousands.replace_all(&text, grouped).into_owned();
    }
    text = text
        .replace("\\cdot", "*")
        .replace("\\times", "*")
        .replace("\\div", "/")
        .replace("\\pi", "π")
        .replace("**", "^");
    text.chars()
        .map(|c| match c {
            '×' | '·' | '⋅' | '∗' => '*',
            '÷' | '∕' | '⁄' => '/',
            '−' | '–' => '-',
            '{' | '[' => '(',
            '}' | ']' => ')',
            c => c,
        })
        .collect()
}

/// Functions that may be called, as they are written and as `exmex` names them.
const FUNCTIONS: [(&str, &str); 8] = [
    ("sqrt", "sqrt"),
    ("sin", "sin"),
    ("cos", "cos"),
    ("tan", "tan"),
    ("exp", "exp"),
    ("ln", "ln"),
    ("log", "log10"),
    ("abs", "abs"),
];

#[derive(Clone, Copy, PartialEq)]
enum Last {
    /// The beginning, an operation or an opening bracket.
    Open,
    Number,
    /// A variable or a closing bracket.
    Closed,
    Function,
}

fn parse(text: &str) -> Option<exmex::FlatEx<f64>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    exmex::parse::<f64>(&written_out(text)?).ok()
}

/// Writes the products out that mathematics leaves out: `2x(y+1)` is `2*x*(y+1)`, `xy` is `x*y`.
/// `None` for what is no expression, or too deep.
fn written_out(text: &str) -> Option<String> {
    let mut out = String::with_capacity(2 * text.len());
    let (mut last, mut depth) = (Last::Open, 0_usize);
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        // A function has its argument in brackets.
        if last == Last::Function && c != '(' {
            return None;
        }
        let is_operand = c.is_alphanumeric() || c == '.' || c == '(';
        if is_operand && matches!(last, Last::Number | Last::Closed) {
            out.push('*');
        }
        let mut length = c.len_utf8();
        match c {
            '0'..='9' | '.' => {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
                length = end.unwrap_or(rest.len());
                // "3 4" is no product.
                if last == Last::Number {
                    return None;
                }
                out.push_str(&rest[..length]);
                last = Last::Number;
            }
            '(' => {
                depth += 1;
                out.push(c);
                last = Last::Open;
            }
            ')' => {
                depth = depth.checked_sub(1)?;
                out.push(c);
                last = Last::Closed;
            }
            '%' if matches!(last, Last::Number | Last::Closed) => {
                out.push_str("/100");
                last = Last::Closed;
            }
            '+' | '-' | '*' | '/' | '^' => {
                out.push(c);
                last = Last::Open;
            }
            'π' => {
                out.push_str("(3.141592653589793)");
                last = Last::Closed;
            }
            c if c.is_alphabetic() => {
                let word = |(name, _): &&(&str, &str)| rest.starts_with(name);
                if let Some((name, called)) = FUNCTIONS.iter().find(word) {
                    length = name.len();
                    out.push_str(called);
                    last = Last::Function;
                } else {
                    out.push(c);
                    last = Last::Closed;
                }
            }
            _ => return None,
        }
        if depth > MAX_DEPTH {
            return None;
        }
        rest = rest[length..].trim_start();
    }
    (depth == 0 && !out.is_empty()).then_some(out)
}

//! Mathematical expressions as answers: equal where they have equal values.

use std::{collections::BTreeSet, sync::LazyLock};

use exmex::Express;
use regex::{Captures, Regex};

/// Longest expression, in bytes.
const MAX_BYTES: usize = 1024;
/// Most brackets that may be open at once.
const MAX_DEPTH: usize = 32;
const MAX_VARIABLES: usize = 6;
/// Relative difference up to which values of constants are the same.
const NEAR_CONSTANT: f64 = 1e-12;
/// The same for functions at the points, and the absolute one, for what cancels out there.
const NEAR: f64 = 1e-9;
const CANCELLED: f64 = 1e-12;
/// Where expressions with variables are compared: irrational numbers of either sign.
const POINTS: usize = 10;
/// At how many of them both must have a value.
const NEEDED: usize = 3;

/// Whether two expressions are the same: as texts without blanks, or as functions, which is tried
/// at some points. What cannot be read is the same only as text.
pub(super) fn equal(truth: &str, given: &str) -> bool {
    // A blank between digits stays: "2 3/4" is not "23/4".
    let bare = |text: &str| -> String {
        let words: Vec<String> = tidy(text).split_whitespace().map(str::to_owned).collect();
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let mut joined = String::new();
        for word in words {
            if digit(joined.chars().last()) && digit(word.chars().next()) {
                joined.push(' ');
            }
            joined.push_str(&word);
        }
        joined
    };
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
            let size = left.abs().max(right.abs());
            let near = if names.is_empty() {
                NEAR_CONSTANT * size
            } else {
                (NEAR * size).max(CANCELLED)
            };
            if (left - right).abs() > near {
                return Some(false);
            }
            compared += 1;
        } else if left.is_finite() != right.is_finite() {
            return Some(false);
        }
    }
    Some(compared >= NEEDED.min(points))
}

/// Irrational numbers of a size from ½ to 2½, different for each variable and point. Every second
/// point is positive for all variables; at the others the signs are mixed.
fn coordinate(variable: usize, point: usize) -> f64 {
    const PRIMES: [f64; MAX_VARIABLES] = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0];
    let root = PRIMES[variable % MAX_VARIABLES].sqrt();
    let size = 0.5 + 2.0 * (root * (point + 1) as f64).fract();
    let negative = point % 2 == 1 && (variable + point / 2).is_multiple_of(2);
    if negative { -size } else { size }
}

static FRACTION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}").ok());
static ROOT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\\sqrt\s*\{([^{}]*)\}").ok());
static POWER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\^\s*\{([^{}]*)\}").ok());
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
    for (name, _) in FUNCTIONS {
        text = text.replace(&format!("\\{name}"), name);
    }
    // From the inside out; each turn removes one level.
    for _ in 0..MAX_DEPTH {
        let (Some(fraction), Some(root), Some(power)) =
            (FRACTION.as_ref(), ROOT.as_ref(), POWER.as_ref())
        else {
            break;
        };
        let next = power.replace_all(&text, "^($1)");
        let next = fraction.replace_all(&next, "(($1)/($2))");
        let next = root.replace_all(&next, "sqrt($1)").into_owned();
        if next == text {
            break;
        }
        text = next;
    }
    let grouped = |captures: &Captures<'_>| captures[0].replace(',', "");
    // In brackets a comma divides: "(1,200)" is a pair.
    let thousands = THOUSANDS
        .as_ref()
        .filter(|_| !text.contains(['(', '[', '{']));
    if let Some(thousands) = thousands {
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

/// Writes out what mathematics leaves out: `2x(y+1)` is `2*x*(y+1)`, `xy` is `x*y`; and `-x^2` is
/// `(-1)*x^2`, since in `exmex` a sign binds tighter than a power. `None` for what is no expression,
/// or too deep, or a power of a power without brackets.
fn written_out(text: &str) -> Option<String> {
    let mut out = String::with_capacity(2 * text.len());
    let (mut last, mut depth) = (Last::Open, 0_usize);
    // For each bracket around, whether the operand is an exponent.
    let mut exponents = vec![false];
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        // A function has its argument in brackets.
        if last == Last::Function && !matches!(c, '(' | '{') {
            return None;
        }
        let is_operand = c.is_alphanumeric() || matches!(c, '.' | '(' | '[' | '{');
        if is_operand && matches!(last, Last::Number | Last::Closed) {
            out.push('*');
            *exponents.last_mut()? = false;
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
            '(' | '[' | '{' => {
                depth += 1;
                exponents.push(false);
                out.push('(');
                last = Last::Open;
            }
            ')' | ']' | '}' => {
                depth = depth.checked_sub(1)?;
                exponents.pop();
                out.push(')');
                last = Last::Closed;
            }
            '%' if matches!(last, Last::Number | Last::Closed) => {
                out.push_str("/100");
                last = Last::Closed;
            }
            '+' | '-' if last == Last::Open => {
                let sign = match out.chars().last() {
                    _ if c == '+' => "",
                    Some('^') => "-",
                    Some('/') => "(-1)/",
                    _ => "(-1)*",
                };
                out.push_str(sign);
            }
            '^' => {
                if std::mem::replace(exponents.last_mut()?, true) {
                    return None;
                }
                out.push(c);
                last = Last::Open;
            }
            '+' | '-' | '*' | '/' => {
                *exponents.last_mut()? = false;
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

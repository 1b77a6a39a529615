//! Texts as answers.

use unicode_normalization::UnicodeNormalization;

/// What surrounds an answer and is no part of it.
const AROUND: [char; 12] = [
    '"', '\'', '`', '.', ',', ';', ':', '!', '?', '\u{201c}', '\u{201d}', '*',
];

/// The form in which short texts are compared: lower case, single blanks, hyphens between letters
/// as blanks, no blank behind a comma, no article before, no quotes or full stop around. Signs
/// within stay: "C++" is not "C", and "-5" not "5".
pub(super) fn normalise(text: &str) -> String {
    let folded = text.nfkc().collect::<String>().to_lowercase();
    let folded = folded
        .replace(['\u{2018}', '\u{2019}'], "'")
        .replace('\u{2212}', "-");
    let folded = folded.trim_matches(|c: char| c.is_whitespace() || AROUND.contains(&c));
    let characters: Vec<char> = folded.chars().collect();
    let is_letter = |at: Option<usize>| {
        at.and_then(|at| characters.get(at))
            .is_some_and(|c| c.is_alphabetic())
    };
    let mut spaced = String::with_capacity(folded.len());
    for (at, c) in characters.iter().enumerate() {
        let joins = matches!(c, '-' | '_' | '\u{2010}' | '\u{2011}');
        if joins && is_letter(at.checked_sub(1)) && is_letter(at.checked_add(1)) {
            spaced.push(' ');
        } else {
            spaced.push(*c);
        }
    }
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let words = match words.as_slice() {
        ["a" | "an" | "the", rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    words.join(" ").replace(", ", ",")
}

/// Yes or no, where the answer is that alone.
pub(super) fn yes_no(answer: &str) -> Option<bool> {
    match normalise(answer).as_str() {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

/// The option, from 0, that an answer names: its letter ("B", "(b)", "Option B"), its text, or its
/// letter with its text ("B) Oslo"). `None` where it names none, several, or says more. A single
/// letter is that of an option before it is the text of another.
pub(super) fn choice(answer: &str, options: &[String]) -> Option<usize> {
    let answer = answer.trim().trim_matches('*').trim();
    if let Some((index, rest)) = lettered(answer, options.len()) {
        let rest = normalise(rest);
        if rest.is_empty() || rest == normalise(&options[index]) {
            return Some(index);
        }
    }
    let given = normalise(answer);
    let mut same = (0..options.len()).filter(|index| normalise(&options[*index]) == given);
    same.next()
        .filter(|_| same.next().is_none() && !given.is_empty())
}

/// The letter at the beginning of an answer, as the index of an option, and what follows it.
fn lettered(answer: &str, count: usize) -> Option<(usize, &str)> {
    let after = |word: &str| {
        let (head, rest) = answer.split_at_checked(word.len())?;
        head.eq_ignore_ascii_case(word).then(|| rest.trim_start())
    };
    let text = after("option ").unwrap_or(answer);
    let (text, bracket) = match text.strip_prefix(['(', '[']) {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let letter = text.chars().next().filter(char::is_ascii_alphabetic)?;
    let index = usize::from(letter.to_ascii_uppercase() as u8 - b'A');
    let rest = &text[1..];
    let closed = rest.strip_prefix([')', ']', '.', ':']);
    let ends = match (closed, bracket) {
        (Some(rest), _) => Some(rest),
        // "B Oslo" could be a text that begins with a word of one letter.
        (None, false) if rest.trim().is_empty() => Some(""),
        (None, _) => None,
    };
    ends.filter(|_| index < count).map(|rest| (index, rest))
}

/// The members of a list that is divided by commas, semicolons and lines.
pub(super) fn members(text: &str) -> Vec<String> {
    text.split([',', ';', '\n'])
        .map(normalise)
        .filter(|member| !member.is_empty())
        .collect()
}

/// Whether a list names every member of a set once, and nothing else.
pub(super) fn is_set(answer: &str, set: &[Vec<String>]) -> bool {
    let listed = members(answer);
    // "red, green and blue": the last "and" divides where it is no part of a name.
    let divided: Vec<String> = listed
        .iter()
        .flat_map(|member| member.split(" and "))
        .map(|member| member.strip_prefix("and ").unwrap_or(member))
        .map(normalise)
        .collect();
    covers(&listed, set) || covers(&divided, set)
}

fn covers(given: &[String], set: &[Vec<String>]) -> bool {
    if given.len() != set.len() {
        return false;
    }
    let mut left: Vec<&Vec<String>> = set.iter().collect();
    given.iter().all(|member| {
        let names = |names: &&Vec<String>| names.iter().any(|name| normalise(name) == *member);
        let found = left.iter().position(names);
        found.is_some_and(|at| {
            left.remove(at);
            true
        })
    })
}

/// The lines of an output without blanks at their ends and blank lines at the end.
pub(super) fn lines(output: &str) -> impl Iterator<Item = &str> {
    output.trim_end().lines().map(str::trim_end)
}

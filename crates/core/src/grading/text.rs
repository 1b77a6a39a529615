//! Texts as answers.

use unicode_normalization::UnicodeNormalization;

/// Digits that folding would put on the line.
pub(super) const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
/// What surrounds an answer and is no part of it.
const QUOTES: [char; 6] = ['"', '\'', '`', '\u{201c}', '\u{201d}', '*'];
/// What may also stand behind it.
const STOPS: [char; 6] = ['.', ',', ';', ':', '!', '?'];

/// The form in which short texts are compared: lower case, single blanks, hyphens between letters
/// as blanks, no blank behind a comma, no article before, no quotes around and no full stop behind.
/// Signs within stay: "C++" is not "C", and "-5" not "5".
pub(super) fn normalise(text: &str) -> String {
    let folded = fold(text);
    for article in ["a ", "an ", "the "] {
        if let Some(rest) = folded.strip_prefix(article) {
            return rest.to_owned();
        }
    }
    folded
}

/// The same with its article.
fn fold(text: &str) -> String {
    let raised = |c: char| RAISED.iter().position(|digit| *digit == c);
    let mut flat = String::with_capacity(text.len());
    for c in text.chars() {
        match raised(c) {
            Some(digit) => flat.push_str(&format!("^{digit}")),
            None => flat.push(c),
        }
    }
    let folded = flat.nfkc().collect::<String>().to_lowercase();
    let folded = folded
        .replace(['\u{2018}', '\u{2019}'], "'")
        .replace('\u{2212}', "-");
    let is_quote = |c: char| c.is_whitespace() || QUOTES.contains(&c);
    let mut folded = folded.trim_start_matches(is_quote);
    loop {
        let shorter = folded.trim_end_matches(is_quote);
        // "5!" is a factorial.
        let shorter = match shorter.strip_suffix(STOPS) {
            Some(before)
                if !(shorter.ends_with('!') && before.ends_with(|c: char| c.is_ascii_digit())) =>
            {
                before
            }
            _ => shorter,
        };
        if shorter == folded {
            break;
        }
        folded = shorter;
    }
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
    let given = fold(answer);
    // "A Bergen" could mean the option A: with an article of one letter the text must be the option's.
    let form: fn(&str) -> String = if given.starts_with("a ") {
        fold
    } else {
        normalise
    };
    let given = form(answer);
    let mut same = (0..options.len()).filter(|index| form(&options[*index]) == given);
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

/// The members of a set as a data set writes it, "red, green and blue": an "and" divides the last two
/// of several.
pub(super) fn reference_members(truth: &str) -> Vec<String> {
    let mut listed = members(truth);
    if let (true, Some(last)) = (listed.len() > 1, listed.pop()) {
        match last.split_once(" and ") {
            Some((before, after)) => listed.extend([normalise(before), normalise(after)]),
            None => listed.push(last.strip_prefix("and ").map_or(last.clone(), normalise)),
        }
    } else {
        listed = members(truth);
    }
    listed
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

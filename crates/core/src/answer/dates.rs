//! Calendar dates in running text.

use std::{ops::Range, sync::LazyLock};

use jiff::civil::Date;
use regex::{Captures, Regex};

/// A date as it stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDate {
    /// The day it names.
    pub date: Date,
    /// The characters that name it, with letters in place of digits (`2O18`) put right.
    pub printed: String,
    /// It was read month first because it makes no sense day first.
    pub guessed: bool,
    /// Where it stands in the text, in bytes.
    pub span: Range<usize>,
}

/// Years that a printed date may have; others are taken for numbers that look like a date.
pub const YEARS: std::ops::RangeInclusive<i16> = 1950..=2099;
/// Two-digit years from here on are of the last century.
const CENTURY_TURN: i16 = 70;

/// A digit, or a letter that readers of images take for one.
const DIGIT: &str = "[0-9OoQIl|SB]";

/// What stands between the numbers of a date; a reader may see a hyphen twice.
const SEPARATOR: &str = r"[/.\-]|--";

struct Notation {
    pattern: Regex,
    order: Order,
}

#[derive(Clone, Copy)]
enum Order {
    /// Day first, or month first where the second number cannot be a month.
    Numbers,
    YearFirst,
    DayNameYear,
    NameDayYear,
    Compact,
}

static NOTATIONS: LazyLock<Vec<Notation>> = LazyLock::new(|| {
    let month =
        r"(?P<name>jan|feb|mar|mac|apr|may|mei|jun|jul|aug|ogo|sep|oct|okt|nov|dec|dis|dez)[a-zä]*";
    let sources = [
        (
            format!(
                r"(?P<y>{DIGIT}{{4}})\s?(?:{SEPARATOR})\s?(?P<m>{DIGIT}{{1,2}})\s?(?:{SEPARATOR})\s?(?P<d>{DIGIT}{{1,2}})"
            ),
            Order::YearFirst,
        ),
        (
            format!(
                r"(?P<d>{DIGIT}{{1,2}})\s?(?:{SEPARATOR})\s?(?P<m>{DIGIT}{{1,2}})\s?(?:{SEPARATOR})\s?(?P<y>{DIGIT}{{4}})"
            ),
            Order::Numbers,
        ),
        (
            format!(
                r"(?P<d>{DIGIT}{{1,2}})\s?(?:{SEPARATOR})\s?(?P<m>{DIGIT}{{1,2}})\s?(?:{SEPARATOR})\s?(?P<y>{DIGIT}{{2}})"
            ),
            Order::Numbers,
        ),
        (
            format!(
                r"(?i)(?P<d>{DIGIT}{{1,2}})(?:st|nd|rd|th)?[\s/.,\-']*{month}[\s/.,\-']*(?P<y>{DIGIT}{{4}}|{DIGIT}{{2}})"
            ),
            Order::DayNameYear,
        ),
        (
            format!(
                r"(?i){month}[\s/.,\-']*(?P<d>{DIGIT}{{1,2}})(?:st|nd|rd|th)?[\s/.,\-']+(?P<y>{DIGIT}{{4}})"
            ),
            Order::NameDayYear,
        ),
        (
            r"(?P<y>(?:19|20)[0-9]{2})(?P<m>[01][0-9])(?P<d>[0-3][0-9])".to_owned(),
            Order::Compact,
        ),
    ];
    sources
        .into_iter()
        .filter_map(|(source, order)| {
            Regex::new(&source)
                .ok()
                .map(|pattern| Notation { pattern, order })
        })
        .collect()
});

/// Every date in `text`, from left to right. Numbers alone are read day first (`3/4/2018` is the
/// third of April), unless only month first makes sense or a year of four digits comes first.
/// Month names may be English or Malay, and German where they begin alike. Eight digits without a
/// separator count only if nothing else in the text is a date.
pub fn find_dates(text: &str) -> Vec<FoundDate> {
    let mut found: Vec<FoundDate> = Vec::new();
    for notation in NOTATIONS.iter() {
        if matches!(notation.order, Order::Compact) && !found.is_empty() {
            break;
        }
        let mut start = 0;
        while let Some(captures) = notation.pattern.captures_at(text, start) {
            let Some(whole) = captures.get(0) else { break };
            let date = read(&captures, notation.order);
            // After a miss the next try starts one character later: "1 12/02/2018" holds a date.
            let step = text[whole.start()..]
                .chars()
                .next()
                .map_or(1, char::len_utf8);
            start = if date.is_some() {
                whole.end()
            } else {
                whole.start() + step
            };
            let span = whole.range();
            let taken = found
                .iter()
                .any(|other| other.span.start < span.end && span.start < other.span.end);
            if let Some((date, guessed)) = date.filter(|_| !taken && stands_alone(text, &span)) {
                let printed = printed(&captures, whole.start(), whole.as_str());
                found.push(FoundDate {
                    date,
                    printed,
                    guessed,
                    span,
                });
            }
        }
    }
    found.sort_by_key(|date| date.span.start);
    found
}

/// A time of day, which readers of images may join to the date before it.
static TIME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(?:[01]?[0-9]|2[0-4])[:.][0-5][0-9]").ok());

/// Whether no digit and no further separator with a digit touches the span, as in `1.2.2018.4`,
/// but for a time of day.
fn stands_alone(text: &str, span: &Range<usize>) -> bool {
    let rest = &text[span.end..];
    if TIME.as_ref().is_some_and(|time| time.is_match(rest)) {
        return true;
    }
    let mut before = text[..span.start].chars().rev();
    let mut after = rest.chars();
    let separator = |c: char| matches!(c, '/' | '.' | '-');
    let free = |first: Option<char>, second: Option<char>| match first {
        Some(c) if c.is_ascii_digit() => false,
        Some(c) if separator(c) => !second.is_some_and(|next| next.is_ascii_digit()),
        _ => true,
    };
    free(after.next(), after.next())
        && match (before.next(), before.next()) {
            (Some(c), _) if c.is_ascii_digit() => false,
            // A number before a hyphen is a document number ("001-2018/02/22"), which has a date.
            (Some('/' | '.'), Some(c)) => !c.is_ascii_digit(),
            _ => true,
        }
}

fn digits(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            'O' | 'o' | 'Q' => '0',
            'I' | 'l' | '|' | 'i' | 'L' => '1',
            'S' | 's' => '5',
            'B' | 'b' => '8',
            c => c,
        })
        .collect()
}

fn number(captures: &Captures<'_>, group: &str) -> Option<i16> {
    let text = captures.name(group)?.as_str();
    // At least one real digit: "SO" is no day.
    text.chars()
        .any(|c| c.is_ascii_digit())
        .then(|| digits(text).parse().ok())?
}

/// The day, and whether it was read month first because nothing else makes sense.
fn read(captures: &Captures<'_>, order: Order) -> Option<(Date, bool)> {
    if matches!(order, Order::Numbers | Order::YearFirst) && !one_separator(captures) {
        return None;
    }
    let day = number(captures, "d")?;
    let mut year = number(captures, "y")?;
    if captures.name("y")?.as_str().chars().count() == 2 {
        year += if year < CENTURY_TURN { 2000 } else { 1900 };
    }
    if !YEARS.contains(&year) {
        return None;
    }
    let month = match captures.name("name") {
        Some(name) => month_of(name.as_str())?,
        None => number(captures, "m")?,
    };
    let date = |month: i16, day: i16| {
        Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
    };
    match order {
        Order::Numbers if month > 12 => date(day, month).map(|date| (date, true)),
        _ => date(month, day).map(|date| (date, false)),
    }
}

/// Whether the numbers of a date are separated in one way: "6/12.82" is none.
fn one_separator(captures: &Captures<'_>) -> bool {
    let mut separators = captures[0].chars().filter(|c| matches!(c, '/' | '.' | '-'));
    let first = separators.next();
    separators.all(|c| Some(c) == first)
}

fn month_of(name: &str) -> Option<i16> {
    Some(match name.to_ascii_lowercase().as_str() {
        "jan" => 1,
        "feb" => 2,
        "mar" | "mac" => 3,
        "apr" => 4,
        "may" | "mei" => 5,
        "jun" => 6,
        "jul" => 7,
        "aug" | "ogo" => 8,
        "sep" => 9,
        "oct" | "okt" => 10,
        "nov" => 11,
        "dec" | "dis" | "dez" => 12,
        _ => return None,
    })
}

fn printed(captures: &Captures<'_>, start: usize, whole: &str) -> String {
    let mut text = whole.to_owned();
    for group in ["d", "m", "y"] {
        if let Some(part) = captures.name(group) {
            // The replacement has as many bytes: both sides are ASCII.
            text.replace_range(
                part.start() - start..part.end() - start,
                &digits(part.as_str()),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn only(text: &str) -> Option<(String, String)> {
        match find_dates(text).as_slice() {
            [found] => Some((found.date.to_string(), found.printed.clone())),
            _ => None,
        }
    }

    #[test]
    fn dates_are_found_in_many_notations() {
        for (text, date, printed) in [
            ("Date: 12/02/2018", "2018-02-12", "12/02/2018"),
            ("3/4/2018", "2018-04-03", "3/4/2018"),
            ("25-12-18 16:46", "2018-12-25", "25-12-18"),
            ("02/25/2018", "2018-02-25", "02/25/2018"),
            ("2018/02/22", "2018-02-22", "2018/02/22"),
            ("No. 001-2018-02-22", "2018-02-22", "2018-02-22"),
            ("19 Mar 2018 18:26", "2018-03-19", "19 Mar 2018"),
            ("02JAN2017", "2017-01-02", "02JAN2017"),
            ("5 Ogos 2019", "2019-08-05", "5 Ogos 2019"),
            ("March 3rd, 2018", "2018-03-03", "March 3rd, 2018"),
            ("1.2.2018", "2018-02-01", "1.2.2018"),
            ("12/O2/2O18", "2018-02-12", "12/02/2018"),
            ("9/3/201820:54:50", "2018-03-09", "9/3/2018"),
            ("09/03/1820:54", "2018-03-09", "09/03/18"),
            ("26-05--2018", "2018-05-26", "26-05--2018"),
            ("20180212", "2018-02-12", "20180212"),
            ("21/05/2018TIME:", "2018-05-21", "21/05/2018"),
        ] {
            assert_eq!(
                only(text),
                Some((date.to_owned(), printed.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_date_is_not_found() {
        for text in [
            "",
            "12:30:45",
            "31/02/2018",
            "1.2.3.4",
            "6/12.82",
            "03-42618888",
            "12.50",
            "99/99/9999",
        ] {
            assert_eq!(find_dates(text), [], "{text}");
        }
    }

    #[test]
    fn every_notation_is_there() {
        assert_eq!(NOTATIONS.len(), 6);
        assert!(TIME.is_some());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(\\PC|[0-9/.: -]){0,60}") {
            for found in find_dates(&text) {
                prop_assert!(text.get(found.span.clone()).is_some());
                prop_assert!(YEARS.contains(&found.date.year()));
            }
        }

        #[test]
        fn a_printed_date_is_read(year in 1990..2060_i16, month in 1..=12_i8, day in 1..=28_i8) {
            let date = Date::new(year, month, day).unwrap();
            for notation in ["%d/%m/%Y", "%d-%m-%Y", "%Y-%m-%d", "%d %b %Y", "%d.%m.%Y", "%B %d, %Y"] {
                let text = format!("Tax invoice {} 18:22", date.strftime(notation));
                let found = find_dates(&text);
                prop_assert_eq!(found.len(), 1, "{}", text);
                prop_assert_eq!(found[0].date, date, "{}", text);
            }
        }
    }
}

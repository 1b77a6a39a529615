//! Counts the routes between the two stations that a question names.

use super::{Bounds, Picked, Reading};

/// A name is read at most this many heights of its box away from it.
const NEAR: f32 = 1.0;
/// Words beside which a question names a station.
const BESIDE: [&str; 16] = [
    "from", "to", "and", "between", "station", "stations", "stop", "stops", "with", "at", "in",
    "of", "join", "joins", "link", "links",
];

/// Why the routes could not be counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutesError {
    /// The question names other than two stations of the map.
    #[error("the question names {0} stations of the map instead of two")]
    Names(usize),
    /// A named station was read nowhere in the drawing.
    #[error("no station {0:?} was read in the drawing")]
    Unread(String),
    /// The list of routes is not one.
    #[error("no list of routes: {0:?}")]
    Routes(String),
}

/// What a question says at one place.
#[derive(Debug, Clone, PartialEq)]
enum Named {
    /// A station whose name was read.
    Read(usize),
    /// Something like a name that was not read.
    Other(String),
}

/// Counts the routes between the stations that the question names. `stations` are the boxes of
/// their names; `routes` holds pairs of them such as "1-3 2-4", counted from 1.
///
/// # Errors
/// [`RoutesError`].
pub fn count_routes(
    question: &str,
    readings: &[Reading],
    stations: &[Bounds],
    routes: &str,
) -> Result<Picked, RoutesError> {
    let names = names(readings, stations);
    let named = named(question, &names);
    let [a, b] = <[Named; 2]>::try_from(named).map_err(|all| RoutesError::Names(all.len()))?;
    let unread: Vec<usize> = (0..names.len()).filter(|k| names[*k].is_none()).collect();
    let mut sure = 1.0;
    let mut place = |named: &Named| match (named, unread.as_slice()) {
        (Named::Read(station), _) => Ok(*station),
        // The only name that was not read must be the only one that is missing.
        (Named::Other(_), [only]) => {
            sure = 0.8;
            Ok(*only)
        }
        (Named::Other(name), _) => Err(RoutesError::Unread(name.clone())),
    };
    let (from, to) = (place(&a)?, place(&b)?);
    if from == to {
        return Err(RoutesError::Names(1));
    }
    let mut count = 0;
    for route in routes.split_whitespace() {
        let ends = route.split_once('-').and_then(|(a, b)| {
            let end = |text: &str| text.parse::<usize>().ok()?.checked_sub(1);
            Some((end(a)?, end(b)?))
        });
        let (a, b) = ends.ok_or_else(|| RoutesError::Routes(routes.to_owned()))?;
        count += usize::from((a, b) == (from, to) || (b, a) == (from, to));
    }
    let read: Vec<&str> = names.iter().map(|n| n.as_deref().unwrap_or("?")).collect();
    Ok(Picked {
        value: count.to_string(),
        confidence: sure,
        evidence: format!(
            "stations {}; {count} routes join number {} and number {}",
            read.join(", "),
            from + 1,
            to + 1
        ),
    })
}

/// The name read at each station.
fn names(readings: &[Reading], stations: &[Bounds]) -> Vec<Option<String>> {
    let mut names: Vec<Option<String>> = vec![None; stations.len()];
    let mut name = |station: usize, text: &str| {
        if names[station].is_none() && !text.trim().is_empty() {
            names[station] = Some(single(text.trim()));
        }
    };
    for reading in readings {
        let mut covered: Vec<usize> = (0..stations.len())
            .filter(|k| covers(&reading.bounds, &stations[*k]))
            .collect();
        let words: Vec<&str> = reading.text.split_whitespace().collect();
        // A reader may take names far apart but level with each other for one line.
        if covered.len() > 1 && covered.len() == words.len() {
            covered.sort_by(|a, b| stations[*a][0].total_cmp(&stations[*b][0]));
            for (station, word) in covered.into_iter().zip(words) {
                name(station, word);
            }
            continue;
        }
        let away = |station: &Bounds| distance(station, &reading.bounds);
        let nearest = stations
            .iter()
            .map(away)
            .zip(0..)
            .min_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((distance, station)) = nearest
            && distance <= NEAR
        {
            name(station, &reading.text);
        }
    }
    names
}

/// A letter alone is sometimes read twice, as "Cc"; it is one letter.
fn single(name: &str) -> String {
    let mut letters = name.chars();
    match letters.next() {
        Some(first) if letters.all(|c| c.eq_ignore_ascii_case(&first)) => first.to_string(),
        _ => name.to_owned(),
    }
}

/// Does the middle of a station's name lie in the bounds.
fn covers(bounds: &Bounds, station: &Bounds) -> bool {
    let (x, y) = middle(station);
    bounds[0] <= x && x <= bounds[2] && bounds[1] <= y && y <= bounds[3]
}

/// How far the middle of a reading is from a station, in heights of the station's name.
fn distance(station: &Bounds, reading: &Bounds) -> f32 {
    let [left, top, right, bottom] = *station;
    let (x, y) = middle(reading);
    let (dx, dy) = ((left - x).max(x - right), (top - y).max(y - bottom));
    dx.max(0.0).hypot(dy.max(0.0)) / (bottom - top).max(1.0)
}

fn middle([left, top, right, bottom]: &Bounds) -> (f32, f32) {
    ((left + right) / 2.0, (top + bottom) / 2.0)
}

/// The stations that the question names, those named beyond doubt first, at most two where there
/// is no doubt.
fn named(question: &str, names: &[Option<String>]) -> Vec<Named> {
    let words: Vec<&str> = question
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let mut found: Vec<(bool, Named)> = Vec::new();
    for (k, word) in words.iter().enumerate() {
        let station =
            (0..names.len()).find(|s| names[*s].as_deref().is_some_and(|n| is(&words[k..], n)));
        let letter = word.len() == 1 && word.chars().all(|c| c.is_ascii_uppercase());
        let named = match station {
            Some(station) => Named::Read(station),
            None if letter => Named::Other((*word).to_owned()),
            None => continue,
        };
        let beside = |at: Option<usize>| {
            let word = at.and_then(|at| words.get(at));
            word.is_some_and(|w| BESIDE.contains(&w.to_lowercase().as_str()))
        };
        // A capital alone may be an article or a pronoun as well.
        let sure = !letter || beside(k.checked_sub(1)) || (k > 0 && beside(Some(k + 1)));
        match found.iter_mut().find(|(_, known)| *known == named) {
            Some(known) => known.0 |= sure,
            None => found.push((sure, named)),
        }
    }
    if found.len() > 2 {
        found.retain(|(sure, _)| *sure);
    }
    found.into_iter().map(|(_, named)| named).collect()
}

/// Do the words begin with the name: letters as they are, longer names whatever their case.
fn is(words: &[&str], name: &str) -> bool {
    let parts: Vec<&str> = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect();
    !parts.is_empty()
        && parts.len() <= words.len()
        && parts.iter().zip(words).all(|(part, word)| {
            part == word || (name.len() > 1 && part.to_lowercase() == word.to_lowercase())
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACES: [Bounds; 4] = [
        [90.0, 0.0, 110.0, 20.0],
        [180.0, 90.0, 200.0, 110.0],
        [90.0, 180.0, 110.0, 200.0],
        [0.0, 90.0, 20.0, 110.0],
    ];

    fn readings(names: [&str; 4]) -> Vec<Reading> {
        let read = |(text, [l, t, r, b]): (&str, Bounds)| Reading {
            text: text.to_owned(),
            bounds: [l - 3.0, t + 2.0, r + 3.0, b + 2.0],
        };
        let named = names.into_iter().zip(PLACES).map(read);
        named.filter(|r| !r.text.is_empty()).collect()
    }

    fn count(question: &str, names: [&str; 4]) -> Result<String, RoutesError> {
        count_routes(question, &readings(names), &PLACES, "1-3 1-3 2-4 1-2")
            .map(|picked| picked.value)
    }

    #[test]
    fn routes_between_named_stations_are_counted_both_ways() {
        let letters = ["A", "B", "C", "D"];
        for (question, expected) in [
            ("Unbroken colours leading from A to C?", "2"),
            ("C and A: how many lines?", "2"),
            ("A rider starts at station B. Lines ending at D?", "1"),
            ("Links A–B, please count", "1"),
            ("Colours joining B with C", "0"),
        ] {
            assert_eq!(
                count(question, letters).as_deref(),
                Ok(expected),
                "{question}"
            );
        }
        let words = ["Oak Hill", "Mill", "Pier", "Fort"];
        assert_eq!(
            count("Lines from Oak Hill to the pier", words).as_deref(),
            Ok("2")
        );
    }

    #[test]
    fn one_unread_name_is_known_by_what_is_left() {
        let question = "Lines from A to D";
        assert_eq!(
            count("Lines from B to D", ["A", "B", "C", ""]).as_deref(),
            Ok("1")
        );
        assert_eq!(
            count(question, ["A", "B", "", ""]),
            Err(RoutesError::Unread("D".into()))
        );
        assert_eq!(
            count("How many lines?", ["A", "B", "C", "D"]),
            Err(RoutesError::Names(0))
        );
    }

    #[test]
    fn a_letter_read_twice_is_one() {
        let read = ["A", "B", "Cc", "D"];
        assert_eq!(count("Lines from A to C", read).as_deref(), Ok("2"));
        assert_eq!(single("Oak"), "Oak");
    }

    #[test]
    fn names_read_as_one_line_are_told_apart() {
        let mut read = readings(["A", "", "C", ""]);
        read.push(Reading {
            text: "D B".into(),
            bounds: [0.0, 88.0, 200.0, 112.0],
        });
        let found = count_routes("Lines from B to D", &read, &PLACES, "2-4");
        assert_eq!(found.map(|picked| picked.value).as_deref(), Ok("1"));
    }

    proptest! {
        #[test]
        fn any_question_is_survived(question in ".{0,60}", routes in "[0-9 -]{0,12}") {
            let read = readings(["A", "B", "C", "D"]);
            let _ = count_routes(&question, &read, &PLACES, &routes);
        }
    }
}

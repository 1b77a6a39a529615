//! How many things of the kind that a question asks for a detector found.

mod classes;

pub use self::classes::{class_asked, class_of_label};

/// Of two things of a class whose common area over that of both together is larger, the less sure
/// one is a double. Stricter than detectors are themselves: those must not lose one thing of two
/// that stand close, here a double counts as wrong as a loss.
const MOST_OVERLAP: f32 = 0.3;
/// So is one of which a larger part lies inside a surer one, or holds a surer one.
const MOST_INSIDE: f32 = 0.7;
/// Least confidence with which a thing is counted: it is there more likely than not.
const LEAST_CONFIDENCE: f32 = 0.5;
/// How likely none is there where none was found, for a small detector: of 109 such answers to the
/// counting questions that the confidences were fitted on, 46 % were right. Where some were found,
/// no further factor made the stated chances fit better.
const NONE_MISSED: f32 = 0.5;
/// Most things of a class that are looked at; the surest are.
const MOST_THINGS: usize = 500;

/// A thing that a detector found.
#[derive(Clone, Debug, PartialEq)]
pub struct Thing {
    /// Its class, as the detector names it.
    pub label: String,
    /// How likely it is there, 0 to 1.
    pub confidence: f32,
    /// Left, top, right, bottom.
    pub bounds: [f32; 4],
}

/// How many there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// What was counted.
    pub class: &'static str,
    /// How many.
    pub value: usize,
    /// How likely exactly so many of what was found are there.
    pub confidence: f32,
    /// What it rests on, for people.
    pub evidence: String,
}

/// Counts the things of the class that the question asks for; none where it names no class that
/// detectors know.
pub fn count(question: &str, things: &[Thing]) -> Option<Count> {
    let class = class_asked(question)?;
    let likely: Vec<f32> = distinct(class, things)
        .iter()
        .map(|thing| thing.confidence.clamp(0.0, 1.0))
        .collect();
    let counted: Vec<f32> = likely
        .iter()
        .copied()
        .filter(|confidence| *confidence >= LEAST_CONFIDENCE)
        .collect();
    let value = counted.len();
    let shown: Vec<String> = counted.iter().map(|c| format!("{c:.2}")).collect();
    let left_out = likely.len() - value;
    Some(Count {
        class,
        value,
        confidence: chance_of(value, &likely) * if value == 0 { NONE_MISSED } else { 1.0 },
        evidence: format!(
            "{class}: {value} counted ({}), {left_out} too unsure",
            shown.join(", ")
        ),
    })
}

/// The things of a class without doubles, surest first.
fn distinct<'a>(class: &str, things: &'a [Thing]) -> Vec<&'a Thing> {
    let mut sorted: Vec<&Thing> = things
        .iter()
        .filter(|thing| class_of_label(&thing.label) == Some(class))
        .collect();
    sorted.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    sorted.truncate(MOST_THINGS);
    let mut kept: Vec<&Thing> = Vec::new();
    for thing in sorted {
        if !kept
            .iter()
            .any(|surer| is_double(&surer.bounds, &thing.bounds))
        {
            kept.push(thing);
        }
    }
    kept
}

fn area([left, top, right, bottom]: &[f32; 4]) -> f32 {
    (right - left).max(0.0) * (bottom - top).max(0.0)
}

fn is_double(a: &[f32; 4], b: &[f32; 4]) -> bool {
    let common = area(&[
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let (smaller, both) = (area(a).min(area(b)), area(a) + area(b) - common);
    common > MOST_OVERLAP * both || common > MOST_INSIDE * smaller
}

/// How likely exactly `count` of the things are there, each of them by itself as likely as it says
/// (the Poisson binomial distribution).
fn chance_of(count: usize, likely: &[f32]) -> f32 {
    // chances[n]: how likely n of those seen so far are there.
    let mut chances = vec![0.0_f64; likely.len() + 1];
    chances[0] = 1.0;
    for (seen, chance) in likely.iter().enumerate() {
        let chance = f64::from(*chance);
        for n in (0..=seen).rev() {
            chances[n + 1] += chances[n] * chance;
            chances[n] *= 1.0 - chance;
        }
    }
    chances.get(count).copied().unwrap_or(0.0) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn thing(label: &str, confidence: f32, left: f32) -> Thing {
        Thing {
            label: label.to_owned(),
            confidence,
            bounds: [left, 0.0, left + 10.0, 10.0],
        }
    }

    #[test]
    fn the_things_asked_for_are_counted() {
        let things = [
            thing("cup", 0.9, 0.0),
            thing("cup", 0.8, 20.0),
            thing("cup", 0.7, 24.0), // a double of the one before
            thing("cup", 0.2, 40.0),
            thing("bowl", 0.9, 60.0),
        ];
        let count = |question: &str| count(question, &things);
        let cups = count("How many mugs?").unwrap();
        assert_eq!((cups.class, cups.value), ("cup", 2));
        // Two of the three, whichever.
        let chance = 0.9 * 0.8 * 0.8 + 0.9 * 0.2 * 0.2 + 0.1 * 0.8 * 0.2;
        assert!((cups.confidence - chance).abs() < 1e-6);
        assert_eq!(cups.evidence, "cup: 2 counted (0.90, 0.80), 1 too unsure");
        let dogs = count("How many dogs?").unwrap();
        assert_eq!((dogs.value, dogs.confidence), (0, NONE_MISSED));
        assert_eq!(count("How many unicorns?"), None);
    }

    #[test]
    fn a_part_of_a_surer_thing_is_a_double() {
        let whole = thing("person", 0.9, 0.0);
        let mut part = thing("person", 0.6, 0.0);
        part.bounds = [2.0, 2.0, 5.0, 5.0];
        assert!(whole.bounds != part.bounds);
        assert_eq!(count("How many people?", &[part, whole]).unwrap().value, 1);
    }

    #[test]
    fn bounds_without_area_are_no_double() {
        assert!(!is_double(&[1.0; 4], &[1.0; 4]));
        assert!(!is_double(&[3.0, 0.0, 2.0, 1.0], &[0.0, 0.0, 9.0, 1.0]));
    }

    proptest! {
        #[test]
        fn chances_of_all_counts_are_one_together(
            likely in proptest::collection::vec(0.0_f32..=1.0, 0..30),
        ) {
            let sum: f32 = (0..=likely.len()).map(|count| chance_of(count, &likely)).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{sum}");
            prop_assert_eq!(chance_of(likely.len() + 1, &likely), 0.0);
        }
    }
}

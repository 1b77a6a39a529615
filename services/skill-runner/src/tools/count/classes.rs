//! Which of the things that detectors know a question is about.
//!
//! Detectors name the same eighty classes of COCO differently ("tv", "tvmonitor"), and people name
//! them more differently still: `classes.json` lists what each class is called. Plurals are formed
//! by rule; a plural that the rule does not give is listed as a word of its own.

use std::{collections::BTreeMap, sync::LazyLock};

/// Words by class.
static WORDS: LazyLock<BTreeMap<String, Vec<String>>> = LazyLock::new(|| {
    // A test reads the file; were it malformed, no class would be known.
    serde_json::from_str(include_str!("classes.json")).unwrap_or_default()
});

/// What comes right before that which is counted.
const ASKING: [&[&str]; 5] = [
    &["how", "many"],
    &["number", "of"],
    &["count"],
    &["amount", "of"],
    &["quantity", "of"],
];

/// The class of a detector's label.
pub fn class_of_label(label: &str) -> Option<&'static str> {
    let label = words(label);
    forms()
        .find(|(form, _)| *form == label)
        .map(|(_, class)| class)
}

/// The class that a question asks to count: the first one named after the words that ask for a
/// number, else the first one named; of names that begin at the same word, the longest.
pub fn class_asked(question: &str) -> Option<&'static str> {
    let question = words(question);
    let asked = ASKING
        .iter()
        .filter_map(|asking| find(&question, asking))
        .min()
        .unwrap_or(0);
    first_named(&question[asked..]).or_else(|| first_named(&question))
}

fn first_named(words: &[String]) -> Option<&'static str> {
    (0..words.len()).find_map(|start| {
        forms()
            .filter(|(form, _)| words[start..].starts_with(form))
            .max_by_key(|(form, _)| form.len())
            .map(|(_, class)| class)
    })
}

/// Where `phrase` ends in `words`.
fn find(words: &[String], phrase: &[&str]) -> Option<usize> {
    words
        .windows(phrase.len())
        .position(|window| window == phrase)
        .map(|start| start + phrase.len())
}

/// Every name in singular and plural, as words, with its class.
fn forms() -> impl Iterator<Item = (&'static [String], &'static str)> {
    static FORMS: LazyLock<Vec<(Vec<String>, &'static str)>> = LazyLock::new(|| {
        let named = WORDS
            .iter()
            .flat_map(|(class, names)| names.iter().map(move |name| (name, class.as_str())));
        named
            .flat_map(|(name, class)| {
                let singular = words(name);
                let mut plural = singular.clone();
                if let Some(last) = plural.last_mut() {
                    *last = plural_of(last);
                }
                [(singular, class), (plural, class)]
            })
            .collect()
    });
    FORMS.iter().map(|(form, class)| (form.as_slice(), *class))
}

fn plural_of(word: &str) -> String {
    let before_y = word
        .strip_suffix('y')
        .filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    match before_y {
        Some(stem) => format!("{stem}ies"),
        None if word.ends_with(['s', 'x']) || word.ends_with("ch") || word.ends_with("sh") => {
            format!("{word}es")
        }
        None => format!("{word}s"),
    }
}

/// Runs of letters and digits in lower case.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_words() {
        assert_eq!(WORDS.len(), 80);
        let mut seen = BTreeMap::new();
        for (class, names) in &*WORDS {
            assert_eq!(class_of_label(class), Some(class.as_str()));
            for name in names {
                assert_eq!(words(name).join(" "), *name, "as it is compared");
                let other = seen.insert(name, class);
                assert_eq!(other, None, "{name} names two classes");
            }
        }
    }

    #[test]
    fn labels_of_other_detectors_are_known() {
        for (label, class) in [
            ("tvmonitor", "tv"),
            ("TV", "tv"),
            ("aeroplane", "airplane"),
            ("pottedplant", "potted plant"),
            ("hair drier", "hair drier"),
        ] {
            assert_eq!(class_of_label(label), Some(class), "{label}");
        }
        assert_eq!(class_of_label("unicorn"), None);
        assert_eq!(class_of_label(""), None);
    }

    #[test]
    fn the_thing_that_is_counted_is_found() {
        for (question, class) in [
            ("How many dogs do you see?", "dog"),
            ("Count the hot dogs.", "hot dog"),
            ("Count all teddy bears on the bed", "teddy bear"),
            ("What is the number of knives?", "knife"),
            ("How many wine glasses stand on the table?", "wine glass"),
            ("Behind that bus: how many PEOPLE wait?", "person"),
            ("Are there ponies, and how many of them?", "horse"),
            ("How many brushes or toothbrushes?", "toothbrush"),
            ("How many of these couches are red?", "couch"),
            ("Sheep: how many?", "sheep"),
            ("cell-phones, please", "cell phone"),
        ] {
            assert_eq!(class_asked(question), Some(class), "{question}");
        }
        for question in ["", "How many unicorns?", "How many carpets?", "how many"] {
            assert_eq!(class_asked(question), None, "{question}");
        }
    }
}

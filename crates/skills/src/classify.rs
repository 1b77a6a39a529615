//! Which of several labels fits: by the words of a text, or by what an expert replied. Pure.

use std::collections::BTreeMap;

use crate::{
    dispatch::{contains_term, words},
    step::Ask,
    template::Template,
};

/// Says which label fits: words decide where they can, else the expert is asked, else it is
/// `otherwise`.
#[derive(Clone, Debug)]
pub struct Classify {
    /// The text whose words count.
    pub text: Template,
    /// The labels by name, with the weights of words that speak for them (terms as in
    /// [`crate::KeywordRule::keywords`]).
    pub labels: BTreeMap<String, BTreeMap<String, f32>>,
    /// Least weight with which words decide.
    pub threshold: f32,
    /// The question where words do not decide.
    pub ask: Option<Ask>,
    /// The value where nothing decides; without one the step fails.
    pub otherwise: Option<String>,
}

/// A label and what speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// The label.
    pub label: String,
    /// How sure that is, 0 to 1.
    pub confidence: f32,
    /// What spoke for it.
    pub evidence: String,
}

impl Classify {
    /// The label with the most weight, where that reaches the threshold and no other has as much.
    /// Its confidence is its share of all weight that speaks for a label.
    pub fn by_words(&self, text: &str) -> Option<Class> {
        let words = words(text);
        let mut scores: Vec<(f32, &String, Vec<String>)> = self
            .labels
            .iter()
            .map(|(label, terms)| {
                let found = terms.iter().filter(|(term, _)| contains_term(&words, term));
                let (mut sum, mut reasons) = (0.0, Vec::new());
                for (term, weight) in found {
                    sum += weight;
                    reasons.push(format!("{term:?} {weight:+}"));
                }
                (sum, label, reasons)
            })
            .collect();
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (best, label, reasons) = scores.first()?;
        let tied = scores.get(1).is_some_and(|next| next.0 == *best);
        if tied || reasons.is_empty() || *best < self.threshold || *best <= 0.0 {
            return None;
        }
        let all: f32 = scores.iter().map(|score| score.0.max(0.0)).sum();
        Some(Class {
            label: (*label).clone(),
            confidence: best / all,
            evidence: reasons.join(", "),
        })
    }

    /// The label that most replies name; of equally frequent ones the first. Its confidence is
    /// the share of the replies.
    pub fn by_replies(&self, replies: &[String]) -> Option<Class> {
        let labels: Vec<&str> = self.labels.keys().map(String::as_str).collect();
        most_named(replies, &labels).map(|(label, count)| Class {
            label: label.to_owned(),
            confidence: count as f32 / replies.len() as f32,
            evidence: format!("the expert said so in {count} of {} replies", replies.len()),
        })
    }
}

/// The label that most replies name, and how many do; of equally frequent ones the first named.
pub(crate) fn most_named<'a>(replies: &[String], labels: &[&'a str]) -> Option<(&'a str, usize)> {
    let named: Vec<&str> = replies.iter().filter_map(|r| named(r, labels)).collect();
    let count = |label: &str| named.iter().filter(|other| **other == label).count();
    // `max_by_key` keeps the last of equals, so the first is found from the end.
    let best = named.iter().rev().max_by_key(|label| count(label))?;
    Some((best, count(best)))
}

/// The label that a reply is, or the only one that it holds. Case, punctuation and words around
/// it do not matter; a label that is part of a longer one that stands there does not count.
pub fn named<'a>(reply: &str, labels: &[&'a str]) -> Option<&'a str> {
    let reply = words(reply);
    let parts: Vec<(&str, Vec<String>)> =
        labels.iter().map(|label| (*label, words(label))).collect();
    let is_reply = |(_, part): &&(&str, Vec<String>)| !part.is_empty() && *part == reply;
    if let Some((label, _)) = parts.iter().find(is_reply) {
        return Some(label);
    }
    let held: Vec<&(&str, Vec<String>)> = parts
        .iter()
        .filter(|(_, part)| holds(&reply, part))
        .collect();
    let mut longest = held.iter().filter(|(_, part)| {
        !held
            .iter()
            .any(|(_, other)| other.len() > part.len() && holds(other, part))
    });
    match (longest.next(), longest.next()) {
        (Some((label, _)), None) => Some(label),
        _ => None,
    }
}

fn holds(text: &[String], part: &[String]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn classify(labels: &[(&str, &[(&str, f32)])]) -> Classify {
        let terms = |terms: &[(&str, f32)]| {
            terms
                .iter()
                .map(|(term, weight)| ((*term).to_owned(), *weight))
                .collect()
        };
        Classify {
            text: Template::parse("{{ query }}").unwrap(),
            labels: labels
                .iter()
                .map(|(label, words)| ((*label).to_owned(), terms(words)))
                .collect(),
            threshold: 1.0,
            ask: None,
            otherwise: None,
        }
    }

    #[test]
    fn words_decide_where_they_are_clear() {
        let classify = classify(&[
            ("bar", &[("bar*", 3.0), ("tall*", 1.0)]),
            ("line", &[("trend", 1.0)]),
            ("pie", &[]),
        ]);
        let class = classify.by_words("The tallest bar and its trend").unwrap();
        assert_eq!((class.label.as_str(), class.confidence), ("bar", 0.8));
        assert_eq!(class.evidence, "\"bar*\" +3, \"tall*\" +1");
        assert_eq!(classify.by_words("the tall trend"), None, "a tie");
        assert_eq!(classify.by_words("anything"), None);
    }

    #[test]
    fn a_reply_names_one_label_or_none() {
        let labels = ["bar", "stacked bar", "line"];
        assert_eq!(named(" Bar.", &labels), Some("bar"));
        assert_eq!(
            named("It is a **stacked bar** chart", &labels),
            Some("stacked bar")
        );
        assert_eq!(named("bar or line", &labels), None);
        assert_eq!(named("barline", &labels), None);
        assert_eq!(named("", &labels), None);
    }

    #[test]
    fn replies_vote() {
        let classify = classify(&[("no", &[]), ("yes", &[])]);
        let replies = ["yes", "No", "hm", "YES!"].map(str::to_owned);
        let class = classify.by_replies(&replies).unwrap();
        assert_eq!((class.label.as_str(), class.confidence), ("yes", 0.5));
        assert_eq!(classify.by_replies(&["hm".to_owned()]), None);
    }

    proptest! {
        #[test]
        fn any_reply_and_text_give_a_label_with_a_share_or_nothing(
            reply in "\\PC{0,60}", text in "\\PC{0,60}",
        ) {
            let classify = classify(&[("a", &[("a", 2.0), ("b", -1.0)]), ("b c", &[("c", 1.5)])]);
            let classes = [classify.by_words(&text), classify.by_replies(&[reply])];
            for class in classes.into_iter().flatten() {
                prop_assert!(classify.labels.contains_key(&class.label));
                prop_assert!(class.confidence > 0.0 && class.confidence <= 1.0);
            }
        }
    }
}

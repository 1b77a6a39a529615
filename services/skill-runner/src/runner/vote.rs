//! Several answers, one result. Pure.

use maestro_core::answer::{AnswerKind, ExtractedAnswer, agree};

/// The answer that most texts agree on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Vote {
    pub(crate) value: String,
    /// Mean confidence of those who agree × their share of all texts.
    pub(crate) confidence: f32,
    pub(crate) votes: usize,
}

/// Reads an answer out of each text and takes the most frequent; of equally frequent ones the
/// first. `None` where no text holds an answer.
pub(crate) fn vote(
    kind: &AnswerKind,
    texts: &[String],
    extract: impl Fn(&AnswerKind, &str) -> Option<ExtractedAnswer>,
) -> Option<Vote> {
    let mut groups: Vec<(String, Vec<f32>)> = Vec::new();
    for answer in texts.iter().filter_map(|text| extract(kind, text)) {
        match groups
            .iter_mut()
            .find(|(value, _)| agree(kind, value, &answer.value))
        {
            Some((_, confidences)) => confidences.push(answer.confidence),
            None => groups.push((answer.value, vec![answer.confidence])),
        }
    }
    // `max_by_key` keeps the last of equals, so the first is found from the end.
    let (value, confidences) = groups
        .into_iter()
        .rev()
        .max_by_key(|(_, group)| group.len())?;
    let votes = confidences.len();
    let mean = confidences.iter().sum::<f32>() / votes as f32;
    Some(Vote {
        value,
        confidence: mean * votes as f32 / texts.len() as f32,
        votes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(_: &AnswerKind, text: &str) -> Option<ExtractedAnswer> {
        (!text.is_empty()).then(|| ExtractedAnswer {
            value: text.to_owned(),
            confidence: 0.8,
        })
    }

    fn votes(texts: &[&str]) -> Option<Vote> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        vote(&AnswerKind::Number, &texts, read)
    }

    #[test]
    fn the_most_frequent_answer_wins() {
        let won = votes(&["4", "5.0", "", "5"]).unwrap();
        assert_eq!((won.value.as_str(), won.votes), ("5.0", 2));
        assert!((won.confidence - 0.4).abs() < 1e-6);
        assert_eq!(votes(&["7", "8"]).unwrap().value, "7");
        assert_eq!(votes(&["", ""]), None);
    }
}

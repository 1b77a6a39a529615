//! Level-2 dispatch: which solver of a skill fits a question. A pure function of the question,
//! the kind of answer wanted, and what a look at the image said.

use std::collections::BTreeMap;

use maestro_core::{Capability, answer::AnswerKind};
use unicode_normalization::UnicodeNormalization;

use crate::{classify::most_named, step::Ask};

/// Scores solvers by words of the question.
#[derive(Clone, Debug, PartialEq)]
pub struct KeywordRule {
    /// The solver that gains.
    pub solver: String,
    /// Settles equal scores: the higher one wins.
    pub priority: i32,
    /// Weight of each term that stands in the question, counted once. A term is one or more words
    /// that follow each other; a `*` at the end of a word stands for any ending.
    pub keywords: BTreeMap<String, f32>,
    /// Weight by the kind of answer wanted.
    pub answer_kinds: BTreeMap<String, f32>,
}

/// Scores solvers by one call that says what kind of image it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProbe {
    /// Capability that is called.
    pub capability: Capability,
    /// Its operation.
    pub operation: String,
    /// Whether the pair's own expert is called, else a helper.
    pub own_expert: bool,
    /// Weight of a kind that is named with full confidence.
    pub weight: f32,
    /// The call is spared where words alone put the best solver this far ahead of the next.
    pub decisive: f32,
    /// The solvers that gain by each kind of image.
    pub kinds: BTreeMap<String, Vec<String>>,
}

/// The dispatch rules of a skill.
#[derive(Clone, Debug, Default)]
pub struct Dispatch {
    /// The solver where nothing speaks for any. Without one such a question is refused, so that
    /// the policy can try another pair.
    pub default: Option<String>,
    /// Least score with which a solver is chosen.
    pub threshold: f32,
    /// Rules of words.
    pub rules: Vec<KeywordRule>,
    /// Evidence of the image.
    pub image: Option<ImageProbe>,
    /// The question to the pair's expert where scores do not decide. The solvers' names and
    /// descriptions are to be added to it.
    pub ask: Option<Ask>,
}

/// What a look at the image said.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The kind of image.
    pub kind: String,
    /// How sure that is, 0 to 1.
    pub confidence: f32,
}

/// The score of one solver.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The solver.
    pub solver: String,
    /// Its score.
    pub score: f32,
    /// What spoke for and against it: terms, the answer kind, the image.
    pub reasons: Vec<String>,
}

/// The choice and its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatched {
    /// The solver, or none if nothing fits.
    pub solver: Option<String>,
    /// Every solver with evidence, best first.
    pub scores: Vec<Score>,
    /// What the expert said, where it was asked and named a solver.
    pub said: Option<String>,
}

impl Dispatched {
    /// How far the best is ahead of the next.
    pub fn lead(&self) -> f32 {
        let score = |index: usize| self.scores.get(index).map_or(0.0, |score| score.score);
        score(0) - score(1).max(0.0)
    }

    /// The choice in words.
    pub fn describe(&self) -> String {
        let choice = self.solver.as_deref().unwrap_or("none");
        let said = match &self.said {
            Some(said) => format!("; {said}"),
            None => String::new(),
        };
        let scores: Vec<String> = self
            .scores
            .iter()
            .map(|s| format!("{} {:.1} ({})", s.solver, s.score, s.reasons.join(", ")))
            .collect();
        if scores.is_empty() {
            return format!("{choice}: no evidence{said}");
        }
        format!("{choice}: {}{said}", scores.join("; "))
    }
}

impl Dispatch {
    /// Chooses a solver: the highest score that reaches the threshold, then the highest priority,
    /// then the first rule; else the default.
    pub fn choose(
        &self,
        question: &str,
        kind: &AnswerKind,
        image: Option<&Evidence>,
    ) -> Dispatched {
        let words = words(question);
        let mut scores: Vec<(i32, Score)> = Vec::new();
        for rule in &self.rules {
            let (gain, reasons) = rule.weigh(&words, kind);
            add(&mut scores, &rule.solver, rule.priority, gain, reasons);
        }
        if let (Some(probe), Some(evidence)) = (&self.image, image) {
            let gain = probe.weight * evidence.confidence.clamp(0.0, 1.0);
            for solver in probe.solvers(&evidence.kind) {
                let priority = self.priority(solver);
                add(
                    &mut scores,
                    solver,
                    priority,
                    gain,
                    vec![format!("image {}", evidence.kind)],
                );
            }
        }
        scores.retain(|(_, score)| !score.reasons.is_empty());
        // Stable, so that equal scores and priorities keep the order of the rules.
        scores.sort_by(|(pa, a), (pb, b)| b.score.total_cmp(&a.score).then(pb.cmp(pa)));
        let scores: Vec<Score> = scores.into_iter().map(|(_, score)| score).collect();
        let best = scores.first().filter(|best| best.score >= self.threshold);
        Dispatched {
            solver: best
                .map(|s| s.solver.clone())
                .or_else(|| self.default.clone()),
            scores,
            said: None,
        }
    }

    /// The question to ask after a choice by scores, unless they decide: a solver reaches the
    /// threshold and no other has as much.
    pub fn question(&self, choice: &Dispatched) -> Option<&Ask> {
        let mut scores = choice.scores.iter().map(|score| score.score);
        let best = scores.next().filter(|best| *best >= self.threshold);
        let decided = best.is_some_and(|best| scores.next() != Some(best));
        self.ask.as_ref().filter(|_| !decided)
    }

    /// The choice after the expert was asked: the solver that most replies name, else as before.
    pub fn settle(&self, choice: Dispatched, solvers: &[&str], replies: &[String]) -> Dispatched {
        match most_named(replies, solvers) {
            Some((solver, count)) => Dispatched {
                solver: Some(solver.to_owned()),
                said: Some(format!(
                    "the expert said {solver} in {count} of {} replies",
                    replies.len()
                )),
                ..choice
            },
            None => choice,
        }
    }

    /// The call to make before the choice, unless words decide already.
    pub fn probe(&self, question: &str, kind: &AnswerKind) -> Option<&ImageProbe> {
        let probe = self.image.as_ref()?;
        let words_alone = self.choose(question, kind, None);
        let decided = words_alone
            .scores
            .first()
            .is_some_and(|best| best.score >= self.threshold)
            && words_alone.lead() >= probe.decisive;
        (!decided).then_some(probe)
    }

    fn priority(&self, solver: &str) -> i32 {
        self.rules
            .iter()
            .find(|rule| rule.solver == solver)
            .map_or(0, |rule| rule.priority)
    }
}

impl KeywordRule {
    fn weigh(&self, words: &[String], kind: &AnswerKind) -> (f32, Vec<String>) {
        let mut gain = 0.0;
        let mut reasons = Vec::new();
        for (term, weight) in &self.keywords {
            if contains_term(words, term) {
                gain += weight;
                reasons.push(format!("{term:?} {weight:+}"));
            }
        }
        if let Some(weight) = self.answer_kinds.get(kind.name()) {
            gain += weight;
            reasons.push(format!("{} {weight:+}", kind.name()));
        }
        (gain, reasons)
    }
}

impl ImageProbe {
    fn solvers(&self, kind: &str) -> impl Iterator<Item = &String> {
        let wanted = plain(kind);
        self.kinds
            .iter()
            .filter(move |(name, _)| plain(name) == wanted)
            .flat_map(|(_, s)| s)
    }
}

/// A kind's name without its spelling: `LinePaths`, `line_paths` and `line-paths` are the same.
fn plain(kind: &str) -> String {
    kind.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn add(
    scores: &mut Vec<(i32, Score)>,
    solver: &str,
    priority: i32,
    gain: f32,
    reasons: Vec<String>,
) {
    if let Some((best, score)) = scores.iter_mut().find(|(_, score)| score.solver == solver) {
        *best = (*best).max(priority);
        score.score += gain;
        score.reasons.extend(reasons);
    } else {
        scores.push((
            priority,
            Score {
                solver: solver.to_owned(),
                score: gain,
                reasons,
            },
        ));
    }
}

/// Whether a term (see [`KeywordRule::keywords`]) stands in `text`.
pub(crate) fn term_matches(text: &str, term: &str) -> bool {
    contains_term(&words(text), term)
}

pub(crate) fn contains_term(words: &[String], term: &str) -> bool {
    let patterns: Vec<String> = term.split_whitespace().map(str::to_lowercase).collect();
    !patterns.is_empty()
        && words.windows(patterns.len()).any(|window| {
            window
                .iter()
                .zip(&patterns)
                .all(|(word, pattern)| match pattern.strip_suffix('*') {
                    Some(stem) => word.starts_with(stem),
                    None => word == pattern,
                })
        })
}

/// Lower-case words (NFKC); an apostrophe belongs to its word.
pub(crate) fn words(text: &str) -> Vec<String> {
    let lower = text
        .nfkc()
        .collect::<String>()
        .to_lowercase()
        .replace('’', "'");
    lower
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(solver: &str, priority: i32, keywords: &[(&str, f32)]) -> KeywordRule {
        KeywordRule {
            solver: solver.into(),
            priority,
            keywords: keywords
                .iter()
                .map(|(term, weight)| ((*term).into(), *weight))
                .collect(),
            answer_kinds: BTreeMap::new(),
        }
    }

    fn dispatch() -> Dispatch {
        Dispatch {
            default: None,
            threshold: 1.0,
            rules: vec![
                rule(
                    "total",
                    1,
                    &[("total", 2.0), ("amount due", 3.0), ("how many", -3.0)],
                ),
                rule("date", 2, &[("date*", 2.0), ("when", 2.0)]),
            ],
            image: Some(ImageProbe {
                capability: Capability::new("look").unwrap(),
                operation: "kind".into(),
                own_expert: true,
                weight: 1.5,
                decisive: 2.0,
                kinds: BTreeMap::from([("line-paths".into(), vec!["date".into()])]),
            }),
            ask: None,
        }
    }

    fn solver(question: &str, image: Option<(&str, f32)>) -> Option<String> {
        let image = image.map(|(kind, confidence)| Evidence {
            kind: kind.into(),
            confidence,
        });
        dispatch()
            .choose(question, &AnswerKind::FreeText, image.as_ref())
            .solver
    }

    #[test]
    fn words_phrases_stems_and_images_weigh() {
        assert_eq!(solver("The TOTAL, please", None).as_deref(), Some("total"));
        assert_eq!(solver("How many totals?", None), None);
        assert_eq!(solver("amount that is due", None), None);
        assert_eq!(solver("Dated when?", None).as_deref(), Some("date"));
        assert_eq!(
            solver("anything", Some(("LinePaths", 0.9))).as_deref(),
            Some("date")
        );
        assert_eq!(solver("anything", Some(("line_paths", 0.1))), None);
    }

    #[test]
    fn ties_go_to_the_higher_priority() {
        assert_eq!(solver("total when", None).as_deref(), Some("date"));
    }

    #[test]
    fn clear_words_spare_the_look() {
        let dispatch = dispatch();
        assert!(dispatch.probe("total", &AnswerKind::FreeText).is_none());
        assert!(
            dispatch
                .probe("total when", &AnswerKind::FreeText)
                .is_some()
        );
    }

    proptest! {
        #[test]
        fn dispatch_is_total_and_deterministic(
            question in "\\PC{0,80}", kind in "\\PC{0,12}", confidence in any::<f32>(),
            default in any::<bool>(),
        ) {
            let mut dispatch = dispatch();
            dispatch.default = default.then(|| "total".to_owned());
            let evidence = Evidence { kind, confidence };
            let chosen = dispatch.choose(&question, &AnswerKind::YesNo, Some(&evidence));
            prop_assert_eq!(
                chosen.describe(),
                dispatch.choose(&question, &AnswerKind::YesNo, Some(&evidence)).describe()
            );
            if let Some(solver) = &chosen.solver {
                prop_assert!(["total", "date"].contains(&solver.as_str()));
            }
            prop_assert!(!default || chosen.solver.is_some());
        }
    }
}

use std::{collections::HashMap, sync::Arc};

use maestro_core::{Digest, registry::Catalogue};
use serde::{Deserialize, Serialize};

use crate::{error::PolicyError, random::SplitMix};

/// How texts are varied in training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewordingConfig {
    /// Variants of the catalogue, the original among them.
    pub catalogues: usize,
    /// Variants of each question, the original among them.
    pub questions: usize,
    /// Chance of each word of a varied text to be left out.
    pub word_dropout: f64,
    /// Decides which.
    pub seed: u64,
}

impl Default for RewordingConfig {
    fn default() -> Self {
        Self {
            catalogues: 8,
            questions: 4,
            word_dropout: 0.25,
            seed: 0,
        }
    }
}

impl RewordingConfig {
    pub(super) fn validate(&self) -> Result<(), PolicyError> {
        let counts = [
            ("catalogues", self.catalogues),
            ("questions", self.questions),
        ];
        for (field, count) in counts {
            if !(1..=256).contains(&count) {
                let reason = format!("is {count}; must be 1 to 256");
                return Err(PolicyError::Config { field, reason });
            }
        }
        if !(0.0..1.0).contains(&self.word_dropout) {
            let reason = format!("is {}; must be 0 up to 1", self.word_dropout);
            return Err(PolicyError::Config {
                field: "word_dropout",
                reason,
            });
        }
        Ok(())
    }
}

/// Other words for descriptions, and words left out.
#[derive(Clone, Debug, Default)]
pub struct Rewording {
    config: RewordingConfig,
    /// Paraphrases by the digest of the text.
    paraphrases: Arc<HashMap<Digest, Vec<String>>>,
}

impl Rewording {
    /// Rewords by a configuration and paraphrases of single texts.
    pub fn new(config: RewordingConfig, paraphrases: HashMap<Digest, Vec<String>>) -> Self {
        Self {
            config,
            paraphrases: Arc::new(paraphrases),
        }
    }

    /// Nothing is reworded.
    pub fn none() -> Self {
        let config = RewordingConfig {
            catalogues: 1,
            questions: 1,
            ..RewordingConfig::default()
        };
        Self::new(config, HashMap::new())
    }

    /// Number of catalogues that [`Self::catalogue`] tells apart.
    pub fn catalogues(&self) -> usize {
        self.config.catalogues
    }

    /// Number of variants of a question.
    pub fn questions(&self) -> usize {
        self.config.questions
    }

    /// A catalogue in which every description is reworded; variant 0 is the original.
    pub fn catalogue(&self, catalogue: &Catalogue, variant: usize) -> Catalogue {
        let mut reworded = catalogue.clone();
        if variant == 0 {
            return reworded;
        }
        for expert in reworded.experts.values_mut() {
            expert.description = self.description(&expert.description, variant);
        }
        for skill in reworded.skills.values_mut() {
            skill.description = self.description(&skill.description, variant);
            for solver in &mut skill.solvers {
                solver.description = self.description(&solver.description, variant);
            }
        }
        reworded
    }

    fn description(&self, text: &str, variant: usize) -> String {
        let digest = Digest::of(text.as_bytes());
        let mut random = self.stream(&digest, variant);
        let others = self.paraphrases.get(&digest).map_or(&[][..], Vec::as_slice);
        // The original is one of the choices.
        let chosen = match random.below(others.len() + 1) {
            0 => text,
            other => others.get(other - 1).map_or(text, String::as_str),
        };
        self.without_words(chosen, &mut random)
    }

    /// A question with words left out; variant 0 is the original.
    pub fn question(&self, text: &str, variant: usize) -> String {
        if variant == 0 {
            return text.to_owned();
        }
        let mut random = self.stream(&Digest::of(text.as_bytes()), variant);
        self.without_words(text, &mut random)
    }

    fn stream(&self, digest: &Digest, variant: usize) -> SplitMix {
        let head = digest.as_bytes().iter().take(8);
        let key = head.fold(0u64, |key, byte| (key << 8) | u64::from(*byte));
        SplitMix::keyed(&[self.config.seed, key, variant as u64])
    }

    fn without_words(&self, text: &str, random: &mut SplitMix) -> String {
        let words = text.split_whitespace();
        let kept: Vec<&str> = words
            .filter(|_| !random.chance(self.config.word_dropout))
            .collect();
        if kept.is_empty() {
            return text.to_owned();
        }
        kept.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::tests::snapshot;

    #[test]
    fn variants_differ_and_come_again() {
        let text = "A precise reader of printed text in pictures of receipts";
        let other = "Reads print".to_owned();
        let known = HashMap::from([(Digest::of(text.as_bytes()), vec![other.clone()])]);
        let rewording = Rewording::new(RewordingConfig::default(), known);
        assert_eq!(rewording.question(text, 0), text);
        assert_ne!(rewording.question(text, 1), rewording.question(text, 2));
        assert_eq!(rewording.question(text, 1), rewording.question(text, 1));
        let plain = Rewording::new(
            RewordingConfig {
                word_dropout: 0.0,
                ..RewordingConfig::default()
            },
            HashMap::from([(Digest::of(text.as_bytes()), vec![other.clone()])]),
        );
        let variants: Vec<String> = (1..40).map(|v| plain.description(text, v)).collect();
        assert!(variants.contains(&other));
        assert!(variants.iter().any(|variant| variant == text));
    }

    #[test]
    fn a_catalogue_keeps_its_names() {
        let snapshot = snapshot();
        let rewording = Rewording::new(RewordingConfig::default(), HashMap::new());
        let reworded = rewording.catalogue(&snapshot.catalogue, 3);
        assert!(
            reworded
                .experts
                .keys()
                .eq(snapshot.catalogue.experts.keys())
        );
        assert_ne!(reworded, *snapshot.catalogue);
        assert_eq!(
            rewording.catalogue(&snapshot.catalogue, 0),
            *snapshot.catalogue
        );
    }
}

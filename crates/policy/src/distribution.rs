//! From logits to an action.

use maestro_core::{Digest, EpisodeId, episode::ServingMode};

/// A distribution over the actions of one request, by falling probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Position of each action among the logits.
    pub order: Vec<usize>,
    /// Their probabilities, which sum to 1.
    pub probabilities: Vec<f64>,
}

/// An action taken from a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// Place in [`Distribution::order`].
    pub rank: usize,
    /// Its probability under the distribution.
    pub probability: f64,
    /// Natural logarithm of the probability with which it was really taken: 0 for a greedy one.
    pub log_prob: f64,
}

impl Distribution {
    /// The softmax of `logits / temperature`. Among equals the earlier comes first. `None` where
    /// there are no logits or one is not a number.
    pub fn new(logits: &[f32], temperature: f32) -> Option<Self> {
        let scaled: Vec<f64> = logits
            .iter()
            .map(|logit| f64::from(*logit) / f64::from(temperature))
            .collect();
        let highest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !highest.is_finite() || scaled.iter().any(|value| value.is_nan()) {
            return None;
        }
        let weights: Vec<f64> = scaled.iter().map(|value| (value - highest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
        let probabilities = order
            .iter()
            .map(|position| weights[*position] / sum)
            .collect();
        Some(Self {
            order,
            probabilities,
        })
    }

    /// Takes an action: the first, or the one at `uniform` (0 up to but not 1) of the cumulated
    /// probabilities.
    pub fn take(&self, mode: ServingMode, uniform: f64) -> Taken {
        let rank = match mode {
            ServingMode::Greedy => 0,
            ServingMode::Sampled => self.rank_at(uniform),
        };
        let probability = self.probabilities.get(rank).copied().unwrap_or(1.0);
        let log_prob = match mode {
            ServingMode::Greedy => 0.0,
            ServingMode::Sampled => probability.ln(),
        };
        Taken {
            rank,
            probability,
            log_prob,
        }
    }

    fn rank_at(&self, uniform: f64) -> usize {
        let mut cumulated = 0.0;
        let mut last = 0;
        for (rank, probability) in self.probabilities.iter().enumerate() {
            if *probability > 0.0 {
                last = rank;
                cumulated += probability;
            }
            if uniform < cumulated {
                return rank;
            }
        }
        // Rounding left the sum below 1.
        last
    }
}

/// A uniform number in [0, 1) that depends on the seed, the episode and the step only.
pub fn uniform(seed: u64, episode: &EpisodeId, step: u32) -> f64 {
    let mut text = Vec::with_capacity(64);
    text.extend_from_slice(&seed.to_le_bytes());
    text.extend_from_slice(&step.to_le_bytes());
    text.extend_from_slice(episode.as_str().as_bytes());
    let digest = Digest::of(&text);
    let bits = digest
        .as_bytes()
        .iter()
        .take(8)
        .fold(0u64, |bits, byte| (bits << 8) | u64::from(*byte));
    // 53 bits are what a double holds exactly.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn probabilities_fall_and_sum_to_one(
            logits in prop::collection::vec(-1e4f32..1e4, 1..60), temperature in 0.05f32..5.0,
            at in 0.0f64..1.0,
        ) {
            let distribution = Distribution::new(&logits, temperature).unwrap();
            let sum: f64 = distribution.probabilities.iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-9);
            prop_assert!(distribution.probabilities.windows(2).all(|w| w[0] >= w[1]));
            let mut positions = distribution.order.clone();
            positions.sort_unstable();
            prop_assert_eq!(positions, (0..logits.len()).collect::<Vec<_>>());
            let taken = distribution.take(ServingMode::Sampled, at);
            prop_assert!(taken.probability > 0.0);
            prop_assert!((taken.log_prob - taken.probability.ln()).abs() < 1e-12);
            let greedy = distribution.take(ServingMode::Greedy, at);
            prop_assert_eq!((greedy.rank, greedy.log_prob), (0, 0.0));
        }
    }

    #[test]
    fn equal_logits_keep_their_order() {
        let distribution = Distribution::new(&[1.0, 2.0, 2.0], 1.0).unwrap();
        assert_eq!(distribution.order, [1, 2, 0]);
        assert_eq!(Distribution::new(&[], 1.0), None);
        assert_eq!(Distribution::new(&[f32::NAN, 1.0], 1.0), None);
    }

    #[test]
    fn samples_follow_the_distribution_and_the_seed() {
        let distribution = Distribution::new(&[0.0, 1.0, -1.0], 1.0).unwrap();
        let episode = EpisodeId::new("episode").unwrap();
        let mut counts = [0u32; 3];
        for seed in 0..20_000 {
            let at = uniform(seed, &episode, 1);
            assert!((0.0..1.0).contains(&at));
            counts[distribution.take(ServingMode::Sampled, at).rank] += 1;
        }
        for (count, probability) in counts.iter().zip(&distribution.probabilities) {
            let share = f64::from(*count) / 20_000.0;
            assert!(
                (share - probability).abs() < 0.015,
                "{share} for {probability}"
            );
        }
        assert_eq!(
            uniform(3, &episode, 2).to_bits(),
            uniform(3, &episode, 2).to_bits()
        );
        assert_ne!(
            uniform(3, &episode, 2).to_bits(),
            uniform(3, &episode, 3).to_bits()
        );
    }
}

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
    /// Natural logarithm of the probability with which it was really taken: 0 for a greedy one
    /// without exploration.
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

    /// Takes the first action, or with probability `share` one from `samples`, another
    /// distribution over the same logits. The probability with which it was taken is that of the
    /// mixture, whichever part it came from: the first action may be sampled as well.
    pub fn explore(&self, samples: &Self, share: f64, uniform: f64) -> Taken {
        let first = self.order.first().copied();
        // Below the share, `uniform / share` is as uniform as `uniform` is.
        let sampled = (uniform < share).then(|| samples.rank_at(uniform / share));
        let position = sampled
            .and_then(|rank| samples.order.get(rank).copied())
            .or(first);
        let place = |among: &Self| among.order.iter().position(|at| Some(*at) == position);
        let probability = |among: &Self| {
            place(among)
                .and_then(|rank| among.probabilities.get(rank).copied())
                .unwrap_or(0.0)
        };
        let greedy = if position == first { 1.0 - share } else { 0.0 };
        Taken {
            rank: place(self).unwrap_or(0),
            probability: probability(self),
            // Rounding must not make it more than 1.
            log_prob: (share * probability(samples) + greedy).min(1.0).ln(),
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn logged_propensities_are_the_frequencies(
            logits in prop::collection::vec(-2.0f32..2.0, 1..6), share in 0.0f64..=1.0,
            temperature in 0.3f32..3.0, first_seed in any::<u64>(),
        ) {
            const DRAWS: u32 = 20_000;
            let policy = Distribution::new(&logits, 1.0).unwrap();
            let samples = Distribution::new(&logits, temperature).unwrap();
            let episode = EpisodeId::new("episode").unwrap();
            let mut counts = vec![0u32; logits.len()];
            let mut logged = vec![None; logits.len()];
            for seed in 0..u64::from(DRAWS) {
                let at = uniform(first_seed.wrapping_add(seed), &episode, 0);
                let taken = policy.explore(&samples, share, at);
                counts[taken.rank] += 1;
                prop_assert_eq!(taken.probability, policy.probabilities[taken.rank]);
                let before = logged[taken.rank].replace(taken.log_prob);
                prop_assert!(before.is_none_or(|before| before == taken.log_prob));
            }
            let mut sum = 0.0;
            for (count, log_prob) in counts.iter().zip(&logged) {
                let Some(log_prob) = log_prob else { continue };
                let propensity = log_prob.exp();
                sum += propensity;
                let frequency = f64::from(*count) / f64::from(DRAWS);
                // Five standard errors, and a draw for what is nearly impossible.
                let tolerance =
                    5.0 * (propensity * (1.0 - propensity) / f64::from(DRAWS)).sqrt() + 1e-4;
                prop_assert!((frequency - propensity).abs() < tolerance, "{frequency} {propensity}");
            }
            prop_assert!(sum < 1.0 + 1e-9);
        }
    }

    #[test]
    fn without_a_share_nothing_is_explored() {
        let policy = Distribution::new(&[0.0, 1.0, -1.0], 1.0).unwrap();
        for at in [0.0, 0.3, 0.999] {
            let greedy = policy.take(ServingMode::Greedy, at);
            assert_eq!(policy.explore(&policy, 0.0, at), greedy);
            let explored = policy.explore(&policy, 1.0, at);
            let sampled = policy.take(ServingMode::Sampled, at);
            assert_eq!(explored.rank, sampled.rank);
            assert!((explored.log_prob - sampled.log_prob).abs() < 1e-12);
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

use serde::{Deserialize, Serialize};

/// How much better than its group an episode was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advantage {
    /// `r_i − mean(r)`: GRPO without its division by the standard deviation, which weighs easy and
    /// hard tasks above the rest (Dr. GRPO, arXiv 2503.20783, section 3.1).
    #[default]
    DrGrpo,
    /// `(r_i − mean(r)) / (sd(r) + 1e-6)` (GRPO, arXiv 2402.03300, section 4.1.2).
    Grpo,
    /// `r_i` less the mean of the *other* rewards (RLOO, arXiv 2402.14740, equation 8).
    Rloo,
}

/// Advantages of the episodes of one group from their rewards. All zero where the rewards are the
/// same.
pub fn advantages(rewards: &[f64], kind: Advantage) -> Vec<f64> {
    let count = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / count.max(1.0);
    let centred = rewards.iter().map(|reward| reward - mean);
    match kind {
        Advantage::DrGrpo => centred.collect(),
        Advantage::Grpo => {
            let variance = centred.clone().map(|a| a * a).sum::<f64>() / (count - 1.0).max(1.0);
            let scale = variance.sqrt() + 1e-6;
            centred.map(|a| a / scale).collect()
        }
        // r − (n·mean − r) / (n − 1) = (r − mean)·n / (n − 1).
        Advantage::Rloo => {
            let scale = if count > 1.0 {
                count / (count - 1.0)
            } else {
                0.0
            };
            centred.map(|a| a * scale).collect()
        }
    }
}

/// Whether a group says anything: its rewards are not all the same. Groups that say nothing are
/// sampled anew under dynamic sampling (DAPO, arXiv 2503.14476, equation 11).
pub(super) fn is_telling(rewards: impl IntoIterator<Item = f64>) -> bool {
    let (low, high) = rewards
        .into_iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), r| {
            (low.min(r), high.max(r))
        });
    high - low > 1e-9
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_by_hand() {
        let rewards = [1.0, 0.0, 0.0, 0.0];
        let close = |kind, expected: [f64; 4]| {
            for (a, b) in advantages(&rewards, kind).iter().zip(expected) {
                assert!((a - b).abs() < 1e-5, "{kind:?}: {a} for {b}");
            }
        };
        close(Advantage::DrGrpo, [0.75, -0.25, -0.25, -0.25]);
        close(Advantage::Grpo, [1.5, -0.5, -0.5, -0.5]);
        close(Advantage::Rloo, [1.0, -1.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0]);
        assert_eq!(advantages(&[0.3], Advantage::Rloo), [0.0]);
        assert!(advantages(&[], Advantage::Grpo).is_empty());
        assert!(is_telling(rewards));
        assert!(!is_telling([0.5, 0.5]));
        assert!(!is_telling([]));
    }

    proptest! {
        #[test]
        fn they_sum_to_zero_and_keep_the_order(
            rewards in prop::collection::vec(-1.0f64..1.0, 1..12),
        ) {
            for kind in [Advantage::DrGrpo, Advantage::Grpo, Advantage::Rloo] {
                let found = advantages(&rewards, kind);
                prop_assert!(found.iter().sum::<f64>().abs() < 1e-6);
                for (i, j) in (0..rewards.len()).flat_map(|i| (0..i).map(move |j| (i, j))) {
                    prop_assert!((rewards[i] - rewards[j]) * (found[i] - found[j]) >= 0.0);
                }
            }
        }
    }
}

//! How well confidence tells right from wrong, and which pair answers what.

use std::collections::BTreeMap;

use serde::Serialize;

use super::matrix::{Matrix, Outcome};

/// Bins of a calibration.
pub const BINS: usize = 10;

/// Answers of like confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Answers in it.
    pub count: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// Their mean score.
    pub accuracy: f64,
}

/// How sure a router is when it stops, against how right it then is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Calibration {
    /// [`BINS`] of equal width from 0 to 1.
    pub bins: Vec<Bin>,
    /// Expected calibration error (Guo et al., arXiv 1706.04599, equation 3): the mean over all
    /// answers of the difference between confidence and accuracy of their bin, 0 to 1.
    pub ece: f64,
}

impl Calibration {
    /// Of the outcomes that say how sure they are; `None` where none does.
    pub fn of(outcomes: &[Outcome]) -> Option<Self> {
        let mut sums = [(0usize, 0.0, 0.0); BINS];
        for outcome in outcomes {
            let Some(confidence) = outcome.confidence else {
                continue;
            };
            let place = (confidence * BINS as f64) as usize;
            let (count, sure, right) = &mut sums[place.min(BINS - 1)];
            *count += 1;
            *sure += confidence;
            *right += outcome.score;
        }
        let total: usize = sums.iter().map(|(count, ..)| count).sum();
        if total == 0 {
            return None;
        }
        let distance: f64 = sums
            .iter()
            .map(|(_, sure, right)| (sure - right).abs())
            .sum();
        let bins = sums.map(|(count, sure, right)| Bin {
            count,
            confidence: sure / count.max(1) as f64,
            accuracy: right / count.max(1) as f64,
        });
        Some(Self {
            bins: bins.to_vec(),
            ece: distance / total as f64,
        })
    }
}

/// Which pair answered how many tasks of each domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Confusion {
    /// The rows.
    pub domains: Vec<String>,
    /// The columns, as `expert@skill`; the last stands for no answer.
    pub pairs: Vec<String>,
    /// Tasks by domain, then by pair.
    pub counts: Vec<Vec<usize>>,
}

/// Column of [`Confusion`] for tasks without an answer.
pub const NO_ANSWER: &str = "(none)";

impl Confusion {
    /// Counts a router's outcomes, one a task of the matrix.
    pub fn of(matrix: &Matrix, outcomes: &[Outcome]) -> Self {
        let domains = matrix.domains();
        let rows: BTreeMap<&str, usize> = domains.iter().copied().zip(0..).collect();
        let none = matrix.pairs.len();
        let mut counts = vec![vec![0; none + 1]; domains.len()];
        for (task, outcome) in matrix.tasks.iter().zip(outcomes) {
            if let Some(row) = rows.get(task.domain.as_str()) {
                counts[*row][outcome.answered_by.unwrap_or(none)] += 1;
            }
        }
        let pairs = (0..none).map(|pair| matrix.pair_name(pair));
        Self {
            domains: domains.into_iter().map(str::to_owned).collect(),
            pairs: pairs.chain([NO_ANSWER.to_owned()]).collect(),
            counts,
        }
    }
}

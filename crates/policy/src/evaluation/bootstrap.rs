//! Confidence intervals by resampling tasks (Efron, 1979).

use std::collections::HashMap;

use serde::Serialize;

use super::matrix::MatrixTask;
use crate::random::SplitMix;

/// An interval, with the level that [`Resamples`] was made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether a value is inside.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Samples of a task set, drawn with replacement: the same ones for every router, so that
/// differences between two are paired. Where tasks have groups, whole groups are drawn, as their
/// tasks are not independent (the cluster bootstrap; Cameron, Gelbach and Miller, 2008).
#[derive(Clone, Debug)]
pub struct Resamples {
    /// By task: the place of its cluster.
    cluster_of: Vec<usize>,
    clusters: usize,
    /// By resample: the drawn clusters, one after the other.
    draws: Vec<u32>,
    level: f64,
}

/// Resamples where nothing else is asked for.
pub const RESAMPLES: usize = 2000;
/// Confidence level where nothing else is asked for.
pub const LEVEL: f64 = 0.95;

impl Resamples {
    /// Draws `count` resamples of some tasks; intervals hold `level` (0 to 1) of them.
    pub fn draw(tasks: &[MatrixTask], count: usize, level: f64, seed: u64) -> Self {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut clusters = 0;
        let mut next = || {
            clusters += 1;
            clusters - 1
        };
        let cluster_of: Vec<usize> = tasks
            .iter()
            .map(|task| match &task.group {
                Some(group) => *places.entry(group).or_insert_with(&mut next),
                None => next(),
            })
            .collect();
        let mut random = SplitMix::keyed(&[seed, 0x0b00_7574]);
        let draws = (0..count * clusters)
            .map(|_| u32::try_from(random.below(clusters)).unwrap_or(0))
            .collect();
        Self {
            cluster_of,
            clusters,
            draws,
            level,
        }
    }

    /// Percentile interval of the mean of `values`, one a task.
    pub fn interval(&self, values: &[f64]) -> Interval {
        if self.clusters == 0 {
            return Interval::default();
        }
        let mut sums = vec![(0.0, 0.0); self.clusters];
        for (cluster, value) in self.cluster_of.iter().zip(values) {
            sums[*cluster].0 += value;
            sums[*cluster].1 += 1.0;
        }
        let mut means: Vec<f64> = self
            .draws
            .chunks_exact(self.clusters)
            .map(|drawn| {
                let (sum, count) = drawn.iter().fold((0.0, 0.0), |(sum, count), cluster| {
                    let (more, tasks) = sums[*cluster as usize];
                    (sum + more, count + tasks)
                });
                sum / count
            })
            .collect();
        means.sort_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Interval {
            low: quantile(&means, tail),
            high: quantile(&means, 1.0 - tail),
        }
    }
}

/// The quantile `q` (0 to 1) of sorted values: the smallest that at least a share `q` of them does
/// not exceed (nearest rank); 0 without values.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0.0)
}

/// Mean and sample standard deviation; the latter 0 for fewer than two values.
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let freedom = values.len().saturating_sub(1).max(1);
    (mean, (squares / freedom as f64).sqrt())
}

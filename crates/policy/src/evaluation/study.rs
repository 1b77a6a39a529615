//! All routers of one run, measured on the same tasks and set beside each other.

use std::collections::BTreeMap;

use maestro_core::reward::RewardWeights;
use serde::Serialize;

use super::{
    baselines::fixed,
    bootstrap::{Interval, LEVEL, RESAMPLES, Resamples, mean_and_deviation},
    calibration::{Calibration, Confusion},
    disagreement::Disagreement,
    frontier::{CostRange, Point, aiq},
    matrix::{Matrix, Outcome},
    metrics::{Metrics, RareExperts, gap_closed},
};

/// What a router is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterKind {
    /// A policy of Maestro's.
    Policy,
    /// A router to compare with.
    Baseline,
    /// One pair for everything.
    Single,
    /// A bound: it knows what no router can know.
    Bound,
}

/// A router's outcomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Routed {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RouterKind,
    /// Routers of one family differ in their seeds only.
    pub family: Option<String>,
    /// What one must know to read its figures; may be empty.
    pub note: String,
    /// One a task.
    pub outcomes: Vec<Outcome>,
    /// Its other settings in the cost-quality plane.
    pub frontier: Vec<Point>,
}

impl Routed {
    /// A router with one setting and nothing to remark.
    pub fn new(name: impl Into<String>, kind: RouterKind, outcomes: Vec<Outcome>) -> Self {
        Self {
            name: name.into(),
            kind,
            family: None,
            note: String::new(),
            outcomes,
            frontier: Vec::new(),
        }
    }

    /// The same with a remark.
    #[must_use]
    pub fn with_note(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }
}

/// How routers are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StudyConfig {
    /// What rewards count beside the score.
    pub reward: RewardWeights,
    /// Resamples of the bootstrap.
    pub resamples: usize,
    /// Confidence level of the intervals, 0 to 1.
    pub level: f64,
    /// Seed of all that is random.
    pub seed: u64,
}

impl Default for StudyConfig {
    fn default() -> Self {
        Self {
            reward: RewardWeights::default(),
            resamples: RESAMPLES,
            level: LEVEL,
            seed: 0,
        }
    }
}

/// A difference of scores between two routers on the same tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Mean over the tasks.
    pub mean: f64,
    /// Its interval.
    pub interval: Interval,
}

/// A router's figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RouterKind,
    /// Routers of one family differ in their seeds only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// What one must know to read its figures.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Its figures.
    pub metrics: Metrics,
    /// Interval of the accuracy.
    pub accuracy_interval: Interval,
    /// See [`aiq`]; `None` where all single pairs cost the same.
    pub aiq: Option<f64>,
    /// Accuracy less that of the best single pair.
    pub gain: Difference,
    /// Accuracy less that of the kNN router, where there is one.
    pub over_knn: Option<Difference>,
    /// See [`gap_closed`].
    pub gap_closed: Option<f64>,
    /// Its point, and those of its other settings.
    pub frontier: Vec<Point>,
    /// How sure it was when it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What it made of answers that differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<Disagreement>,
    /// What it answered with.
    pub confusion: Confusion,
}

/// A mean over seeds and its sample standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The deviation.
    pub deviation: f64,
}

/// Routers of one family together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FamilyRow {
    /// The family.
    pub name: String,
    /// Its routers.
    pub seeds: usize,
    /// Accuracies.
    pub accuracy: Spread,
    /// Mean costs, in US dollars.
    pub cost_usd: Spread,
    /// Mean times, in seconds.
    pub latency_s: Spread,
    /// Median times, in seconds.
    pub latency_p50_s: Spread,
    /// Mean numbers of calls.
    pub calls: Spread,
    /// Gains over the best single pair.
    pub gain: Spread,
    /// Accuracy of the router that averages over the seeds, task by task, less that of the best
    /// single pair: the interval is over tasks.
    pub mean_gain: Difference,
    /// Parts of the oracle gap closed.
    pub gap_closed: Option<Spread>,
    /// Areas under the frontier.
    pub aiq: Option<Spread>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Study {
    /// Tasks.
    pub tasks: usize,
    /// Pairs.
    pub pairs: usize,
    /// The best single pair, as `expert@skill`: chosen on the measured tasks themselves.
    pub best_single: String,
    /// Experts that are rare, and the tasks on which one of them alone is right.
    pub rare_experts: usize,
    /// These tasks.
    pub rare_tasks: usize,
    /// Costs over which AIQ is taken: of the cheapest and the dearest single pair.
    pub cost_range: Option<CostRange>,
    /// Level of all intervals.
    pub level: f64,
    /// The routers, in the order they were given.
    pub rows: Vec<Row>,
    /// Families of more than one router.
    pub families: Vec<FamilyRow>,
}

/// Name of the kNN router's row, with which others are compared.
pub const KNN: &str = "kNN";

impl Study {
    /// Costs of the cheapest and the dearest single pair, over all tasks.
    pub fn cost_range(matrix: &Matrix) -> Option<CostRange> {
        let points: Vec<Point> = (0..matrix.pairs.len())
            .map(|pair| super::baselines::point(matrix, &fixed::single_pair(matrix, pair)))
            .collect();
        CostRange::of(&points)
    }

    /// Measures routers over the tasks of a matrix.
    pub fn of(matrix: &Matrix, routed: Vec<Routed>, config: &StudyConfig) -> Self {
        let resamples = Resamples::draw(&matrix.tasks, config.resamples, config.level, config.seed);
        let best = fixed::best_pair(matrix.pairs.len(), matrix.tasks.iter());
        let best_scores: Vec<f64> = best.map_or_else(
            || vec![0.0; matrix.tasks.len()],
            |pair| scores(&fixed::single_pair(matrix, pair)),
        );
        let knn = routed.iter().find(|router| router.name == KNN);
        let study = Measured {
            matrix,
            config,
            rare: RareExperts::of(matrix),
            range: Self::cost_range(matrix),
            best: best_scores,
            oracle: mean(&scores(&fixed::oracle(matrix))),
            knn: knn.map(|router| scores(&router.outcomes)),
            resamples,
        };
        let rows: Vec<Row> = routed.iter().map(|router| study.row(router)).collect();
        let families = study.families(&routed, &rows);
        Self {
            tasks: matrix.tasks.len(),
            pairs: matrix.pairs.len(),
            best_single: best.map_or_else(String::new, |pair| matrix.pair_name(pair)),
            rare_experts: study.rare.experts(),
            rare_tasks: study.rare.tasks(),
            cost_range: study.range,
            level: config.level,
            rows,
            families,
        }
    }
}

/// What all rows are measured with.
struct Measured<'s> {
    matrix: &'s Matrix,
    config: &'s StudyConfig,
    resamples: Resamples,
    rare: RareExperts,
    range: Option<CostRange>,
    best: Vec<f64>,
    oracle: f64,
    knn: Option<Vec<f64>>,
}

impl Measured<'_> {
    fn row(&self, router: &Routed) -> Row {
        let metrics = Metrics::of(
            self.matrix,
            &router.outcomes,
            &self.config.reward,
            &self.rare,
        );
        let own = scores(&router.outcomes);
        let mut frontier = vec![metrics.point()];
        frontier.extend(&router.frontier);
        Row {
            name: router.name.clone(),
            kind: router.kind,
            family: router.family.clone(),
            note: router.note.clone(),
            accuracy_interval: self.resamples.interval(&own),
            aiq: self.range.map(|range| aiq(&frontier, range)),
            gain: self.difference(&own, &self.best),
            over_knn: self.knn.as_ref().map(|knn| self.difference(&own, knn)),
            gap_closed: gap_closed(metrics.accuracy, mean(&self.best), self.oracle),
            frontier,
            calibration: Calibration::of(&router.outcomes),
            disagreement: Disagreement::of(self.matrix, &router.outcomes),
            confusion: Confusion::of(self.matrix, &router.outcomes),
            metrics,
        }
    }

    fn difference(&self, one: &[f64], other: &[f64]) -> Difference {
        let differences: Vec<f64> = one.iter().zip(other).map(|(a, b)| a - b).collect();
        Difference {
            mean: mean(&differences),
            interval: self.resamples.interval(&differences),
        }
    }

    fn families(&self, routed: &[Routed], rows: &[Row]) -> Vec<FamilyRow> {
        let mut families: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, router) in routed.iter().enumerate() {
            if let Some(family) = &router.family {
                families.entry(family).or_default().push(place);
            }
        }
        families.retain(|_, members| members.len() > 1);
        let family = |(name, members): (&str, Vec<usize>)| {
            let spread = |value: &dyn Fn(&Row) -> f64| {
                let values: Vec<f64> = members.iter().map(|place| value(&rows[*place])).collect();
                spread(&values)
            };
            let optional = |value: &dyn Fn(&Row) -> Option<f64>| {
                let values: Option<Vec<f64>> =
                    members.iter().map(|place| value(&rows[*place])).collect();
                values.map(|values| self::spread(&values))
            };
            let mut mean_scores = vec![0.0; self.best.len()];
            for place in &members {
                let own = scores(&routed[*place].outcomes);
                for (sum, score) in mean_scores.iter_mut().zip(own) {
                    *sum += score / members.len() as f64;
                }
            }
            FamilyRow {
                name: name.to_owned(),
                seeds: members.len(),
                accuracy: spread(&|row| row.metrics.accuracy),
                cost_usd: spread(&|row| row.metrics.cost_usd),
                latency_s: spread(&|row| row.metrics.latency_s),
                latency_p50_s: spread(&|row| row.metrics.latency_p50_s),
                calls: spread(&|row| row.metrics.calls),
                gain: spread(&|row| row.gain.mean),
                mean_gain: self.difference(&mean_scores, &self.best),
                gap_closed: optional(&|row| row.gap_closed),
                aiq: optional(&|row| row.aiq),
            }
        };
        families.into_iter().map(family).collect()
    }
}

fn scores(outcomes: &[Outcome]) -> Vec<f64> {
    outcomes.iter().map(|outcome| outcome.score).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn spread(values: &[f64]) -> Spread {
    let (mean, deviation) = mean_and_deviation(values);
    Spread { mean, deviation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::tests::{cell, matrix};

    fn small() -> Matrix {
        let right = |is: bool, cost| Some(cell(f64::from(u8::from(is)), cost));
        let row = |place: usize| {
            vec![
                right(!place.is_multiple_of(4), 10),
                right(place % 4 < 2, 30),
            ]
        };
        matrix((0..40).map(row).collect())
    }

    #[test]
    fn routers_are_set_beside_the_best_pair_and_the_oracle() {
        let matrix = small();
        let half: Vec<Outcome> = matrix
            .tasks
            .iter()
            .enumerate()
            .map(|(place, task)| Outcome::of_call(task, usize::from(place % 8 == 0)))
            .collect();
        let mut seeds = vec![
            Routed::new("seed 1", RouterKind::Policy, half),
            Routed::new("seed 2", RouterKind::Policy, fixed::oracle(&matrix)),
        ];
        for router in &mut seeds {
            router.family = Some("policies".to_owned());
        }
        seeds.push(Routed::new(
            KNN,
            RouterKind::Baseline,
            fixed::single_pair(&matrix, 0),
        ));
        let study = Study::of(&matrix, seeds, &StudyConfig::default());
        assert_eq!(study.best_single, "expert-00@direct");
        let close = |one: f64, other: f64| (one - other).abs() < 1e-9;
        let row = &study.rows[0];
        // The best pair is right on 30 of 40; the oracle on all; this one on 5 more.
        assert!(close(row.metrics.accuracy, 0.875));
        assert!(close(row.gain.mean, 0.125) && row.gain.interval.contains(0.125));
        assert!(row.gain.interval.low > 0.0);
        assert_eq!(row.over_knn, Some(row.gain), "kNN is that pair here");
        assert!(close(row.gap_closed.unwrap(), 0.5));
        let range = study.cost_range.unwrap();
        assert!(close(range.low, 10e-6) && close(range.high, 30e-6));
        // From .75 at the cheapest up to .875 at 12.5 micro-dollars, then flat.
        let below = 10.0 / 12.5 * 0.875;
        let area = (below + 0.875) / 2.0 * 2.5 + 0.875 * 17.5;
        assert!(close(row.aiq.unwrap(), area / 20.0));
        let family = &study.families[0];
        assert_eq!((study.families.len(), family.seeds), (1, 2));
        assert!(close(family.accuracy.mean, 0.9375));
        assert!(close(family.accuracy.deviation, 0.125 / 2.0f64.sqrt()));
        assert!(close(family.mean_gain.mean, 0.1875));
    }
}

//! Routers that predict what every pair would score and take the best.

use serde::Serialize;

use crate::evaluation::{
    frontier::{CostRange, Point},
    matrix::{Matrix, Outcome},
};

/// Weights of cost at which a predicting router is tried for its frontier: the score that it
/// gives up to save the whole span between the cheapest and the dearest single pair.
pub const COST_WEIGHTS: [f64; 12] = [
    0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0,
];

/// What a pair is expected to do with a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Expected {
    /// Score, 0 to 1.
    pub score: f64,
    /// Cost in US dollars.
    pub cost: f64,
}

/// By task, then by pair; `None` for a pair of which nothing is known. Such a pair is never
/// chosen: routers of this kind cannot use what they have not seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions(pub Vec<Vec<Option<Expected>>>);

impl Predictions {
    /// Takes the suitable pair of the highest expected score, less `cost_weight` for each dollar
    /// of its expected cost; among equals the first.
    pub fn route(&self, matrix: &Matrix, cost_weight: f64) -> Vec<Outcome> {
        let tasks = matrix.tasks.iter().zip(&self.0);
        tasks
            .map(|(task, expected)| {
                let worth = |pair: usize| {
                    let expected = expected.get(pair).copied().flatten()?;
                    Some((pair, expected.score - cost_weight * expected.cost))
                };
                let known = task.suitable().filter_map(|(pair, _)| worth(pair));
                let best = known.reduce(|best, next| if next.1 > best.1 { next } else { best });
                best.map_or_else(Outcome::default, |(pair, _)| Outcome::of_call(task, pair))
            })
            .collect()
    }

    /// Mean score under [`Self::route`] without regard to cost.
    pub fn accuracy(&self, matrix: &Matrix) -> f64 {
        let outcomes = self.route(matrix, 0.0);
        outcomes.iter().map(|o| o.score).sum::<f64>() / outcomes.len().max(1) as f64
    }

    /// Its points at [`COST_WEIGHTS`].
    pub fn frontier(&self, matrix: &Matrix, range: Option<CostRange>) -> Vec<Point> {
        let span = range.map_or(f64::INFINITY, |range| range.high - range.low);
        let point = |weight: &f64| super::point(matrix, &self.route(matrix, weight / span));
        COST_WEIGHTS.iter().map(point).collect()
    }
}

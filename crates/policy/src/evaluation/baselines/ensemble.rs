//! Routers that call several pairs.

use std::{collections::BTreeMap, time::Duration};

use maestro_core::MicroUsd;

use crate::evaluation::matrix::{Cell, Matrix, MatrixTask, Outcome};

/// Calls every pair that gives an answer and takes the one that most agree on; of equally many
/// votes those whose confidences sum up to more, then the earlier. `None` where no answer is
/// recorded at all: a score alone is nothing to vote with. The calls run side by side, so the
/// slowest one sets the time.
pub fn majority_vote(matrix: &Matrix) -> Option<Vec<Outcome>> {
    let is_any = matrix
        .tasks
        .iter()
        .any(|task| task.suitable().any(|(_, cell)| cell.answer.is_some()));
    is_any.then(|| matrix.tasks.iter().map(vote).collect())
}

fn vote(task: &MatrixTask) -> Outcome {
    let asked: Vec<(usize, &Cell)> = task.suitable().filter(|(_, cell)| !cell.is_final).collect();
    // By answer: votes, confidence, and the pair that first gave it.
    let mut votes: BTreeMap<&str, (usize, f64, usize)> = BTreeMap::new();
    for (pair, cell) in &asked {
        if let Some(answer) = &cell.answer {
            let (count, sum, _) = votes.entry(answer).or_insert((0, 0.0, *pair));
            *count += 1;
            *sum += cell.confidence;
        }
    }
    let winner = votes.values().max_by(|one, other| {
        let by_votes = one.0.cmp(&other.0);
        let by_confidence = by_votes.then(one.1.total_cmp(&other.1));
        by_confidence.then(other.2.cmp(&one.2))
    });
    let (score, share) = winner.map_or((0.0, 0.0), |(count, _, pair)| {
        let score = task.cell(*pair).map_or(0.0, |cell| cell.score);
        (score, *count as f64 / asked.len().max(1) as f64)
    });
    Outcome {
        score,
        cost: asked
            .iter()
            .map(|(_, cell)| cell.cost)
            .fold(MicroUsd::ZERO, |sum, cost| sum + cost),
        latency: asked
            .iter()
            .map(|(_, cell)| cell.latency)
            .max()
            .unwrap_or_default(),
        calls: asked.iter().map(|(pair, _)| *pair).collect(),
        answered_by: winner.map(|(.., pair)| *pair),
        confidence: winner.is_some().then_some(share),
    }
}

/// A cascade (FrugalGPT, Chen et al., arXiv 2305.05176) without a learned judge: pairs are called
/// in one order until an answer is sure enough.
#[derive(Clone, Debug, PartialEq)]
pub struct Cascade {
    order: Vec<usize>,
}

/// Thresholds at which a cascade is tried.
pub const THRESHOLDS: [f64; 10] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];

impl Cascade {
    /// Cheapest first by mean cost, then by mean time. Pairs that suit no task come last.
    pub fn cheapest_first(matrix: &Matrix) -> Self {
        let mut order: Vec<usize> = (0..matrix.pairs.len()).collect();
        let rank = |pair: usize| {
            let means = matrix.means(pair);
            means.map_or((f64::INFINITY, f64::INFINITY), |m| (m.cost, m.latency))
        };
        order.sort_by(|one, other| {
            let (one, other) = (rank(*one), rank(*other));
            one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1))
        });
        Self { order }
    }

    /// Stops at the first answer of at least `threshold` confidence, or at a call of which only
    /// the score is known; where none is reached, the surest answer stands.
    pub fn route(&self, matrix: &Matrix, threshold: f64) -> Vec<Outcome> {
        let tasks = matrix.tasks.iter();
        tasks.map(|task| self.run(task, threshold)).collect()
    }

    fn run(&self, task: &MatrixTask, threshold: f64) -> Outcome {
        let mut outcome = Outcome::default();
        let mut surest: Option<(usize, &Cell)> = None;
        for pair in &self.order {
            let Some(cell) = task.cell(*pair) else {
                continue;
            };
            outcome.calls.push(*pair);
            outcome.cost = outcome.cost + cell.cost;
            outcome.latency = outcome.latency.saturating_add(cell.latency);
            if cell.is_final {
                surest = Some((*pair, cell));
                break;
            }
            if cell.answer.is_some() {
                if surest.is_none_or(|(_, best)| cell.confidence > best.confidence) {
                    surest = Some((*pair, cell));
                }
                if cell.confidence >= threshold {
                    break;
                }
            }
        }
        if let Some((pair, cell)) = surest {
            outcome.score = cell.score;
            outcome.answered_by = Some(pair);
            outcome.confidence = (!cell.is_final).then_some(cell.confidence);
        }
        outcome
    }

    /// The threshold of [`THRESHOLDS`] with the highest mean score; among equals the cheapest,
    /// then the fastest.
    pub fn tuned(&self, matrix: &Matrix) -> f64 {
        let worth = |threshold: f64| {
            let outcomes = self.route(matrix, threshold);
            let score: f64 = outcomes.iter().map(|outcome| outcome.score).sum();
            let cost: u64 = outcomes.iter().map(|outcome| outcome.cost.0).sum();
            let time: Duration = outcomes.iter().map(|outcome| outcome.latency).sum();
            (score, cost, time)
        };
        let tried = THRESHOLDS.map(|threshold| (threshold, worth(threshold)));
        let best = tried.into_iter().min_by(|(_, one), (_, other)| {
            let by_score = other.0.total_cmp(&one.0);
            by_score.then(one.1.cmp(&other.1)).then(one.2.cmp(&other.2))
        });
        best.map_or(1.0, |(threshold, _)| threshold)
    }
}

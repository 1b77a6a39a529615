//! Routers that look at nothing, at the domain, or at the result.

use std::collections::BTreeMap;

use crate::{
    evaluation::matrix::{Matrix, MatrixTask, Outcome},
    random::SplitMix,
};

/// A pair drawn at random from those that suit each task.
pub fn random_pair(matrix: &Matrix, seed: u64) -> Vec<Outcome> {
    let draw = |(place, task): (usize, &MatrixTask)| {
        let suitable: Vec<usize> = task.suitable().map(|(pair, _)| pair).collect();
        let mut random = SplitMix::keyed(&[seed, 0x7a2d, place as u64]);
        let drawn = suitable.get(random.below(suitable.len()));
        drawn.map_or_else(Outcome::default, |pair| Outcome::of_call(task, *pair))
    };
    matrix.tasks.iter().enumerate().map(draw).collect()
}

/// One pair for every task; it fails where it does not suit.
pub fn single_pair(matrix: &Matrix, pair: usize) -> Vec<Outcome> {
    let tasks = matrix.tasks.iter();
    tasks.map(|task| Outcome::of_call(task, pair)).collect()
}

/// The pair with the highest mean score over all tasks, those that it does not suit included;
/// among equals the cheaper, then the earlier. `None` without pairs.
pub fn best_pair<'m>(
    pairs: usize,
    tasks: impl Iterator<Item = &'m MatrixTask> + Clone,
) -> Option<usize> {
    let worth = |pair: usize| {
        let cells = tasks.clone().filter_map(|task| task.cell(pair));
        cells.fold((0.0, 0.0), |(score, cost), cell| {
            (score + cell.score, cost + cell.cost.as_usd())
        })
    };
    (0..pairs)
        .map(|pair| (pair, worth(pair)))
        .min_by(|(_, (score, cost)), (_, (other_score, other_cost))| {
            let by_score = other_score.total_cmp(score);
            by_score.then(cost.total_cmp(other_cost))
        })
        .map(|(pair, _)| pair)
}

/// The best pair of each task's domain, as `chosen_on` has it; for a domain that it does not have,
/// its best pair overall. An upper bound for static routing: the router is told the domain.
pub fn best_pair_per_domain(chosen_on: &Matrix, matrix: &Matrix) -> Vec<Outcome> {
    let pairs = chosen_on.pairs.len();
    let overall = best_pair(pairs, chosen_on.tasks.iter());
    let table: BTreeMap<&str, Option<usize>> = chosen_on
        .domains()
        .into_iter()
        .map(|domain| {
            let own = chosen_on.tasks.iter().filter(|task| task.domain == domain);
            (domain, best_pair(pairs, own))
        })
        .collect();
    let route = |task: &MatrixTask| {
        let own = table.get(task.domain.as_str()).copied().flatten();
        let pair = own.or(overall);
        pair.map_or_else(Outcome::default, |pair| Outcome::of_call(task, pair))
    };
    matrix.tasks.iter().map(route).collect()
}

/// The best pair of each task: highest score, then cheapest, then fastest. No router that makes
/// one call can be better.
pub fn oracle(matrix: &Matrix) -> Vec<Outcome> {
    let route = |task: &MatrixTask| {
        let best = task.suitable().min_by(|(_, one), (_, other)| {
            let by_score = other.score.total_cmp(&one.score);
            let by_cost = by_score.then(one.cost.cmp(&other.cost));
            by_cost.then(one.latency.cmp(&other.latency))
        });
        best.map_or_else(Outcome::default, |(pair, _)| Outcome::of_call(task, pair))
    };
    matrix.tasks.iter().map(route).collect()
}

//! Routers to compare a policy with, over the same tasks. Those in [`fixed`] and [`ensemble`]
//! need nothing but the matrix; those in [`knn`] and [`mlp`] learn from a training part.

pub mod ensemble;
pub mod fixed;
pub mod knn;
pub mod mlp;
pub mod predicted;

use burn::tensor::Device;

use self::{
    ensemble::{Cascade, THRESHOLDS},
    knn::Knn,
    mlp::{Mlp, MlpConfig},
};
use super::{
    frontier::{CostRange, Point},
    matrix::Matrix,
    metrics::{Metrics, RareExperts},
    study::{KNN, Routed, RouterKind, Study},
};
use crate::error::PolicyError;

/// Tasks with the unit vectors of their questions, in one order.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The tasks.
    pub matrix: &'a Matrix,
    /// A vector a task.
    pub vectors: &'a [Vec<f32>],
}

/// All baselines over `measured`. Those that learn do so on `train`, whose matrix is over the same
/// pairs; without it they are left out. The perceptron is trained `seeds` times.
///
/// # Errors
/// [`PolicyError::Execution`] where a network failed.
pub fn all(
    measured: Asked<'_>,
    train: Option<Asked<'_>>,
    seeds: u64,
    device: &Device,
) -> Result<Vec<Routed>, PolicyError> {
    let matrix = measured.matrix;
    let range = Study::cost_range(matrix);
    let mut routed = Vec::new();
    if let Some(train) = train {
        routed.extend(learned(measured, train, range, seeds, device)?);
    }
    routed.extend(not_learned(matrix, train.map(|train| train.matrix)));
    routed.extend(singles(matrix));
    routed.extend(bounds(matrix, train.map(|train| train.matrix)));
    Ok(routed)
}

fn learned(
    measured: Asked<'_>,
    train: Asked<'_>,
    range: Option<CostRange>,
    seeds: u64,
    device: &Device,
) -> Result<Vec<Routed>, PolicyError> {
    let matrix = measured.matrix;
    let knn = Knn::tuned(train.matrix, train.vectors, 0, device)?;
    let predictions = knn.predict(measured.vectors)?;
    let mut routed = vec![Routed {
        frontier: predictions.frontier(matrix, range),
        ..Routed::new(KNN, RouterKind::Baseline, predictions.route(matrix, 0.0))
            .with_note(format!("k = {}, by cross-validation", knn.k()))
    }];
    for seed in 0..seeds {
        let config = MlpConfig {
            seed,
            ..MlpConfig::default()
        };
        let mlp = Mlp::train(train.matrix, train.vectors, &config, device)?;
        let predictions = mlp.predict(measured.vectors)?;
        let name = format!("MLP, seed {seed}");
        routed.push(Routed {
            family: Some("MLP".to_owned()),
            frontier: predictions.frontier(matrix, range),
            ..Routed::new(name, RouterKind::Baseline, predictions.route(matrix, 0.0))
                .with_note(format!("best after pass {}", mlp.epochs()))
        });
    }
    Ok(routed)
}

fn not_learned(matrix: &Matrix, train: Option<&Matrix>) -> Vec<Routed> {
    let tuned_on = train.unwrap_or(matrix);
    let cascade = Cascade::cheapest_first(tuned_on);
    let threshold = cascade.tuned(tuned_on);
    let points = THRESHOLDS.map(|threshold| point(matrix, &cascade.route(matrix, threshold)));
    let on = if train.is_some() { "training" } else { "these" };
    let mut routed = vec![Routed {
        frontier: points.to_vec(),
        ..Routed::new(
            "cheapest first",
            RouterKind::Baseline,
            cascade.route(matrix, threshold),
        )
        .with_note(format!(
            "cascade; confidence {threshold}, tuned on {on} tasks"
        ))
    }];
    if let Some(outcomes) = ensemble::majority_vote(matrix) {
        let router = Routed::new("majority vote", RouterKind::Baseline, outcomes);
        routed.push(router.with_note("calls every pair that gives an answer"));
    }
    let random = fixed::random_pair(matrix, 0);
    routed.push(Routed::new("random pair", RouterKind::Baseline, random));
    routed
}

/// Every single pair, the best first.
fn singles(matrix: &Matrix) -> Vec<Routed> {
    let single = |pair| {
        let outcomes = fixed::single_pair(matrix, pair);
        Routed::new(matrix.pair_name(pair), RouterKind::Single, outcomes)
    };
    let mut routed: Vec<Routed> = (0..matrix.pairs.len()).map(single).collect();
    let quality = |router: &Routed| point(matrix, &router.outcomes).quality;
    routed.sort_by(|one, other| quality(other).total_cmp(&quality(one)));
    routed
}

fn bounds(matrix: &Matrix, train: Option<&Matrix>) -> Vec<Routed> {
    let bound = |name: &str, outcomes, note: &str| {
        Routed::new(name, RouterKind::Bound, outcomes).with_note(note)
    };
    let mut routed = Vec::new();
    if let Some(train) = train {
        routed.push(bound(
            "best pair per domain",
            fixed::best_pair_per_domain(train, matrix),
            "is told the domain; chosen on training tasks",
        ));
    }
    routed.push(bound(
        "best pair per domain, in hindsight",
        fixed::best_pair_per_domain(matrix, matrix),
        "is told the domain; chosen on these tasks",
    ));
    routed.push(bound(
        "oracle",
        fixed::oracle(matrix),
        "the best pair of each task",
    ));
    routed
}

/// Where outcomes stand in the cost-quality plane.
pub(super) fn point(matrix: &Matrix, outcomes: &[super::matrix::Outcome]) -> Point {
    let reward = maestro_core::reward::RewardWeights::default();
    Metrics::of(matrix, outcomes, &reward, &RareExperts::default()).point()
}

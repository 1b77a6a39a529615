use std::time::Duration;

use maestro_core::{MicroUsd, reward::RewardWeights, task::Pair};
use proptest::prelude::*;

use super::{
    baselines::{ensemble, fixed},
    bootstrap::{Resamples, mean_and_deviation, quantile},
    calibration::{Calibration, Confusion},
    frontier::{CostRange, Point, aiq, hull, quality_at},
    matrix::{Cell, Matrix, MatrixTask, Outcome},
    metrics::{Metrics, RareExperts, gap_closed},
};

pub(crate) fn cell(score: f64, cost: u64) -> Cell {
    Cell {
        score,
        cost: MicroUsd(cost),
        latency: Duration::from_millis(cost),
        answer: None,
        confidence: 0.0,
        is_final: true,
    }
}

fn said(answer: &str, confidence: f64, score: f64, cost: u64) -> Option<Cell> {
    Some(Cell {
        answer: Some(answer.into()),
        confidence,
        is_final: false,
        ..cell(score, cost)
    })
}

fn pair(place: usize) -> Pair {
    Pair {
        expert: format!("expert-{place:02}").parse().unwrap(),
        skill: "direct".parse().unwrap(),
    }
}

/// A matrix of rows; the domain of a task is `even` or `odd` by its place.
pub(crate) fn matrix(rows: Vec<Vec<Option<Cell>>>) -> Matrix {
    let pairs = rows.first().map_or(0, Vec::len);
    let tasks = rows
        .into_iter()
        .enumerate()
        .map(|(place, cells)| MatrixTask {
            id: place.to_string(),
            domain: ["even", "odd"][place % 2].into(),
            group: None,
            cells,
        });
    Matrix {
        pairs: (0..pairs).map(pair).collect(),
        tasks: tasks.collect(),
    }
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-12
}

fn point(cost: f64, quality: f64) -> Point {
    Point { cost, quality }
}

#[test]
fn the_hull_rises_and_its_slopes_fall() {
    let points = [
        point(3.0, 0.9),
        point(1.0, 0.6),
        point(2.0, 0.7),
        point(2.5, 0.5),
        point(4.0, 0.8),
    ];
    // (2, .7) lies under the line from (1, .6) to (3, .9), (2.5, .5) and (4, .8) cost more for
    // less.
    let expected = [point(0.0, 0.0), point(1.0, 0.6), point(3.0, 0.9)];
    assert_eq!(hull(&points), expected);
    assert!(close(quality_at(&expected, 0.5), 0.3));
    assert!(close(quality_at(&expected, 2.0), 0.75));
    assert!(close(quality_at(&expected, 9.0), 0.9));
}

#[test]
fn aiq_is_the_mean_quality_over_the_range() {
    let points = [point(1.0, 0.6), point(2.0, 0.7), point(3.0, 0.9)];
    let range = CostRange::of(&points).unwrap();
    // From .6 to .9 along a line.
    assert!(close(aiq(&points, range), 0.75));
    // One step dearer, flat at .9.
    let wider = CostRange {
        low: 1.0,
        high: 4.0,
    };
    assert!(close(aiq(&points, wider), (2.0 * 0.75 + 0.9) / 3.0));
    // Half a step cheaper: mixed with calling nothing, from .3 to .6.
    let cheaper = CostRange {
        low: 0.5,
        high: 1.0,
    };
    assert!(close(aiq(&points, cheaper), 0.45));
    assert!(close(aiq(&[point(1.0, 0.5)], range), 0.5));
    assert_eq!(CostRange::of(&[point(1.0, 0.5), point(1.0, 0.7)]), None);
    // A router that costs nothing reaches its quality everywhere.
    assert!(close(aiq(&[point(0.0, 0.8)], wider), 0.8));
}

#[test]
fn figures_are_those_computed_by_hand() {
    let matrix = matrix(vec![
        vec![Some(cell(1.0, 100)), Some(cell(0.0, 10))],
        vec![Some(cell(1.0, 100)), Some(cell(1.0, 10))],
        vec![Some(cell(0.0, 100)), Some(cell(1.0, 10))],
        vec![Some(cell(1.0, 100)), None],
    ]);
    let weights = RewardWeights {
        cost: 1e4,
        ..RewardWeights::default()
    };
    let none = RareExperts::default();
    let first = Metrics::of(&matrix, &fixed::single_pair(&matrix, 0), &weights, &none);
    assert!(close(first.accuracy, 0.75));
    assert!(close(first.cost_usd, 1e-4));
    assert!(close(first.regret, 0.25));
    // Each right call of 100 micro-dollars earns 1 / (1 + 1).
    assert!(close(first.reward, 0.375));
    // The best: .5, 1 / 1.1, 1 / 1.1, .5.
    assert!(close(first.reward_regret, (1.0 + 2.0 / 1.1) / 4.0 - 0.375));
    let second = Metrics::of(&matrix, &fixed::single_pair(&matrix, 1), &weights, &none);
    assert!(
        close(second.accuracy, 0.5),
        "it fails where it does not suit"
    );
    assert!(close(second.calls, 0.75) && close(second.answered, 0.75));
    assert_eq!(fixed::best_pair(2, matrix.tasks.iter()), Some(0));
    let oracle = Metrics::of(&matrix, &fixed::oracle(&matrix), &weights, &none);
    assert!(close(oracle.accuracy, 1.0) && close(oracle.regret, 0.0));
    // The cheaper of two right ones: 100 + 10 + 10 + 100.
    assert!(close(oracle.cost_usd, 55e-6));
    assert_eq!(
        gap_closed(0.9, 0.8, 1.0).map(|gap| close(gap, 0.5)),
        Some(true)
    );
    assert_eq!(gap_closed(0.9, 0.9, 0.9), None);
    // even: the first is right on one of two, the second too, and is cheaper; odd: the first.
    let told = fixed::best_pair_per_domain(&matrix, &matrix);
    let pairs: Vec<_> = told.iter().map(|outcome| outcome.answered_by).collect();
    assert_eq!(pairs, [Some(1), Some(0), Some(1), Some(0)]);
}

#[test]
fn times_are_nearest_ranks() {
    let times: Vec<f64> = (1..=200).map(f64::from).collect();
    assert_eq!(
        (quantile(&times, 0.5), quantile(&times, 0.99)),
        (100.0, 198.0)
    );
    assert_eq!((quantile(&times, 0.0), quantile(&times, 1.0)), (1.0, 200.0));
    assert_eq!(quantile(&[], 0.5), 0.0);
    let (mean, deviation) = mean_and_deviation(&[2.0, 4.0, 6.0]);
    assert!(close(mean, 4.0) && close(deviation, 2.0));
}

#[test]
fn recall_counts_where_a_rare_expert_alone_is_right() {
    // Of 50 tasks the first is right on 47, the second alone on 2, and nobody on the last.
    let row = |place: usize| {
        let right = |is: bool| Some(cell(f64::from(u8::from(is)), 1));
        vec![right(place < 47), right((47..49).contains(&place))]
    };
    let matrix = matrix((0..50).map(row).collect());
    let rare = RareExperts::of(&matrix);
    assert_eq!((rare.experts(), rare.tasks()), (1, 2));
    let recall = |outcomes: &[Outcome]| {
        Metrics::of(&matrix, outcomes, &RewardWeights::default(), &rare).rare_recall
    };
    assert_eq!(recall(&fixed::single_pair(&matrix, 0)), Some(0.0));
    assert_eq!(recall(&fixed::oracle(&matrix)), Some(1.0));
    let mut half = fixed::single_pair(&matrix, 0);
    half[48] = Outcome::of_call(&matrix.tasks[48], 1);
    assert_eq!(recall(&half), Some(0.5));
}

#[test]
fn calibration_is_the_distance_of_confidence_and_accuracy() {
    let sure = |confidence: f64, score: f64| Outcome {
        confidence: Some(confidence),
        score,
        ..Outcome::default()
    };
    let outcomes = [
        sure(0.95, 1.0),
        sure(0.97, 1.0),
        sure(1.0, 0.0),
        sure(0.31, 0.0),
        Outcome::default(),
    ];
    let found = Calibration::of(&outcomes).unwrap();
    assert_eq!(found.bins[9].count, 3);
    assert!(close(found.bins[9].accuracy, 2.0 / 3.0));
    // (|2.92 - 2| + |.31 - 0|) / 4
    assert!(close(found.ece, (0.92 + 0.31) / 4.0));
    assert_eq!(Calibration::of(&[Outcome::default()]), None);
}

#[test]
fn confusion_counts_pairs_by_domain() {
    let matrix = matrix(vec![
        vec![Some(cell(1.0, 1)), Some(cell(0.0, 1))],
        vec![None, Some(cell(1.0, 1))],
        vec![Some(cell(1.0, 1)), None],
    ]);
    let found = Confusion::of(&matrix, &fixed::single_pair(&matrix, 0));
    assert_eq!(found.domains, ["even", "odd"]);
    assert_eq!(found.counts, [[2, 0, 0], [0, 0, 1]]);
}

#[test]
fn the_majority_wins_and_the_surer_of_two_sides() {
    let matrix = matrix(vec![
        vec![
            said("a", 0.9, 0.0, 1),
            said("b", 0.2, 1.0, 2),
            said("b", 0.3, 1.0, 4),
        ],
        vec![
            said("a", 0.9, 1.0, 1),
            said("b", 0.2, 0.0, 2),
            Some(cell(1.0, 9)),
        ],
        vec![None, None, Some(cell(1.0, 9))],
    ]);
    let outcomes = ensemble::majority_vote(&matrix).unwrap();
    let scores: Vec<_> = outcomes.iter().map(|o| (o.score, o.answered_by)).collect();
    assert_eq!(scores, [(1.0, Some(1)), (1.0, Some(0)), (0.0, None)]);
    assert_eq!(outcomes[0].cost, MicroUsd(7));
    assert_eq!(outcomes[0].latency, Duration::from_millis(4));
    assert_eq!(outcomes[1].calls, [0, 1], "a score alone has no vote");
    let graded = super::tests::matrix(vec![vec![Some(cell(1.0, 1))]]);
    assert_eq!(ensemble::majority_vote(&graded), None);
}

#[test]
fn a_cascade_stops_when_it_is_sure() {
    let matrix = matrix(vec![
        vec![said("a", 0.9, 0.0, 9), said("b", 0.5, 1.0, 1)],
        vec![said("a", 0.6, 1.0, 9), said("b", 0.4, 0.0, 1)],
        vec![said("a", 0.6, 1.0, 9), Some(cell(0.0, 1))],
    ]);
    let cascade = ensemble::Cascade::cheapest_first(&matrix);
    let run = |threshold: f64| -> Vec<_> {
        let outcomes = cascade.route(&matrix, threshold);
        outcomes.into_iter().map(|o| (o.calls, o.score)).collect()
    };
    let expected = [(vec![1], 1.0), (vec![1, 0], 1.0), (vec![1], 0.0)];
    assert_eq!(run(0.5), expected);
    let expected = [(vec![1, 0], 0.0), (vec![1, 0], 1.0), (vec![1], 0.0)];
    assert_eq!(run(1.0), expected, "the surest of all stands");
    assert!(close(cascade.tuned(&matrix), 0.5));
    assert_eq!(cascade.route(&matrix, 1.0)[0].cost, MicroUsd(10));
}

prop_compose! {
    fn any_cell()(
        score in 0u8..=4, cost in 0u64..1000, answer in 0u8..3, sure in 0.0f64..=1.0,
        is_final in any::<bool>(),
    ) -> Cell {
        Cell {
            answer: (!is_final).then(|| answer.to_string()),
            confidence: sure,
            is_final,
            ..cell(f64::from(score) / 4.0, cost)
        }
    }
}

fn any_matrix() -> impl Strategy<Value = Matrix> {
    (1usize..5, 1usize..40).prop_flat_map(|(pairs, tasks)| {
        let cells = prop::collection::vec(prop::option::weighted(0.8, any_cell()), pairs);
        prop::collection::vec(cells, tasks).prop_map(matrix)
    })
}

fn accuracy(matrix: &Matrix, outcomes: &[Outcome]) -> f64 {
    let weights = RewardWeights::default();
    Metrics::of(matrix, outcomes, &weights, &RareExperts::default()).accuracy
}

proptest! {
    #[test]
    fn nothing_beats_the_oracle(matrix in any_matrix(), seed in any::<u64>(), at in 0.0f64..1.0) {
        let oracle = accuracy(&matrix, &fixed::oracle(&matrix));
        let cascade = ensemble::Cascade::cheapest_first(&matrix);
        let mut routed = vec![
            fixed::random_pair(&matrix, seed),
            fixed::best_pair_per_domain(&matrix, &matrix),
            cascade.route(&matrix, at),
        ];
        routed.extend(ensemble::majority_vote(&matrix));
        routed.extend((0..matrix.pairs.len()).map(|pair| fixed::single_pair(&matrix, pair)));
        for outcomes in routed {
            prop_assert!(accuracy(&matrix, &outcomes) <= oracle + 1e-9);
            let metrics = Metrics::of(
                &matrix, &outcomes, &RewardWeights { cost: 9.0, latency: 1.0, format: false },
                &RareExperts::default(),
            );
            prop_assert!(metrics.regret >= -1e-9 && metrics.reward_regret >= -1e-9);
        }
        let best = fixed::best_pair(matrix.pairs.len(), matrix.tasks.iter()).unwrap();
        let best = accuracy(&matrix, &fixed::single_pair(&matrix, best));
        let told = accuracy(&matrix, &fixed::best_pair_per_domain(&matrix, &matrix));
        prop_assert!(told >= best - 1e-9);
    }

    #[test]
    fn the_order_of_tasks_changes_nothing(matrix in any_matrix(), turn in 0usize..40) {
        let mut turned = matrix.clone();
        let middle = turn % turned.tasks.len();
        turned.tasks.rotate_left(middle);
        let measure = |matrix: &Matrix| {
            let routed = fixed::best_pair_per_domain(matrix, matrix);
            let rare = RareExperts::of(matrix);
            let found = Metrics::of(matrix, &routed, &RewardWeights::default(), &rare);
            let calibration = Calibration::of(&routed).map_or(0.0, |found| found.ece);
            (found, calibration, Confusion::of(matrix, &routed))
        };
        let (one, other) = (measure(&matrix), measure(&turned));
        prop_assert!(close(one.0.accuracy, other.0.accuracy));
        prop_assert!(close(one.0.cost_usd, other.0.cost_usd));
        prop_assert!(close(one.0.latency_p99_s, other.0.latency_p99_s));
        prop_assert_eq!(one.0.rare_recall, other.0.rare_recall);
        prop_assert!((one.1 - other.1).abs() < 1e-9);
        prop_assert_eq!(one.2, other.2);
    }

    #[test]
    fn an_interval_holds_the_mean(
        values in prop::collection::vec(0.0f64..1.0, 5..60), seed in any::<u64>(),
        groups in prop::collection::vec(0u8..9, 60),
    ) {
        let rows = vec![vec![Some(cell(0.0, 1))]; values.len()];
        let mut matrix = matrix(rows);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let plain = Resamples::draw(&matrix.tasks, 500, 0.95, seed).interval(&values);
        prop_assert!(plain.low <= plain.high);
        prop_assert!(plain.contains(mean), "{plain:?} {mean}");
        for (task, group) in matrix.tasks.iter_mut().zip(groups) {
            task.group = Some(group.to_string());
        }
        let grouped = Resamples::draw(&matrix.tasks, 500, 0.95, seed);
        let low = values.iter().copied().fold(1.0, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        let found = grouped.interval(&values);
        // Means of equal values are rounded.
        prop_assert!(low <= found.low + 1e-9 && found.high <= high + 1e-9);
        // A constant has no spread, however it is drawn.
        let flat = grouped.interval(&vec![0.5; values.len()]);
        prop_assert!(close(flat.low, 0.5) && close(flat.high, 0.5));
    }

    #[test]
    fn no_point_is_above_its_hull(
        points in prop::collection::vec((0.0f64..9.0, 0.0f64..1.0), 1..20)
    ) {
        let points: Vec<Point> = points.into_iter().map(|(c, q)| point(c, q)).collect();
        let hull = hull(&points);
        for one in &points {
            prop_assert!(quality_at(&hull, one.cost) >= one.quality - 1e-9);
        }
        if let Some(range) = CostRange::of(&points) {
            let best = points.iter().map(|p| p.quality).fold(0.0, f64::max);
            prop_assert!(aiq(&points, range) <= best + 1e-9);
        }
    }
}

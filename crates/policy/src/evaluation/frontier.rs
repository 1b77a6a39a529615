//! The cost-quality plane of RouterBench (Hu et al., arXiv 2403.12031).

use serde::Serialize;

/// Mean cost and mean quality of a router under one setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Mean cost of a task, in US dollars.
    pub cost: f64,
    /// Mean score, 0 to 1.
    pub quality: f64,
}

/// Mean costs between which routers are compared, in US dollars.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CostRange {
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl CostRange {
    /// From the cheapest to the dearest of some points; `None` without points, or where all cost
    /// the same.
    pub fn of(points: &[Point]) -> Option<Self> {
        let costs = || points.iter().map(|point| point.cost);
        let low = costs().fold(f64::INFINITY, f64::min);
        let high = costs().fold(f64::NEG_INFINITY, f64::max);
        (low < high).then_some(Self { low, high })
    }
}

/// The non-decreasing convex hull of a router's points (RouterBench, section 3.1): by probabilistic
/// mixtures of settings every point on it can be reached, and none above it.
///
/// The points of the result rise in cost and in quality, and their slopes fall. The router that
/// calls nothing, of cost 0 and quality 0, belongs to every hull.
pub fn hull(points: &[Point]) -> Vec<Point> {
    let nothing = Point {
        cost: 0.0,
        quality: 0.0,
    };
    let mut sorted: Vec<Point> = points.iter().copied().chain([nothing]).collect();
    sorted.sort_by(|a, b| {
        let by_cost = a.cost.total_cmp(&b.cost);
        by_cost.then(b.quality.total_cmp(&a.quality))
    });
    let mut upper: Vec<Point> = Vec::with_capacity(sorted.len());
    for point in sorted {
        // Dearer and no better: never worth it.
        if upper
            .last()
            .is_some_and(|last| point.quality <= last.quality)
        {
            continue;
        }
        while let [.., a, b] = upper.as_slice() {
            let is_below = (b.quality - a.quality) * (point.cost - a.cost)
                <= (point.quality - a.quality) * (b.cost - a.cost);
            if !is_below {
                break;
            }
            upper.pop();
        }
        upper.push(point);
    }
    upper
}

/// Quality of a hull at a cost: linear between its points, flat after the last, 0 before the
/// first.
pub fn quality_at(hull: &[Point], cost: f64) -> f64 {
    let after = hull.partition_point(|point| point.cost <= cost);
    let Some(left) = after.checked_sub(1).and_then(|place| hull.get(place)) else {
        return 0.0;
    };
    hull.get(after).map_or(left.quality, |right| {
        let share = (cost - left.cost) / (right.cost - left.cost);
        left.quality + share * (right.quality - left.quality)
    })
}

/// Average improvement in quality, **AIQ** (RouterBench, equation 2): the area under the
/// [hull] of a router's points between two costs, divided by their difference. It is the
/// quality that the router reaches on average over the budgets of the range, 0 to 1. Budgets
/// beyond its dearest point are taken to be spent at that point; below its cheapest point it is
/// mixed with calling nothing.
pub fn aiq(points: &[Point], range: CostRange) -> f64 {
    let hull = hull(points);
    let inner = hull.iter().map(|point| point.cost);
    let mut costs: Vec<f64> = inner
        .filter(|cost| (range.low..=range.high).contains(cost))
        .chain([range.low, range.high])
        .collect();
    costs.sort_by(f64::total_cmp);
    let area: f64 = costs
        .windows(2)
        .map(|ends| {
            let [left, right] = [ends[0], ends[1]];
            (quality_at(&hull, left) + quality_at(&hull, right)) / 2.0 * (right - left)
        })
        .sum();
    area / (range.high - range.low)
}

use std::{collections::BTreeMap, fmt};

use maestro_core::{
    Digest,
    off_policy::{
        Estimate, Support, Trajectory, Weighted, doubly_robust, importance_sampling,
        self_normalised,
    },
};
use serde::Serialize;

use super::judge::{Cell, Judged};

/// An estimated mean with its 95 % interval.
#[derive(Serialize)]
struct Interval {
    value: f64,
    std_error: f64,
    low: f64,
    high: f64,
}

impl From<Estimate> for Interval {
    fn from(estimate: Estimate) -> Self {
        let [low, high] = estimate.interval();
        Self {
            value: estimate.value,
            std_error: estimate.std_error,
            low,
            high,
        }
    }
}

/// What one policy would be worth.
#[derive(Serialize)]
struct Side {
    policy: Digest,
    /// Score by self-normalised importance sampling; `None` where no episode goes as it would.
    self_normalised: Option<Interval>,
    /// Score by the doubly robust estimator.
    doubly_robust: Option<Interval>,
    /// Score by plain importance sampling.
    importance_sampling: Option<Interval>,
    /// Money of an episode, self-normalised.
    cost_usd: Option<Interval>,
    /// Time of an episode, self-normalised.
    seconds: Option<Interval>,
    support: Support,
    /// Why none of it is to be believed.
    doubt: Option<String>,
}

impl Side {
    fn new(policy: Digest, judged: &[Judged], trajectories: &[Trajectory<Cell>]) -> Self {
        let support = Support::of(trajectories);
        let scores: Vec<Weighted> = trajectories.iter().map(Weighted::from).collect();
        let mean = |value: fn(&Judged) -> f64| {
            let weighted: Vec<Weighted> = scores
                .iter()
                .zip(judged)
                .map(|(weighted, judged)| Weighted {
                    value: value(judged),
                    ..*weighted
                })
                .collect();
            self_normalised(&weighted).map(Interval::from)
        };
        Self {
            policy,
            self_normalised: self_normalised(&scores).map(Interval::from),
            doubly_robust: doubly_robust(trajectories).map(Interval::from),
            importance_sampling: importance_sampling(&scores).map(Interval::from),
            cost_usd: mean(|judged| judged.cost_usd),
            seconds: mean(|judged| judged.seconds),
            doubt: support.doubt().map(|doubt| doubt.to_string()),
            support,
        }
    }
}

/// Two policies judged by the same episodes.
#[derive(Serialize)]
pub(super) struct Comparison {
    episodes: usize,
    decisions: usize,
    /// Episodes that were left out, by reason.
    left_out: BTreeMap<String, usize>,
    /// Share of the decisions of which both have the same first choice.
    agreement: f64,
    /// Largest difference between a logged and a recomputed probability.
    largest_deviation: f64,
    /// Mean score of the episodes as they went.
    logged_score: f64,
    active: Side,
    candidate: Side,
    /// Score of the candidate less that of the active policy, doubly robust, on the same episodes.
    difference: Option<Interval>,
}

impl Comparison {
    /// `None` without episodes.
    pub(super) fn new(
        active: Digest,
        candidate: Digest,
        judged: &[Judged],
        left_out: BTreeMap<String, usize>,
    ) -> Option<Self> {
        if judged.is_empty() {
            return None;
        }
        let ours: Vec<Trajectory<Cell>> = judged.iter().map(|j| j.active.clone()).collect();
        let theirs: Vec<Trajectory<Cell>> = judged.iter().map(|j| j.candidate.clone()).collect();
        let decisions: usize = ours.iter().map(|trajectory| trajectory.steps.len()).sum();
        let agreed: usize = judged.iter().map(|judged| judged.agreed).sum();
        let total: f64 = ours.iter().map(|trajectory| trajectory.reward).sum();
        let difference = doubly_robust(&theirs).and_then(|candidate| {
            let active = doubly_robust(&ours)?;
            candidate.minus(&active)
        });
        Some(Self {
            episodes: judged.len(),
            decisions,
            left_out,
            agreement: agreed as f64 / decisions.max(1) as f64,
            largest_deviation: judged.iter().map(|j| j.deviation).fold(0.0, f64::max),
            logged_score: total / judged.len() as f64,
            active: Side::new(active, judged, &ours),
            candidate: Side::new(candidate, judged, &theirs),
            difference: difference.map(Interval::from),
        })
    }
}

/// Width of a column of the table.
const WIDTH: usize = 27;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} episodes with {} decisions; mean score as they went {:.3}",
            self.episodes, self.decisions, self.logged_score
        )?;
        for (reason, count) in &self.left_out {
            writeln!(f, "  left out: {count} {reason}")?;
        }
        writeln!(
            f,
            "  recomputed probabilities deviate by at most {:.1e}",
            self.largest_deviation
        )?;
        writeln!(
            f,
            "  same first choice in {:.1} % of the decisions\n",
            self.agreement * 100.0
        )?;
        let sides = [&self.active, &self.candidate];
        let [active, candidate] = sides.map(|side| side.policy.short());
        let (active, candidate) = (format!("active {active}"), format!("candidate {candidate}"));
        writeln!(f, "{:<27}{active:<WIDTH$}{candidate}", "")?;
        let mut row = |name: &str, cell: &dyn Fn(&Side) -> String| {
            let [active, candidate] = sides.map(cell);
            let line = format!("{name:<27}{active:<WIDTH$}{candidate}");
            writeln!(f, "{}", line.trim_end())
        };
        row("score, self-normalised", &|side| {
            shown(side.self_normalised.as_ref(), 3)
        })?;
        row("score, doubly robust", &|side| {
            shown(side.doubly_robust.as_ref(), 3)
        })?;
        row("score, importance sampling", &|side| {
            shown(side.importance_sampling.as_ref(), 3)
        })?;
        row("cost of an episode, USD", &|side| {
            shown(side.cost_usd.as_ref(), 6)
        })?;
        row("time of an episode, s", &|side| {
            shown(side.seconds.as_ref(), 2)
        })?;
        row("effective episodes", &|side| {
            format!("{:.1}", side.support.effective)
        })?;
        row("never tried", &|side| {
            format!("{:.1} %", side.support.unsupported * 100.0)
        })?;
        writeln!(
            f,
            "\ncandidate less active: {} (doubly robust)",
            shown(self.difference.as_ref(), 3)
        )?;
        for (name, side) in [("active", &self.active), ("candidate", &self.candidate)] {
            if let Some(doubt) = &side.doubt {
                writeln!(
                    f,
                    "do not trust the estimates of the {name} policy: {doubt}"
                )?;
            }
        }
        Ok(())
    }
}

fn shown(interval: Option<&Interval>, digits: usize) -> String {
    interval.map_or_else(
        || "-".to_owned(),
        |i| {
            format!(
                "{:.digits$} [{:.digits$}, {:.digits$}]",
                i.value, i.low, i.high
            )
        },
    )
}

//! What every pair did with every task, and what a router did with them.

use std::{collections::BTreeSet, time::Duration};

use maestro_core::{MicroUsd, answer::canonical, task::Pair};

use crate::replay::{ReplayCall, ReplayTask, World};

/// From this score on an answer counts as right where only right and wrong are told apart.
pub const RIGHT: f64 = 0.5;

/// What one pair did with one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// How right it was, 0 to 1.
    pub score: f64,
    /// What the call cost.
    pub cost: MicroUsd,
    /// How long it took.
    pub latency: Duration,
    /// Its answer in the form in which answers are compared; `None` where it gave none, or where
    /// only its score is known.
    pub answer: Option<String>,
    /// Confidence of the answer, 0 to 1.
    pub confidence: f64,
    /// Whether only the score is known, so that an episode ends with the call.
    pub is_final: bool,
}

/// One task and what every pair did with it.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixTask {
    /// The task's identifier.
    pub id: String,
    /// Its kind. Routers that are told the domain read it, no other.
    pub domain: String,
    /// Tasks of one group are variants of each other.
    pub group: Option<String>,
    /// By pair; `None` where the pair does not suit the task or was not recorded.
    pub cells: Vec<Option<Cell>>,
}

impl MatrixTask {
    /// The pairs that suit the task, with what they did.
    pub fn suitable(&self) -> impl Iterator<Item = (usize, &Cell)> {
        let cells = self.cells.iter().enumerate();
        cells.filter_map(|(pair, cell)| Some((pair, cell.as_ref()?)))
    }

    /// What a pair did.
    pub fn cell(&self, pair: usize) -> Option<&Cell> {
        self.cells.get(pair)?.as_ref()
    }

    /// Highest score of a single pair.
    pub fn best_score(&self) -> f64 {
        let scores = self.suitable().map(|(_, cell)| cell.score);
        scores.fold(0.0, f64::max)
    }
}

/// What every pair did with every task: all that static routers need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// The columns.
    pub pairs: Vec<Pair>,
    /// The rows, in the order of the world's tasks.
    pub tasks: Vec<MatrixTask>,
}

impl Matrix {
    /// The matrix of a world over all pairs that any of its tasks has a call of, by name.
    pub fn of(world: &World) -> Self {
        let calls = world.tasks().iter().flat_map(|task| &task.calls);
        let pairs: BTreeSet<&Pair> = calls.map(|call| &call.pair).collect();
        Self::over(pairs.into_iter().cloned().collect(), world)
    }

    /// The matrix of a world over given pairs; calls of others are left out.
    pub fn over(pairs: Vec<Pair>, world: &World) -> Self {
        let tasks = world.tasks().iter();
        let tasks = tasks.map(|task| row(&pairs, task)).collect();
        Self { pairs, tasks }
    }

    /// Mean score, cost in US dollars and time in seconds of a pair over the tasks that it suits;
    /// `None` where it suits none.
    pub fn means(&self, pair: usize) -> Option<Means> {
        let cells: Vec<&Cell> = self.tasks.iter().filter_map(|t| t.cell(pair)).collect();
        let mean = |value: &dyn Fn(&Cell) -> f64| {
            cells.iter().map(|cell| value(cell)).sum::<f64>() / cells.len() as f64
        };
        (!cells.is_empty()).then(|| Means {
            score: mean(&|cell| cell.score),
            cost: mean(&|cell| cell.cost.as_usd()),
            latency: mean(&|cell| cell.latency.as_secs_f64()),
        })
    }

    /// The domains, by name.
    pub fn domains(&self) -> Vec<&str> {
        let domains: BTreeSet<&str> = self.tasks.iter().map(|t| t.domain.as_str()).collect();
        domains.into_iter().collect()
    }

    /// A pair as `expert@skill`.
    pub fn pair_name(&self, pair: usize) -> String {
        let found = self.pairs.get(pair);
        found.map_or_else(String::new, |pair| {
            format!("{}@{}", pair.expert, pair.skill)
        })
    }
}

/// Means over the tasks that a pair suits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Means {
    /// Score, 0 to 1.
    pub score: f64,
    /// Cost of a call, in US dollars.
    pub cost: f64,
    /// Time of a call, in seconds.
    pub latency: f64,
}

fn row(pairs: &[Pair], task: &ReplayTask) -> MatrixTask {
    let mut cells = vec![None; pairs.len()];
    for call in &task.calls {
        if let Ok(place) = pairs.binary_search(&call.pair) {
            cells[place] = Some(cell(task, call));
        }
    }
    MatrixTask {
        id: task.known.id.clone(),
        domain: task.known.domain.clone(),
        group: task.known.group.clone(),
        cells,
    }
}

fn cell(task: &ReplayTask, call: &ReplayCall) -> Cell {
    let observation = &call.observation;
    let answer = (!call.is_final && observation.is_answerable())
        .then(|| canonical(&task.known.answer_kind, observation.answer_text()));
    Cell {
        score: call.score,
        cost: call.cost,
        latency: call.latency,
        answer,
        confidence: f64::from(observation.confidence()),
        is_final: call.is_final,
    }
}

/// What a router did with one task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// How right its answer is, 0 to 1; 0 without one.
    pub score: f64,
    /// What it spent.
    pub cost: MicroUsd,
    /// How long it took.
    pub latency: Duration,
    /// The pairs that it called, in order.
    pub calls: Vec<usize>,
    /// The pair whose answer it gave.
    pub answered_by: Option<usize>,
    /// How sure it was of that answer, 0 to 1, where it says so.
    pub confidence: Option<f64>,
}

impl Outcome {
    /// One call, whose answer is final. A pair that does not suit the task fails.
    pub fn of_call(task: &MatrixTask, pair: usize) -> Self {
        task.cell(pair).map_or_else(Self::default, |cell| Self {
            score: cell.score,
            cost: cell.cost,
            latency: cell.latency,
            calls: vec![pair],
            answered_by: Some(pair),
            confidence: cell.answer.is_some().then_some(cell.confidence),
        })
    }
}

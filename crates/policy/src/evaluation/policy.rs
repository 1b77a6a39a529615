//! Policies as routers.

use maestro_core::{episode::Choice, task::Weights};

use super::matrix::{Matrix, Outcome};
use crate::{
    Runtime, Scorer,
    error::PolicyError,
    learning::{PreparedWorld, run_greedily_watched},
    replay::{Absent, EpisodeResult, ReplayTask},
};

/// Runs a policy over every task of a world, taking the most probable action each time. The matrix
/// is that of the world. Other weights of the user stand for the world's where some are given.
///
/// The confidence of an outcome is the probability of the action that ended the episode by
/// choice: answering, or calling a pair whose call is final.
///
/// # Errors
/// [`PolicyError::Execution`] where the network failed.
pub fn play(
    scorer: &Scorer,
    world: &PreparedWorld,
    runtime: &Runtime,
    matrix: &Matrix,
    weights: Option<Weights>,
) -> Result<Vec<Outcome>, PolicyError> {
    let tasks = world.world().tasks();
    let mut last = vec![None; tasks.len()];
    let mut watch = |task: usize, choice: &Choice, probability: f64| {
        let ends = match choice {
            Choice::AnswerObservation(_) | Choice::AnswerText => true,
            Choice::Invoke(pair) => {
                let mut calls = tasks[task].calls.iter();
                calls.any(|call| call.pair == *pair && call.is_final)
            }
        };
        last[task] = ends.then_some(probability);
    };
    let absent = Absent::default();
    let results = run_greedily_watched(scorer, world, runtime, &absent, weights, &mut watch)?;
    let played = results.iter().zip(tasks).zip(last);
    Ok(played
        .map(|((result, task), sure)| outcome(matrix, task, result, sure))
        .collect())
}

fn outcome(
    matrix: &Matrix,
    task: &ReplayTask,
    result: &EpisodeResult,
    sure: Option<f64>,
) -> Outcome {
    let place = |call: &usize| {
        let pair = &task.calls.get(*call)?.pair;
        matrix.pairs.binary_search(pair).ok()
    };
    Outcome {
        score: result.score,
        cost: result.cost,
        latency: result.latency,
        calls: result.calls.iter().filter_map(place).collect(),
        answered_by: result.answered_by.as_ref().and_then(place),
        confidence: sure.filter(|_| result.is_answered),
    }
}

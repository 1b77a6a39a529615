use maestro_core::{
    episode::{Choice, ServingMode},
    reward::Reward,
    task::Weights,
};

use super::{metrics::ValidationMetrics, replay::PreparedWorld, scenario::ScenarioConfig};
use crate::{
    distribution::Distribution,
    error::PolicyError,
    features::{Features, features},
    replay::{Absent, EpisodeResult, ReplayEpisode},
    runtime::Runtime,
    scorer::{Batch, Scorer},
    values,
};

/// States that are scored in one pass.
const PASS: usize = 256;

/// Runs every task of a world once, taking the most probable action each time, and gives how each
/// ended, in the order of the tasks.
///
/// # Errors
/// [`PolicyError::Execution`] where the network failed.
pub fn run_greedily(
    scorer: &Scorer,
    world: &PreparedWorld,
    runtime: &Runtime,
    absent: &Absent,
) -> Result<Vec<EpisodeResult>, PolicyError> {
    run_greedily_watched(scorer, world, runtime, absent, None, &mut |_, _, _| {})
}

/// The same under other weights of the user, where some are given. `watch` is told of every
/// decision: the task's place, the action and its probability.
///
/// # Errors
/// [`PolicyError::Execution`] where the network failed.
pub(crate) fn run_greedily_watched(
    scorer: &Scorer,
    world: &PreparedWorld,
    runtime: &Runtime,
    absent: &Absent,
    weights: Option<Weights>,
    watch: &mut dyn FnMut(usize, &Choice, f64),
) -> Result<Vec<EpisodeResult>, PolicyError> {
    let Some(prepared) = world.prepared() else {
        return Ok(Vec::new());
    };
    let mut episodes: Vec<ReplayEpisode<'_>> = world
        .world()
        .tasks()
        .iter()
        .map(|task| {
            let spec = task.weighing(weights.unwrap_or(task.task().weights));
            ReplayEpisode::start(world.world(), task, absent, spec)
        })
        .collect();
    loop {
        let due: Vec<(usize, Features)> = episodes
            .iter_mut()
            .enumerate()
            .filter_map(|(place, episode)| {
                let actions = episode.actions();
                let question = world.question(place);
                (!actions.is_empty()).then(|| {
                    (
                        place,
                        features(episode.request(), &actions, prepared, question),
                    )
                })
            })
            .collect();
        if due.is_empty() {
            break;
        }
        for part in due.chunks(PASS) {
            let states: Vec<Features> = part.iter().map(|(_, state)| state.clone()).collect();
            let batch = Batch::collate(&states, prepared.table().clone(), &runtime.device);
            let [_, width] = batch.present.dims();
            let logits = values(scorer.forward(batch).logits)?;
            for ((place, state), logits) in part.iter().zip(logits.chunks_exact(width)) {
                let distribution = Distribution::new(&logits[..state.rows.len()], 1.0)
                    .ok_or_else(|| PolicyError::Execution("no scores".to_owned()))?;
                let taken = distribution.take(ServingMode::Greedy, 0.0);
                let choice = &state.rows[distribution.order[taken.rank]].choice;
                watch(*place, choice, taken.probability);
                episodes[*place].take(choice);
            }
        }
    }
    let results = episodes.iter().filter_map(ReplayEpisode::result);
    Ok(results.cloned().collect())
}

/// What a policy does greedily in worlds that it does not learn from.
///
/// # Errors
/// [`PolicyError::Execution`] where the network failed.
pub fn validate(
    scorer: &Scorer,
    worlds: &[PreparedWorld],
    scenario: &ScenarioConfig,
    runtime: &Runtime,
) -> Result<ValidationMetrics, PolicyError> {
    let mut found = ValidationMetrics::default();
    for world in worlds {
        let results = run_greedily(scorer, world, runtime, &Absent::default())?;
        for (result, task) in results.iter().zip(world.world().tasks()) {
            let weights = scenario.reward_of(&task.task().weights);
            let reward = Reward::new(
                result.score,
                result.has_format,
                result.cost,
                result.latency,
                &weights,
            );
            found.tasks += 1;
            found.reward += reward.total();
            found.accuracy += result.score;
            found.cost += result.cost.as_usd();
            found.latency += result.latency.as_secs_f64();
            found.calls += result.calls.len() as f64;
        }
    }
    let count = found.tasks.max(1) as f64;
    for sum in [
        &mut found.reward,
        &mut found.accuracy,
        &mut found.cost,
        &mut found.latency,
        &mut found.calls,
    ] {
        *sum /= count;
    }
    Ok(found)
}

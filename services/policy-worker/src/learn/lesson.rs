use maestro_core::{
    episode::{EpisodeRecord, Termination},
    grading::Reference,
    reward::{Reward, RewardWeights, has_format},
};
use maestro_policy::{
    Embeddings, PolicyError,
    embeddings::NO_ENTRY,
    learning::{Decided, Group, Rollout},
    reconstruct::{logged_features, states},
    replay::EpisodeResult,
};

/// Adds an episode of the cluster to a group. `first_row` is where the vectors of its catalogue
/// begin in the table of all, `version` that of the oldest policy that decided in it.
pub(super) fn add_episode(
    group: &mut Group,
    record: &EpisodeRecord,
    result: EpisodeResult,
    reward: f64,
    question: &[f32],
    embeddings: &Embeddings,
    (first_row, version): (u32, u64),
) -> Result<(), PolicyError> {
    let mut decisions = Vec::with_capacity(record.steps.len());
    let mut seen = Vec::with_capacity(record.steps.len());
    for (request, step) in states(record).iter().zip(&record.steps) {
        let decision = &step.decision;
        let mut state = logged_features(request, decision, embeddings, question)?;
        for entry in state.rows.iter_mut().flat_map(|row| &mut row.entries) {
            if *entry != NO_ENTRY {
                *entry += first_row;
            }
        }
        let taken = decision.action.choice();
        let action = state
            .rows
            .iter()
            .position(|row| row.choice == taken)
            .ok_or(PolicyError::Trace(
                "the action taken is not among its alternatives",
            ))?;
        decisions.push(Decided {
            state: group.states.len() + seen.len(),
            action,
            log_prob: decision.log_prob,
        });
        seen.push(state);
    }
    group.states.append(&mut seen);
    group.episodes.push(Rollout {
        decisions,
        result,
        reward,
        version,
    });
    Ok(())
}

/// How an episode ended; `None` for one that somebody cancelled or that has not ended.
pub(super) fn result(record: &EpisodeRecord, reference: &Reference) -> Option<EpisodeResult> {
    let conclusion = record.conclusion.as_ref()?;
    if matches!(conclusion.termination, Termination::Cancelled { .. }) {
        return None;
    }
    let is_right = conclusion
        .answer
        .as_ref()
        .is_some_and(|answer| reference.matches(&answer.value));
    let calls = record.steps.iter().filter(|s| s.observation.is_some());
    let elapsed = conclusion
        .finished_at
        .duration_since(record.spec.created_at);
    Some(EpisodeResult {
        score: f64::from(u8::from(is_right)),
        cost: conclusion.usage.cost + conclusion.unsettled_cost,
        latency: elapsed.unsigned_abs(),
        calls: (0..calls.count()).collect(),
        answered_by: conclusion
            .answer
            .as_ref()
            .and_then(|answer| answer.from_step)
            .map(|step| step as usize),
        is_answered: conclusion.termination == Termination::Answered,
        has_format: has_format(&record.steps, conclusion),
    })
}

/// What an episode was worth.
pub(super) fn reward(result: &EpisodeResult, weights: &RewardWeights) -> f64 {
    Reward::new(
        result.score,
        result.has_format,
        result.cost,
        result.latency,
        weights,
    )
    .total()
}

//! Rebuilds what a policy saw from the record of an episode, so that another policy can be asked
//! what it would have done there, and learns from what was done.
//!
//! A record does not hold the state itself but all that it was made from. Task, history and budget
//! follow from the spec and the steps ([`states`]). What served at the time does not: the trace of
//! the decision holds it, as the columns of the features, bit for bit ([`logged_features`]). The
//! fits that the trace holds as well are of the network that decided and are left alone; the
//! descriptions behind each action come from the catalogue that the decision names.

use maestro_core::{
    MicroUsd,
    episode::{Choice, Decision, EpisodeRecord, Remaining, Trace},
    ports::{DecideRequest, PastStep},
};

use crate::{
    embeddings::{Embeddings, NO_ENTRY},
    error::PolicyError,
    features::{COLUMNS, Features, ROLES, Row, entries},
    trace::{FORMAT, ScorerTrace},
};

/// The request behind every decision of a record, in the order of its steps. `min_revision`, which
/// is not recorded, is 0.
pub fn states(record: &EpisodeRecord) -> Vec<DecideRequest> {
    let spec = &record.spec;
    let budget = &spec.task.budget;
    let mut spent = MicroUsd::ZERO;
    let mut states = Vec::with_capacity(record.steps.len());
    for (position, step) in record.steps.iter().enumerate() {
        let taken = u32::try_from(position).unwrap_or(u32::MAX);
        let remaining = Remaining {
            steps: budget.max_steps.saturating_sub(taken),
            // Zero for a time that has passed.
            time: budget
                .deadline
                .duration_since(step.started_at)
                .try_into()
                .unwrap_or_default(),
            cost: budget.max_cost.map(|limit| limit.saturating_sub(spent)),
        };
        states.push(DecideRequest {
            episode: spec.id.clone(),
            step: step.index,
            task: spec.task.clone(),
            history: PastStep::history(&record.steps[..position]),
            remaining,
            mode: spec.mode,
            slot: spec.slot.clone(),
            seed: spec.seed,
            min_revision: 0,
        });
        if let Some(observation) = &step.observation {
            spent = spent + observation.usage.cost;
        }
    }
    states
}

/// The features that `decision` was made on in the state `request` (see [`states`]), with the rows
/// in the order in which they were scored. `embeddings` are those of the catalogue that the
/// decision names, `question` is the vector of the task's question.
///
/// # Errors
/// As [`logged_trace`], and [`PolicyError::Trace`] where the trace does not belong to the
/// alternatives.
pub fn logged_features(
    request: &DecideRequest,
    decision: &Decision,
    embeddings: &Embeddings,
    question: &[f32],
) -> Result<Features, PolicyError> {
    let trace = logged_trace(decision)?;
    let inputs = trace.inputs();
    if inputs.len() != decision.alternatives.len() {
        return Err(PolicyError::Trace("it has another number of actions"));
    }
    let mut rows = decision
        .alternatives
        .iter()
        .zip(&inputs)
        .map(|(alternative, inputs)| {
            let columns = inputs
                .first_chunk::<COLUMNS>()
                .ok_or(PolicyError::Trace("it has another number of inputs"))?;
            Ok(row(
                &alternative.choice,
                *columns,
                request,
                embeddings,
                question,
            ))
        })
        .collect::<Result<Vec<Row>, PolicyError>>()?;
    // The order in which `possible_actions` lists them.
    rows.sort_by(|a, b| order(&a.choice).cmp(&order(&b.choice)));
    Ok(Features {
        question: question.to_vec(),
        rows,
    })
}

/// The trace of a decision.
///
/// # Errors
/// [`PolicyError::Trace`] where it is missing, kept elsewhere, damaged or of another layout.
pub fn logged_trace(decision: &Decision) -> Result<ScorerTrace, PolicyError> {
    match &decision.trace {
        Some(Trace::Inline(format, bytes)) if format == FORMAT => ScorerTrace::decode(bytes),
        Some(Trace::Inline(..)) => Err(PolicyError::Trace("it has another layout")),
        Some(Trace::Blob(..)) => Err(PolicyError::Trace("it is kept elsewhere")),
        None => Err(PolicyError::Trace("there is none")),
    }
}

fn row(
    choice: &Choice,
    columns: [f32; COLUMNS],
    request: &DecideRequest,
    embeddings: &Embeddings,
    question: &[f32],
) -> Row {
    let pair = match choice {
        Choice::Invoke(pair) => Some(pair),
        Choice::AnswerObservation(step) => request
            .history
            .iter()
            .find(|past| past.index == *step)
            .and_then(|past| past.pair.as_ref()),
        Choice::AnswerText => None,
    };
    Row {
        choice: choice.clone(),
        is_pair: matches!(choice, Choice::Invoke(_)),
        entries: pair.map_or([NO_ENTRY; ROLES], |pair| {
            entries(embeddings, question, pair)
        }),
        columns,
    }
}

/// Pairs by skill and expert, then answers by step.
fn order(choice: &Choice) -> (u8, &str, &str, u32) {
    match choice {
        Choice::Invoke(pair) => (0, pair.skill.as_str(), pair.expert.as_str(), 0),
        Choice::AnswerObservation(step) => (1, "", "", *step),
        Choice::AnswerText => (2, "", "", 0),
    }
}

#[cfg(test)]
#[path = "reconstruct_tests.rs"]
mod tests;

//! Each record by itself, against its other tellers, and against the indexes.

use std::collections::BTreeMap;

use maestro_proto::v1::{self, action::Action, termination::Termination};

use super::{Kind, Violation, assembled, is_answered, termination};
use crate::faults::evidence::{Evidence, JournalDump, JournalEpisode};

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    let answers: BTreeMap<&str, &str> = evidence
        .clients
        .iter()
        .map(|client| (client.request_id.as_str(), client.answer.as_str()))
        .collect();
    for (id, episode) in &evidence.journal.episodes {
        in_journal(id, episode, &mut found);
        if let Some(record) = assembled(episode) {
            by_itself(id, &record, &mut found);
            if let Some(answer) = answers.get(record.request_id.as_str()) {
                answered(id, &record, answer, &mut found);
            }
        }
    }
    indexes(&evidence.journal, &mut found);
    views(evidence, &mut found);
    for (coordinator, id) in &evidence.running {
        let what = format!("{coordinator} lists episode {id} as running");
        found.push(Violation::new(Kind::StillRunning, what));
    }
    for (process, words) in &evidence.panics {
        let what = format!("{process}: {words}");
        found.push(Violation::new(Kind::Panicked, what));
    }
    found
}

fn in_journal(id: &str, episode: &JournalEpisode, found: &mut Vec<Violation>) {
    let Some(head) = &episode.head else {
        let what = format!("episode {id} has keys and no head");
        return found.push(Violation::new(Kind::Unreadable, what));
    };
    let record = head.episode.clone().unwrap_or_default();
    if record.conclusion.is_none() {
        let what = format!("episode {id} of owner {} has no end", head.owner);
        found.push(Violation::new(Kind::StillRunning, what));
    } else if episode.has_call {
        let what = format!("episode {id} has ended and is about to make a call");
        found.push(Violation::new(Kind::LeftBehind, what));
    }
    let numbers: Vec<u32> = episode
        .steps
        .keys()
        .chain(&episode.blobs)
        .copied()
        .collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..count(numbers.len())) {
        let what = format!("episode {id} has the steps {sorted:?} in the journal");
        found.push(Violation::new(Kind::StepsBroken, what));
    }
    for (number, step) in &episode.steps {
        if step.index != *number {
            let what = format!("episode {id}: step {} stands under {number}", step.index);
            found.push(Violation::new(Kind::StepsBroken, what));
        }
    }
}

/// What every finished record says about itself.
pub(super) fn by_itself(id: &str, record: &v1::Episode, found: &mut Vec<Violation>) {
    let Some(conclusion) = &record.conclusion else {
        return;
    };
    let indexes: Vec<u32> = record.steps.iter().map(|step| step.index).collect();
    if !indexes.iter().copied().eq(0..count(indexes.len())) {
        let what = format!("episode {id} has the steps {indexes:?}");
        found.push(Violation::new(Kind::StepsBroken, what));
    }
    let last = record.steps.last();
    let ends_in_answer = last.and_then(action).is_some_and(is_answer);
    let early = record.steps.len().saturating_sub(1);
    let answers_early = record.steps[..early]
        .iter()
        .any(|step| step.observation.is_none() && action(step).is_some_and(is_answer));
    if answers_early || (is_answered(record) && !ends_in_answer) {
        let what = format!("episode {id} goes on after its answer, or has none");
        found.push(Violation::new(Kind::StepsBroken, what));
    }
    let mut excess = |what: String| {
        let what = format!("episode {id}: {what}");
        found.push(Violation::new(Kind::BudgetExceeded, what));
    };
    let budget = record
        .task
        .clone()
        .unwrap_or_default()
        .budget
        .unwrap_or_default();
    let steps = i64::try_from(record.steps.len()).unwrap_or(i64::MAX);
    if budget.max_steps.is_some_and(|most| steps > most) {
        excess(format!("{steps} steps of {:?}", budget.max_steps));
    }
    let usage = conclusion.usage.unwrap_or_default();
    let spent = usage.cost_micro_usd + conclusion.unsettled_cost_micro_usd;
    let most = budget
        .max_cost_micro_usd
        .and_then(|most| u64::try_from(most).ok());
    if most.is_some_and(|most| spent > most) {
        excess(format!("{spent} micro-USD of {most:?}"));
    }
    let of_steps = |read: fn(&v1::Usage) -> u64| -> u64 {
        let usages = record
            .steps
            .iter()
            .filter_map(|step| step.observation.as_ref()?.usage.as_ref());
        usages.map(read).sum()
    };
    let sums = [
        (
            "cost",
            usage.cost_micro_usd,
            of_steps(|usage| usage.cost_micro_usd),
        ),
        (
            "calls",
            usage.calls.into(),
            of_steps(|usage| usage.calls.into()),
        ),
        (
            "repeated calls",
            usage.repeated_calls.into(),
            of_steps(|usage| usage.repeated_calls.into()),
        ),
    ];
    for (name, whole, sum) in sums {
        if whole != sum {
            excess(format!("{name} is {whole} and {sum} in the steps"));
        }
    }
    if usage.repeated_calls > usage.calls {
        excess(format!(
            "{} of {} calls repeated",
            usage.repeated_calls, usage.calls
        ));
    }
}

/// The answer is what the expert said to this question.
fn answered(id: &str, record: &v1::Episode, expected: &str, found: &mut Vec<Violation>) {
    let answer = record
        .conclusion
        .as_ref()
        .and_then(|conclusion| conclusion.answer.as_ref());
    let wrong = match answer {
        Some(answer) => answer.value != expected,
        None => is_answered(record),
    };
    if wrong {
        let value = answer.map(|answer| answer.value.as_str());
        let what = format!("episode {id} answers {value:?} rather than {expected:?}");
        found.push(Violation::new(Kind::WrongAnswer, what));
    }
}

/// The indexes say the same as the heads.
fn indexes(journal: &JournalDump, found: &mut Vec<Violation>) {
    for (owner, id) in &journal.running {
        let what = format!("running/{owner}/{id}");
        found.push(Violation::new(Kind::StillRunning, what));
    }
    for id in &journal.cancellations {
        let what = format!("cancellations/{id}");
        found.push(Violation::new(Kind::LeftBehind, what));
    }
    for key in &journal.unreadable {
        found.push(Violation::new(Kind::Unreadable, key.clone()));
    }
    for (id, episode) in &journal.episodes {
        let head = episode.head.as_ref().and_then(|head| head.episode.as_ref());
        let ended = head.is_some_and(|record| record.conclusion.is_some());
        if ended != journal.finished.contains(id) {
            let what = format!("episode {id}: ended {ended}, and not so in the index");
            found.push(Violation::new(Kind::LeftBehind, what));
        }
    }
    for id in &journal.finished {
        if !journal.episodes.contains_key(id) {
            let what = format!("episode {id} of the index of finished ones");
            found.push(Violation::new(Kind::Lost, what));
        }
    }
    for (request, id) in &journal.requests {
        if !journal.episodes.contains_key(id) {
            let what = format!("episode {id} of request {request}");
            found.push(Violation::new(Kind::Lost, what));
        }
    }
}

/// Whoever tells of an episode tells what the journal says.
fn views(evidence: &Evidence, found: &mut Vec<Violation>) {
    let mut differs = |id: &str, who: &str, what: &str| {
        let what = format!("episode {id}: {who} {what}");
        found.push(Violation::new(Kind::ViewsDiffer, what));
    };
    for read in &evidence.reads {
        let Some(episode) = evidence.journal.episodes.get(&read.id) else {
            continue;
        };
        match (&read.episode, assembled(episode)) {
            (Ok(told), Some(kept)) if *told != kept => {
                let what = format!("tells {} and the journal {}", brief(told), brief(&kept));
                differs(&read.id, &read.coordinator, &what);
            }
            (Err(error), _) => differs(&read.id, &read.coordinator, &format!("tells {error}")),
            _ => {}
        }
    }
    for stored in evidence.store.iter().flatten() {
        let kept = evidence
            .journal
            .episodes
            .get(&stored.id)
            .and_then(assembled);
        if kept.is_some_and(|kept| kept != *stored) {
            differs(
                &stored.id,
                "the store",
                "tells something else than the journal",
            );
        }
    }
    let mut stored = BTreeMap::new();
    for episode in evidence.store.iter().flatten() {
        let earlier = stored.insert(&episode.id, episode);
        if earlier.is_some_and(|earlier| earlier != episode) {
            differs(&episode.id, "the store", "tells it twice, and differently");
        }
    }
}

fn action(step: &v1::Step) -> Option<&Action> {
    step.decision.as_ref()?.action.as_ref()?.action.as_ref()
}

fn is_answer(action: &Action) -> bool {
    matches!(action, Action::AnswerObservation(_) | Action::AnswerText(_))
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A record in a few words.
pub(super) fn brief(record: &v1::Episode) -> String {
    let end = match termination(record) {
        Some(Termination::Answered(_)) => "answered".to_owned(),
        Some(other) => format!("{other:?}"),
        None => "running".to_owned(),
    };
    let answer = record
        .conclusion
        .as_ref()
        .and_then(|conclusion| conclusion.answer.as_ref());
    let value = answer.map(|answer| answer.value.as_str());
    format!("{} steps, {end} {value:?}", record.steps.len())
}

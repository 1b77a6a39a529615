//! Calls that reached the model against what the records say of them.

use std::collections::BTreeMap;

use maestro_proto::v1;

use super::{Kind, Violation, assembled};
use crate::faults::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut by_key: BTreeMap<&str, u32> = BTreeMap::new();
    let mut by_episode: BTreeMap<&str, u64> = BTreeMap::new();
    let mut repeats: BTreeMap<&str, BTreeMap<u32, u32>> = BTreeMap::new();
    for call in &evidence.calls {
        let Some((episode, _)) = call.episode_and_step() else {
            let what = format!("a call with the key {:?}", call.key);
            found.push(Violation::new(Kind::Unasked, what));
            continue;
        };
        *by_key.entry(&call.key).or_default() += 1;
        *by_episode.entry(episode).or_default() += 1;
    }
    for call in &evidence.calls {
        let Some((episode, step)) = call.episode_and_step() else {
            continue;
        };
        let again = by_key
            .remove(call.key.as_str())
            .unwrap_or(1)
            .saturating_sub(1);
        if again > 0 {
            let of_step = repeats.entry(episode).or_default().entry(step).or_default();
            *of_step = (*of_step).max(again);
        }
    }
    for (episode, steps) in repeats {
        repeated(evidence, episode, &steps, &mut found);
    }
    for (episode, calls) in by_episode {
        if let Some(record) = ended(evidence, episode) {
            paid(&record, calls * evidence.price_micro_usd, &mut found);
        }
    }
    for (id, episode) in &evidence.journal.episodes {
        let terms = episode.head.as_ref().map_or(1, |head| head.terms);
        let repeated = assembled(episode)
            .and_then(|record| record.conclusion?.usage)
            .map_or(0, |usage| usage.repeated_calls);
        if repeated > terms.saturating_sub(1) {
            let what = format!("episode {id}: {repeated} repeated calls, {terms} owners");
            found.push(Violation::new(Kind::CallsRepeated, what));
        }
    }
    found
}

/// The end of an episode: of a durable one as the journal has it, of an ephemeral one as its
/// client was told.
fn ended(evidence: &Evidence, id: &str) -> Option<v1::Episode> {
    if let Some(episode) = evidence.journal.episodes.get(id) {
        return assembled(episode);
    }
    let watches = evidence.clients.iter().flat_map(|client| &client.watches);
    watches
        .filter_map(|watch| watch.events.last()?.event.as_ref())
        .find_map(|event| match event {
            v1::episode_event::Event::Ended(record) if record.id == id => Some(record.clone()),
            _ => None,
        })
}

/// A call is made again only when an owner was lost: once for each, and once for a step. The
/// record of a step that came back says so.
fn repeated(evidence: &Evidence, id: &str, steps: &BTreeMap<u32, u32>, found: &mut Vec<Violation>) {
    let kept = evidence.journal.episodes.get(id);
    let head = kept.and_then(|episode| episode.head.as_ref());
    let owners_lost = head.map_or(0, |head| head.terms.saturating_sub(1));
    let total: u32 = steps.values().sum();
    if total > owners_lost {
        let what = format!("episode {id}: {total} calls made again, {owners_lost} owners lost");
        found.push(Violation::new(Kind::CallsRepeated, what));
    }
    for (step, again) in steps {
        let usage = kept
            .and_then(|episode| episode.steps.get(step)?.observation.clone()?.usage)
            .map(|usage| usage.repeated_calls);
        if *again > 1 || usage.is_some_and(|counted| counted < *again) {
            let what =
                format!("episode {id}, step {step}: made again {again} times, {usage:?} counted");
            found.push(Violation::new(Kind::CallsRepeated, what));
        }
    }
}

/// What the model was paid is within the budget, and in the accounts.
fn paid(record: &v1::Episode, paid: u64, found: &mut Vec<Violation>) {
    let budget = record
        .task
        .clone()
        .unwrap_or_default()
        .budget
        .unwrap_or_default();
    let Some(most) = budget
        .max_cost_micro_usd
        .and_then(|most| u64::try_from(most).ok())
    else {
        return;
    };
    let Some(conclusion) = &record.conclusion else {
        return;
    };
    let spent = conclusion
        .usage
        .as_ref()
        .map_or(0, |usage| usage.cost_micro_usd);
    let known = spent + conclusion.unsettled_cost_micro_usd;
    if paid > most || paid > known {
        let id = &record.id;
        let what = format!("episode {id}: {paid} micro-USD were paid, {known} are known of {most}");
        found.push(Violation::new(Kind::BudgetExceeded, what));
    }
}

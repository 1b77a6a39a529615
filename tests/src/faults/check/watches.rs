//! What watchers were told against what happened.

use std::collections::BTreeMap;

use maestro_proto::v1::{self, episode_event::Event};

use super::{Kind, Violation, assembled, is_answered, records};
use crate::faults::evidence::{ClientView, Evidence, Watch};

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    let kept: BTreeMap<&str, v1::Episode> = evidence
        .journal
        .episodes
        .iter()
        .filter_map(|(id, episode)| Some((id.as_str(), assembled(episode)?)))
        .collect();
    for client in &evidence.clients {
        for watch in &client.watches {
            once(client, watch, &mut found);
            let record = client.episode().and_then(|id| kept.get(id));
            match record {
                Some(record) if client.is_durable => {
                    whole(client, watch, record, &mut found);
                }
                _ => ephemeral(client, watch, &mut found),
            }
        }
    }
    found
}

fn event(event: &v1::EpisodeEvent) -> Option<&Event> {
    event.event.as_ref()
}

/// A short name of an event: `accepted`, `decided 0`, `finished 0`, `ended`.
fn name(event: &Event) -> String {
    match event {
        Event::Accepted(_) => "accepted".to_owned(),
        Event::Decided(step) => format!("decided {}", step.index),
        Event::Finished(step) => format!("finished {}", step.index),
        Event::Ended(_) => "ended".to_owned(),
    }
}

fn names(watch: &Watch) -> Vec<String> {
    watch.events.iter().filter_map(event).map(name).collect()
}

/// An end comes once, and nothing comes after it.
fn once(client: &ClientView, watch: &Watch, found: &mut Vec<Violation>) {
    let told = names(watch);
    let ends = told.iter().filter(|name| *name == "ended").count();
    if ends > 1 {
        let what = format!("request {}: {told:?}", client.request_id);
        found.push(Violation::new(Kind::EndedTwice, what));
    } else if ends == 1 && told.last().is_some_and(|last| last != "ended") {
        let what = format!("request {}: {told:?}", client.request_id);
        found.push(Violation::new(Kind::EventsBroken, what));
    }
}

/// The events of a record, as every watcher is told them.
fn expected(record: &v1::Episode) -> Vec<Event> {
    let accepted = v1::Episode {
        steps: vec![],
        conclusion: None,
        outcome: None,
        status: v1::EpisodeStatus::Running.into(),
        ..record.clone()
    };
    let mut events = vec![Event::Accepted(accepted)];
    for step in &record.steps {
        if step.observation.is_some() && !answers(step) {
            events.push(Event::Decided(v1::Step {
                observation: None,
                finished_at: step.decided_at,
                ..step.clone()
            }));
        }
        events.push(Event::Finished(step.clone()));
    }
    let ended = v1::Episode {
        outcome: None,
        ..record.clone()
    };
    events.push(Event::Ended(ended));
    events
}

fn answers(step: &v1::Step) -> bool {
    use v1::action::Action;
    let action = step
        .decision
        .as_ref()
        .and_then(|decision| decision.action.as_ref());
    matches!(
        action.and_then(|action| action.action.as_ref()),
        Some(Action::AnswerObservation(_) | Action::AnswerText(_))
    )
}

/// A watcher of a durable episode is told everything once, in order, and the same as is kept. Of
/// one that was cut short a decision may be told, or not, whose call was cut off.
fn whole(client: &ClientView, watch: &Watch, record: &v1::Episode, found: &mut Vec<Violation>) {
    let expected = expected(record);
    let cut_off = |event: &Event| {
        let length = u32::try_from(record.steps.len()).unwrap_or(u32::MAX);
        !is_answered(record) && matches!(event, Event::Decided(step) if step.index == length)
    };
    let mut told: Vec<&Event> = watch.events.iter().filter_map(event).collect();
    if let [.., decided, _] = told.as_slice()
        && cut_off(decided)
    {
        told.remove(told.len() - 2);
    }
    let in_order = told.len() == expected.len()
        && told
            .iter()
            .zip(&expected)
            .all(|(told, expected)| name(told) == name(expected));
    let request = &client.request_id;
    if !in_order {
        let expected: Vec<String> = expected.iter().map(name).collect();
        let what = format!("request {request}: told {:?} of {expected:?}", names(watch));
        found.push(Violation::new(Kind::EventsBroken, what));
        return;
    }
    for (told, expected) in told.into_iter().zip(&expected) {
        if told != expected {
            let details = match (told, expected) {
                (Event::Ended(told), Event::Ended(kept)) => {
                    format!("{} and {}", records::brief(told), records::brief(kept))
                }
                _ => format!("{told:?} and {expected:?}"),
            };
            let what = format!("request {request}: `{}` differs: {details}", name(told));
            found.push(Violation::new(Kind::ViewsDiffer, what));
        }
    }
}

/// A watcher of an ephemeral episode is told what its end says, as far as the stream went.
fn ephemeral(client: &ClientView, watch: &Watch, found: &mut Vec<Violation>) {
    let told: Vec<&Event> = watch.events.iter().filter_map(event).collect();
    let Some(Event::Ended(record)) = told.last().copied() else {
        let mut steps = told.iter().filter_map(|event| match event {
            Event::Finished(step) => Some(step.index),
            _ => None,
        });
        if !steps
            .by_ref()
            .zip(0..)
            .all(|(index, number)| index == number)
        {
            let what = format!("request {}: {:?}", client.request_id, names(watch));
            found.push(Violation::new(Kind::EventsBroken, what));
        }
        return;
    };
    records::by_itself(&record.id, record, found);
    whole(client, watch, record, found);
}

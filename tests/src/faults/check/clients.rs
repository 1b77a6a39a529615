//! What was asked for against what came of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Violation};
use crate::faults::evidence::{ClientView, Evidence};

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    for client in &evidence.clients {
        one_episode(client, &mut found);
        if let Some(reason) = &client.gave_up {
            let what = format!("request {}: {reason}", client.request_id);
            found.push(Violation::new(Kind::Unanswered, what));
        }
        if client.is_durable {
            durable(evidence, client, &mut found);
        }
    }
    journal(evidence, &mut found);
    found
}

/// However often a request was sent, and wherever: it stands for one episode.
fn one_episode(client: &ClientView, found: &mut Vec<Violation>) {
    let ids: BTreeSet<&str> = client.accepted.iter().map(|(_, id)| id.as_str()).collect();
    if ids.len() > 1 {
        let what = format!("request {} is {:?}", client.request_id, client.accepted);
        found.push(Violation::new(Kind::NotOnePerRequest, what));
    }
}

/// What was accepted is in the journal under its request id.
fn durable(evidence: &Evidence, client: &ClientView, found: &mut Vec<Violation>) {
    let Some(id) = client.episode() else { return };
    let request = &client.request_id;
    if !evidence.journal.episodes.contains_key(id) {
        let what = format!(
            "episode {id} of request {request}, accepted by {:?}",
            client.accepted
        );
        found.push(Violation::new(Kind::Lost, what));
    }
    match evidence.journal.requests.get(request) {
        Some(stands_for) if stands_for == id => {}
        other => {
            let what = format!("request {request} was accepted as {id} and is kept as {other:?}");
            found.push(Violation::new(Kind::NotOnePerRequest, what));
        }
    }
}

/// What is in the journal was asked for, once.
fn journal(evidence: &Evidence, found: &mut Vec<Violation>) {
    let asked: BTreeSet<&str> = evidence
        .clients
        .iter()
        .filter(|client| client.is_durable)
        .map(|client| client.request_id.as_str())
        .collect();
    let mut by_request: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, episode) in &evidence.journal.episodes {
        let record = episode.head.as_ref().and_then(|head| head.episode.as_ref());
        let request = record.map_or("", |record| record.request_id.as_str());
        if asked.contains(request) {
            by_request.entry(request).or_default().push(id);
        } else {
            let what = format!("episode {id} with request id {request:?}");
            found.push(Violation::new(Kind::Unasked, what));
        }
    }
    for (request, ids) in by_request {
        if ids.len() > 1 {
            let what = format!("request {request} made {ids:?}");
            found.push(Violation::new(Kind::NotOnePerRequest, what));
        }
    }
}

//! Reads what `etcdctl get --prefix … --write-out=json` prints. Pure, and knows nothing of the code
//! that wrote it but the messages.

use base64::{Engine, prelude::BASE64_STANDARD};
use maestro_proto::v1;
use prost::Message;
use serde::Deserialize;

use super::evidence::{JournalDump, Leased};

/// Under which all keys of Maestro stand.
pub const PREFIX: &str = "/maestro/v1/";

#[derive(Deserialize)]
struct Printed {
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    lease: i64,
}

/// Sorts the printed keys by their use. Keys that are neither the journal's nor under a lease are
/// passed over.
///
/// # Errors
/// What is no such print.
pub fn read(printed: &[u8]) -> Result<JournalDump, String> {
    let printed: Printed = serde_json::from_slice(printed).map_err(|error| error.to_string())?;
    let mut dump = JournalDump::default();
    for pair in printed.kvs {
        let bytes = |text: &str| {
            BASE64_STANDARD
                .decode(text)
                .map_err(|error| error.to_string())
        };
        let key = String::from_utf8(bytes(&pair.key)?).map_err(|error| error.to_string())?;
        let value = bytes(&pair.value)?;
        if sort(&mut dump, &key, &value, pair.lease).is_none() {
            dump.unreadable.push(key);
        }
    }
    Ok(dump)
}

/// `None` where the key or its value cannot be read.
fn sort(dump: &mut JournalDump, key: &str, value: &[u8], lease: i64) -> Option<()> {
    let parts: Vec<&str> = key.strip_prefix(PREFIX)?.split('/').collect();
    match parts.as_slice() {
        ["journal", _, id, part @ ..] => {
            let episode = dump.episodes.entry((*id).to_owned()).or_default();
            match part {
                ["head"] => episode.head = Some(message(value)?),
                ["call"] => {
                    let _readable: v1::StoredCall = message(value)?;
                    episode.has_call = true;
                }
                ["outcome"] => episode.outcome = message::<v1::StoredOutcome>(value)?.outcome,
                ["steps", number] => {
                    let number = number.parse().ok()?;
                    match message::<v1::StoredStep>(value)?.content? {
                        v1::stored_step::Content::Step(step) => {
                            episode.steps.insert(number, step);
                        }
                        v1::stored_step::Content::Blob(_) => {
                            episode.blobs.insert(number);
                        }
                    }
                }
                _ => return None,
            }
        }
        ["requests", _, request] => {
            let stored: v1::StoredRequest = message(value)?;
            dump.requests.insert((*request).to_owned(), stored.episode);
        }
        ["running", owner, id] => {
            dump.running.insert(((*owner).to_owned(), (*id).to_owned()));
        }
        ["finished", _, id] => {
            dump.finished.insert((*id).to_owned());
        }
        ["cancellations", id] => {
            dump.cancellations.insert((*id).to_owned());
        }
        ["coordinators", _] => {
            let stored: v1::StoredCoordinator = message(value)?;
            dump.leased.push(leased(key, stored.host, lease));
        }
        ["instances", expert, _] => {
            let stored: v1::StoredInstance = message(value)?;
            let holder = instance(expert, &stored.instance?.endpoint);
            dump.leased.push(leased(key, holder, lease));
        }
        _ => {}
    }
    Some(())
}

/// Whom the key of an instance stands for.
pub fn instance(expert: &str, endpoint: &str) -> String {
    format!("{expert} at {}", endpoint.trim_end_matches('/'))
}

fn leased(key: &str, holder: String, lease: i64) -> Leased {
    Leased {
        key: key.to_owned(),
        holder,
        has_lease: lease != 0,
    }
}

fn message<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    M::decode(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pair(key: &str, value: Vec<u8>, lease: i64) -> serde_json::Value {
        let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        json!({
            "key": base64(format!("{PREFIX}{key}").as_bytes()), "create_revision": 4,
            "mod_revision": 4, "version": 1, "value": base64(&value), "lease": lease,
        })
    }

    #[test]
    fn keys_are_sorted_by_their_use() {
        let step = v1::Step {
            index: 1,
            ..v1::Step::default()
        };
        let stored = v1::StoredStep {
            content: Some(v1::stored_step::Content::Step(step.clone())),
        };
        let request = v1::StoredRequest {
            episode: "e1".to_owned(),
        };
        let coordinator = v1::StoredCoordinator {
            host: "coordinator-0".to_owned(),
            ..v1::StoredCoordinator::default()
        };
        let head = v1::StoredEpisode {
            owner: "c1".to_owned(),
            ..v1::StoredEpisode::default()
        };
        let printed = json!({ "header": {}, "count": 7, "kvs": [
            pair("journal/default/e1/head", head.encode_to_vec(), 0),
            pair("journal/default/e1/steps/0001", stored.encode_to_vec(), 0),
            pair("requests/default/r1", request.encode_to_vec(), 0),
            pair("running/c1/e1", vec![], 0),
            pair("cancellations/e1", vec![], 0),
            pair("coordinators/c1", coordinator.encode_to_vec(), 99),
            pair("experts/only", vec![], 0),
        ]});
        let dump = read(printed.to_string().as_bytes()).unwrap();
        assert_eq!(dump.episodes["e1"].head, Some(head));
        assert_eq!(dump.episodes["e1"].steps, [(1, step)].into());
        assert_eq!(dump.requests["r1"], "e1");
        assert_eq!(dump.running, [("c1".to_owned(), "e1".to_owned())].into());
        assert_eq!(dump.cancellations, ["e1".to_owned()].into());
        assert_eq!(dump.leased[0].holder, "coordinator-0");
        assert!(dump.leased[0].has_lease);
        assert_eq!(dump.unreadable, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let printed = json!({ "kvs": [
            pair("journal/default/e1/head", vec![0xff], 0),
            pair("journal/default/e1/else", vec![], 0),
        ]});
        let dump = read(printed.to_string().as_bytes()).unwrap();
        assert_eq!(dump.unreadable.len(), 2);
        assert!(read(b"Error: context deadline exceeded").is_err());
        assert!(read(b"{\"header\":{}}").unwrap().episodes.is_empty());
    }
}

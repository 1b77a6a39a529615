use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use maestro_core::{
    CoreError, Digest,
    ports::{Blobs, PolicyManifest},
    registry::PolicySlot,
};
use maestro_policy::{
    INTERNAL_NOTES, MANIFEST_FILE, WEIGHTS_FILE, manifest_content, parse_manifest,
};
use maestro_proto::v1;
use maestro_rpc::{BlobClientConfig, RemoteBlobs};
use maestro_wire::{FromProto, ToProto, policy_from_proto};
use serde::Serialize;

use super::print_json;
use crate::{
    arguments::{Endpoint, EndpointOnly, Policy},
    compare,
    connection::{Connection, quick},
    error::CliError,
};

/// Fewest digits that name a policy.
const PREFIX: usize = 8;
/// Longest value of a note in a listing for people, in characters.
const NOTE: usize = 40;

pub(super) async fn run(command: Policy) -> Result<(), CliError> {
    match command {
        Policy::List(list) => show(list).await,
        Policy::Push { folder, endpoint } => push(&folder, &endpoint).await,
        Policy::Activate {
            digest,
            slot,
            shadow,
            endpoint,
        } => {
            let connection = Connection::open(&endpoint.endpoint)?;
            let digest = Stored::fetch(&connection).await?.resolve(&digest)?;
            let request = v1::ActivatePolicyRequest {
                digest: digest.to_string(),
                slot: slot.clone(),
                shadow,
            };
            let response = connection
                .policies()
                .activate_policy(quick(request))
                .await?
                .into_inner();
            print_slot(&slot, response.slot)
        }
        Policy::Rollback { slot, endpoint } => {
            let request = v1::RollbackPolicyRequest { slot: slot.clone() };
            let connection = Connection::open(&endpoint.endpoint)?;
            let response = connection
                .policies()
                .rollback_policy(quick(request))
                .await?
                .into_inner();
            print_slot(&slot, response.slot)
        }
        Policy::Compare(arguments) => compare::compare(arguments).await,
    }
}

/// The policies of the store, newest first, and the slots.
pub(crate) struct Stored {
    policies: Vec<(Digest, PolicyManifest)>,
    pub(crate) slots: BTreeMap<String, PolicySlot>,
}

impl Stored {
    pub(crate) async fn fetch(connection: &Connection) -> Result<Self, CliError> {
        let response = connection
            .policies()
            .list_policies(quick(v1::ListPoliciesRequest {}))
            .await?
            .into_inner();
        let policies = response.policies.into_iter().map(policy_from_proto);
        let slots = response
            .slots
            .into_iter()
            .map(|(name, slot)| Ok((name, PolicySlot::from_proto(slot)?)));
        Ok(Self {
            policies: policies.collect::<Result<_, CoreError>>()?,
            slots: slots.collect::<Result<_, CoreError>>()?,
        })
    }

    /// The policy that a digest or its first digits name. A whole digest need not be in the store:
    /// the built-in policy is not.
    pub(crate) fn resolve(&self, named: &str) -> Result<Digest, CliError> {
        let refuse = |reason: String| {
            Err(CliError::Argument {
                argument: "policy",
                reason,
            })
        };
        if let Ok(digest) = named.parse() {
            return Ok(digest);
        }
        if named.len() < PREFIX {
            return refuse(format!("{named:?} is too short: {PREFIX} digits at least"));
        }
        let found: Vec<Digest> = self
            .policies
            .iter()
            .map(|(digest, _)| *digest)
            .filter(|digest| digest.to_string().starts_with(named))
            .collect();
        match found[..] {
            [digest] => Ok(digest),
            [] => refuse(format!("no policy begins with {named:?}")),
            _ => refuse(format!("{} policies begin with {named:?}", found.len())),
        }
    }

    /// Where a policy stands in slots: `SLOT:active`, `SLOT:shadow`, `SLOT:previous`.
    fn places(&self, digest: &Digest) -> Vec<String> {
        let mut places = Vec::new();
        for (name, slot) in &self.slots {
            let parts = [
                ("active", Some(slot.active)),
                ("shadow", slot.shadow),
                ("previous", slot.previous),
            ];
            for (part, policy) in parts {
                if policy == Some(*digest) {
                    places.push(format!("{name}:{part}"));
                }
            }
        }
        places
    }
}

/// A policy as `--json` prints it.
#[derive(Serialize)]
struct Listed<'a> {
    digest: Digest,
    #[serde(flatten)]
    manifest: &'a PolicyManifest,
    slots: Vec<String>,
}

async fn show(list: EndpointOnly) -> Result<(), CliError> {
    let connection = Connection::open(&list.endpoint.endpoint)?;
    let stored = Stored::fetch(&connection).await?;
    for (digest, manifest) in &stored.policies {
        let slots = stored.places(digest);
        if list.json {
            print_json(&Listed {
                digest: *digest,
                manifest,
                slots,
            })?;
        } else {
            println!(
                "{}  {:.0}  {:<8}  {:<24}  {}",
                digest.short(),
                manifest.created_at,
                manifest.kind,
                slots.join(" "),
                notes(manifest)
            );
        }
    }
    Ok(())
}

/// The notes that people care for, on one line.
fn notes(manifest: &PolicyManifest) -> String {
    let notes: Vec<String> = manifest
        .notes
        .iter()
        .filter(|(name, _)| !INTERNAL_NOTES.contains(&name.as_str()))
        .map(|(name, value)| {
            let value = value.replace(char::is_whitespace, " ");
            let value = maestro_core::episode::clip_middle(&value, NOTE);
            format!("{name}={value}")
        })
        .collect();
    notes.join(" ")
}

async fn push(folder: &Path, endpoint: &Endpoint) -> Result<(), CliError> {
    let path = folder.join(MANIFEST_FILE);
    let json = std::fs::read(&path).map_err(CliError::file(&path))?;
    let content = |reason: String| CliError::Content {
        path: path.clone(),
        reason,
    };
    let manifest = parse_manifest(&json).map_err(|error| content(error.to_string()))?;
    let canonical = manifest_content(&manifest).map_err(|error| content(error.to_string()))?;
    if canonical != json {
        return Err(content(
            "is not as training writes it (compact JSON, sorted keys), so its digest would change"
                .to_owned(),
        ));
    }
    let path = folder.join(WEIGHTS_FILE);
    let weights = Bytes::from(std::fs::read(&path).map_err(CliError::file(&path))?);
    let found = Digest::of(&weights);
    if found != manifest.weights {
        let reason = format!(
            "has the digest {found}, the manifest names {}",
            manifest.weights
        );
        return Err(CliError::Content { path, reason });
    }
    blobs(endpoint)?.put(weights).await?;
    let request = v1::PushPolicyRequest {
        manifest: Some(manifest.to_proto()),
    };
    let connection = Connection::open(&endpoint.endpoint)?;
    let response = connection
        .policies()
        .push_policy(quick(request))
        .await?
        .into_inner();
    let stored = response
        .policy
        .ok_or_else(|| CoreError::DataLoss("a reply without a policy".to_owned()))?;
    let (digest, _) = policy_from_proto(stored)?;
    if digest != Digest::of(&json) {
        return Err(CoreError::DataLoss(format!("the store made it {digest}")).into());
    }
    println!("{digest}");
    Ok(())
}

/// The blob store behind a coordinator.
pub(crate) fn blobs(endpoint: &Endpoint) -> Result<RemoteBlobs, CliError> {
    let endpoints = std::slice::from_ref(&endpoint.endpoint);
    Ok(RemoteBlobs::new(endpoints, BlobClientConfig::default())?)
}

fn print_slot(name: &str, slot: Option<v1::PolicySlot>) -> Result<(), CliError> {
    let slot = slot.ok_or_else(|| CoreError::DataLoss("a reply without a slot".to_owned()))?;
    let slot = PolicySlot::from_proto(slot)?;
    println!("{name}: active {}", slot.active);
    for (part, policy) in [("shadow", slot.shadow), ("previous", slot.previous)] {
        if let Some(policy) = policy {
            println!("{name}: {part} {policy}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use maestro_core::Timestamp;

    use super::*;

    fn manifest(notes: &[(&str, &str)]) -> PolicyManifest {
        PolicyManifest {
            kind: "scorer".into(),
            weights: Digest::of(b"weights"),
            created_at: Timestamp::UNIX_EPOCH,
            notes: notes
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        }
    }

    fn digest(begin: &str) -> Digest {
        format!("{begin:0<64}").parse().unwrap()
    }

    fn stored() -> Stored {
        let [a, b, c] = ["aaaaaaaa1", "aaaaaaaa2", "bbbbbbbb"].map(digest);
        let slot = PolicySlot {
            active: a,
            shadow: Some(c),
            previous: Some(b),
        };
        Stored {
            policies: [a, b, c].map(|digest| (digest, manifest(&[]))).into(),
            slots: [("default".to_owned(), slot)].into(),
        }
    }

    #[test]
    fn a_policy_is_named_by_enough_digits() {
        let stored = stored();
        assert_eq!(stored.resolve("bbbbbbbb").unwrap(), digest("bbbbbbbb"));
        assert_eq!(stored.resolve("aaaaaaaa1").unwrap(), digest("aaaaaaaa1"));
        let whole = Digest::of(b"built in");
        assert_eq!(stored.resolve(&whole.to_string()).unwrap(), whole);
        let refused = |named: &str| stored.resolve(named).unwrap_err().to_string();
        assert!(refused("bbbbbbb").contains("too short"));
        assert!(refused("aaaaaaaa").contains("2 policies begin"));
        assert!(refused("cccccccc").contains("no policy begins"));
    }

    #[test]
    fn places_say_what_a_policy_does() {
        let stored = stored();
        assert_eq!(stored.places(&digest("aaaaaaaa1")), ["default:active"]);
        assert_eq!(stored.places(&digest("aaaaaaaa2")), ["default:previous"]);
        assert_eq!(stored.places(&digest("bbbbbbbb")), ["default:shadow"]);
    }

    #[test]
    fn only_what_people_care_for_is_shown_of_the_notes() {
        let shown = notes(&manifest(&[
            ("config", "{}"),
            ("embedder", "abc"),
            ("seed", "7"),
            (
                "training",
                "a long text\nof which the middle is left out for the line",
            ),
        ]));
        assert!(
            shown.starts_with("seed=7 training=a long text of"),
            "{shown}"
        );
        assert!(shown.contains(" … ") && !shown.contains('\n') && !shown.contains("config"));
    }
}

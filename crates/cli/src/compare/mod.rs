//! `maestro policy compare`: what a candidate policy would be worth, from the episodes that others
//! decided.
//!
//! ```text
//! coordinator ──► finished episodes with an outcome ──► judge: the states rebuilt, three policies
//!             └─► policies and catalogues (blobs) ────►        asked: the one that decided (a
//!                                                              check), the active one, the candidate
//!                                                           └──► report: estimates of both
//! ```

mod judge;
mod report;

use std::collections::BTreeMap;

use maestro_core::{
    Digest,
    episode::{EpisodeRecord, EpisodeStatus},
};
use maestro_proto::v1;
use maestro_wire::{FromProto, ToProto};

use self::{judge::Judge, report::Comparison};
use crate::{
    arguments,
    commands::{Stored, blobs, print_json, runtime},
    connection::{Connection, quick},
    error::CliError,
};

/// Episodes asked for in one page.
const PAGE: usize = 100;
/// Largest page: a step with its trace takes some kilobytes.
const PAGE_BYTES: usize = 256 * 1024 * 1024;

pub(crate) async fn compare(arguments: arguments::Compare) -> Result<(), CliError> {
    let connection = Connection::open(&arguments.endpoint.endpoint)?;
    let stored = Stored::fetch(&connection).await?;
    let finished = finished(&connection, arguments.limit).await?;
    let slot = stored.slots.get(&arguments.slot);
    let candidate = match &arguments.candidate {
        Some(named) => stored.resolve(named)?,
        None => slot.and_then(|slot| slot.shadow).ok_or_else(|| {
            let slot = &arguments.slot;
            CliError::Compare(format!(
                "slot {slot:?} has no shadow; name a policy with --candidate"
            ))
        })?,
    };
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    let mut episodes = Vec::new();
    for record in finished {
        if record.spec.slot != arguments.slot {
            *left_out.entry("of another slot".into()).or_default() += 1;
        } else if let Some(outcome) = &record.outcome {
            let score = f64::from(outcome.score);
            episodes.push((record, score));
        } else {
            *left_out.entry("without an outcome".into()).or_default() += 1;
        }
    }
    let active = match (&arguments.active, slot) {
        (Some(named), _) => stored.resolve(named)?,
        (None, Some(slot)) => slot.active,
        // A slot that the registry does not know is served by the built-in policy.
        (None, None) => newest_version(episodes.iter().map(|(record, _)| record))?,
    };

    let runtime = runtime(arguments.encoder, arguments.models.as_deref())?;
    let mut judge = Judge::new(runtime, blobs(&arguments.endpoint)?, arguments.sampled)?;
    let active_policy = judge.needed("active", &active).await?;
    let candidate_policy = judge.needed("candidate", &candidate).await?;
    let mut judged = Vec::new();
    for (record, score) in &episodes {
        let outcome = judge.judge(record, *score, &active_policy, &candidate_policy);
        match outcome.await {
            Ok(episode) => judged.push(episode),
            Err(reason) => *left_out.entry(reason.to_string()).or_default() += 1,
        }
    }
    let comparison = Comparison::new(active, candidate, &judged, left_out)
        .ok_or_else(|| CliError::Compare(nothing(&episodes)))?;
    if arguments.json {
        print_json(&comparison)
    } else {
        print!("{comparison}");
        Ok(())
    }
}

fn nothing(episodes: &[(EpisodeRecord, f64)]) -> String {
    if episodes.is_empty() {
        "no finished episode of the slot has an outcome; clients report them with `maestro report`"
            .to_owned()
    } else {
        format!(
            "none of the {} episodes with an outcome can be recomputed",
            episodes.len()
        )
    }
}

fn newest_version<'a>(
    mut episodes: impl Iterator<Item = &'a EpisodeRecord>,
) -> Result<Digest, CliError> {
    let version = episodes.find_map(|record| {
        let step = record.steps.last()?;
        step.decision.policy_version.parse().ok()
    });
    version.ok_or_else(|| CliError::Compare("no episode says which policy decided".to_owned()))
}

/// Finished episodes, the newest first, at most `limit`.
async fn finished(connection: &Connection, limit: usize) -> Result<Vec<EpisodeRecord>, CliError> {
    let mut records = Vec::new();
    let mut page_token = String::new();
    while records.len() < limit {
        let page_size = PAGE.min(limit - records.len());
        let request = v1::ListEpisodesRequest {
            page_size: i32::try_from(page_size).unwrap_or_default(),
            page_token,
            status: EpisodeStatus::Finished.to_proto().into(),
        };
        let page = connection
            .episodes()
            .max_decoding_message_size(PAGE_BYTES)
            .list_episodes(quick(request))
            .await?
            .into_inner();
        for episode in page.episodes {
            records.push(EpisodeRecord::from_proto(episode)?);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    Ok(records)
}

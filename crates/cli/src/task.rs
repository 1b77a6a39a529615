//! From the command line to a task.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use maestro_core::Digest;
use maestro_proto::v1::{self, answer_kind::Kind as P, image::Source};
use maestro_wire::ToProto;

use crate::{
    arguments::{Kind, Task},
    connection::{Connection, quick},
    error::CliError,
};

/// Size of an upload's chunks.
const CHUNK_BYTES: usize = 256 * 1024;

/// The message of a task; its images are uploaded first.
pub(crate) async fn task(connection: &Connection, task: &Task) -> Result<v1::Task, CliError> {
    let budget = v1::Budget {
        max_steps: task.max_steps,
        deadline: None,
        timeout: task
            .timeout
            .map(seconds)
            .transpose()?
            .map(|timeout| timeout.to_proto()),
        max_cost_micro_usd: task.max_cost.map(micro_usd),
    };
    let constraints = v1::Constraints {
        allowed: patterns("--allow", &task.allow)?,
        denied: patterns("--deny", &task.deny)?,
        pinned: task
            .pin
            .iter()
            .map(|pair| pinned(pair))
            .collect::<Result<_, _>>()?,
    };
    let mut images = Vec::with_capacity(task.images.len());
    for path in &task.images {
        images.push(upload_image(connection, path).await?);
    }
    Ok(v1::Task {
        question: task.question.clone(),
        images,
        answer_kind: Some(v1::AnswerKind {
            kind: Some(kind(task.kind, &task.options)),
        }),
        budget: Some(budget),
        constraints: Some(constraints),
        weights: None,
    })
}

/// The options of a task.
pub(crate) fn options(task: &Task) -> v1::EpisodeOptions {
    let mode = if task.sampled {
        v1::ServingMode::Sampled
    } else {
        v1::ServingMode::Unspecified
    };
    v1::EpisodeOptions {
        request_id: task.request_id.clone(),
        mode: mode.into(),
        seed: task.seed,
        ..v1::EpisodeOptions::default()
    }
}

/// Uploads an image file unless it is there already.
pub(crate) async fn upload_image(
    connection: &Connection,
    path: &Path,
) -> Result<v1::Image, CliError> {
    let content = tokio::fs::read(path).await.map_err(CliError::file(path))?;
    let digest = upload(connection, content.into()).await?;
    let source = Some(Source::Digest(digest.to_string()));
    Ok(v1::Image {
        source,
        ..v1::Image::default()
    })
}

/// Uploads content unless it is there already.
pub(crate) async fn upload(connection: &Connection, content: Bytes) -> Result<Digest, CliError> {
    let digest = Digest::of(&content);
    let query = v1::FindMissingBlobsRequest {
        digests: vec![digest.to_string()],
    };
    let missing = connection
        .blobs()
        .find_missing_blobs(quick(query))
        .await?
        .into_inner()
        .missing;
    if missing.is_empty() {
        return Ok(digest);
    }
    // An empty file is one empty chunk: the server says what is wrong with it.
    let count = content.len().div_ceil(CHUNK_BYTES).max(1);
    let chunks = (0..count).map(move |index| {
        let range = index * CHUNK_BYTES..content.len().min((index + 1) * CHUNK_BYTES);
        let digest = if index == 0 {
            digest.to_string()
        } else {
            String::new()
        };
        v1::UploadBlobRequest {
            digest,
            chunk: content.slice(range),
        }
    });
    connection
        .blobs()
        .upload_blob(futures::stream::iter(chunks))
        .await?;
    Ok(digest)
}

fn kind(kind: Kind, options: &[String]) -> P {
    use v1::answer_kind as k;
    match kind {
        Kind::FreeText => P::FreeText(k::FreeText {}),
        Kind::Integer => P::Integer(k::Integer {}),
        Kind::Number => P::Number(k::Number {}),
        Kind::YesNo => P::YesNo(k::YesNo {}),
        Kind::Choice => P::Choice(k::Choice {
            options: options.to_vec(),
        }),
        Kind::ShortText => P::ShortText(k::ShortText {}),
        Kind::Date => P::Date(k::Date {}),
        Kind::Set => P::Set(k::Set {}),
        Kind::Expression => P::Expression(k::Expression {}),
        Kind::Program => P::Program(k::Program {}),
    }
}

fn seconds(seconds: f64) -> Result<Duration, CliError> {
    Duration::try_from_secs_f64(seconds).map_err(|error| CliError::Argument {
        argument: "--timeout",
        reason: error.to_string(),
    })
}

/// Dollars as micro-dollars. A negative amount stays negative: the server names the rule.
fn micro_usd(usd: f64) -> i64 {
    (usd * 1e6).round() as i64
}

fn split(argument: &'static str, text: &str) -> Result<(String, String), CliError> {
    text.split_once('@')
        .map(|(expert, skill)| (expert.to_owned(), skill.to_owned()))
        .ok_or_else(|| CliError::Argument {
            argument,
            reason: format!("{text:?} is not EXPERT@SKILL"),
        })
}

fn pinned(text: &str) -> Result<v1::Pair, CliError> {
    let (expert, skill) = split("--pin", text)?;
    Ok(v1::Pair { expert, skill })
}

/// Patterns of pairs, `EXPERT@SKILL` with `*` for any.
pub(crate) fn patterns(
    argument: &'static str,
    texts: &[String],
) -> Result<Vec<v1::PairPattern>, CliError> {
    let any = |part: String| if part == "*" { String::new() } else { part };
    texts
        .iter()
        .map(|text| split(argument, text))
        .map(|parts| {
            parts.map(|(e, s)| v1::PairPattern {
                expert: any(e),
                skill: any(s),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_pairs_are_read() {
        let read = patterns("--allow", &["a@*".into(), "*@b".into()]).unwrap();
        assert_eq!((read[0].expert.as_str(), read[0].skill.as_str()), ("a", ""));
        assert_eq!((read[1].expert.as_str(), read[1].skill.as_str()), ("", "b"));
        assert!(
            pinned("nothing")
                .unwrap_err()
                .to_string()
                .contains("EXPERT@SKILL")
        );
    }

    #[test]
    fn money_keeps_its_sign() {
        assert_eq!(micro_usd(0.0125), 12_500);
        assert_eq!(micro_usd(-1.0), -1_000_000);
        assert!(seconds(-1.0).is_err());
    }
}

//! Recorded outcomes: what a model once answered, looked up by question and images.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use maestro_core::{
    Digest, MicroUsd,
    episode::Failure,
    expert_call::{ExpertCall, ExpertReply, Finding, Role, Usage},
};
use serde::Deserialize;

use super::{Backend, BackendKind, rejected};
use crate::{error::ExpertWorkerError, images::Images};

/// Most records of one file.
const MAX_RECORDS: usize = 2_000_000;
/// Longest line of a file, in bytes.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Confidence of an answer that was recorded without one: speaks neither for nor against it.
const UNKNOWN_CONFIDENCE: f32 = 0.5;

/// Which records are replayed and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// A file with one [`Record`] in JSON a line.
    pub file: PathBuf,
    /// Whether a reply takes as long as it once took. Else it comes at once; its usage states the
    /// recorded time in either case.
    #[serde(default)]
    pub simulate_latency: bool,
}

/// One recorded outcome.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What was asked.
    pub question: String,
    /// The images by SHA-256, in order.
    #[serde(default)]
    pub images: Vec<Digest>,
    /// What the model answered.
    pub answer: String,
    /// How sure it was, 0 to 1, where known.
    #[serde(default)]
    pub confidence: Option<f32>,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
    /// What it cost, in millionths of a US dollar.
    pub cost_micro_usd: u64,
}

/// Answers from records. A question that was not recorded is rejected.
pub struct Replay {
    outcomes: HashMap<Digest, Outcome>,
    simulate_latency: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    answer: String,
    confidence: f32,
    latency: Duration,
    cost: MicroUsd,
}

impl Replay {
    /// Reads the records.
    ///
    /// # Errors
    /// [`ExpertWorkerError::Backend`] naming the file and the line: unreadable, or two different
    /// outcomes of one question.
    pub async fn load(config: ReplayConfig) -> Result<Self, ExpertWorkerError> {
        let error = |reason: String| ExpertWorkerError::backend(BackendKind::Replay, reason);
        let simulate_latency = config.simulate_latency;
        let outcomes = tokio::task::spawn_blocking(move || read(&config.file))
            .await
            .map_err(|_| error("reading ended by a defect".to_owned()))?
            .map_err(error)?;
        Ok(Self {
            outcomes,
            simulate_latency,
        })
    }
}

#[async_trait]
impl Backend for Replay {
    async fn warm_up(&self) -> Result<(), ExpertWorkerError> {
        // Everything is in memory.
        Ok(())
    }

    async fn invoke(&self, call: &ExpertCall, _: &Images) -> Result<ExpertReply, Failure> {
        let question = call
            .messages
            .iter()
            .rev()
            .find(|message| message.role == Role::User)
            .ok_or_else(|| rejected("the call asks nothing"))?;
        let outcome = self
            .outcomes
            .get(&key(&question.text, &call.images))
            .ok_or_else(|| rejected("no outcome of this question is recorded"))?;
        if self.simulate_latency {
            tokio::time::sleep(outcome.latency).await;
        }
        Ok(ExpertReply {
            text: outcome.answer.clone(),
            findings: vec![Finding {
                value: outcome.answer.clone(),
                confidence: outcome.confidence,
                evidence: "recorded".to_owned(),
            }],
            finish_reason: "stop".to_owned(),
            usage: Usage {
                cost: outcome.cost,
                expert_time: outcome.latency,
                ..Usage::default()
            },
            ..ExpertReply::default()
        })
    }

    fn keeps_accounts(&self) -> bool {
        true
    }
}

/// The address of a question: its text without surrounding space, and its images in order.
fn key(question: &str, images: &[Digest]) -> Digest {
    let question = question.trim();
    let mut content = Vec::with_capacity(question.len() + 32 * images.len());
    for image in images {
        content.extend_from_slice(image.as_bytes());
    }
    // Behind blocks of fixed size the text is unambiguous, given how many there are.
    content.extend_from_slice(question.as_bytes());
    content.extend_from_slice(&images.len().to_le_bytes());
    Digest::of(&content)
}

fn read(path: &Path) -> Result<HashMap<Digest, Outcome>, String> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
    parse(BufReader::new(file)).map_err(|error| format!("{name}: {error}"))
}

fn parse(mut source: impl BufRead) -> Result<HashMap<Digest, Outcome>, String> {
    let mut outcomes = HashMap::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let length = (&mut source)
            .take(MAX_LINE_BYTES)
            .read_line(&mut line)
            .map_err(|error| format!("line {number}: {error}"))?;
        if length == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        if length as u64 == MAX_LINE_BYTES && !line.ends_with('\n') {
            return Err(format!(
                "line {number} is longer than {MAX_LINE_BYTES} bytes"
            ));
        }
        if outcomes.len() >= MAX_RECORDS {
            return Err(format!("more than {MAX_RECORDS} records"));
        }
        let record: Record =
            serde_json::from_str(&line).map_err(|error| format!("line {number}: {error}"))?;
        let (key, outcome) =
            outcome(record).map_err(|reason| format!("line {number}: {reason}"))?;
        let earlier = outcomes.insert(key, outcome.clone());
        if earlier.is_some_and(|earlier| earlier != outcome) {
            return Err(format!(
                "line {number}: another outcome of an earlier question"
            ));
        }
    }
    Ok(outcomes)
}

fn outcome(record: Record) -> Result<(Digest, Outcome), &'static str> {
    let confidence = record.confidence.unwrap_or(UNKNOWN_CONFIDENCE);
    if !(0.0..=1.0).contains(&confidence) {
        return Err("confidence must be 0 to 1");
    }
    let outcome = Outcome {
        answer: record.answer,
        confidence,
        latency: Duration::from_millis(record.latency_ms),
        cost: MicroUsd(record.cost_micro_usd),
    };
    Ok((key(&record.question, &record.images), outcome))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str =
        r#"{"question":"how many?","answer":"7","latency_ms":12,"cost_micro_usd":3}"#;

    #[test]
    fn records_are_found_by_question_and_images() {
        let image = Digest::of(b"an image");
        let with_image = format!(
            r#"{{"question":"how many?","images":["{image}"],"answer":"8","confidence":0.9,"latency_ms":1,"cost_micro_usd":0}}"#
        );
        let outcomes = parse(format!("{LINE}\n\n{with_image}\n").as_bytes()).unwrap();
        assert_eq!(outcomes[&key(" how many? ", &[])].answer, "7");
        assert_eq!(outcomes[&key("how many?", &[image])].answer, "8");
        assert!(!outcomes.contains_key(&key("how many?", &[image, image])));
    }

    #[test]
    fn bad_records_are_named_by_line() {
        let error = |text: &str| parse(text.as_bytes()).unwrap_err();
        assert!(error(&format!("{LINE}\n{{}}")).starts_with("line 2"));
        let other = LINE.replace("\"7\"", "\"9\"");
        assert!(error(&format!("{LINE}\n{other}")).contains("line 2: another outcome"));
        let sure = LINE.replace("\"answer\"", "\"confidence\":1.5,\"answer\"");
        assert!(error(&sure).contains("confidence"));
        assert!(error(&LINE.replace("answer", "anwser")).contains("anwser"));
        // The same outcome twice is no contradiction.
        assert_eq!(
            parse(format!("{LINE}\n{LINE}").as_bytes()).unwrap().len(),
            1
        );
    }

    proptest! {
        #[test]
        fn different_questions_have_different_keys(
            a in "\\PC{1,12}", b in "\\PC{1,12}", x in 0usize..3, y in 0usize..3,
        ) {
            let images = [Digest::of(b"x"), Digest::of(b"y"), Digest::of(b"z")];
            let same = a.trim() == b.trim() && x == y;
            prop_assert_eq!(key(&a, &images[..x]) == key(&b, &images[..y]), same);
        }
    }
}

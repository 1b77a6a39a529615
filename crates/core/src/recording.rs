//! Recorded outcomes: what every pair of a pool really answered to a set of tasks, or, where only
//! that is known, how right it was. Learners and evaluations replay them instead of calling experts.
//!
//! A recording is a folder of `catalogue.json` (a [`Catalogue`]) and `tasks.jsonl` (a
//! [`RecordedTask`] a line). References and outcomes stay beside the task: nothing that a policy,
//! an expert or a skill is given has a field for them.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    MicroUsd,
    answer::AnswerKind,
    episode::Observation,
    error::CoreError,
    grading::Reference,
    registry::Catalogue,
    task::{ImageRef, MAX_IMAGES, MAX_QUESTION_BYTES, Pair},
};

/// File of a recording that holds its catalogue.
pub const CATALOGUE_FILE: &str = "catalogue.json";
/// File of a recording that holds its tasks.
pub const TASKS_FILE: &str = "tasks.jsonl";

/// A question whose answer is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownTask {
    /// Identifier, unique within a data set.
    pub id: String,
    /// `train`, `val`, `test`, …
    pub split: String,
    /// Kind of task, for evaluations. A policy never sees it.
    pub domain: String,
    /// Tasks of one group are variants of each other and stay together when a set is divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The question.
    pub question: String,
    /// What is known of its images without decoding them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageRef>,
    /// The kind of answer.
    pub answer_kind: AnswerKind,
    /// What answers are measured against; `None` where outcomes are all that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
}

/// What came of calling a pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedResult {
    /// What it really answered, a failure included. Graded by the task's reference.
    Observed(Box<Observation>),
    /// Only how right it was, 0 to 1. No answer is made up for it, so the call is final: the
    /// episode ends with it, and no state ever shows whether it was right.
    Graded(f64),
}

/// One call of one pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedCall {
    /// The pair.
    pub pair: Pair,
    /// What came of it.
    pub result: RecordedResult,
    /// What it cost, helpers included.
    pub cost: MicroUsd,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
}

impl RecordedCall {
    /// How long it took.
    pub fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    /// How right it is, 0 to 1. An observation without a reference scores 0.
    pub fn score(&self, reference: Option<&Reference>) -> f64 {
        match &self.result {
            RecordedResult::Graded(score) => *score,
            RecordedResult::Observed(observation) => {
                let right = observation.is_answerable()
                    && reference.is_some_and(|r| r.matches(observation.answer_text()));
                f64::from(u8::from(right))
            }
        }
    }
}

/// A task with the calls that were made for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedTask {
    /// The task.
    #[serde(flatten)]
    pub task: KnownTask,
    /// One call of each pair that suits it.
    pub calls: Vec<RecordedCall>,
}

impl RecordedTask {
    /// The call of a pair.
    pub fn call(&self, pair: &Pair) -> Option<&RecordedCall> {
        self.calls.iter().find(|call| call.pair == *pair)
    }

    fn validate(&self, catalogue: &Catalogue) -> Result<(), CoreError> {
        let task = &self.task;
        if task.question.trim().is_empty() || task.question.len() > MAX_QUESTION_BYTES {
            let reason = format!("must be 1 to {MAX_QUESTION_BYTES} bytes");
            return Err(CoreError::invalid("question", reason));
        }
        if task.images.len() > MAX_IMAGES {
            return Err(CoreError::invalid("images", "too many"));
        }
        if let Some(reference) = &task.reference {
            reference.validate().map_err(|e| e.under("reference"))?;
        }
        let mut seen = BTreeSet::new();
        for (index, call) in self.calls.iter().enumerate() {
            let refuse = |reason: &str| {
                let field = format!("calls[{index}]");
                Err(CoreError::invalid(field, reason))
            };
            if !seen.insert(&call.pair) {
                return refuse("is of a pair that has a call already");
            }
            if !catalogue.experts.contains_key(&call.pair.expert)
                || !catalogue.skills.contains_key(&call.pair.skill)
            {
                return refuse("is of a pair that the catalogue does not describe");
            }
            match &call.result {
                RecordedResult::Graded(score) if !(0.0..=1.0).contains(score) => {
                    return refuse("has a score that is not 0 to 1");
                }
                RecordedResult::Observed(_) if task.reference.is_none() => {
                    return refuse("has an answer, but the task has no reference");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A pool and what it answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Descriptions of the pool.
    pub catalogue: Catalogue,
    /// The tasks.
    pub tasks: Vec<RecordedTask>,
}

impl Recording {
    /// Reads the contents of the two files.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] names the file, the line and what is wrong.
    pub fn parse(catalogue: &[u8], tasks: &str) -> Result<Self, CoreError> {
        let catalogue: Catalogue = serde_json::from_slice(catalogue)
            .map_err(|error| CoreError::invalid(CATALOGUE_FILE, error.to_string()))?;
        let mut recording = Self {
            catalogue,
            tasks: Vec::new(),
        };
        let lines = tasks.lines().enumerate();
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let place = || format!("{TASKS_FILE}:{}", index + 1);
            let task: RecordedTask = serde_json::from_str(line)
                .map_err(|error| CoreError::invalid(place(), error.to_string()))?;
            recording.tasks.push(task);
            recording.validate_last().map_err(|e| e.under(&place()))?;
        }
        Ok(recording)
    }

    fn validate_last(&self) -> Result<(), CoreError> {
        let last = self.tasks.last();
        last.map_or(Ok(()), |task| task.validate(&self.catalogue))
    }

    /// Adds the entries and calls of `other`. Calls of tasks that both have (by id) are joined.
    /// Tasks that only `other` has are left out when `only_known` is set, else added.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] where both describe an entry of the same name differently, or both
    /// have a call of the same pair for the same task.
    pub fn join(&mut self, other: Self, only_known: bool) -> Result<(), CoreError> {
        let clash = |what: &str, name: String| {
            let reason = format!("{what} {name:?} is in both recordings, and not the same");
            Err(CoreError::invalid(CATALOGUE_FILE, reason))
        };
        for (name, expert) in other.catalogue.experts {
            match self.catalogue.experts.get(&name) {
                Some(own) if *own != expert => return clash("expert", name.to_string()),
                _ => self.catalogue.experts.insert(name, expert),
            };
        }
        for (name, skill) in other.catalogue.skills {
            match self.catalogue.skills.get(&name) {
                Some(own) if *own != skill => return clash("skill", name.to_string()),
                _ => self.catalogue.skills.insert(name, skill),
            };
        }
        let mut places: std::collections::HashMap<String, usize> = self
            .tasks
            .iter()
            .enumerate()
            .map(|(place, task)| (task.task.id.clone(), place))
            .collect();
        for task in other.tasks {
            match places.get(&task.task.id) {
                Some(place) => {
                    let own = &mut self.tasks[*place];
                    if own.task.reference.is_none() {
                        own.task.reference = task.task.reference;
                    }
                    own.calls.extend(task.calls);
                    own.validate(&self.catalogue)
                        .map_err(|e| e.under(&own.task.id))?;
                }
                None if only_known => {}
                None => {
                    places.insert(task.task.id.clone(), self.tasks.len());
                    self.tasks.push(task);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{answer::ExtractedAnswer, registry::Descriptor};

    const EXPERT: &str = r#"{"name":"reader","description":"reads","capabilities":["ocr"],
        "modalities":["image"],"price":null,"limits":{},"typical_latency_ms":null,"backend":null}"#;

    fn catalogue() -> Catalogue {
        let expert: Descriptor = serde_json::from_str(EXPERT).unwrap();
        let mut catalogue = Catalogue::default();
        catalogue.experts.insert(expert.name.clone(), expert);
        let skill = crate::registry::SkillHeader {
            hedge: false,
            name: "direct".parse().unwrap(),
            description: "asks".into(),
            bundle: crate::Digest::of(b""),
            requires: BTreeSet::new(),
            helpers: BTreeSet::new(),
            optional_helpers: BTreeSet::new(),
            images: crate::registry::ImageNeed::Optional,
            expert_reads_images: true,
            answer_kinds: BTreeSet::new(),
            direct: true,
            bounds: crate::registry::CallBounds::default(),
            solvers: Vec::new(),
        };
        catalogue.skills.insert(skill.name.clone(), skill);
        catalogue
    }

    fn task(id: &str, results: Vec<RecordedResult>) -> RecordedTask {
        let pair = Pair {
            expert: "reader".parse().unwrap(),
            skill: "direct".parse().unwrap(),
        };
        RecordedTask {
            task: KnownTask {
                id: id.into(),
                split: "val".into(),
                domain: "receipts".into(),
                group: None,
                question: "What is the total?".into(),
                images: Vec::new(),
                answer_kind: AnswerKind::Integer,
                reference: Some(Reference::Integer { value: 7 }),
            },
            calls: results
                .into_iter()
                .map(|result| RecordedCall {
                    pair: pair.clone(),
                    result,
                    cost: MicroUsd(5),
                    latency_ms: 20,
                })
                .collect(),
        }
    }

    fn observed(value: &str) -> RecordedResult {
        RecordedResult::Observed(Box::new(Observation {
            answer: Some(ExtractedAnswer {
                value: value.into(),
                confidence: 0.5,
            }),
            ..Observation::default()
        }))
    }

    fn parse(tasks: &[RecordedTask]) -> Result<Recording, CoreError> {
        let lines: Vec<String> = tasks
            .iter()
            .map(|task| serde_json::to_string(task).unwrap())
            .collect();
        Recording::parse(&catalogue().content(), &lines.join("\n"))
    }

    #[test]
    fn what_is_written_is_read() {
        let tasks = [
            task("a", vec![observed("7")]),
            task("b", vec![RecordedResult::Graded(0.25)]),
        ];
        let recording = parse(&tasks).unwrap();
        assert_eq!(recording.tasks, tasks);
        let score = |task: &RecordedTask| task.calls[0].score(task.task.reference.as_ref());
        assert_eq!(score(&recording.tasks[0]), 1.0);
        assert_eq!(score(&recording.tasks[1]), 0.25);
        assert_eq!(score(&task("c", vec![observed("17")])), 0.0);
    }

    #[test]
    fn a_bad_line_is_named() {
        let twice = task("a", vec![observed("7"), observed("8")]);
        let mut ungraded = task("b", vec![observed("7")]);
        ungraded.task.reference = None;
        let beyond = task("c", vec![RecordedResult::Graded(1.5)]);
        let mut unknown = task("d", vec![observed("7")]);
        unknown.calls[0].pair.expert = "other".parse().unwrap();
        let good = task("e", vec![observed("7")]);
        for (bad, reason) in [
            (twice, "already"),
            (ungraded, "no reference"),
            (beyond, "0 to 1"),
            (unknown, "does not describe"),
        ] {
            let error = parse(&[good.clone(), bad]).unwrap_err().to_string();
            assert!(error.contains("tasks.jsonl:2"), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn recordings_are_joined_by_task() {
        let mut one = parse(&[task("a", vec![])]).unwrap();
        let other = parse(&[task("a", vec![observed("7")]), task("b", vec![])]).unwrap();
        one.join(other.clone(), true).unwrap();
        assert_eq!(one.tasks.len(), 1);
        assert_eq!(one.tasks[0].calls.len(), 1);
        assert!(one.clone().join(other.clone(), true).is_err(), "same call");
        let mut changed = other;
        changed
            .catalogue
            .experts
            .values_mut()
            .for_each(|expert| expert.description = "writes".into());
        assert!(one.join(changed, true).is_err(), "same name");
    }
}

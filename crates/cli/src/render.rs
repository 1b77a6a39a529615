//! Episodes for people, and as JSON.

use std::io::Write;

use maestro_core::{
    MicroUsd,
    episode::{Action, Answer, EpisodeRecord, Observation, Step},
};
use serde::Serialize;

/// An episode as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct EpisodeJson {
    id: String,
    question: String,
    answer: Option<String>,
    confidence: Option<f32>,
    termination: Option<&'static str>,
    reason: Option<String>,
    steps: Vec<StepJson>,
    policy_version: Option<String>,
    catalogue: Option<String>,
    latency_ms: f64,
    cost_usd: f64,
    outcome: Option<f32>,
}

/// A step as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct StepJson {
    expert: Option<String>,
    skill: Option<String>,
    solver: Option<String>,
    status: &'static str,
    answer: Option<String>,
    confidence: Option<f32>,
    probability: f32,
    latency_ms: f64,
    decision_ms: f64,
    cost_usd: f64,
    message: Option<String>,
}

fn milliseconds(from: maestro_core::Timestamp, to: maestro_core::Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1e3
}

/// The JSON of an episode.
pub(crate) fn episode_json(record: &EpisodeRecord) -> EpisodeJson {
    use maestro_core::episode::Termination;
    let conclusion = record.conclusion.as_ref();
    let answer = conclusion.and_then(|conclusion| conclusion.answer.as_ref());
    let last = record.steps.last().map(|step| &step.decision);
    let reason = conclusion.and_then(|conclusion| match &conclusion.termination {
        Termination::Cancelled { reason } => Some(reason.clone()),
        Termination::Failed(failure) => Some(failure.to_string()),
        Termination::Truncated(limit) => Some(format!("{limit:?}").to_lowercase()),
        Termination::Answered => None,
    });
    EpisodeJson {
        id: record.spec.id.to_string(),
        question: record.spec.task.question.clone(),
        answer: answer.map(|answer| answer.value.clone()),
        confidence: answer.map(|answer| answer.confidence),
        termination: conclusion.map(|conclusion| conclusion.termination.name()),
        reason,
        steps: record.steps.iter().map(step_json).collect(),
        policy_version: last.map(|decision| decision.policy_version.clone()),
        catalogue: last.and_then(|d| d.catalogue.map(|digest| digest.to_string())),
        latency_ms: conclusion
            .map(|conclusion| milliseconds(record.spec.created_at, conclusion.finished_at))
            .unwrap_or_default(),
        cost_usd: conclusion
            .map(|c| c.usage.cost.as_usd())
            .unwrap_or_default(),
        outcome: record.outcome.as_ref().map(|outcome| outcome.score),
    }
}

fn step_json(step: &Step) -> StepJson {
    let observation = step.observation.as_ref();
    let failure = observation.and_then(|observation| observation.failure.as_ref());
    let (pair, answer) = match &step.decision.action {
        Action::Invoke { pair, .. } => (
            Some(pair),
            observation
                .filter(|o| o.is_answerable())
                .map(|o| o.answer_text().into()),
        ),
        Action::Answer(Answer::Text(text)) => (None, Some(text.clone())),
        Action::Answer(Answer::Observation(_)) => (None, None),
    };
    let status = match (&step.decision.action, failure) {
        (_, Some(failure)) => failure.kind.name(),
        (Action::Invoke { .. }, None) => "ok",
        (Action::Answer(_), None) => "answered",
    };
    StepJson {
        expert: pair.map(|pair| pair.expert.to_string()),
        skill: pair.map(|pair| pair.skill.to_string()),
        solver: observation.and_then(|observation| observation.solver.clone()),
        status,
        answer,
        confidence: observation
            .and_then(|o| o.answer.as_ref())
            .map(|answer| answer.confidence),
        probability: step.decision.probability,
        latency_ms: milliseconds(step.started_at, step.finished_at),
        decision_ms: milliseconds(step.started_at, step.decided_at),
        cost_usd: observation
            .map(|o| o.usage.cost.as_usd())
            .unwrap_or_default(),
        message: failure.map(|failure| failure.message.clone()),
    }
}

/// Writes lines about an episode as it runs.
pub(crate) struct Live<W>(pub(crate) W);

impl<W: Write> Live<W> {
    /// The policy decided to call a pair.
    pub(crate) fn decided(&mut self, step: &Step) -> std::io::Result<()> {
        if let Action::Invoke { pair, .. } = &step.decision.action {
            let probability = step.decision.probability * 100.0;
            writeln!(
                self.0,
                "  step {}  {}@{}  (probability {probability:.0} %)",
                step.index, pair.expert, pair.skill
            )?;
        }
        self.0.flush()
    }

    /// A step is finished.
    pub(crate) fn finished(&mut self, step: &Step) -> std::io::Result<()> {
        let time = milliseconds(step.started_at, step.finished_at);
        match (&step.decision.action, &step.observation) {
            (Action::Invoke { .. }, Some(observation)) => writeln!(
                self.0,
                "          {}  ({time:.0} ms, {})",
                summary(observation),
                observation.usage.cost
            )?,
            (Action::Answer(_), Some(observation)) => {
                writeln!(
                    self.0,
                    "  step {}  answer refused: {}",
                    step.index,
                    summary(observation)
                )?;
            }
            (Action::Answer(answer), None) => {
                let probability = step.decision.probability * 100.0;
                let source = match answer {
                    Answer::Observation(index) => format!("with step {index}"),
                    Answer::Text(_) => "with a text".to_owned(),
                };
                writeln!(
                    self.0,
                    "  step {}  answer {source}  (probability {probability:.0} %, {time:.0} ms)",
                    step.index
                )?;
            }
            (Action::Invoke { .. }, None) => {}
        }
        self.0.flush()
    }

    /// The episode has ended.
    pub(crate) fn ended(&mut self, record: &EpisodeRecord) -> std::io::Result<()> {
        let Some(conclusion) = &record.conclusion else {
            return Ok(());
        };
        let time = milliseconds(record.spec.created_at, conclusion.finished_at);
        let answer = conclusion
            .answer
            .as_ref()
            .map_or("no answer", |answer| &answer.value);
        let cost: MicroUsd = conclusion.usage.cost;
        writeln!(
            self.0,
            "{answer}\n  {} after {} step(s), {time:.0} ms, {cost}",
            conclusion.termination.name(),
            record.steps.len()
        )?;
        self.0.flush()
    }
}

fn summary(observation: &Observation) -> String {
    const SHOWN: usize = 80;
    match (&observation.failure, &observation.answer) {
        (Some(failure), _) => failure.to_string(),
        (None, Some(answer)) => {
            let solver = observation.solver.as_deref().unwrap_or("plain");
            let percent = answer.confidence * 100.0;
            let shown = maestro_core::episode::clip_middle(&answer.value.replace('\n', " "), SHOWN);
            format!("{solver}: {shown}  (confidence {percent:.0} %)")
        }
        (None, None) => {
            maestro_core::episode::clip_middle(&observation.text.replace('\n', " "), SHOWN)
        }
    }
}

//! Interprets skills: resolves the bundle, chooses a solver, runs its steps, reads the answer.

mod ask;
mod calls;
mod dispatch;
mod draw;
mod each;
mod erase;
mod execute;
mod groups;
mod images;
mod ledger;
mod picture;
mod pictures;
mod reply;
mod run_code;
mod scope;
mod select;
mod text;
mod vote;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use maestro_core::{
    CoreError, Digest,
    answer::ExtractedAnswer,
    episode::{Failure, FailureKind, MAX_OBSERVATION_CHARS, Observation, clip_middle},
    ports::{Blobs, Experts, Skills},
    registry::Snapshot,
    skill_run::SkillRun,
};
use maestro_rpc::{Drainable, ServiceStatus};
use maestro_skills::{Skill, Solver};
use maestro_telemetry::{Gauge, Histogram, Label};
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tokio::sync::{Semaphore, watch};

use self::{
    calls::Caller,
    dispatch::dispatch,
    execute::{Execution, answer_kind, evidence, time_left},
    text::{answer_form, spoken},
};
pub(crate) use self::{
    execute::json_text,
    reply::{StepOutput, note},
};
use crate::{sandbox::Sandbox, toolbox::extract};

/// Longest text of one piece of evidence, in characters.
const MAX_EVIDENCE_CHARS: usize = 1000;
/// Most pieces of evidence of one observation.
const MAX_EVIDENCE: usize = 32;

/// Permits of runs.
const RUNS: Label<'static> = Label::Resource("skill_runs");

/// Limits of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunnerConfig {
    /// Most runs at once; a further one is refused as overloaded.
    pub max_concurrent_runs: u32,
    /// Most skills that are kept parsed.
    pub max_cached_skills: u64,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            max_concurrent_runs: 256,
            max_cached_skills: 1024,
        }
    }
}

/// Runs skills over the ports [`Experts`] and [`Blobs`].
pub struct Runner {
    experts: Arc<dyn Experts>,
    blobs: Arc<dyn Blobs>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    skills: Cache<Digest, Arc<Skill>>,
    permits: Semaphore,
    sandbox: Option<Sandbox>,
    draining: AtomicBool,
    config: RunnerConfig,
}

impl Runner {
    /// A runner that sees the registry through `snapshots`.
    pub fn new(
        experts: Arc<dyn Experts>,
        blobs: Arc<dyn Blobs>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        config: RunnerConfig,
    ) -> Self {
        Gauge::PermitsLimit.set(f64::from(config.max_concurrent_runs), &[RUNS]);
        Self {
            experts,
            blobs,
            snapshots,
            skills: Cache::new(config.max_cached_skills),
            permits: Semaphore::new(config.max_concurrent_runs as usize),
            sandbox: None,
            draining: AtomicBool::new(false),
            config,
        }
    }

    /// Steps that run code do so in `sandbox`; without one they fail.
    #[must_use]
    pub fn with_sandbox(mut self, sandbox: Option<Sandbox>) -> Self {
        self.sandbox = sandbox;
        self
    }

    /// Keeps a skill, so that its first run needs no blob.
    pub async fn preload(&self, skill: Skill) {
        self.skills.insert(skill.digest(), Arc::new(skill)).await;
    }

    /// Fetches and parses a skill that is not kept yet, so that its first run need not.
    pub(crate) async fn fetch(&self, digest: Digest) -> Result<(), Failure> {
        self.skill(digest).await.map(drop)
    }

    /// The skill of a digest, parsed once however many runs ask for it at once.
    async fn skill(&self, digest: Digest) -> Result<Arc<Skill>, Failure> {
        let load = async {
            let bundle = self.blobs.get(&digest).await?;
            let skill = maestro_skills::unpack(&bundle).map_err(|error| {
                CoreError::DataLoss(format!("skill {}: {error}", digest.short()))
            })?;
            Ok(Arc::new(skill))
        };
        self.skills
            .try_get_with(digest, load)
            .await
            .map_err(|error: Arc<CoreError>| {
                let kind = if error.is_transient() {
                    FailureKind::Unavailable
                } else {
                    FailureKind::SkillFailed
                };
                Failure::new(kind, format!("the skill's bundle: {error}"))
            })
    }

    /// A run whose failures are values.
    async fn observe(&self, run: Arc<SkillRun>) -> Observation {
        let skill = match self.skill(run.skill_digest).await {
            Ok(skill) if *skill.name() == run.pair.skill => skill,
            Ok(skill) => {
                let message = format!(
                    "the bundle is of skill {}, not {}",
                    skill.name(),
                    run.pair.skill
                );
                return Observation::failed(Failure::new(FailureKind::SkillFailed, message));
            }
            Err(failure) => return Observation::failed(failure),
        };
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let caller = match Caller::new(Arc::clone(&self.experts), snapshot, Arc::clone(&run)) {
            Ok(caller) => caller,
            Err(failure) => return Observation::failed(failure),
        };
        let mut observation = Observation::default();
        let left = time_left(run.deadline);
        let work = self.work(&run, &skill, &caller, &mut observation);
        let result = tokio::time::timeout(left, work)
            .await
            .unwrap_or_else(|_| Err(Failure::new(FailureKind::Timeout, "the step's time is up")));
        if let Err(failure) = result {
            observation.text = failure.to_string();
            observation.failure = Some(failure);
            observation.answer = None;
        }
        observation.evidence.truncate(MAX_EVIDENCE);
        for evidence in &mut observation.evidence {
            evidence.text = clip_middle(&evidence.text, MAX_EVIDENCE_CHARS);
        }
        observation.skill_digest = Some(run.skill_digest);
        observation.instance = caller.instance();
        observation.usage = caller.usage();
        observation
    }

    /// Fills in the observation; what is known when the time runs out stays in it.
    async fn work(
        &self,
        run: &Arc<SkillRun>,
        skill: &Skill,
        caller: &Caller,
        observation: &mut Observation,
    ) -> Result<(), Failure> {
        let query = if run.query.trim().is_empty() {
            &run.question
        } else {
            &run.query
        };
        let variables = variables(run, skill, query);
        let choice = dispatch(run, skill, caller, &variables).await;
        if skill.solvers().len() > 1 {
            observation
                .evidence
                .push(note("dispatch", choice.describe()));
        }
        let solver = choice
            .solver
            .as_deref()
            .and_then(|name| skill.solver(name))
            .ok_or_else(|| {
                Failure::new(
                    FailureKind::SkillFailed,
                    "no solver of this skill fits the question",
                )
            })?;
        observation.solver = Some(solver.name.clone());
        let execution = Execution {
            run: Arc::clone(run),
            caller,
            blobs: &*self.blobs,
            sandbox: self.sandbox.as_ref(),
            solver,
            variables,
        };
        let outputs = execution.steps().await?;
        observation
            .evidence
            .extend(evidence(&solver.steps, &outputs));
        let context = execution.context(&outputs);
        let (text, answer) = conclude(run, solver, &context)?;
        observation.text = text;
        observation.answer = answer;
        if !observation.is_answerable() {
            return Err(Failure::new(
                FailureKind::SkillFailed,
                "the workflow gave no answer",
            ));
        }
        Ok(())
    }
}

fn variables(run: &SkillRun, skill: &Skill, query: &str) -> Map<String, Json> {
    let options = match &run.answer_kind {
        maestro_core::answer::AnswerKind::Choice { options } => options.as_slice(),
        _ => &[],
    };
    let variables = json!({
        "question": run.question,
        "query": query,
        "instructions": skill.instructions(),
        "answer_kind": run.answer_kind.name(),
        "answer_form": answer_form(&run.answer_kind),
        "options": options,
        "image_count": run.images.len(),
    });
    match variables {
        Json::Object(variables) => variables,
        _ => Map::new(),
    }
}

/// The observation's text and the answer in it.
fn conclude(
    run: &SkillRun,
    solver: &Solver,
    context: &Map<String, Json>,
) -> Result<(String, Option<ExtractedAnswer>), Failure> {
    let spec = &solver.answer;
    let value = |template: &maestro_skills::Template| {
        template.value(context).map_err(|error| {
            Failure::new(
                FailureKind::SkillFailed,
                format!("answer: template: {error}"),
            )
        })
    };
    let text = spoken(&json_text(&value(&spec.text)?));
    let from = match &spec.from {
        Some(from) => spoken(&json_text(&value(from)?)),
        None => text.clone(),
    };
    let confidence = match &spec.confidence {
        Some(confidence) => Some(number(&value(confidence)?).unwrap_or(0.0)),
        None => None,
    };
    let kind = answer_kind(spec.kind.as_deref(), &run.answer_kind);
    let answer = extract(&kind, &from).map(|answer| ExtractedAnswer {
        confidence: confidence.unwrap_or(answer.confidence).clamp(0.0, 1.0),
        value: answer.value,
    });
    Ok((clip_middle(&text, MAX_OBSERVATION_CHARS), answer))
}

fn number(value: &Json) -> Option<f32> {
    let number = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    Some((number as f32).clamp(0.0, 1.0)).filter(|number| number.is_finite())
}

#[async_trait]
impl Skills for Runner {
    /// Fails only where the run was not begun: the runner drains or is full.
    async fn run(&self, run: SkillRun) -> Result<Observation, Failure> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Failure::new(
                FailureKind::Unavailable,
                "the skill runner is draining",
            ));
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            let message = format!("{} runs are under way", self.config.max_concurrent_runs);
            return Err(Failure::new(FailureKind::Overloaded, message));
        };
        let _counted = Gauge::PermitsInUse.hold(&[RUNS]);
        let began = Instant::now();
        let run = Arc::new(run);
        let observation = self.observe(Arc::clone(&run)).await;
        let outcome = observation
            .failure
            .as_ref()
            .map_or("ok", |failure| failure.kind.name());
        Histogram::SkillDuration.record_duration(
            began.elapsed(),
            &[
                Label::Skill(run.pair.skill.as_str()),
                Label::Outcome(outcome),
            ],
        );
        Ok(observation)
    }
}

#[async_trait]
impl Drainable for Runner {
    fn status(&self) -> ServiceStatus {
        let capacity = self.config.max_concurrent_runs;
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX);
        ServiceStatus {
            service: "skill-runner",
            in_flight: capacity.saturating_sub(free),
            capacity,
            revision: self.snapshots.borrow().revision,
            details: [(
                "cached_skills".to_owned(),
                self.skills.entry_count().to_string(),
            )]
            .into(),
        }
    }

    async fn drain(&self, grace: Duration) -> u32 {
        self.draining.store(true, Ordering::Release);
        // All permits are back once nothing runs.
        let idle = self.permits.acquire_many(self.config.max_concurrent_runs);
        match tokio::time::timeout(grace, idle).await {
            Ok(_) => 0,
            Err(_) => self.status().in_flight,
        }
    }
}

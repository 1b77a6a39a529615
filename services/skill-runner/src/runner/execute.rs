//! Runs the steps of a workflow: those that wait for nothing at once, each other as soon as what
//! it reads is there.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use maestro_core::{
    answer::AnswerKind,
    episode::{Evidence, Failure, FailureKind},
    ports::Blobs,
    skill_run::SkillRun,
};
use maestro_skills::{Action, Group, Solver, Step};
use serde_json::{Map, Value as Json};

use super::{
    calls::Caller,
    picture::Picture,
    reply::{StepOutput, note},
    scope::{Scope, template_failure},
    text::named_kind,
};
use crate::sandbox::Sandbox;

/// Everything that the steps of one run share.
pub(crate) struct Execution<'a> {
    pub(crate) run: Arc<SkillRun>,
    pub(crate) caller: &'a Caller,
    pub(crate) blobs: &'a dyn Blobs,
    pub(crate) sandbox: Option<&'a Sandbox>,
    pub(crate) solver: &'a Solver,
    /// Variables of templates beside the steps' results.
    pub(crate) variables: Map<String, Json>,
}

/// Results by step; those of steps inside of others stand beside them.
pub(crate) type Outputs = BTreeMap<String, StepOutput>;

/// What the steps of a group find around them.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    /// What templates see.
    pub(super) context: Map<String, Json>,
    /// Images that earlier steps made.
    pub(super) made: BTreeMap<String, Vec<Picture>>,
    /// Path of the group, for idempotency keys.
    pub(super) path: String,
}

impl Around {
    /// The same once `outputs` are there.
    pub(super) fn with(&self, outputs: &Outputs) -> Self {
        let mut all = self.clone();
        for (name, output) in outputs {
            all.context.insert(name.clone(), output.value.clone());
            all.made.insert(name.clone(), output.images.clone());
        }
        all
    }
}

/// What a step gave, and the steps inside of it.
pub(super) struct Done {
    pub(super) output: StepOutput,
    pub(super) inside: Outputs,
}

impl Execution<'_> {
    /// Runs every step. The first failure of a step that is not optional ends the run and cancels
    /// what is under way.
    pub(crate) async fn steps(&self) -> Result<Outputs, Failure> {
        self.group(&self.solver.steps, &self.around()).await
    }

    /// What templates see once `outputs` are there.
    pub(crate) fn context(&self, outputs: &Outputs) -> Map<String, Json> {
        self.around().with(outputs).context
    }

    fn around(&self) -> Around {
        Around {
            context: self.variables.clone(),
            made: BTreeMap::new(),
            path: self.solver.name.clone(),
        }
    }

    /// Runs the steps of a group, each as soon as what it waits for has ended.
    pub(super) async fn group(&self, group: &Group, around: &Around) -> Result<Outputs, Failure> {
        let mut outputs = Outputs::new();
        let mut progress = group.progress();
        let mut running = FuturesUnordered::new();
        loop {
            for name in progress.start_ready() {
                if let Some(step) = group.step(&name) {
                    let around = around.with(&outputs);
                    running.push(async move { (step, self.step(step, around).await) });
                }
            }
            let Some((step, result)) = running.next().await else {
                break;
            };
            let done = match result {
                Ok(done) => done,
                Err(failure) if step.optional => {
                    tracing::debug!(step = step.name, %failure, "an optional step failed");
                    Done::of(StepOutput {
                        evidence: vec![note("skipped", format!("{}: {failure}", step.name))],
                        ..StepOutput::default()
                    })
                }
                Err(failure) => {
                    return Err(Failure::new(
                        failure.kind,
                        format!("step {}: {}", step.name, failure.message),
                    ));
                }
            };
            outputs.extend(done.inside);
            // What did not run is null.
            for name in step.inner_names() {
                outputs.entry(name.to_owned()).or_default();
            }
            outputs.insert(step.name.clone(), done.output);
            progress.finish(&step.name);
        }
        Ok(outputs)
    }

    /// Boxed: the future of a step is large, several wait side by side, and steps hold steps.
    fn step<'s>(&'s self, step: &'s Step, around: Around) -> BoxFuture<'s, Result<Done, Failure>> {
        async move {
            if let Some(when) = &step.when
                && !when
                    .is_true(&around.context)
                    .map_err(|error| template_failure(&error))?
            {
                return Ok(Done::of(StepOutput::default()));
            }
            tokio::time::timeout(step.timeout, self.action(step, around))
                .await
                .unwrap_or_else(|_| {
                    Err(Failure::new(
                        FailureKind::Timeout,
                        "took longer than its limit",
                    ))
                })
        }
        .boxed()
    }

    async fn action(&self, step: &Step, around: Around) -> Result<Done, Failure> {
        match &step.action {
            Action::Branch(branch) => self.branch(step, branch, &around).await,
            Action::Repeat(repeat) => self.repeat(step, repeat, &around).await,
            _ => {
                let scope = Scope {
                    execution: self,
                    step,
                    around,
                };
                scope.action().boxed().await.map(Done::of)
            }
        }
    }
}

impl Done {
    /// A step without steps inside.
    fn of(output: StepOutput) -> Self {
        Self {
            output,
            inside: Outputs::new(),
        }
    }
}

/// Evidence of steps in the order of their group, so that equal runs have equal observations.
pub(crate) fn evidence(group: &Group, outputs: &Outputs) -> Vec<Evidence> {
    let steps = group.iter().filter_map(|step| outputs.get(&step.name));
    steps
        .flat_map(|output| output.evidence.iter().cloned())
        .collect()
}

/// Text of a value for extraction; null is nothing.
pub(crate) fn json_text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    }
}

/// The time until a deadline, zero once it has passed.
pub(crate) fn time_left(deadline: maestro_core::Timestamp) -> Duration {
    let left = deadline.duration_since(maestro_core::Timestamp::now());
    Duration::try_from(left).unwrap_or_default()
}

/// The kind of answer that a workflow reads.
pub(crate) fn answer_kind(name: Option<&str>, wanted: &AnswerKind) -> AnswerKind {
    name.map_or_else(|| wanted.clone(), |name| named_kind(name, wanted))
}

//! Runs the steps of a workflow: those that wait for nothing at once, each other as soon as what
//! it reads is there.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use maestro_core::{
    Digest,
    answer::AnswerKind,
    episode::{Failure, FailureKind},
    ports::Blobs,
    skill_run::SkillRun,
};
use maestro_skills::{Solver, Step};
use serde_json::{Map, Value as Json};

use super::{
    calls::Caller,
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

/// Results by step.
pub(crate) type Outputs = BTreeMap<String, StepOutput>;

impl Execution<'_> {
    /// Runs every step. The first failure of a step that is not optional ends the run and cancels
    /// what is under way.
    pub(crate) async fn steps(&self) -> Result<Outputs, Failure> {
        let mut outputs = Outputs::new();
        let mut progress = self.solver.progress();
        let mut running = FuturesUnordered::new();
        loop {
            for name in progress.start_ready() {
                if let Some(step) = self.solver.step(&name) {
                    let context = self.context(&outputs);
                    let made = images_of(&outputs);
                    running.push(async move { (step, self.step(step, context, made).await) });
                }
            }
            let Some((step, result)) = running.next().await else {
                break;
            };
            let output = match result {
                Ok(output) => output,
                Err(failure) if step.optional => {
                    tracing::debug!(step = step.name, %failure, "an optional step failed");
                    StepOutput {
                        evidence: vec![note("skipped", format!("{}: {failure}", step.name))],
                        ..StepOutput::default()
                    }
                }
                Err(failure) => {
                    return Err(Failure::new(
                        failure.kind,
                        format!("step {}: {}", step.name, failure.message),
                    ));
                }
            };
            outputs.insert(step.name.clone(), output);
            progress.finish(&step.name);
        }
        Ok(outputs)
    }

    /// What templates see once `outputs` are there.
    pub(crate) fn context(&self, outputs: &Outputs) -> Map<String, Json> {
        let mut context = self.variables.clone();
        context.extend(
            outputs
                .iter()
                .map(|(name, output)| (name.clone(), output.value.clone())),
        );
        context
    }

    async fn step(
        &self,
        step: &Step,
        context: Map<String, Json>,
        made: BTreeMap<String, Digest>,
    ) -> Result<StepOutput, Failure> {
        if let Some(when) = &step.when
            && !when
                .is_true(&context)
                .map_err(|error| template_failure(&error))?
        {
            return Ok(StepOutput::default());
        }
        let scope = Scope {
            execution: self,
            step,
            context,
            made,
        };
        // Boxed: the future of a step is large, and several wait side by side.
        let action = scope.action().boxed();
        tokio::time::timeout(step.timeout, action)
            .await
            .unwrap_or_else(|_| {
                Err(Failure::new(
                    FailureKind::Timeout,
                    "took longer than its limit",
                ))
            })
    }
}

fn images_of(outputs: &Outputs) -> BTreeMap<String, Digest> {
    outputs
        .iter()
        .filter_map(|(name, output)| Some((name.clone(), output.image?)))
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

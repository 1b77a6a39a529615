//! Steps that hold steps: a branch, a repetition.

use maestro_core::episode::Failure;
use maestro_skills::{Branch, Repeat, Step};
use serde_json::{Value as Json, json};

use super::{
    execute::{Around, Done, Execution, Outputs, evidence},
    reply::{StepOutput, note},
    scope::template_failure,
};

impl Execution<'_> {
    /// Runs the first case that applies. Where none does, the result says so and nothing ran.
    pub(super) async fn branch(
        &self,
        step: &Step,
        branch: &Branch,
        around: &Around,
    ) -> Result<Done, Failure> {
        for (index, case) in branch.cases.iter().enumerate() {
            let applies = match &case.when {
                Some(when) => when
                    .is_true(&around.context)
                    .map_err(|error| template_failure(&error))?,
                None => true,
            };
            if !applies {
                continue;
            }
            let group = Around {
                path: format!("{}/{}/{index}", around.path, step.name),
                ..around.clone()
            };
            let outputs = self.group(&case.steps, &group).await?;
            let value = match &case.value {
                Some(value) => value
                    .value(&group.with(&outputs).context)
                    .map_err(|error| template_failure(&error))?,
                None => Json::Null,
            };
            let why = case.when.as_ref().map_or("otherwise", |when| when.source());
            let mut notes = vec![note("branch", format!("{}: {why}", step.name))];
            notes.extend(evidence(&case.steps, &outputs));
            return Ok(Done {
                output: StepOutput {
                    value: json!({ "case": index, "value": value }),
                    evidence: notes,
                    ..StepOutput::default()
                },
                inside: outputs,
            });
        }
        let output = StepOutput {
            value: json!({ "case": null, "value": null }),
            evidence: vec![note("branch", format!("{}: no case applies", step.name))],
            ..StepOutput::default()
        };
        Ok(Done {
            output,
            inside: Outputs::new(),
        })
    }

    /// Runs rounds until the condition is true or there are no more. The results of the last round
    /// stay.
    pub(super) async fn repeat(
        &self,
        step: &Step,
        repeat: &Repeat,
        around: &Around,
    ) -> Result<Done, Failure> {
        let mut notes = Vec::new();
        let mut previous = Json::Null;
        let mut round = 0;
        loop {
            round += 1;
            let mut group = Around {
                path: format!("{}/{}/{round}", around.path, step.name),
                ..around.clone()
            };
            group.context.insert("round".to_owned(), json!(round));
            group.context.insert("previous".to_owned(), previous);
            let outputs = self.group(&repeat.steps, &group).await?;
            notes.extend(evidence(&repeat.steps, &outputs));
            let done = repeat
                .until
                .is_true(&group.with(&outputs).context)
                .map_err(|error| template_failure(&error))?;
            if done || round >= repeat.times {
                let end = if done { "done" } else { "given up" };
                let text = format!("{}: {end} in round {round} of {}", step.name, repeat.times);
                notes.insert(0, note("repeat", text));
                return Ok(Done {
                    output: StepOutput {
                        value: json!({ "rounds": round, "done": done }),
                        evidence: notes,
                        ..StepOutput::default()
                    },
                    inside: outputs,
                });
            }
            let results = outputs
                .into_iter()
                .map(|(name, output)| (name, output.value));
            previous = Json::Object(results.collect());
        }
    }
}

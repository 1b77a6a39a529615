//! Level-2 solvers: parsing of `solvers/NAME.yaml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    check::{Checker, Errors, MAX_TIMEOUT_MS, Scope, all_steps, group},
    error::SkillError,
    format::SolverFile,
    step::{Action, Ask, Group, ImageSelection, Step},
    template::Template,
    yaml::{self, Place},
};

/// Most calls of one run, to the pair's expert and to helpers.
const MAX_CALLS: u32 = 256;

/// A workflow: steps in an order that respects their dependencies, and how its answer is read.
#[derive(Clone, Debug)]
pub struct Solver {
    /// Its name, that of its file.
    pub name: String,
    /// What it solves.
    pub description: String,
    /// Its steps.
    pub steps: Group,
    /// Its result.
    pub answer: AnswerSpec,
    /// The steps that something reads.
    read: BTreeSet<String>,
    /// Where each step stands in the file.
    lines: BTreeMap<String, u64>,
}

/// How a workflow's result is made.
#[derive(Clone, Debug)]
pub struct AnswerSpec {
    /// The text of the observation.
    pub text: Template,
    /// What the answer is read from; `None` is the text.
    pub from: Option<Template>,
    /// The kind of answer by name; `None` is the kind that the task wants.
    pub kind: Option<String>,
    /// How sure the answer is, 0 to 1; `None` is how clearly the text claims it.
    pub confidence: Option<Template>,
}

impl Solver {
    /// Steps whose results nothing reads. What a branch or a repetition is for may lie inside of
    /// it. With the line of each.
    pub(crate) fn unread_steps(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        let leaf = |step: &&Step| step.action.groups().next().is_none();
        let leaves = self.steps.all().filter(leaf);
        leaves
            .map(|step| step.name.as_str())
            .filter(|name| !self.read.contains(*name))
            .map(|name| (name, self.lines.get(name).copied()))
    }

    /// # Errors
    /// Everything that is wrong with the file, at least one thing.
    pub(crate) fn parse(file: &str, name: &str, text: &str) -> Result<Self, Vec<SkillError>> {
        let raw: SolverFile = yaml::read(file, text, 0).map_err(|error| vec![error])?;
        let errors = Errors::default();
        if raw.description.trim().is_empty() {
            let error = Place::new(file, 1, "description").invalid("must not be empty");
            errors.add(error);
        }
        let lines = all_steps(file, &raw.steps, &errors);
        // A name that stands twice would make what follows wrong.
        if !errors.is_empty() {
            return Err(errors.into_list());
        }
        let scope = Scope::of_solver(&raw.steps);
        let top = Place::new(file, 1, "steps");
        let (steps, _) = group(&top, &raw.steps, &scope, &errors);
        let checker = Checker {
            scope: &scope,
            place: Place::new(file, raw.answer.referenced.line(), "answer"),
            errors: &errors,
        };
        let answer = checker.answer(&raw.answer.value);
        let calls = steps.expert_calls().saturating_add(steps.helper_calls());
        if calls > MAX_CALLS {
            let reason = format!("up to {calls} calls to experts; at most {MAX_CALLS}");
            errors.add(top.invalid(reason));
        }
        let (Some((answer, mut read)), true) = (errors.keep(answer), errors.is_empty()) else {
            return Err(errors.into_list());
        };
        read.extend(steps.all().flat_map(|step| step.reads.iter().cloned()));
        let description = raw
            .description
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        Ok(Self {
            name: name.to_owned(),
            description,
            steps,
            answer,
            read,
            lines,
        })
    }

    /// The only solver of a skill that is instructions alone: they are the system message, the
    /// question goes as it is.
    pub(crate) fn of_instructions(
        description: &str,
        max_output_tokens: u32,
    ) -> Result<Self, crate::template::TemplateError> {
        let ask = Ask {
            examples: Vec::new(),
            system: Some(Template::parse("{{ instructions }}")?),
            prompt: Template::parse("{{ query }}\n\n{{ answer_form }}")?,
            images: ImageSelection::All,
            max_output_tokens,
            temperature: 0.0,
            stop: Vec::new(),
            samples: 1,
            expect: None,
        };
        let step = Step {
            name: "ask".to_owned(),
            action: Action::Ask(ask),
            when: None,
            optional: false,
            timeout: Duration::from_millis(MAX_TIMEOUT_MS),
            needs: BTreeSet::new(),
            reads: BTreeSet::new(),
        };
        let text = Template::parse("{{ ask.text }}")?;
        let answer = AnswerSpec {
            text,
            from: None,
            kind: None,
            confidence: None,
        };
        Ok(Self {
            name: "instructions".to_owned(),
            description: description.to_owned(),
            steps: Group::new(vec![step]),
            answer,
            read: BTreeSet::from(["ask".to_owned()]),
            lines: BTreeMap::new(),
        })
    }
}

#[cfg(test)]
#[path = "solver_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "group_tests.rs"]
mod group_tests;

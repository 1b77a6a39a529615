//! Level-2 solvers: parsing of `solvers/NAME.yaml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    check::{Checker, MAX_TIMEOUT_MS, check_step_name},
    error::SkillError,
    format::SolverFile,
    graph,
    step::{Action, Ask, ImageSelection, Step},
    template::Template,
    yaml::{self, Place},
};

const MAX_STEPS: usize = 32;

/// A workflow: steps in an order that respects their dependencies, and how its answer is read.
#[derive(Clone, Debug)]
pub struct Solver {
    /// Its name, that of its file.
    pub name: String,
    /// What it solves.
    pub description: String,
    /// Its steps, each after those that it needs.
    pub steps: Vec<Step>,
    /// Its result.
    pub answer: AnswerSpec,
    /// The steps that the result reads.
    pub(crate) answer_reads: BTreeSet<String>,
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
    /// A step by name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// What each step waits for.
    pub fn progress(&self) -> graph::Progress {
        graph::Progress::new(
            self.steps
                .iter()
                .map(|step| (step.name.clone(), step.needs.clone())),
        )
    }

    /// Steps whose results nothing reads.
    pub(crate) fn unread_steps(&self) -> impl Iterator<Item = &str> {
        let read = |name: &String| {
            self.answer_reads.contains(name) || self.steps.iter().any(|s| s.needs.contains(name))
        };
        self.steps
            .iter()
            .map(|step| &step.name)
            .filter(move |name| !read(name))
            .map(String::as_str)
    }

    pub(crate) fn parse(file: &str, name: &str, text: &str) -> Result<Self, SkillError> {
        let raw: SolverFile = yaml::read(file, text, 0)?;
        let top = Place::new(file, 1, "steps");
        if raw.description.trim().is_empty() {
            return Err(Place::new(file, 1, "description").invalid("must not be empty"));
        }
        if raw.steps.len() > MAX_STEPS {
            return Err(top.invalid(format!("{} steps; at most {MAX_STEPS}", raw.steps.len())));
        }
        let names: BTreeSet<&str> = raw.steps.keys().map(String::as_str).collect();
        let mut steps = BTreeMap::new();
        let mut lines = BTreeMap::new();
        for (step, spec) in &raw.steps {
            let place = Place::new(file, spec.referenced.line(), format!("steps.{step}"));
            lines.insert(step.as_str(), place.line);
            check_step_name(step, &place)?;
            steps.insert(
                step.as_str(),
                Checker {
                    names: &names,
                    place,
                }
                .step(step, &spec.value)?,
            );
        }
        let place = Place::new(file, raw.answer.referenced.line(), "answer");
        let (answer, read) = Checker {
            names: &names,
            place,
        }
        .answer(&raw.answer.value)?;
        let edges = steps
            .iter()
            .map(|(name, step)| (*name, step.needs.iter().map(String::as_str).collect()));
        let order = graph::order(&edges.collect()).map_err(|circle| SkillError::Cycle {
            file: file.to_owned(),
            line: circle
                .first()
                .and_then(|s| lines.get(s.as_str()))
                .copied()
                .unwrap_or(0),
            steps: circle,
        })?;
        let steps = order
            .iter()
            .filter_map(|name| steps.get(name.as_str()).cloned())
            .collect();
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
            answer_reads: read,
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
            steps: vec![step],
            answer,
            answer_reads: BTreeSet::from(["ask".to_owned()]),
        })
    }
}

#[cfg(test)]
#[path = "solver_tests.rs"]
mod tests;

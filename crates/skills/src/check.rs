//! Checks the steps of a solver's file: ranges, references, tools, templates.

mod calls;
mod dispatch;
mod groups;
mod labels;
mod pictures;
mod scope;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value as Json;
use serde_saphyr::Spanned;

use self::scope::inner_groups;
pub(crate) use self::{
    dispatch::dispatch,
    groups::{all_steps, group},
    scope::Scope,
};
use crate::{
    error::SkillError,
    format::{ACTIONS, AnswerFile, StepFile, ToolFile},
    solver::AnswerSpec,
    step::{Action, Argument, Extract, RunCode, Step, Tool, ToolCall},
    template::Template,
    yaml::Place,
};

/// Variables of every template beside the steps.
pub(crate) const VARIABLES: [&str; 7] = [
    "question",
    "query",
    "instructions",
    "answer_kind",
    "answer_form",
    "options",
    "image_count",
];
/// Names of answer kinds that a file may use. `choice` needs the task's options.
pub(crate) const KINDS: [&str; 10] = [
    "free_text",
    "integer",
    "number",
    "yes_no",
    "choice",
    "short_text",
    "date",
    "set",
    "expression",
    "program",
];

/// Variables of templates inside of a repetition.
const ROUND_VARIABLES: [&str; 2] = ["round", "previous"];
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const MAX_TIMEOUT_MS: u64 = 600_000;

/// Step names are variables of templates.
pub(crate) fn check_step_name(name: &str, place: &Place<'_>) -> Result<(), SkillError> {
    let shaped = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !shaped {
        return Err(place.invalid(
            "a step's name has 1 to 64 lower-case letters, digits and '_' and begins with a letter",
        ));
    }
    if VARIABLES.contains(&name) || ROUND_VARIABLES.contains(&name) {
        return Err(place.invalid("this name is taken by a variable of templates"));
    }
    Ok(())
}

/// What is wrong with a skill, in the order in which it was found. Steps are checked inside of each
/// other, so that all of them add to one list.
#[derive(Debug, Default)]
pub(crate) struct Errors(RefCell<Vec<SkillError>>);

impl Errors {
    pub(crate) fn add(&self, error: SkillError) {
        self.0.borrow_mut().push(error);
    }

    /// The result, or nothing after its error was added.
    pub(crate) fn keep<T>(&self, result: Result<T, SkillError>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(crate) fn into_list(self) -> Vec<SkillError> {
        self.0.into_inner()
    }
}

/// Checks one step, or the answer: where it stands, and the steps it may refer to.
pub(crate) struct Checker<'a> {
    pub(crate) scope: &'a Scope<'a>,
    pub(crate) place: Place<'a>,
    /// What is wrong with steps inside of this one.
    pub(crate) errors: &'a Errors,
}

impl<'a> Checker<'a> {
    /// The step. What it waits for is not known yet: that depends on the steps beside it.
    pub(crate) fn step(&self, name: &'a str, raw: &'a StepFile) -> Result<Step, SkillError> {
        check_step_name(name, &self.place)?;
        let mut needs = BTreeSet::new();
        let action = self.action(name, raw, &mut needs)?;
        // Both are read before the step runs, and with it those inside of it.
        let scope = self.scope.beside(name, &inner_groups(raw));
        let before = Checker {
            scope: &scope,
            place: self.place.clone(),
            errors: self.errors,
        };
        let when = match &raw.when {
            Some(source) => Some(before.condition("when", source, &mut needs)?),
            None => None,
        };
        for earlier in &raw.after {
            before.need_step(&self.place.at("after"), earlier, &mut needs)?;
        }
        let timeout = match (raw.timeout_ms, action.groups_timeout()) {
            (Some(own), _) if !(1..=MAX_TIMEOUT_MS).contains(&own) => {
                let reason = format!("is {own}; must be 1 to {MAX_TIMEOUT_MS}");
                return Err(self.place.at("timeout_ms").invalid(reason));
            }
            (Some(own), _) => Duration::from_millis(own),
            (None, Some(inside)) => inside.min(Duration::from_millis(MAX_TIMEOUT_MS)),
            (None, None) => DEFAULT_TIMEOUT,
        };
        Ok(Step {
            name: name.to_owned(),
            action,
            when,
            optional: raw.optional,
            timeout,
            needs: BTreeSet::new(),
            reads: needs,
        })
    }

    fn action(
        &self,
        name: &'a str,
        raw: &'a StepFile,
        needs: &mut BTreeSet<String>,
    ) -> Result<Action, SkillError> {
        let mut actions = Vec::new();
        if let Some(ask) = &raw.ask {
            actions.push(Action::Ask(self.ask("ask", ask, needs)?));
        }
        if let Some(call) = &raw.expert {
            actions.push(Action::Expert(self.service("expert", call, needs)?));
        }
        if let Some(call) = &raw.helper {
            actions.push(Action::Helper(self.service("helper", call, needs)?));
        }
        if let Some(image) = &raw.image {
            actions.push(Action::Image(self.image(image, needs)?));
        }
        if let Some(tool) = &raw.tool {
            actions.push(Action::Tool(self.tool(tool, needs)?));
        }
        if let Some(extract) = &raw.extract {
            let kind = self.kind("extract.kind", extract.kind.as_deref())?;
            let from = self.template("extract.from", &extract.from, needs)?;
            actions.push(Action::Extract(Extract { from, kind }));
        }
        if let Some(run) = &raw.run {
            let code = self.template("run.code", &run.code, needs)?;
            let stdin = match &run.stdin {
                Some(source) => Some(self.template("run.stdin", source, needs)?),
                None => None,
            };
            actions.push(Action::Run(RunCode { code, stdin }));
        }
        if let Some(tile) = &raw.tile {
            actions.push(Action::Tile(self.tile(tile, needs)?));
        }
        if let Some(classify) = &raw.classify {
            actions.push(Action::Classify(self.classify(classify, needs)?));
        }
        if let Some(cases) = &raw.branch {
            actions.push(Action::Branch(self.branch(name, cases, needs)?));
        }
        if let Some(repeat) = &raw.repeat {
            actions.push(Action::Repeat(self.repeat(name, repeat, needs)?));
        }
        match (actions.pop(), actions.is_empty()) {
            (Some(action), true) => Ok(action),
            _ => Err(self
                .place
                .invalid(format!("needs exactly one of {}", ACTIONS.join(", ")))),
        }
    }

    fn tool(&self, raw: &ToolFile, needs: &mut BTreeSet<String>) -> Result<ToolCall, SkillError> {
        let place = self.place.at("tool.name");
        let tool: Tool = raw.name.parse().map_err(|()| SkillError::UnknownTool {
            file: place.file.to_owned(),
            line: place.line,
            field: place.field.clone(),
            tool: raw.name.clone(),
            known: Tool::ALL.map(Tool::name).join(", "),
        })?;
        let given: BTreeSet<&str> = raw.with.keys().map(String::as_str).collect();
        let wanted: BTreeSet<&str> = tool.arguments().iter().copied().collect();
        if given != wanted {
            let wanted = tool.arguments().join(", ");
            return Err(self
                .place
                .at("tool.with")
                .invalid(format!("{tool} takes exactly: {wanted}")));
        }
        let mut with = BTreeMap::new();
        for (name, value) in &raw.with {
            let argument = match value {
                Json::String(source) => Argument::Template(self.template(
                    &format!("tool.with.{name}"),
                    source,
                    needs,
                )?),
                literal => Argument::Literal(literal.clone()),
            };
            with.insert(name.clone(), argument);
        }
        Ok(ToolCall { tool, with })
    }

    pub(crate) fn answer(
        &self,
        raw: &AnswerFile,
    ) -> Result<(AnswerSpec, BTreeSet<String>), SkillError> {
        let mut needs = BTreeSet::new();
        let mut optional = |field: &str, source: &Option<String>| match source {
            Some(source) => self.template(field, source, &mut needs).map(Some),
            None => Ok(None),
        };
        let from = optional("from", &raw.from)?;
        let confidence = optional("confidence", &raw.confidence)?;
        let text = self.template("text", &raw.text, &mut needs)?;
        let kind = self.kind("kind", raw.kind.as_deref())?;
        Ok((
            AnswerSpec {
                text,
                from,
                kind,
                confidence,
            },
            needs,
        ))
    }

    fn kind(&self, field: &str, kind: Option<&str>) -> Result<Option<String>, SkillError> {
        check_kind(&self.place.at(field), kind.unwrap_or(KINDS[0]))?;
        Ok(kind.map(str::to_owned))
    }

    fn template(
        &self,
        field: &str,
        source: &str,
        needs: &mut BTreeSet<String>,
    ) -> Result<Template, SkillError> {
        let place = self.place.at(field);
        let template = Template::parse(source).map_err(|e| place.invalid(e.to_string()))?;
        self.refer(&place, &template, needs)?;
        Ok(template)
    }

    fn condition(
        &self,
        field: &str,
        source: &str,
        needs: &mut BTreeSet<String>,
    ) -> Result<Template, SkillError> {
        let place = self.place.at(field);
        let condition =
            Template::parse_expression(source).map_err(|e| place.invalid(e.to_string()))?;
        self.refer(&place, &condition, needs)?;
        Ok(condition)
    }

    /// Notes the steps that a template reads.
    fn refer(
        &self,
        place: &Place<'_>,
        template: &Template,
        needs: &mut BTreeSet<String>,
    ) -> Result<(), SkillError> {
        for name in template.names() {
            if VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let Some(round) = self.scope.round() else {
                self.need_step(place, name, needs)?;
                continue;
            };
            if !ROUND_VARIABLES.contains(&name.as_str()) {
                self.need_step(place, name, needs)?;
            }
            let unknown = template
                .members("previous")
                .find(|step| !round.contains(step));
            if let Some(step) = unknown {
                return Err(unknown_reference(place, &format!("previous.{step}")));
            }
        }
        Ok(())
    }

    fn need_step(
        &self,
        place: &Place<'_>,
        name: &str,
        needs: &mut BTreeSet<String>,
    ) -> Result<(), SkillError> {
        if !self.scope.sees(name) {
            return Err(unknown_reference(place, name));
        }
        needs.insert(name.to_owned());
        Ok(())
    }
}

fn unknown_reference(place: &Place<'_>, name: &str) -> SkillError {
    SkillError::UnknownReference {
        file: place.file.to_owned(),
        line: place.line,
        field: place.field.clone(),
        reference: name.to_owned(),
    }
}

pub(crate) fn check_kind(place: &Place<'_>, kind: &str) -> Result<(), SkillError> {
    if KINDS.contains(&kind) {
        return Ok(());
    }
    Err(place.invalid(format!(
        "{kind:?} is no kind of answer; known: {}",
        KINDS.join(", ")
    )))
}

pub(crate) fn check_kinds(
    file: &str,
    field: &str,
    kinds: &[Spanned<String>],
) -> Result<BTreeSet<String>, SkillError> {
    let check = |kind: &Spanned<String>| {
        check_kind(
            &Place::new(file, kind.referenced.line(), field),
            &kind.value,
        )?;
        Ok(kind.value.clone())
    };
    kinds.iter().map(check).collect()
}

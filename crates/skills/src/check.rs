//! Checks the steps of a solver's file: ranges, references, tools, templates.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use regex::Regex;
use serde_json::Value as Json;
use serde_saphyr::Spanned;

use crate::{
    error::SkillError,
    format::{AnswerFile, AskFile, CropFile, ImageFile, ServiceFile, StepFile, ToolFile},
    solver::AnswerSpec,
    step::{
        Action, Argument, Ask, Crop, Example, Extract, ImageRef, ImageSelection, ImageStep,
        RunCode, ServiceCall, Step, Tool, ToolCall,
    },
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

const MAX_SAMPLES: u32 = 16;
const MAX_EXAMPLES: usize = 32;
const MAX_OUTPUT_TOKENS: u32 = 16_384;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const MAX_TIMEOUT_MS: u64 = 600_000;
const MAX_ZOOM: f32 = 16.0;

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
    if VARIABLES.contains(&name) {
        return Err(place.invalid("this name is taken by a variable of templates"));
    }
    Ok(())
}

/// Checks one step, or the answer: where it stands, and the steps it may refer to.
pub(crate) struct Checker<'a> {
    pub(crate) names: &'a BTreeSet<&'a str>,
    pub(crate) place: Place<'a>,
}

impl Checker<'_> {
    pub(crate) fn step(&self, name: &str, raw: &StepFile) -> Result<Step, SkillError> {
        let mut needs = BTreeSet::new();
        let action = self.action(raw, &mut needs)?;
        let when = match &raw.when {
            Some(source) => {
                let place = self.place.at("when");
                let parsed =
                    Template::parse_expression(source).map_err(|e| place.invalid(e.to_string()))?;
                self.refer(&place, parsed.names(), &mut needs)?;
                Some(parsed)
            }
            None => None,
        };
        for earlier in &raw.after {
            self.need_step(&self.place.at("after"), earlier, &mut needs)?;
        }
        let timeout_ms = raw.timeout_ms.unwrap_or(DEFAULT_TIMEOUT.as_millis() as u64);
        if !(1..=MAX_TIMEOUT_MS).contains(&timeout_ms) {
            let reason = format!("is {timeout_ms}; must be 1 to {MAX_TIMEOUT_MS}");
            return Err(self.place.at("timeout_ms").invalid(reason));
        }
        Ok(Step {
            name: name.to_owned(),
            action,
            when,
            optional: raw.optional,
            timeout: Duration::from_millis(timeout_ms),
            needs,
        })
    }

    fn action(&self, raw: &StepFile, needs: &mut BTreeSet<String>) -> Result<Action, SkillError> {
        let mut actions = Vec::new();
        if let Some(ask) = &raw.ask {
            actions.push(Action::Ask(self.ask(ask, needs)?));
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
        match (actions.pop(), actions.is_empty()) {
            (Some(action), true) => Ok(action),
            _ => Err(self
                .place
                .invalid("needs exactly one of ask, expert, helper, image, tool, extract, run")),
        }
    }

    fn ask(&self, raw: &AskFile, needs: &mut BTreeSet<String>) -> Result<Ask, SkillError> {
        let range = |field: &str, value: u32, most: u32| {
            if (1..=most).contains(&value) {
                return Ok(value);
            }
            let place = self.place.at("ask").at(field);
            Err(place.invalid(format!("is {value}; must be 1 to {most}")))
        };
        if !(0.0..=2.0).contains(&raw.temperature) {
            return Err(self.place.at("ask.temperature").invalid("must be 0 to 2"));
        }
        if raw.stop.len() > 4 || raw.stop.iter().any(String::is_empty) {
            return Err(self
                .place
                .at("ask.stop")
                .invalid("at most 4 texts, none empty"));
        }
        let blank = |text: &String| text.trim().is_empty();
        if raw.examples.len() > MAX_EXAMPLES
            || raw
                .examples
                .iter()
                .any(|example| blank(&example.user) || blank(&example.assistant))
        {
            return Err(self
                .place
                .at("ask.examples")
                .invalid(format!("at most {MAX_EXAMPLES}, with both texts")));
        }
        let expect = raw.expect.as_deref().map(Regex::new).transpose();
        Ok(Ask {
            system: match &raw.system {
                Some(source) => Some(self.template("ask.system", source, needs)?),
                None => None,
            },
            examples: raw
                .examples
                .iter()
                .map(|example| Example {
                    user: example.user.clone(),
                    assistant: example.assistant.clone(),
                })
                .collect(),
            prompt: self.template("ask.prompt", &raw.prompt, needs)?,
            images: match &raw.images {
                Some(images) => self.images("ask.images", &images.0, needs)?,
                None => ImageSelection::All,
            },
            max_output_tokens: range(
                "max_output_tokens",
                raw.max_output_tokens,
                MAX_OUTPUT_TOKENS,
            )?,
            temperature: raw.temperature,
            stop: raw.stop.clone(),
            samples: range("samples", raw.samples, MAX_SAMPLES)?,
            expect: expect.map_err(|e| self.place.at("ask.expect").invalid(e.to_string()))?,
        })
    }

    fn service(
        &self,
        key: &str,
        raw: &ServiceFile,
        needs: &mut BTreeSet<String>,
    ) -> Result<ServiceCall, SkillError> {
        Ok(ServiceCall {
            capability: raw.capability.clone(),
            operation: raw.operation.clone(),
            text: match &raw.text {
                Some(source) => Some(self.template(&format!("{key}.text"), source, needs)?),
                None => None,
            },
            images: match &raw.images {
                Some(images) => self.images(&format!("{key}.images"), &images.0, needs)?,
                None => ImageSelection::These(vec![ImageRef::Task(0)]),
            },
        })
    }

    fn image(
        &self,
        raw: &ImageFile,
        needs: &mut BTreeSet<String>,
    ) -> Result<ImageStep, SkillError> {
        if !(raw.zoom > 0.0 && raw.zoom <= MAX_ZOOM) {
            let reason = format!("must be more than 0 and at most {MAX_ZOOM}");
            return Err(self.place.at("image.zoom").invalid(reason));
        }
        if let ImageRef::Step(name) = &raw.of {
            self.need_step(&self.place.at("image.of"), name, needs)?;
        }
        let crop = match &raw.crop {
            Some(CropFile {
                bounds,
                unit,
                margin,
            }) => {
                if !(0.0..=10.0).contains(margin) {
                    return Err(self
                        .place
                        .at("image.crop.margin")
                        .invalid("must be 0 to 10"));
                }
                let bounds = self.template("image.crop.bounds", bounds, needs)?;
                Some(Crop {
                    bounds,
                    unit: *unit,
                    margin: *margin,
                })
            }
            None => None,
        };
        let erase = match &raw.erase {
            Some(colour) => Some(self.template("image.erase", colour, needs)?),
            None => None,
        };
        Ok(ImageStep {
            of: raw.of.clone(),
            crop,
            erase,
            zoom: raw.zoom,
        })
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

    fn images(
        &self,
        field: &str,
        images: &ImageSelection,
        needs: &mut BTreeSet<String>,
    ) -> Result<ImageSelection, SkillError> {
        for name in images.steps() {
            self.need_step(&self.place.at(field), name, needs)?;
        }
        Ok(images.clone())
    }

    fn template(
        &self,
        field: &str,
        source: &str,
        needs: &mut BTreeSet<String>,
    ) -> Result<Template, SkillError> {
        let place = self.place.at(field);
        let template = Template::parse(source).map_err(|e| place.invalid(e.to_string()))?;
        self.refer(&place, template.names(), needs)?;
        Ok(template)
    }

    fn refer(
        &self,
        place: &Place<'_>,
        names: &BTreeSet<String>,
        needs: &mut BTreeSet<String>,
    ) -> Result<(), SkillError> {
        for name in names
            .iter()
            .filter(|name| !VARIABLES.contains(&name.as_str()))
        {
            self.need_step(place, name, needs)?;
        }
        Ok(())
    }

    fn need_step(
        &self,
        place: &Place<'_>,
        name: &str,
        needs: &mut BTreeSet<String>,
    ) -> Result<(), SkillError> {
        if !self.names.contains(name) {
            return Err(SkillError::UnknownReference {
                file: place.file.to_owned(),
                line: place.line,
                field: place.field.clone(),
                reference: name.to_owned(),
            });
        }
        needs.insert(name.to_owned());
        Ok(())
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

//! One step of a workflow: what it asks, calls, cuts, calculates or reads.

use std::collections::BTreeMap;

use futures::future;
use maestro_core::{
    Capability, Digest,
    episode::{Failure, FailureKind},
    expert_call::{ExpertReply, Generation, Message, Role},
    registry::Modality,
};
use maestro_skills::{
    Action, Argument, Ask, Extract, ImageRef, ImageSelection, ImageStep, RunCode, ServiceCall,
    Step, Template, TemplateError, ToolCall,
};
use serde_json::{Map, Value as Json, json};

use super::{
    calls::Request,
    erase,
    execute::{Execution, json_text},
    images::{self, CropBox},
    reply::{StepOutput, note, service_output},
    run_code,
    text::{named_kind, spoken},
    vote::vote,
};
use crate::toolbox;

/// Capability of a question in words.
const CHAT: &str = "chat";

pub(crate) fn template_failure(error: &TemplateError) -> Failure {
    Failure::new(FailureKind::SkillFailed, format!("template: {error}"))
}

fn skill_failure(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::SkillFailed, message)
}

/// One step under way.
pub(crate) struct Scope<'a> {
    pub(crate) execution: &'a Execution<'a>,
    pub(crate) step: &'a Step,
    /// What its templates see.
    pub(crate) context: Map<String, Json>,
    /// Images that earlier steps made.
    pub(crate) made: BTreeMap<String, Digest>,
}

impl Scope<'_> {
    /// Does it.
    pub(crate) async fn action(&self) -> Result<StepOutput, Failure> {
        match &self.step.action {
            Action::Ask(ask) => self.ask(ask).await,
            Action::Expert(call) => {
                let request = self.service_request(call)?;
                Ok(service_output(
                    &self.execution.caller.expert_call(request).await?,
                ))
            }
            Action::Helper(call) => {
                let request = self.service_request(call)?;
                Ok(service_output(
                    &self.execution.caller.helper_call(request).await?,
                ))
            }
            Action::Image(image) => self.image(image).await,
            Action::Tool(call) => self.tool(call),
            Action::Extract(extract) => self.extract(extract),
            Action::Run(code) => self.run_code(code).await,
        }
    }

    async fn run_code(&self, step: &RunCode) -> Result<StepOutput, Failure> {
        let code = self.render(&step.code)?;
        let stdin = match &step.stdin {
            Some(stdin) => self.render(stdin)?,
            None => String::new(),
        };
        run_code::run(self.execution.sandbox, code, stdin, self.step.timeout).await
    }

    async fn ask(&self, ask: &Ask) -> Result<StepOutput, Failure> {
        let message = |role, text| Message { role, text };
        let mut messages = Vec::with_capacity(2 + 2 * ask.examples.len());
        if let Some(system) = &ask.system {
            messages.push(message(Role::System, self.render(system)?));
        }
        for example in &ask.examples {
            messages.push(message(Role::User, example.user.clone()));
            messages.push(message(Role::Assistant, example.assistant.clone()));
        }
        messages.push(message(Role::User, self.render(&ask.prompt)?));
        messages.retain(|message| !message.text.trim().is_empty());
        let images = self.chat_images(&ask.images)?;
        let chat = Capability::new(CHAT).map_err(|error| skill_failure(error.to_string()))?;
        let calls = (0..ask.samples).map(|sample| {
            self.execution.caller.expert_call(Request {
                capability: chat.clone(),
                operation: String::new(),
                messages: messages.clone(),
                images: images.clone(),
                generation: Generation {
                    max_output_tokens: ask.max_output_tokens,
                    temperature: ask.temperature,
                    stop: ask.stop.clone(),
                    // Several samples must differ; a single one needs no seed.
                    seed: (ask.samples > 1).then_some(u64::from(sample)),
                    log_probs: false,
                },
                path: self.path(),
                sample,
                timeout: self.step.timeout,
            })
        });
        self.ask_output(ask, future::join_all(calls).await)
    }

    /// The replies that came and have the expected form. Without any the step fails.
    fn ask_output(
        &self,
        ask: &Ask,
        replies: Vec<Result<ExpertReply, Failure>>,
    ) -> Result<StepOutput, Failure> {
        let mut texts = Vec::new();
        let mut values = Vec::new();
        let mut finish_reason = String::new();
        let mut last = skill_failure("the reply has not the expected form");
        for reply in replies {
            let reply = match reply {
                Ok(reply) => reply,
                Err(failure) => {
                    last = failure;
                    continue;
                }
            };
            let text = spoken(&reply.text);
            let value = match &ask.expect {
                None => Some(text.clone()),
                Some(form) => form.captures(&text).and_then(|found| {
                    found
                        .get(1)
                        .or_else(|| found.get(0))
                        .map(|part| part.as_str().trim().to_owned())
                }),
            };
            if let Some(value) = value {
                texts.push(text);
                values.push(value);
                finish_reason = reply.finish_reason;
            }
        }
        let (Some(text), Some(value)) = (texts.first(), values.first()) else {
            return Err(last);
        };
        let value = json!({
            "text": text, "value": value, "texts": texts, "values": values,
            "finish_reason": finish_reason,
        });
        Ok(StepOutput {
            value,
            ..StepOutput::default()
        })
    }

    fn service_request(&self, call: &ServiceCall) -> Result<Request, Failure> {
        let messages = match &call.text {
            Some(text) => vec![Message {
                role: Role::User,
                text: self.render(text)?,
            }],
            None => Vec::new(),
        };
        Ok(Request {
            capability: call.capability.clone(),
            operation: call.operation.clone(),
            messages,
            images: self.images(&call.images)?,
            generation: Generation {
                max_output_tokens: 0,
                ..Generation::default()
            },
            path: self.path(),
            sample: 0,
            timeout: self.step.timeout,
        })
    }

    async fn image(&self, spec: &ImageStep) -> Result<StepOutput, Failure> {
        let Some(source) = self.image_ref(&spec.of)? else {
            return Err(skill_failure("the image it starts from was not made"));
        };
        let crop = match &spec.crop {
            Some(crop) => Some(CropBox {
                bounds: bounds(&self.value(&crop.bounds)?)?,
                unit: crop.unit,
                margin: crop.margin,
            }),
            None => None,
        };
        let erase = match &spec.erase {
            Some(colours) => erase::colours(&self.render(colours)?)
                .ok_or_else(|| skill_failure("a colour to erase is not of the form #rrggbb"))?,
            None => Vec::new(),
        };
        let blobs = self.execution.blobs;
        let blob_failure = |error: maestro_core::CoreError| {
            skill_failure(format!("image {}: {error}", source.short()))
        };
        let content = blobs.get(&source).await.map_err(blob_failure)?;
        let zoom = spec.zoom;
        let cut =
            tokio::task::spawn_blocking(move || images::cut(&content, crop.as_ref(), &erase, zoom));
        let (png, part, [width, height]) = cut
            .await
            .map_err(|error| skill_failure(error.to_string()))??;
        let digest = blobs.put(png).await.map_err(blob_failure)?;
        let text = format!(
            "{}x{} at {},{}, shown as {width}x{height}",
            part.width, part.height, part.left, part.top
        );
        let mut evidence = note("crop", text);
        evidence.image = Some(digest);
        let bounds = [
            part.left,
            part.top,
            part.left + part.width,
            part.top + part.height,
        ];
        let value = json!({ "width": width, "height": height, "bounds": bounds });
        Ok(StepOutput {
            value,
            image: Some(digest),
            evidence: vec![evidence],
        })
    }

    fn tool(&self, call: &ToolCall) -> Result<StepOutput, Failure> {
        let mut arguments = Map::new();
        for (name, argument) in &call.with {
            let value = match argument {
                Argument::Literal(value) => value.clone(),
                Argument::Template(template) => self.value(template)?,
            };
            arguments.insert(name.clone(), value);
        }
        toolbox::run(call.tool, &arguments)
    }

    fn extract(&self, extract: &Extract) -> Result<StepOutput, Failure> {
        let wanted = &self.execution.run.answer_kind;
        let kind = extract
            .kind
            .as_deref()
            .map_or(wanted.clone(), |kind| named_kind(kind, wanted));
        let texts = match self.value(&extract.from)? {
            Json::Array(texts) => texts.iter().map(json_text).collect(),
            other => vec![json_text(&other)],
        };
        let Some(won) = vote(&kind, &texts, toolbox::extract) else {
            return Err(skill_failure(format!(
                "no answer of the kind {} in the text",
                kind.name()
            )));
        };
        let value = json!({
            "value": won.value, "confidence": won.confidence, "votes": won.votes,
            "of": texts.len(),
        });
        Ok(StepOutput {
            value,
            ..StepOutput::default()
        })
    }

    fn path(&self) -> String {
        format!("{}/{}", self.execution.solver.name, self.step.name)
    }

    fn render(&self, template: &Template) -> Result<String, Failure> {
        let text = template
            .render(&self.context)
            .map_err(|error| template_failure(&error))?;
        Ok(text.trim().to_owned())
    }

    fn value(&self, template: &Template) -> Result<Json, Failure> {
        template
            .value(&self.context)
            .map_err(|error| template_failure(&error))
    }

    /// Images of a question; where it says `all`, an expert that reads none gets none.
    fn chat_images(&self, selection: &ImageSelection) -> Result<Vec<Digest>, Failure> {
        let sees = self
            .execution
            .caller
            .expert()
            .modalities
            .contains(&Modality::Image);
        match selection {
            ImageSelection::All if !sees => Ok(Vec::new()),
            _ => self.images(selection),
        }
    }

    fn images(&self, selection: &ImageSelection) -> Result<Vec<Digest>, Failure> {
        match selection {
            ImageSelection::All => Ok(self
                .execution
                .run
                .images
                .iter()
                .map(|image| image.digest)
                .collect()),
            ImageSelection::These(refs) => refs
                .iter()
                .filter_map(|image| self.image_ref(image).transpose())
                .collect(),
        }
    }

    /// The image; none where the step that would make it was skipped.
    fn image_ref(&self, image: &ImageRef) -> Result<Option<Digest>, Failure> {
        match image {
            ImageRef::Task(index) => {
                let image = self.execution.run.images.get(*index);
                let missing = || skill_failure(format!("the task has no image {index}"));
                image.map(|image| Some(image.digest)).ok_or_else(missing)
            }
            ImageRef::Step(name) => Ok(self.made.get(name).copied()),
        }
    }
}

/// Four numbers, as a list or as text separated by commas.
fn bounds(value: &Json) -> Result<[f64; 4], Failure> {
    let numbers: Option<Vec<f64>> = match value {
        Json::Array(items) => items.iter().map(Json::as_f64).collect(),
        Json::String(text) => text
            .trim_matches(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '(' | ')'))
            .split(',')
            .map(|part| part.trim().parse().ok())
            .collect(),
        _ => None,
    };
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| skill_failure("the bounds of a crop are not four numbers"))
}

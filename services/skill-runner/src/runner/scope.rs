//! One step of a workflow: what it asks, calls, cuts, calculates or reads.

use maestro_core::{
    episode::{Failure, FailureKind},
    expert_call::{ExpertReply, Generation, Message, Role},
};
use maestro_skills::{
    Action, Argument, Extract, RunCode, ServiceCall, Step, Template, TemplateError, ToolCall,
};
use serde_json::{Map, Value as Json, json};

use super::{
    calls::Request,
    execute::{Around, Execution, json_text},
    reply::{StepOutput, service_output},
    run_code,
    text::named_kind,
    vote::vote,
};
use crate::toolbox;

pub(crate) fn template_failure(error: &TemplateError) -> Failure {
    Failure::new(FailureKind::SkillFailed, format!("template: {error}"))
}

pub(super) fn skill_failure(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::SkillFailed, message)
}

/// The text of a template without blanks around it.
pub(super) fn render(template: &Template, context: &Map<String, Json>) -> Result<String, Failure> {
    let text = template.render(context);
    let text = text.map_err(|error| template_failure(&error))?;
    Ok(text.trim().to_owned())
}

/// One step under way.
pub(crate) struct Scope<'a> {
    pub(crate) execution: &'a Execution<'a>,
    pub(crate) step: &'a Step,
    /// What it finds around it.
    pub(super) around: Around,
}

/// Who takes a call to a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callee {
    /// The pair's expert.
    Own,
    /// Any serving expert.
    Helper,
}

impl Scope<'_> {
    /// Does it.
    pub(crate) async fn action(&self) -> Result<StepOutput, Failure> {
        match &self.step.action {
            Action::Ask(ask) => self.ask(ask).await,
            Action::Expert(call) => self.service(call, Callee::Own).await,
            Action::Helper(call) => self.service(call, Callee::Helper).await,
            Action::Image(image) => self.image(image).await,
            Action::Tool(call) => self.tool(call),
            Action::Extract(extract) => self.extract(extract),
            Action::Run(code) => self.run_code(code).await,
            Action::Tile(tile) => self.tile(tile).await,
            Action::Classify(classify) => self.classify(classify).await,
            // These are not done in a scope of their own.
            Action::Branch(_) | Action::Repeat(_) => Err(skill_failure("holds steps")),
        }
    }

    async fn service(&self, call: &ServiceCall, callee: Callee) -> Result<StepOutput, Failure> {
        if call.each {
            return self.each(call, callee).await;
        }
        let request = self.service_request(call)?;
        Ok(service_output(&self.call(callee, request).await?))
    }

    pub(super) async fn call(
        &self,
        callee: Callee,
        request: Request,
    ) -> Result<ExpertReply, Failure> {
        match callee {
            Callee::Own => self.execution.caller.expert_call(request).await,
            Callee::Helper => self.execution.caller.helper_call(request).await,
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

    pub(super) fn service_request(&self, call: &ServiceCall) -> Result<Request, Failure> {
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
            images: self.digests(&call.images)?,
            generation: Generation {
                max_output_tokens: 0,
                ..Generation::default()
            },
            path: self.path(),
            sample: 0,
            timeout: self.step.timeout,
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
            "of": texts.len(), "agreement": won.votes as f32 / texts.len() as f32,
        });
        Ok(StepOutput {
            value,
            ..StepOutput::default()
        })
    }

    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.around.path, self.step.name)
    }

    pub(super) fn render(&self, template: &Template) -> Result<String, Failure> {
        render(template, &self.around.context)
    }

    pub(super) fn value(&self, template: &Template) -> Result<Json, Failure> {
        template
            .value(&self.around.context)
            .map_err(|error| template_failure(&error))
    }
}

//! The effects of an episode, carried out over the ports.

use std::sync::Arc;

use maestro_core::{
    answer::{
        AnswerKind, ExtractedAnswer,
        extract::{Form, extract},
    },
    episode::{
        Action, EpisodeSpec, Failure, FailureKind, Invocation, MAX_OBSERVATION_CHARS, Observation,
        clip_middle,
    },
    expert_call::{ExpertCall, ExpertReply, Generation, Message, Role},
    ids::IdempotencyKey,
    ports::{Experts, Policy, Skills},
    quote,
    registry::{Candidate, Snapshot},
    skill_run::SkillRun,
    task::Pair,
};
use maestro_telemetry::{Histogram, Label, Span, SpanKind};
use tokio::sync::watch;

use super::deciding::PolicyHealth;
use crate::{config::EpisodeConfig, creations::Creations, journal::Journals};

/// Confidence of a text whose expert says nothing of its own.
const UNKNOWN_CONFIDENCE: f32 = 0.5;

/// Everything outside that an episode needs.
pub(crate) struct World {
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) policy_health: PolicyHealth,
    pub(crate) skills: Arc<dyn Skills>,
    pub(crate) experts: Arc<dyn Experts>,
    pub(crate) journals: Journals,
    pub(crate) creations: Creations,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(crate) config: EpisodeConfig,
}

impl World {
    /// The registry as this process sees it now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Makes the call. Dropping the future cancels it, down to the expert.
    pub(crate) async fn invoke(&self, spec: &EpisodeSpec, invocation: &Invocation) -> Observation {
        let snapshot = self.snapshot();
        let candidate = match resolve(&snapshot, &invocation.pair) {
            Ok(candidate) => candidate,
            Err(failure) => return Observation::failed(failure),
        };
        let started = std::time::Instant::now();
        let mut span = Span::begin(
            SpanKind::Internal,
            format!("skill {}", candidate.skill.name),
        );
        span.set("gen_ai.operation.name", "execute_tool");
        span.set("gen_ai.tool.name", candidate.skill.name.to_string());
        span.set("maestro.skill", candidate.skill.name.to_string());
        span.set("maestro.expert", invocation.pair.expert.to_string());
        let observation = if candidate.skill.direct {
            span.scope(self.ask_directly(spec, invocation, &candidate))
                .await
        } else {
            let run = SkillRun {
                episode: spec.id.clone(),
                step: invocation.step,
                pair: invocation.pair.clone(),
                skill_digest: candidate.skill.bundle,
                question: spec.task.question.clone(),
                query: invocation.query.clone(),
                images: spec.task.images.clone(),
                answer_kind: spec.task.answer_kind.clone(),
                max_cost: invocation.max_cost,
                deadline: invocation.deadline,
                instance: invocation.instance.clone(),
            };
            span.scope(self.skills.run(run))
                .await
                .unwrap_or_else(|failure| Observation::cut_off(failure, invocation.max_cost))
        };
        let outcome = observation
            .failure
            .as_ref()
            .map_or("ok", |failure| failure.kind.name());
        if let Some(failure) = &observation.failure {
            span.fail(failure.kind.name());
        }
        Histogram::SkillDuration.record_duration(
            started.elapsed(),
            &[
                Label::Skill(candidate.skill.name.as_str()),
                Label::Outcome(outcome),
            ],
        );
        observation
    }

    async fn ask_directly(
        &self,
        spec: &EpisodeSpec,
        invocation: &Invocation,
        candidate: &Candidate<'_>,
    ) -> Observation {
        let Some(capability) = candidate.skill.requires.iter().next().cloned() else {
            let message = format!(
                "direct skill {} requires no capability",
                candidate.skill.name
            );
            return Observation::failed(Failure::new(FailureKind::SkillFailed, message));
        };
        let question = if invocation.query.is_empty() {
            &spec.task.question
        } else {
            &invocation.query
        };
        let bounds = &candidate.skill.bounds;
        let limit = candidate.expert.limits.max_output_tokens;
        let once = quote::call_bound(candidate.expert, bounds);
        let covers_two = match (invocation.max_cost, once) {
            (None, _) => true,
            (Some(limit), Some(once)) => once.times(2) <= limit,
            (Some(_), None) => false,
        };
        let hedges = candidate.skill.hedge && covers_two;
        let call = ExpertCall {
            expert: invocation.pair.expert.clone(),
            capability,
            operation: String::new(),
            messages: vec![Message {
                role: Role::User,
                text: question.clone(),
            }],
            images: spec.task.images.iter().map(|image| image.digest).collect(),
            generation: Generation {
                max_output_tokens: if bounds.output_tokens == 0 {
                    limit
                } else {
                    bounds.output_tokens.min(limit)
                },
                ..Generation::default()
            },
            key: IdempotencyKey::step(spec.id.clone(), invocation.step),
            deadline: invocation.deadline,
            instance: invocation.instance.clone(),
            hedge: hedges,
        };
        let mut reply = match self.experts.invoke(call).await {
            Ok(reply) => reply,
            Err(failure) => return Observation::cut_off(failure, invocation.max_cost),
        };
        if let (Some(_), Some(once)) = (invocation.max_cost, once) {
            // What an attempt that lost has cost is not known; it counts as spent.
            let lost = u64::from(reply.usage.calls.saturating_sub(1));
            reply.usage.cost = reply.usage.cost + once.times(lost);
        }
        Observation {
            answer: answer_of(&spec.task.answer_kind, &reply),
            text: clip_middle(&reply.text, MAX_OBSERVATION_CHARS),
            skill_digest: Some(candidate.skill.bundle),
            instance: reply.instance,
            usage: reply.usage,
            ..Observation::default()
        }
    }
}

pub(super) fn resolve<'a>(snapshot: &'a Snapshot, pair: &Pair) -> Result<Candidate<'a>, Failure> {
    snapshot.resolve(pair).map_err(|error| {
        use maestro_core::registry::Unreachable as U;
        let kind = match error {
            U::UnknownExpert(_) | U::UnknownSkill(_) | U::Incompatible { .. } => {
                FailureKind::NotInActionSet
            }
            U::NotServing(_) | U::MissingHelper(_) => FailureKind::Unavailable,
        };
        Failure::new(kind, error.to_string())
    })
}

/// The answer of a plain reply: a finding as it is, else what the text claims in the form that was
/// asked for; none if it holds no such answer or claims several. The confidence is the mean
/// probability of the tokens, where the expert reports them, and at most how clearly the text
/// claims it.
fn answer_of(kind: &AnswerKind, reply: &ExpertReply) -> Option<ExtractedAnswer> {
    if let Some(finding) = reply.findings.first() {
        let value = finding.value.clone();
        return Some(ExtractedAnswer {
            value,
            confidence: finding.confidence,
        });
    }
    let found = extract(&reply.text, &Form::from(kind)).ok()?;
    let log_probs = &reply.token_log_probs;
    let confidence = if log_probs.is_empty() {
        UNKNOWN_CONFIDENCE
    } else {
        (log_probs.iter().sum::<f32>() / log_probs.len() as f32)
            .exp()
            .clamp(0.0, 1.0)
    };
    Some(ExtractedAnswer {
        value: found.value,
        confidence: confidence.min(found.confidence),
    })
}

pub(super) fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Invoke { .. } => "invoke",
        Action::Answer(_) => "answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str, token_log_probs: Vec<f32>) -> ExpertReply {
        ExpertReply {
            text: text.to_owned(),
            token_log_probs,
            ..ExpertReply::default()
        }
    }

    #[test]
    fn a_plain_reply_is_read_in_the_form_that_was_asked_for() {
        let found = answer_of(
            &AnswerKind::Integer,
            &reply("<think>4? 5?</think>There are 12 of them.", vec![]),
        )
        .unwrap();
        assert_eq!(found.value, "12");
        assert!(found.confidence <= UNKNOWN_CONFIDENCE);
        assert_eq!(
            answer_of(&AnswerKind::Integer, &reply("either 4 or 5", vec![])),
            None
        );
        assert_eq!(answer_of(&AnswerKind::FreeText, &reply("  ", vec![])), None);
    }

    #[test]
    fn confidence_follows_the_tokens_and_the_clearness_of_the_claim() {
        let sure = answer_of(&AnswerKind::Number, &reply("3.5", vec![-0.01, -0.01])).unwrap();
        let unsure = answer_of(&AnswerKind::Number, &reply("3.5", vec![-2.0, -0.01])).unwrap();
        assert!(sure.confidence > 0.8 && unsure.confidence < 0.5);
    }
}

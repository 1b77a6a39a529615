//! The choice of a solver: by words, by a look at the image, by asking the expert.

use std::time::Duration;

use maestro_core::{Digest, expert_call::Generation, registry::Modality, skill_run::SkillRun};
use maestro_skills::{Ask, Dispatched, Evidence, ImageProbe, ImageRef, ImageSelection, Skill};
use serde_json::{Map, Value as Json};

use super::{
    ask::{Question, heard},
    calls::{Caller, Request},
};

/// Longest time of each call before the choice of a solver.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Paths of the calls, for idempotency keys. They have one part, those of steps more.
const LOOK: &str = "dispatch";
const ASK: &str = "dispatch-question";

/// Chooses a solver, with a look at the image where words do not decide, and a question where
/// neither does. A call that fails says nothing.
pub(super) async fn dispatch(
    run: &SkillRun,
    skill: &Skill,
    caller: &Caller,
    variables: &Map<String, Json>,
) -> Dispatched {
    let rules = skill.dispatch();
    let query = variables
        .get("query")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let kind = &run.answer_kind;
    let seen = match (rules.probe(query, kind), run.images.first()) {
        (Some(probe), Some(image)) => look(caller, probe, image.digest).await,
        _ => None,
    };
    let choice = rules.choose(query, kind, seen.as_ref());
    let Some(ask) = rules.question(&choice) else {
        return choice;
    };
    let replies = ask_expert(run, skill, caller, ask, variables).await;
    let names: Vec<&str> = skill.solvers().iter().map(|s| s.name.as_str()).collect();
    rules.settle(choice, &names, &replies)
}

async fn look(caller: &Caller, probe: &ImageProbe, image: Digest) -> Option<Evidence> {
    let request = Request {
        capability: probe.capability.clone(),
        operation: probe.operation.clone(),
        messages: Vec::new(),
        images: vec![image],
        generation: Generation {
            max_output_tokens: 0,
            ..Generation::default()
        },
        path: LOOK.to_owned(),
        sample: 0,
        timeout: TIMEOUT,
    };
    let reply = if probe.own_expert {
        caller.expert_call(request).await
    } else {
        caller.helper_call(request).await
    };
    let found = reply.ok()?.findings.into_iter().next()?;
    Some(Evidence {
        kind: found.value,
        confidence: found.confidence,
    })
}

async fn ask_expert(
    run: &SkillRun,
    skill: &Skill,
    caller: &Caller,
    ask: &Ask,
    variables: &Map<String, Json>,
) -> Vec<String> {
    let question = Question {
        ask,
        more: &choices(skill),
        context: variables,
        images: images(run, caller, &ask.images),
        path: ASK.to_owned(),
        timeout: TIMEOUT,
    };
    let replies = question.put(caller).await.and_then(heard);
    replies.unwrap_or_else(|failure| {
        tracing::debug!(%failure, "the question about the solver failed");
        Vec::new()
    })
}

/// Tells the expert which solvers there are.
fn choices(skill: &Skill) -> String {
    let mut text = "\n\nReply with exactly one of these names:".to_owned();
    for solver in skill.solvers() {
        text.push_str(&format!("\n{}: {}", solver.name, solver.description));
    }
    text
}

/// Images of the task, as many of those wanted as there are.
fn images(run: &SkillRun, caller: &Caller, wanted: &ImageSelection) -> Vec<Digest> {
    if !caller.expert().modalities.contains(&Modality::Image) {
        return Vec::new();
    }
    let task: Vec<Digest> = run.images.iter().map(|image| image.digest).collect();
    match wanted {
        ImageSelection::All => task,
        ImageSelection::These(refs) => {
            let index = |image: &ImageRef| match image {
                ImageRef::Task(index) => task.get(*index).copied(),
                ImageRef::Step(_) => None,
            };
            refs.iter().filter_map(index).collect()
        }
    }
}

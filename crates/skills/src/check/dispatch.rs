//! Checks the rules by which a skill chooses a solver.

use std::collections::BTreeSet;

use serde_saphyr::Spanned;

use super::{Checker, Errors, Scope, check_kind, labels::MAX_WEIGHT};
use crate::{
    classify::named,
    dispatch::{Dispatch, ImageProbe, KeywordRule},
    error::SkillError,
    format::{AskFile, DispatchFile, ProbeFile, ProbeTarget, RuleFile},
    skill::HEADER_FILE,
    step::Ask,
    yaml::Place,
};

/// The rules of a skill with these solvers.
pub(crate) fn dispatch(
    file: Option<&Spanned<DispatchFile>>,
    solvers: &[&str],
    errors: &Errors,
) -> Dispatch {
    let Some(file) = file else {
        if solvers.len() > 1 {
            let place = Place::new(HEADER_FILE, 0, "dispatch");
            errors.add(place.invalid("a skill with several solvers needs dispatch rules"));
        }
        return Dispatch {
            default: solvers.first().map(|&only| only.to_owned()),
            ..Dispatch::default()
        };
    };
    let known = |solver: &str, line: u64, field: &str| {
        if !solvers.contains(&solver) {
            errors.add(SkillError::UnknownSolver {
                file: HEADER_FILE.to_owned(),
                line,
                field: field.to_owned(),
                solver: solver.to_owned(),
            });
        }
    };
    let DispatchFile {
        default,
        threshold,
        rules,
        image,
        ask,
    } = &file.value;
    let place = Place::new(HEADER_FILE, file.referenced.line(), "dispatch");
    errors.keep(finite(&place.at("threshold"), [*threshold]));
    if let Some(default) = default {
        known(default, place.line, "dispatch.default");
    }
    let mut parsed = Vec::with_capacity(rules.len());
    for rule in rules {
        let place = Place::new(HEADER_FILE, rule.referenced.line(), "dispatch.rules");
        known(&rule.value.solver, place.line, "dispatch.rules.solver");
        parsed.extend(errors.keep(keyword_rule(&place, &rule.value)));
    }
    if let Some(probe) = image {
        let line = probe.referenced.line();
        for solver in probe.value.kinds.values().flatten() {
            known(solver, line, "dispatch.image.kinds");
        }
        let weights = [probe.value.weight, probe.value.decisive];
        let place = Place::new(HEADER_FILE, line, "dispatch.image.weight");
        errors.keep(finite(&place, weights));
    }
    Dispatch {
        default: default.clone(),
        threshold: *threshold,
        rules: parsed,
        image: image.as_ref().map(|probe| image_probe(&probe.value)),
        ask: ask
            .as_ref()
            .and_then(|ask| errors.keep(question(ask, solvers, errors))),
    }
}

/// A question whose replies name solvers.
fn question(ask: &Spanned<AskFile>, solvers: &[&str], errors: &Errors) -> Result<Ask, SkillError> {
    let place = Place::new(HEADER_FILE, ask.referenced.line(), "dispatch");
    if ask.value.expect.is_some() {
        let place = place.at("ask.expect");
        return Err(place.invalid("the solvers' names are what is expected"));
    }
    if let Some(name) = solvers
        .iter()
        .find(|name| named(name, solvers) != Some(**name))
    {
        let reason = format!("the solver {name:?} cannot be told from another by its words");
        return Err(place.at("ask").invalid(reason));
    }
    // No step has run when it is asked.
    let scope = Scope::default();
    let checker = Checker {
        scope: &scope,
        place,
        errors,
    };
    checker.ask("ask", &ask.value, &mut BTreeSet::new())
}

fn keyword_rule(place: &Place<'_>, rule: &RuleFile) -> Result<KeywordRule, SkillError> {
    finite(&place.at("keywords"), rule.keywords.values().copied())?;
    finite(
        &place.at("answer_kinds"),
        rule.answer_kinds.values().copied(),
    )?;
    if rule
        .keywords
        .keys()
        .any(|term| term.split_whitespace().all(|word| word == "*"))
    {
        return Err(place
            .at("keywords")
            .invalid("a term needs letters or digits"));
    }
    for kind in rule.answer_kinds.keys() {
        check_kind(&place.at("answer_kinds"), kind)?;
    }
    Ok(KeywordRule {
        solver: rule.solver.clone(),
        priority: rule.priority,
        keywords: rule.keywords.clone(),
        answer_kinds: rule.answer_kinds.clone(),
    })
}

fn image_probe(probe: &ProbeFile) -> ImageProbe {
    ImageProbe {
        capability: probe.capability.clone(),
        operation: probe.operation.clone(),
        own_expert: probe.call == ProbeTarget::Expert,
        weight: probe.weight,
        decisive: probe.decisive,
        kinds: probe.kinds.clone(),
    }
}

fn finite(place: &Place<'_>, values: impl IntoIterator<Item = f32>) -> Result<(), SkillError> {
    if values
        .into_iter()
        .all(|value| value.is_finite() && value.abs() <= MAX_WEIGHT)
    {
        return Ok(());
    }
    Err(place.invalid("weights are -1000 to 1000"))
}

//! Checks groups of steps: those of a workflow, of the cases of a branch, of a repetition.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use super::{
    Checker, Errors, Scope,
    scope::{inner_groups, walk},
};
use crate::{
    error::SkillError,
    format::{CaseFile, RepeatFile, StepFile, StepsFile},
    graph,
    step::{Branch, Case, Group, Repeat, Step},
    yaml::Place,
};

const MAX_STEPS: usize = 64;
/// Deepest group of steps; those of the workflow itself are the first.
const MAX_DEPTH: usize = 4;
const MAX_CASES: usize = 16;
const MAX_ROUNDS: u32 = 8;

/// Checks what holds for all steps of a workflow together: how many, how deep, named once.
pub(crate) fn all_steps(file: &str, steps: &StepsFile, errors: &Errors) -> BTreeMap<String, u64> {
    let place = Place::new(file, 1, "steps");
    let count = walk(steps).count();
    if count > MAX_STEPS {
        let error = place.invalid(format!("{count} steps; at most {MAX_STEPS}"));
        errors.add(error);
    }
    let mut lines = BTreeMap::new();
    names_once(file, steps, 1, &mut lines, errors);
    lines
}

fn names_once(
    file: &str,
    steps: &StepsFile,
    depth: usize,
    lines: &mut BTreeMap<String, u64>,
    errors: &Errors,
) {
    for (name, step) in steps {
        let line = step.referenced.line();
        let place = Place::new(file, line, format!("steps.{name}"));
        if lines.insert(name.clone(), line).is_some() {
            let error = place.invalid("another step has this name; all of a file must differ");
            errors.add(error);
        }
        let inside = inner_groups(&step.value);
        if depth == MAX_DEPTH && !inside.is_empty() {
            let error = place.invalid(format!("steps may stand {MAX_DEPTH} levels deep"));
            errors.add(error);
            continue;
        }
        for group in inside {
            names_once(file, group, depth + 1, lines, errors);
        }
    }
}

/// Checks the steps of one group, and puts them in order. Returns also the names outside of the
/// group that they refer to.
pub(crate) fn group<'a>(
    place: &Place<'a>,
    raw: &'a StepsFile,
    scope: &'a Scope<'a>,
    errors: &'a Errors,
) -> (Group, BTreeSet<String>) {
    let owners: BTreeMap<&str, &str> = raw
        .iter()
        .flat_map(|(name, step)| owned(name, &step.value))
        .collect();
    let mut steps = BTreeMap::new();
    let mut outside = BTreeSet::new();
    for (name, spec) in raw {
        let field = format!("{}.{name}", place.field);
        let checker = Checker {
            scope,
            place: Place::new(place.file, spec.referenced.line(), field),
            errors,
        };
        match checker.step(name, &spec.value) {
            Ok(step) => {
                let mut needs = BTreeSet::new();
                for read in &step.reads {
                    match owners.get(read.as_str()) {
                        // The value of a branch reads the steps inside of it.
                        Some(owner) if *owner == name && read != name => false,
                        Some(owner) => needs.insert((*owner).to_owned()),
                        None => outside.insert(read.clone()),
                    };
                }
                steps.insert(name.as_str(), Step { needs, ..step });
            }
            Err(error) => errors.add(error),
        }
    }
    (in_order(place, raw, steps, errors), outside)
}

/// A step and those inside of it, whose results are there once it has ended.
fn owned<'a>(name: &'a str, step: &'a StepFile) -> Vec<(&'a str, &'a str)> {
    let inside = inner_groups(step).into_iter().flat_map(walk);
    inside
        .map(|(inner, _)| (inner, name))
        .chain([(name, name)])
        .collect()
}

fn in_order(
    place: &Place<'_>,
    raw: &StepsFile,
    mut steps: BTreeMap<&str, Step>,
    errors: &Errors,
) -> Group {
    let edges = steps
        .iter()
        .map(|(name, step)| (*name, step.needs.iter().map(String::as_str).collect()))
        .collect();
    match graph::order(&edges) {
        Ok(order) => Group::new(
            order
                .iter()
                .filter_map(|name| steps.remove(name.as_str()))
                .collect(),
        ),
        Err(circle) => {
            let first = circle.first().and_then(|name| raw.get(name));
            errors.add(SkillError::Cycle {
                file: place.file.to_owned(),
                line: first.map_or(0, |step| step.referenced.line()),
                steps: circle,
            });
            Group::default()
        }
    }
}

impl Checker<'_> {
    pub(super) fn branch(
        &self,
        name: &str,
        cases: &[Spanned<CaseFile>],
        needs: &mut BTreeSet<String>,
    ) -> Result<Branch, SkillError> {
        let place = self.place.at("branch");
        if !(1..=MAX_CASES).contains(&cases.len()) {
            let reason = format!("has {} cases; must be 1 to {MAX_CASES}", cases.len());
            return Err(place.invalid(reason));
        }
        let groups: Vec<&StepsFile> = cases.iter().map(|case| &case.value.steps).collect();
        let beside = self.scope.beside(name, &groups);
        let mut checked = Vec::with_capacity(cases.len());
        for (
            index,
            Spanned {
                value, referenced, ..
            },
        ) in cases.iter().enumerate()
        {
            let field = format!("{}[{index}]", place.field);
            let place = Place::new(place.file, referenced.line(), field);
            let when = match &value.when {
                Some(source) => {
                    let outside = self.at(place.clone(), &beside);
                    Some(outside.condition("when", source, needs)?)
                }
                None if index + 1 == cases.len() => None,
                None => return Err(place.invalid("only the last case may do without `when`")),
            };
            let scope = self.scope.within(name, &groups, &value.steps);
            let inside = self.at(place, &scope);
            let steps = inside.body(&value.steps, needs);
            let result = match &value.value {
                Some(source) => Some(inside.template("value", source, needs)?),
                None => None,
            };
            checked.push(Case {
                when,
                steps,
                value: result,
            });
        }
        Ok(Branch { cases: checked })
    }

    pub(super) fn repeat(
        &self,
        name: &str,
        raw: &RepeatFile,
        needs: &mut BTreeSet<String>,
    ) -> Result<Repeat, SkillError> {
        let place = self.place.at("repeat");
        if !(1..=MAX_ROUNDS).contains(&raw.times) {
            let reason = format!("is {}; must be 1 to {MAX_ROUNDS}", raw.times);
            return Err(place.at("times").invalid(reason));
        }
        if raw.steps.is_empty() {
            return Err(place.at("steps").invalid("must not be empty"));
        }
        let scope = self
            .scope
            .within(name, &[&raw.steps], &raw.steps)
            .repeated(&raw.steps);
        let inside = self.at(place, &scope);
        let steps = inside.body(&raw.steps, needs);
        let until = inside.condition("until", &raw.until, needs)?;
        Ok(Repeat {
            times: raw.times,
            until,
            steps,
        })
    }

    fn at<'b>(&'b self, place: Place<'b>, scope: &'b Scope<'b>) -> Checker<'b> {
        Checker {
            scope,
            place,
            errors: self.errors,
        }
    }

    /// The steps inside of this one; what they need of others, this one needs.
    fn body(&self, steps: &StepsFile, needs: &mut BTreeSet<String>) -> Group {
        let (group, outside) = group(&self.place.at("steps"), steps, self.scope, self.errors);
        needs.extend(outside);
        group
    }
}

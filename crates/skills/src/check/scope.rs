//! Which results can be read where.
//!
//! The names of all steps of a file differ, also across branches. A step reads the steps of its
//! own group and of the groups around it, and those inside of them (null where they did not run),
//! but neither the step that it is inside of nor the other cases of a branch: of those none runs
//! beside it.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::{StepFile, StepsFile};

/// The steps that templates may read at one place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope<'a> {
    /// Most images that each step makes, by name.
    images: BTreeMap<&'a str, u32>,
    /// The steps of the repetition around, where there is one.
    round: Option<BTreeSet<&'a str>>,
}

impl<'a> Scope<'a> {
    /// That of the workflow itself: every step.
    pub(crate) fn of_solver(steps: &'a StepsFile) -> Self {
        let mut images = BTreeMap::new();
        for (name, step) in walk(steps) {
            images.insert(name, images_made(step));
        }
        Self {
            images,
            round: None,
        }
    }

    /// What the condition of a case sees: nothing of the branch `name`.
    pub(super) fn beside(&self, name: &str, groups: &[&'a StepsFile]) -> Self {
        let mut scope = self.clone();
        scope.images.remove(name);
        for (inner, _) in groups.iter().flat_map(|steps| walk(steps)) {
            scope.images.remove(inner);
        }
        scope
    }

    /// What the steps `own` of a group inside of `name` see; the other groups do not run with it.
    pub(super) fn within(&self, name: &str, groups: &[&'a StepsFile], own: &'a StepsFile) -> Self {
        let mut scope = self.beside(name, groups);
        for (inner, step) in walk(own) {
            scope.images.insert(inner, images_made(step));
        }
        scope
    }

    /// The same in a repetition of `steps`.
    pub(super) fn repeated(mut self, steps: &'a StepsFile) -> Self {
        self.round = Some(walk(steps).map(|(name, _)| name).collect());
        self
    }

    pub(super) fn sees(&self, name: &str) -> bool {
        self.images.contains_key(name)
    }

    pub(super) fn images(&self, name: &str) -> u32 {
        self.images.get(name).copied().unwrap_or(0)
    }

    pub(super) fn round(&self) -> Option<&BTreeSet<&'a str>> {
        self.round.as_ref()
    }
}

/// Every step of a group by name, those inside of others too.
pub(crate) fn walk(steps: &StepsFile) -> impl Iterator<Item = (&str, &StepFile)> {
    let mut waiting = list(steps);
    std::iter::from_fn(move || {
        let (name, step) = waiting.pop()?;
        waiting.extend(inner_groups(step).into_iter().flat_map(list));
        Some((name, step))
    })
}

fn list(steps: &StepsFile) -> Vec<(&str, &StepFile)> {
    let named = steps.iter().rev();
    named
        .map(|(name, step)| (name.as_str(), &step.value))
        .collect()
}

/// The groups of steps directly inside of a step.
pub(crate) fn inner_groups(step: &StepFile) -> Vec<&StepsFile> {
    let cases = step.branch.iter().flatten().map(|case| &case.value.steps);
    let body = step.repeat.iter().map(|repeat| &repeat.steps);
    cases.chain(body).collect()
}

fn images_made(step: &StepFile) -> u32 {
    match (&step.image, &step.tile) {
        (Some(_), _) => 1,
        (None, Some(tile)) => tile.most,
        (None, None) => 0,
    }
}

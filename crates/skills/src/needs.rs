//! What a skill asks of experts: their capabilities, and how many calls at most.

use std::collections::BTreeSet;

use maestro_core::{Capability, registry::CallBounds};

use crate::{
    dispatch::Dispatch,
    skill::TokenLimits,
    solver::Solver,
    step::{Action, Group, Step},
};

/// Capability of a question in words.
const CHAT: &str = "chat";

/// The capabilities that a skill needs of the pair's expert and calls of helpers.
#[derive(Default)]
pub(crate) struct Needs {
    pub(crate) requires: BTreeSet<Capability>,
    pub(crate) helpers: BTreeSet<Capability>,
    /// Those that only optional steps call.
    pub(crate) optional_helpers: BTreeSet<Capability>,
}

impl Needs {
    /// `own` are those that its author wants beyond what its steps show.
    pub(crate) fn of(own: &[Capability], solvers: &[Solver], dispatch: &Dispatch) -> Self {
        let mut needs = Self::default();
        needs.requires.extend(own.iter().cloned());
        for solver in solvers {
            needs.add(&solver.steps, false);
        }
        if dispatch.ask.is_some() {
            needs.requires.extend(Capability::new(CHAT));
        }
        if let Some(probe) = &dispatch.image {
            let side = if probe.own_expert {
                &mut needs.requires
            } else {
                // Without it the words decide alone.
                &mut needs.optional_helpers
            };
            side.insert(probe.capability.clone());
        }
        let helpers = &needs.helpers;
        needs
            .optional_helpers
            .retain(|helper| !helpers.contains(helper));
        needs
    }

    /// Adds the steps of a group, which the skill can do without where it is `optional`.
    fn add(&mut self, group: &Group, optional: bool) {
        for step in group.iter() {
            let optional = optional || step.optional;
            match &step.action {
                Action::Ask(_) => self.requires.extend(Capability::new(CHAT)),
                Action::Classify(classify) if classify.ask.is_some() => {
                    self.requires.extend(Capability::new(CHAT));
                }
                Action::Expert(call) => self.requires.extend([call.capability.clone()]),
                Action::Helper(call) if optional => {
                    self.optional_helpers.insert(call.capability.clone());
                }
                Action::Helper(call) => self.helpers.extend([call.capability.clone()]),
                other => other.groups().for_each(|group| self.add(group, optional)),
            }
        }
    }
}

/// The most that any solver asks of experts, what goes before the choice included.
pub(crate) fn bounds(limits: &TokenLimits, solvers: &[Solver], dispatch: &Dispatch) -> CallBounds {
    let most = |count: fn(&Group) -> u32| {
        let counts = solvers.iter().map(|solver| count(&solver.steps));
        counts.max().unwrap_or(0)
    };
    let own_looks = dispatch
        .image
        .iter()
        .filter(|probe| probe.own_expert)
        .count() as u32;
    let looks = dispatch.image.iter().count() as u32;
    let questions = dispatch.ask.as_ref().map_or(0, |ask| ask.samples);
    let steps = solvers.iter().flat_map(|solver| solver.steps.all());
    let asked = dispatch.ask.iter().map(|ask| ask.max_output_tokens);
    CallBounds {
        expert_calls: most(Group::expert_calls) + own_looks + questions,
        helper_calls: most(Group::helper_calls) + looks - own_looks,
        input_tokens: limits.input_tokens,
        output_tokens: steps
            .map(Step::output_tokens)
            .chain(asked)
            .max()
            .unwrap_or(0),
    }
}

//! What a skill asks of experts: their capabilities, and how many calls at most.

use std::collections::{BTreeMap, BTreeSet};

use maestro_core::{Capability, registry::CallBounds};

use crate::{
    dispatch::Dispatch,
    skill::TokenLimits,
    solver::Solver,
    step::{Action, Group, ImageRef, ImageSelection, Step},
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

/// Tokens that one image is counted at, in quotes and reservations.
pub const IMAGE_TOKENS: u32 = 4096;
/// Room for the text around the images of a question.
const TEXT_TOKENS: u32 = 4096;

/// What the question with the most named images reads at most. All images of a task, which are
/// mostly one, are left to the limit of the skill.
fn most_image_tokens(solvers: &[Solver]) -> u32 {
    let of_solver = |solver: &Solver| {
        let made: BTreeMap<&str, u32> = solver
            .steps
            .all()
            .map(|step| match &step.action {
                Action::Tile(tile) => (step.name.as_str(), tile.most),
                _ => (step.name.as_str(), 1),
            })
            .collect();
        let count = |image: &ImageRef| match image {
            ImageRef::Task(_) => 1,
            ImageRef::Step(name) => made.get(name.as_str()).copied().unwrap_or(1),
        };
        let asked = solver.steps.all().filter_map(|step| match &step.action {
            Action::Ask(ask) => Some(&ask.images),
            Action::Classify(classify) => classify.ask.as_ref().map(|ask| &ask.images),
            _ => None,
        });
        let counts = asked.map(|images| match images {
            ImageSelection::All => 0,
            ImageSelection::These(refs) => refs.iter().map(count).fold(0, u32::saturating_add),
        });
        counts.max().unwrap_or(0)
    };
    match solvers.iter().map(of_solver).max() {
        None | Some(0) => 0,
        Some(images) => images
            .saturating_mul(IMAGE_TOKENS)
            .saturating_add(TEXT_TOKENS),
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
        input_tokens: limits.input_tokens.max(most_image_tokens(solvers)),
        output_tokens: steps
            .map(Step::output_tokens)
            .chain(asked)
            .max()
            .unwrap_or(0),
    }
}

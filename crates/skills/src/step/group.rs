//! Steps that belong together: a workflow, a case of a branch, the body of a repetition.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{Action, Step};
use crate::{graph::Progress, template::Template};

/// Steps in an order in which each follows those that it needs.
#[derive(Clone, Debug, Default)]
pub struct Group {
    steps: Vec<Step>,
}

impl Group {
    /// The order must respect what the steps need.
    pub(crate) fn new(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// The steps of this level, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Step> {
        self.steps.iter()
    }

    /// A step of this level by name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Every step, those inside of branches and repetitions too.
    pub fn all(&self) -> impl Iterator<Item = &Step> {
        let mut waiting: VecDeque<&Step> = self.steps.iter().collect();
        std::iter::from_fn(move || {
            let step = waiting.pop_front()?;
            waiting.extend(step.action.groups().flat_map(Group::iter));
            Some(step)
        })
    }

    /// What each step of this level waits for.
    pub fn progress(&self) -> Progress {
        Progress::new(
            self.steps
                .iter()
                .map(|step| (step.name.clone(), step.needs.clone())),
        )
    }

    /// Most calls to the pair's expert.
    pub fn expert_calls(&self) -> u32 {
        self.sum(Step::expert_calls)
    }

    /// Most calls to helpers.
    pub fn helper_calls(&self) -> u32 {
        self.sum(Step::helper_calls)
    }

    /// Longest time of all its steps one after another.
    pub(crate) fn timeout(&self) -> Duration {
        self.steps
            .iter()
            .map(|step| step.timeout)
            .fold(Duration::ZERO, Duration::saturating_add)
    }

    fn sum(&self, count: fn(&Step) -> u32) -> u32 {
        self.steps.iter().map(count).fold(0, u32::saturating_add)
    }
}

/// Runs the first case whose condition is true, and no other.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The cases in the order in which they are tried.
    pub cases: Vec<Case>,
}

/// A case of a branch.
#[derive(Clone, Debug)]
pub struct Case {
    /// When it applies; `None` is always.
    pub when: Option<Template>,
    /// What it does.
    pub steps: Group,
    /// The value of the branch where this case was taken.
    pub value: Option<Template>,
}

/// Runs its steps again and again until a condition is true.
#[derive(Clone, Debug)]
pub struct Repeat {
    /// Most rounds.
    pub times: u32,
    /// Checked after every round.
    pub until: Template,
    /// One round.
    pub steps: Group,
}

impl Action {
    /// The groups of steps inside of it.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        let (cases, body) = match self {
            Self::Branch(branch) => (branch.cases.as_slice(), None),
            Self::Repeat(repeat) => ([].as_slice(), Some(&repeat.steps)),
            _ => ([].as_slice(), None),
        };
        cases.iter().map(|case| &case.steps).chain(body)
    }

    /// The longest time that its steps can take together, where it has any.
    pub(crate) fn groups_timeout(&self) -> Option<Duration> {
        match self {
            Self::Branch(branch) => branch.cases.iter().map(|c| c.steps.timeout()).max(),
            Self::Repeat(repeat) => Some(repeat.steps.timeout().saturating_mul(repeat.times)),
            _ => None,
        }
    }
}

impl Step {
    /// The names of the steps inside of it.
    pub fn inner_names(&self) -> BTreeSet<&str> {
        self.action
            .groups()
            .flat_map(Group::all)
            .map(|step| step.name.as_str())
            .collect()
    }

    /// Most calls to the pair's expert.
    pub fn expert_calls(&self) -> u32 {
        match &self.action {
            Action::Ask(ask) => ask.samples,
            Action::Classify(classify) => classify.ask.as_ref().map_or(0, |ask| ask.samples),
            Action::Expert(call) => call.calls,
            other => other.calls_inside(Group::expert_calls),
        }
    }

    /// Most calls to helpers.
    pub fn helper_calls(&self) -> u32 {
        match &self.action {
            Action::Helper(call) => call.calls,
            other => other.calls_inside(Group::helper_calls),
        }
    }

    /// Most tokens of one reply, not counting the steps inside of it.
    pub fn output_tokens(&self) -> u32 {
        match &self.action {
            Action::Ask(ask) => ask.max_output_tokens,
            Action::Classify(classify) => {
                let ask = classify.ask.as_ref();
                ask.map_or(0, |ask| ask.max_output_tokens)
            }
            _ => 0,
        }
    }
}

impl Action {
    /// One case of a branch runs, and each round of a repetition.
    fn calls_inside(&self, count: fn(&Group) -> u32) -> u32 {
        let most = self.groups().map(count).max().unwrap_or(0);
        match self {
            Self::Repeat(repeat) => most.saturating_mul(repeat.times),
            _ => most,
        }
    }
}

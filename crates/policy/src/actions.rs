//! The actions that may be taken in a state. Pure masks: what is not listed has no probability.

use maestro_core::{
    MicroUsd,
    episode::{Choice, Failure, FailureKind},
    ports::DecideRequest,
    quote,
    registry::{Candidate, Snapshot},
};

/// An action that may be taken.
#[derive(Clone, Copy, Debug)]
pub enum PossibleAction<'a> {
    /// Call a pair.
    Invoke {
        /// The pair's entries.
        candidate: Candidate<'a>,
        /// Most that the call can cost; `None` where a price is unknown.
        bound: Option<MicroUsd>,
    },
    /// Answer with an observation.
    Answer {
        /// Its position in the request's history.
        position: usize,
        /// Index of its step.
        step: u32,
    },
}

impl PossibleAction<'_> {
    /// The action as an alternative names it.
    pub fn choice(&self) -> Choice {
        match self {
            Self::Invoke { candidate, .. } => Choice::Invoke(candidate.pair()),
            Self::Answer { step, .. } => Choice::AnswerObservation(*step),
        }
    }
}

/// Every action that the request and the registry allow: the pairs that suit the task and that
/// the money left covers, unless the last decision has come, and the observations that hold an
/// answer.
///
/// # Errors
/// A failure that says why there is none: [`FailureKind::BudgetExceeded`] where only the money is
/// missing, else [`FailureKind::Unavailable`].
pub fn possible_actions<'a>(
    request: &DecideRequest,
    snapshot: &'a Snapshot,
) -> Result<Vec<PossibleAction<'a>>, Failure> {
    offered(request, || suitable(request, snapshot))
}

/// The same of pairs that are known to suit the task, each with the most that a call can cost.
/// They are asked for only if one may still be called.
pub(crate) fn offered<'a, Pairs>(
    request: &DecideRequest,
    suitable: impl FnOnce() -> Pairs,
) -> Result<Vec<PossibleAction<'a>>, Failure>
where
    Pairs: IntoIterator<Item = (Candidate<'a>, Option<MicroUsd>)>,
{
    let mut any_suits = false;
    let may_call = request.remaining.steps > 1;
    let suitable = may_call.then(suitable);
    let mut actions: Vec<PossibleAction<'a>> = suitable
        .into_iter()
        .flatten()
        .inspect(|_| any_suits = true)
        .filter(|(_, bound)| affordable(*bound, request.remaining.cost))
        .map(|(candidate, bound)| PossibleAction::Invoke { candidate, bound })
        .collect();
    actions.extend(answers(request));
    if actions.is_empty() {
        return Err(nothing_possible(request, any_suits));
    }
    Ok(actions)
}

fn suitable<'a>(
    request: &DecideRequest,
    snapshot: &'a Snapshot,
) -> Vec<(Candidate<'a>, Option<MicroUsd>)> {
    let task = &request.task;
    snapshot
        .candidates(
            task.images.len(),
            task.answer_kind.name(),
            &task.constraints,
        )
        .into_iter()
        .map(|candidate| (candidate, quote::upper_bound(snapshot, &candidate)))
        .collect()
}

fn affordable(bound: Option<MicroUsd>, left: Option<MicroUsd>) -> bool {
    match (left, bound) {
        (None, _) => true,
        (Some(left), Some(bound)) => bound <= left,
        (Some(_), None) => false,
    }
}

fn answers<'a>(request: &DecideRequest) -> Vec<PossibleAction<'a>> {
    request
        .history
        .iter()
        .enumerate()
        .filter(|(_, past)| past.observation.is_answerable())
        .map(|(position, past)| PossibleAction::Answer {
            position,
            step: past.index,
        })
        .collect()
}

fn nothing_possible(request: &DecideRequest, any_suits: bool) -> Failure {
    let task = &request.task;
    if request.remaining.steps <= 1 {
        let message = "the last decision must be an answer, and no observation holds one";
        return Failure::new(FailureKind::Unavailable, message);
    }
    if any_suits {
        let left = request.remaining.cost.unwrap_or_default();
        return Failure::new(
            FailureKind::BudgetExceeded,
            format!(
                "every pair that suits the task may cost more than the {left} left, or has no known price"
            ),
        );
    }
    Failure::new(
        FailureKind::Unavailable,
        format!(
            "no serving pair suits a task with {} images and an answer of kind {} within its constraints",
            task.images.len(),
            task.answer_kind.name()
        ),
    )
}

#[cfg(test)]
mod tests {
    use maestro_core::{answer::AnswerKind, registry::Price};
    use proptest::prelude::*;

    use super::*;
    use crate::features::tests::{answered, failed, request, snapshot};

    fn names(actions: &[PossibleAction<'_>]) -> Vec<String> {
        actions
            .iter()
            .map(|action| match action.choice() {
                Choice::Invoke(pair) => format!("{}@{}", pair.expert, pair.skill),
                Choice::AnswerObservation(step) => format!("answer {step}"),
                Choice::AnswerText => "text".into(),
            })
            .collect()
    }

    #[test]
    fn pairs_and_answers_are_listed() {
        let snapshot = snapshot();
        let mut request = request("What is the total?", AnswerKind::Number, 1);
        assert_eq!(
            names(&possible_actions(&request, &snapshot).unwrap()),
            ["fast@read", "good@read"]
        );
        request.history = vec![failed("fast", "read"), answered("good", "read", "3", 0.5)];
        request.history[1].index = 1;
        assert_eq!(
            names(&possible_actions(&request, &snapshot).unwrap()),
            ["fast@read", "good@read", "answer 1"]
        );
        request.remaining.steps = 1;
        assert_eq!(
            names(&possible_actions(&request, &snapshot).unwrap()),
            ["answer 1"]
        );
    }

    #[test]
    fn without_an_action_the_failure_says_why() {
        let snapshot = snapshot();
        let mut request = request("What is the total?", AnswerKind::Number, 1);
        request.remaining.steps = 1;
        let failure = possible_actions(&request, &snapshot).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert!(failure.message.contains("last decision"), "{failure}");
        request.remaining.steps = 3;
        request.remaining.cost = Some(MicroUsd(1));
        let failure = possible_actions(&request, &snapshot).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BudgetExceeded);
        request.remaining.cost = None;
        let failure = possible_actions(&request, &Snapshot::default()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert!(failure.message.contains("1 images"), "{failure}");
    }

    proptest! {
        #[test]
        fn no_listed_pair_can_cost_more_than_is_left(
            fast in proptest::option::of(0u64..2_000), good in proptest::option::of(0u64..2_000),
            left in 0u64..4_000,
        ) {
            let mut snapshot = snapshot();
            let mut catalogue = (*snapshot.catalogue).clone();
            for (name, price) in [("fast", fast), ("good", good)] {
                let entry = catalogue.experts.get_mut(name).unwrap();
                entry.price = price.map(|p| Price { per_call: MicroUsd(p), ..Price::default() });
            }
            snapshot.catalogue = catalogue.into();
            let mut request = request("What is the total?", AnswerKind::Number, 1);
            request.remaining.cost = Some(MicroUsd(left));
            for action in possible_actions(&request, &snapshot).unwrap_or_default() {
                if let PossibleAction::Invoke { bound, .. } = action {
                    prop_assert!(bound.unwrap() <= MicroUsd(left));
                }
            }
        }
    }
}

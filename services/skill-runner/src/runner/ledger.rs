//! What one run has used up and may still use up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use maestro_core::{
    MicroUsd,
    episode::{Failure, FailureKind},
    expert_call::Usage,
};

/// Counts what the calls of a run used up and holds them to its limit. A call reserves its upper
/// bound before it is made, so that calls at the same time cannot pass the limit together.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: Option<MicroUsd>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    usage: Usage,
    reserved: MicroUsd,
}

impl Ledger {
    pub(crate) fn new(limit: Option<MicroUsd>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            state: Mutex::default(),
        })
    }

    /// What has been used up. Calls under way are not in it.
    pub(crate) fn usage(&self) -> Usage {
        self.lock().usage.clone()
    }

    pub(crate) fn has_limit(&self) -> bool {
        self.limit.is_some()
    }

    /// Sets aside what a call costs at most; `None` where its price is unknown.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        bound: Option<MicroUsd>,
    ) -> Result<Reservation, Failure> {
        let mut state = self.lock();
        if let Some(limit) = self.limit {
            let refuse = |message| Err(Failure::new(FailureKind::BudgetExceeded, message));
            let Some(bound) = bound else {
                return refuse("the expert's price is unknown and the cost is limited".to_owned());
            };
            let left = limit
                .saturating_sub(state.usage.cost)
                .saturating_sub(state.reserved);
            if bound > left {
                return refuse(format!("the call may cost {bound} and {left} is left"));
            }
        }
        let bound = bound.unwrap_or_default();
        state.reserved = state.reserved + bound;
        Ok(Reservation {
            ledger: Arc::clone(self),
            bound,
            open: true,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, bound: MicroUsd, usage: &Usage) {
        let mut state = self.lock();
        state.reserved = state.reserved.saturating_sub(bound);
        state.usage.add(usage);
    }
}

/// Money set aside for one call. Dropped without a word (the call was cut off) it counts as spent
/// where there is a limit to keep, since the expert may have worked.
#[derive(Debug)]
pub(crate) struct Reservation {
    ledger: Arc<Ledger>,
    bound: MicroUsd,
    open: bool,
}

impl Reservation {
    /// The call ended and used this up.
    pub(crate) fn settle(mut self, usage: &Usage) {
        self.open = false;
        self.ledger.close(self.bound, usage);
    }

    /// The call failed before the expert could work.
    pub(crate) fn release(self) {
        self.settle(&Usage {
            calls: 1,
            ..Usage::default()
        });
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.open {
            let cost = if self.ledger.has_limit() {
                self.bound
            } else {
                MicroUsd::ZERO
            };
            self.ledger.close(
                self.bound,
                &Usage {
                    cost,
                    calls: 1,
                    ..Usage::default()
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unknown_prices_pass_only_without_a_limit() {
        assert!(Ledger::new(None).reserve(None).is_ok());
        let failure = Ledger::new(Some(MicroUsd(9))).reserve(None).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BudgetExceeded);
    }

    proptest! {
        #[test]
        fn no_interleaving_passes_the_limit(
            limit in 0u64..1000,
            actions in prop::collection::vec((0u8..4, 0u64..400, 0u64..=100), 0..60),
        ) {
            let ledger = Ledger::new(Some(MicroUsd(limit)));
            let mut open = Vec::new();
            for (action, bound, share) in actions {
                match (action, open.pop()) {
                    (0, held) => {
                        open.extend(held);
                        open.extend(ledger.reserve(Some(MicroUsd(bound))).ok());
                    }
                    (1, Some(held)) => {
                        let held: Reservation = held;
                        let cost = MicroUsd(held.bound.0 * share / 100);
                        held.settle(&Usage { cost, calls: 1, ..Usage::default() });
                    }
                    (2, Some(held)) => held.release(),
                    (_, held) => drop(held),
                }
                prop_assert!(ledger.usage().cost <= MicroUsd(limit));
            }
            drop(open);
            prop_assert!(ledger.usage().cost <= MicroUsd(limit));
            prop_assert_eq!(ledger.lock().reserved, MicroUsd::ZERO);
        }

        #[test]
        fn threads_cannot_pass_it_together(limit in 1u64..500, bounds in prop::collection::vec(1u64..200, 8)) {
            let ledger = Ledger::new(Some(MicroUsd(limit)));
            std::thread::scope(|scope| {
                for bound in bounds {
                    let ledger = &ledger;
                    scope.spawn(move || {
                        for _ in 0..20 {
                            if let Ok(held) = ledger.reserve(Some(MicroUsd(bound))) {
                                std::thread::yield_now();
                                held.settle(&Usage { cost: MicroUsd(bound), ..Usage::default() });
                            }
                        }
                    });
                }
            });
            prop_assert!(ledger.usage().cost <= MicroUsd(limit));
        }
    }
}

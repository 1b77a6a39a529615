//! Which instance takes a call.

/// What a router knows of one instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceLoad {
    /// Calls that this process has under way there.
    pub in_flight: u32,
    /// Calls that the instance last said it had, those of other callers included.
    pub reported: u32,
    /// Calls that the instance serves at once.
    pub capacity: u32,
    /// Whether the breaker lets a call through.
    pub allowed: bool,
}

impl InstanceLoad {
    /// Whether it may take a call: its breaker allows it, and this process has a permit left.
    pub fn is_free(&self) -> bool {
        self.allowed && self.in_flight < self.capacity.max(1)
    }
}

/// Index of the least loaded instance that may take a call: the lowest share of its capacity in
/// use, ties broken by `tie_breaker` (any number, a random one spreads callers). `None` if no
/// instance may take one: all breakers open, or this process has `capacity` calls at each.
pub fn least_loaded(instances: &[InstanceLoad], tie_breaker: u64) -> Option<usize> {
    let share = |load: &InstanceLoad| {
        f64::from(load.in_flight.max(load.reported)) / f64::from(load.capacity.max(1))
    };
    let lowest = instances
        .iter()
        .filter(|load| load.is_free())
        .map(share)
        .min_by(f64::total_cmp)?;
    let best: Vec<usize> = instances
        .iter()
        .enumerate()
        .filter(|(_, load)| load.is_free() && share(load) <= lowest)
        .map(|(index, _)| index)
        .collect();
    let pick = usize::try_from(tie_breaker % (best.len().max(1) as u64)).unwrap_or(0);
    best.get(pick).copied()
}

/// Index of the instance that takes a call: `first`, where it may take one, else the least loaded.
pub fn choose(instances: &[InstanceLoad], first: Option<usize>, tie_breaker: u64) -> Option<usize> {
    first
        .filter(|index| instances.get(*index).is_some_and(InstanceLoad::is_free))
        .or_else(|| least_loaded(instances, tie_breaker))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(in_flight: u32, reported: u32, capacity: u32, allowed: bool) -> InstanceLoad {
        InstanceLoad {
            in_flight,
            reported,
            capacity,
            allowed,
        }
    }

    #[test]
    fn the_least_loaded_open_instance_is_chosen() {
        let instances = [
            load(0, 0, 4, false),
            load(2, 2, 4, true),
            load(1, 3, 8, true),
            load(4, 4, 4, true),
        ];
        assert_eq!(least_loaded(&instances, 7), Some(2));
        assert_eq!(least_loaded(&instances[..1], 0), None);
        assert_eq!(least_loaded(&instances[3..], 0), None, "full");
    }

    #[test]
    fn the_first_choice_is_taken_while_it_can_take_a_call() {
        let instances = [
            load(3, 3, 4, true),
            load(0, 0, 4, true),
            load(0, 0, 4, false),
            load(4, 0, 4, true),
        ];
        assert_eq!(choose(&instances, Some(0), 0), Some(0), "however loaded");
        for first in [None, Some(2), Some(3), Some(4)] {
            assert_eq!(choose(&instances, first, 0), Some(1), "{first:?}");
        }
    }

    proptest! {
        #[test]
        fn a_choice_is_always_free(
            loads in prop::collection::vec((0u32..6, 0u32..6, 0u32..6, any::<bool>()), 0..8),
            tie in any::<u64>(),
        ) {
            let loads: Vec<_> = loads.into_iter().map(|(a, b, c, d)| load(a, b, c, d)).collect();
            match least_loaded(&loads, tie) {
                Some(index) => {
                    prop_assert!(loads[index].allowed);
                    prop_assert!(loads[index].in_flight < loads[index].capacity.max(1));
                }
                None => prop_assert!(
                    loads.iter().all(|l| !l.allowed || l.in_flight >= l.capacity.max(1))
                ),
            }
        }
    }
}

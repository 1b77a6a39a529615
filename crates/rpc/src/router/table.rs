//! What a router knows of one expert's instances. Plain data: no clock, no lock, no connection.

use std::{collections::HashMap, time::Duration};

use maestro_core::{
    breaker::{Breaker, BreakerConfig, BreakerState},
    expert_call::Load,
    ids::InstanceId,
    registry::Instance,
    routing::{InstanceLoad, choose, least_loaded},
};
use url::Url;

/// How a call ended, as far as it concerns the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallEnd {
    /// It answered.
    Answered,
    /// It failed for a reason that lies with the instance.
    Failed,
    /// Nothing is learnt of it: cancelled, full, or the caller's own deadline was short.
    Neutral,
}

/// What a look for an instance gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection<T> {
    /// This one; the call is counted until [`Table::finish`].
    Chosen(Ticket, T),
    /// Every instance that may take a call has all of its permits out.
    Full,
    /// The breakers of all instances are open.
    Blocked,
    /// Every instance was tried before.
    Tried,
    /// There is no instance.
    Absent,
}

/// A call that is counted at an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// The instances of one expert. `T` is what the caller keeps for each (its connection).
#[derive(Debug)]
pub(super) struct Table<T> {
    config: BreakerConfig,
    /// How long a load that an instance reported counts.
    load_age: Duration,
    slots: Vec<Slot<T>>,
    next: u64,
}

#[derive(Debug)]
struct Slot<T> {
    ticket: Ticket,
    id: InstanceId,
    endpoint: Url,
    capacity: u32,
    in_flight: u32,
    reported: u32,
    reported_at: Duration,
    breaker: Breaker,
    payload: T,
}

impl<T: Clone> Table<T> {
    pub(super) fn new(config: BreakerConfig, load_age: Duration) -> Self {
        Self {
            config,
            load_age,
            slots: Vec::new(),
            next: 0,
        }
    }

    /// Takes over the registry's instances. An instance that stays where it was keeps its state;
    /// one that left is dropped, with its state, and handed back. `make` gives a new one's
    /// payload; without one it is left out.
    pub(super) fn sync(
        &mut self,
        instances: &[Instance],
        mut make: impl FnMut(&Instance) -> Option<T>,
    ) -> Vec<T> {
        let mut old: HashMap<(InstanceId, Url), Slot<T>> = self
            .slots
            .drain(..)
            .map(|slot| ((slot.id.clone(), slot.endpoint.clone()), slot))
            .collect();
        for instance in instances {
            match old.remove(&(instance.id.clone(), instance.endpoint.clone())) {
                Some(mut slot) => {
                    slot.capacity = instance.capacity;
                    self.slots.push(slot);
                }
                None => {
                    let Some(payload) = make(instance) else {
                        continue;
                    };
                    self.next += 1;
                    self.slots.push(Slot {
                        ticket: Ticket(self.next),
                        id: instance.id.clone(),
                        endpoint: instance.endpoint.clone(),
                        capacity: instance.capacity,
                        in_flight: 0,
                        reported: 0,
                        reported_at: Duration::ZERO,
                        breaker: Breaker::new(self.config),
                        payload,
                    });
                }
            }
        }
        old.into_values().map(|slot| slot.payload).collect()
    }

    /// Chooses an instance that is not in `tried`, `first` where that can be, and counts a call
    /// there. `tie_breaker` is any number; a random one spreads callers.
    pub(super) fn select(
        &mut self,
        now: Duration,
        tie_breaker: u64,
        tried: &[Ticket],
        first: Option<&InstanceId>,
    ) -> Selection<T> {
        if self.slots.is_empty() {
            return Selection::Absent;
        }
        let open: Vec<usize> = (0..self.slots.len())
            .filter(|index| !tried.contains(&self.slots[*index].ticket))
            .collect();
        if open.is_empty() {
            return Selection::Tried;
        }
        let loads: Vec<InstanceLoad> = open
            .iter()
            .map(|index| self.slots[*index].load(now, self.load_age))
            .collect();
        let first = open
            .iter()
            .position(|index| Some(&self.slots[*index].id) == first);
        match choose(&loads, first, tie_breaker) {
            Some(pick) => {
                let slot = &mut self.slots[open[pick]];
                slot.in_flight = slot.in_flight.saturating_add(1);
                slot.breaker.on_start(now);
                Selection::Chosen(slot.ticket, slot.payload.clone())
            }
            None if loads.iter().any(|load| load.allowed) => Selection::Full,
            None => Selection::Blocked,
        }
    }

    /// The instance that a call would go to now.
    pub(super) fn likely(&self, now: Duration, tie_breaker: u64) -> Option<InstanceId> {
        let load = |slot: &Slot<T>| slot.load(now, self.load_age);
        let loads: Vec<InstanceLoad> = self.slots.iter().map(load).collect();
        let pick = least_loaded(&loads, tie_breaker)?;
        self.slots.get(pick).map(|slot| slot.id.clone())
    }

    /// Ends a call. The call of an instance that has left changes nothing.
    pub(super) fn finish(
        &mut self,
        ticket: Ticket,
        end: CallEnd,
        load: Option<Load>,
        now: Duration,
    ) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.ticket == ticket) else {
            return;
        };
        slot.in_flight = slot.in_flight.saturating_sub(1);
        match end {
            CallEnd::Answered => slot.breaker.on_success(),
            CallEnd::Failed => slot.breaker.on_failure(now),
            CallEnd::Neutral => slot.breaker.on_neutral(),
        }
        if let Some(load) = load {
            slot.reported = load.in_flight;
            slot.reported_at = now;
        }
    }

    /// Whether some instance could take a call now.
    pub(super) fn has_room(&self, now: Duration) -> bool {
        self.slots.iter().any(|slot| {
            let load = slot.load(now, self.load_age);
            load.is_free()
        })
    }

    /// How many breakers are closed, open and half-open.
    pub(super) fn breakers(&self, now: Duration) -> [u32; 3] {
        let mut counts = [0; 3];
        for slot in &self.slots {
            let state = match slot.breaker.state(now) {
                BreakerState::Closed => 0,
                BreakerState::Open => 1,
                BreakerState::HalfOpen => 2,
            };
            counts[state] += 1;
        }
        counts
    }

    /// Whether there is no instance.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl<T> Slot<T> {
    fn load(&self, now: Duration, load_age: Duration) -> InstanceLoad {
        let fresh = now.saturating_sub(self.reported_at) < load_age;
        InstanceLoad {
            in_flight: self.in_flight,
            reported: if fresh { self.reported } else { 0 },
            capacity: self.capacity,
            allowed: self.breaker.allows(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use maestro_core::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const AGE: Duration = Duration::from_secs(1);

    fn instance(id: &str, port: u16, capacity: u32) -> Instance {
        Instance {
            expert: "reader".parse().unwrap(),
            id: id.parse().unwrap(),
            endpoint: format!("http://127.0.0.1:{port}").parse().unwrap(),
            capacity,
            written_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn table(instances: &[Instance]) -> Table<String> {
        let mut table = Table::new(BreakerConfig::default(), AGE);
        table.sync(instances, |instance| Some(instance.id.to_string()));
        table
    }

    fn chosen(selection: Selection<String>) -> (Ticket, String) {
        match selection {
            Selection::Chosen(ticket, payload) => (ticket, payload),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn permits_are_taken_and_given_back() {
        let mut table = table(&[instance("a", 1, 1)]);
        let (ticket, _) = chosen(table.select(Duration::ZERO, 0, &[], None));
        assert_eq!(table.select(Duration::ZERO, 0, &[], None), Selection::Full);
        table.finish(ticket, CallEnd::Answered, None, Duration::ZERO);
        chosen(table.select(Duration::ZERO, 0, &[], None));
    }

    #[test]
    fn a_reported_load_counts_while_it_is_fresh() {
        let mut table = table(&[instance("a", 1, 4), instance("b", 2, 4)]);
        let (ticket, first) = chosen(table.select(Duration::ZERO, 0, &[], None));
        let load = Load {
            in_flight: 4,
            capacity: 4,
        };
        table.finish(ticket, CallEnd::Answered, Some(load), Duration::ZERO);
        for tie in 0..4 {
            let (ticket, other) = chosen(table.select(Duration::ZERO, tie, &[], None));
            assert_ne!(first, other);
            table.finish(ticket, CallEnd::Answered, None, Duration::ZERO);
        }
        let later: Vec<String> = (0..2)
            .map(|tie| chosen(table.select(AGE, tie, &[], None)).1)
            .collect();
        assert!(later.contains(&first), "an old report is forgotten");
    }

    #[test]
    fn failures_block_an_instance_and_a_probe_frees_it() {
        let mut table = table(&[instance("a", 1, 4)]);
        for _ in 0..3 {
            let (ticket, _) = chosen(table.select(Duration::ZERO, 0, &[], None));
            table.finish(ticket, CallEnd::Failed, None, Duration::ZERO);
        }
        assert_eq!(
            table.select(Duration::ZERO, 0, &[], None),
            Selection::Blocked
        );
        assert_eq!(table.breakers(Duration::ZERO), [0, 1, 0]);
        let later = Duration::from_secs(1);
        let (probe, _) = chosen(table.select(later, 0, &[], None));
        assert_eq!(table.breakers(later), [0, 0, 1]);
        assert_eq!(
            table.select(later, 0, &[], None),
            Selection::Blocked,
            "one probe at a time"
        );
        table.finish(probe, CallEnd::Answered, None, later);
        assert_eq!(table.breakers(later), [1, 0, 0]);
    }

    #[test]
    fn an_instance_that_leaves_loses_its_state() {
        let mut table = table(&[instance("a", 1, 1)]);
        let (ticket, _) = chosen(table.select(Duration::ZERO, 0, &[], None));
        assert_eq!(table.sync(&[], |_| None), ["a"]);
        assert_eq!(
            table.select(Duration::ZERO, 0, &[], None),
            Selection::Absent
        );
        table.finish(ticket, CallEnd::Failed, None, Duration::ZERO);
        table.sync(&[instance("a", 1, 1)], |_| Some("again".into()));
        assert_eq!(
            chosen(table.select(Duration::ZERO, 0, &[], None)).1,
            "again"
        );
        let moved = table.sync(&[instance("a", 2, 1)], |_| Some("moved".into()));
        assert_eq!(moved, ["again"], "another endpoint is another instance");
    }

    #[test]
    fn calls_of_one_run_go_to_one_instance_while_it_has_permits() {
        let mut table = table(&[instance("a", 1, 2), instance("b", 2, 4)]);
        let a: InstanceId = "a".parse().unwrap();
        let mut takers = Vec::new();
        for tie in 0..3 {
            takers.push(chosen(table.select(Duration::ZERO, tie, &[], Some(&a))).1);
        }
        assert_eq!(takers, ["a", "a", "b"]);
        assert_eq!(
            table.likely(Duration::ZERO, 0).unwrap(),
            "b".parse().unwrap()
        );
        let gone: InstanceId = "gone".parse().unwrap();
        chosen(table.select(Duration::ZERO, 0, &[], Some(&gone)));
    }

    #[test]
    fn tried_instances_are_passed_over() {
        let mut table = table(&[instance("a", 1, 4), instance("b", 2, 4)]);
        let (first, _) = chosen(table.select(Duration::ZERO, 0, &[], None));
        let (second, _) = chosen(table.select(Duration::ZERO, 0, &[first], None));
        assert_ne!(first, second);
        assert_eq!(
            table.select(Duration::ZERO, 0, &[first, second], None),
            Selection::Tried
        );
    }

    proptest! {
        #[test]
        fn no_instance_gets_more_calls_than_it_has_permits(
            capacities in prop::collection::vec(1u32..4, 1..4),
            steps in prop::collection::vec((any::<u64>(), 0u8..4), 0..60),
        ) {
            let instances: Vec<Instance> = capacities
                .iter()
                .zip(1u16..)
                .map(|(capacity, port)| instance(&format!("i{port}"), port, *capacity))
                .collect();
            let mut table = table(&instances);
            let mut running: Vec<Ticket> = Vec::new();
            let mut now = Duration::ZERO;
            for (number, end) in steps {
                now += Duration::from_millis(100);
                match end {
                    0 | 1 => {
                        if let Selection::Chosen(ticket, _) = table.select(now, number, &[], None) {
                            running.push(ticket);
                        }
                    }
                    _ => {
                        if !running.is_empty() {
                            let index = usize::try_from(number % running.len() as u64).unwrap();
                            let end = if end == 2 { CallEnd::Failed } else { CallEnd::Answered };
                            table.finish(running.swap_remove(index), end, None, now);
                        }
                    }
                }
                for slot in &table.slots {
                    prop_assert!(slot.in_flight <= slot.capacity);
                    let held = running.iter().filter(|ticket| **ticket == slot.ticket).count();
                    prop_assert_eq!(held, slot.in_flight as usize);
                }
            }
        }
    }
}

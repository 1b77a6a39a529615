//! What came of a trial. Pure.

use std::{collections::BTreeMap, time::Duration};

use super::{End, Seen, Sizes, Told};
use crate::faults::plan::Component;

/// What came of a trial.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every request.
    pub seen: Vec<Seen>,
    /// What was done, and when.
    pub marks: Vec<(Duration, String)>,
    /// When the lease of the killed coordinator had ended.
    pub lease_ended: Option<Duration>,
    /// Which coordinator was killed, and when.
    pub killed: Option<(usize, Duration)>,
    /// Ages of the coordinators' registry snapshots in seconds, while etcd was away.
    pub snapshot_ages: Vec<f64>,
    /// What the processes took, at several times.
    pub sizes: Vec<Sizes>,
    /// Processes that ended by themselves.
    pub ended_alone: Vec<String>,
    /// Owner and episode of those that still run in the journal when all clients are done.
    pub running: usize,
}

/// How requests of a kind came out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// All of them.
    pub asked: usize,
    /// With the right answer.
    pub right: usize,
    /// With another answer, without one or given up, and why.
    pub bad: BTreeMap<String, usize>,
    /// Whose events were not told once each and in order.
    pub disordered: usize,
    /// That were refused at first.
    pub refused: usize,
    /// What the first refusal of each met.
    pub refusals: BTreeMap<String, usize>,
    /// Whose stream broke.
    pub broken: usize,
    /// That a rule decided a step of, as no policy worker answered in time.
    pub by_rule: usize,
    /// From when each was due to its end.
    pub times: Vec<Duration>,
}

impl Report {
    /// How the durable requests came out, or the others.
    pub fn counts(&self, durable: bool) -> Counts {
        let mut counts = Counts::default();
        for seen in self.seen.iter().filter(|seen| seen.is_durable == durable) {
            counts.asked += 1;
            match &seen.end {
                Ok(End::Right) => counts.right += 1,
                Ok(End::Wrong(answer)) => note(&mut counts.bad, &format!("answered {answer}")),
                Ok(End::Unanswered(reason)) | Err(reason) => note(&mut counts.bad, reason),
            }
            if seen.end.is_ok() && !is_in_order(&seen.told) {
                counts.disordered += 1;
            }
            counts.refused += usize::from(seen.refused > 0);
            if let Some(refusal) = &seen.refusal {
                // What follows names a time.
                let refusal = refusal.split(';').next().unwrap_or_default();
                note(&mut counts.refusals, refusal);
            }
            counts.broken += usize::from(seen.broken > 0);
            counts.by_rule += usize::from(seen.by_rule > 0);
            counts.times.extend(seen.time());
        }
        counts.times.sort();
        counts
    }

    /// From the end of the killed coordinator's lease to the next event that a client was told, of
    /// each durable episode that it ran when it was killed.
    pub fn resumed(&self) -> Vec<Duration> {
        let (Some(ended), Some((killed, killed_at))) = (self.lease_ended, self.killed) else {
            return Vec::new();
        };
        let adopted = self.seen.iter().filter(|seen| {
            let is_its_own = seen
                .accepted
                .is_some_and(|(index, at)| index == killed && at < killed_at);
            let has_ended = seen
                .told
                .iter()
                .any(|(at, told)| *told == Told::Ended && *at < ended);
            seen.is_durable && is_its_own && !has_ended
        });
        let mut times: Vec<Duration> = adopted
            .filter_map(|seen| {
                let (at, _) = seen.told.iter().find(|(at, _)| *at >= ended)?;
                Some(at.saturating_sub(ended))
            })
            .collect();
        times.sort();
        times
    }

    /// Answered requests in each second from the beginning of the load.
    pub fn pace(&self) -> Vec<usize> {
        let mut pace = Vec::new();
        let ends = self.seen.iter().filter_map(|seen| seen.told.last());
        for (at, _) in ends.filter(|(_, told)| *told == Told::Ended) {
            let second = usize::try_from(at.as_secs()).unwrap_or(usize::MAX);
            if pace.len() <= second {
                pace.resize(second + 1, 0);
            }
            pace[second] += 1;
        }
        pace
    }

    /// Memory in KiB of each process at the first and the last reading, and the most handles.
    pub fn growth(&self) -> Vec<(Component, u64, u64, usize)> {
        let last = self.sizes.last().map_or(&[][..], |sizes| &sizes.processes);
        let first = |component: Component| {
            let sizes = self.sizes.first()?;
            let found = sizes.processes.iter().find(|(one, ..)| *one == component)?;
            Some(found.1)
        };
        let most = |component: Component| {
            let readings = self.sizes.iter().flat_map(|sizes| &sizes.processes);
            readings
                .filter(|(one, ..)| *one == component)
                .map(|(_, _, handles)| *handles)
                .max()
        };
        last.iter()
            .map(|(component, memory, handles)| {
                let first = first(*component).unwrap_or(*memory);
                (
                    *component,
                    first,
                    *memory,
                    most(*component).unwrap_or(*handles),
                )
            })
            .collect()
    }
}

fn note(counts: &mut BTreeMap<String, usize>, reason: &str) {
    *counts.entry(reason.to_owned()).or_default() += 1;
}

/// Whether an episode was told whole: accepted, each call decided and then finished, the answer
/// (a step that is only finished), the end.
fn is_in_order(told: &[(Duration, Told)]) -> bool {
    let told: Vec<Told> = told.iter().map(|(_, told)| *told).collect();
    let [
        Told::Accepted,
        steps @ ..,
        Told::Finished(answer),
        Told::Ended,
    ] = told.as_slice()
    else {
        return false;
    };
    let mut whole = (0..*answer).flat_map(|step| [Told::Decided(step), Told::Finished(step)]);
    steps.iter().all(|told| whole.next() == Some(*told)) && whole.next().is_none()
}

/// A quantile of sorted times (nearest rank); zero where there are none.
pub fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    let index = rank.saturating_sub(1).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(accepted: u64, told: &[(u64, Told)]) -> Seen {
        let at = Duration::from_millis;
        Seen {
            is_durable: true,
            due: at(accepted),
            accepted: Some((1, at(accepted))),
            told: told.iter().map(|(ms, told)| (at(*ms), *told)).collect(),
            refused: 0,
            refusal: None,
            broken: 0,
            by_rule: 0,
            end: Ok(End::Right),
        }
    }

    const WHOLE: [Told; 5] = [
        Told::Accepted,
        Told::Decided(0),
        Told::Finished(0),
        Told::Finished(1),
        Told::Ended,
    ];

    fn told(events: &[Told]) -> Vec<(Duration, Told)> {
        events.iter().map(|told| (Duration::ZERO, *told)).collect()
    }

    #[test]
    fn lost_and_repeated_events_are_seen() {
        assert!(is_in_order(&told(&WHOLE)));
        for (at, event) in WHOLE.into_iter().enumerate() {
            let mut events = WHOLE.to_vec();
            events.remove(at);
            assert!(!is_in_order(&told(&events)), "{events:?}");
            let mut events = WHOLE.to_vec();
            events.insert(at, event);
            assert!(!is_in_order(&told(&events)), "{events:?}");
        }
    }

    #[test]
    fn only_what_the_killed_coordinator_ran_has_resumed() {
        let mut other = seen(900, &[(910, Told::Accepted), (4500, Told::Finished(0))]);
        other.accepted = Some((0, Duration::from_millis(900)));
        let report = Report {
            seen: vec![
                seen(
                    900,
                    &[
                        (910, Told::Accepted),
                        (4250, Told::Finished(0)),
                        (4300, Told::Ended),
                    ],
                ),
                seen(800, &[(810, Told::Accepted), (950, Told::Ended)]),
                seen(1100, &[(1110, Told::Accepted), (4600, Told::Finished(0))]),
                other,
            ],
            lease_ended: Some(Duration::from_millis(4000)),
            killed: Some((1, Duration::from_millis(1000))),
            ..Report::default()
        };
        assert_eq!(report.resumed(), [Duration::from_millis(250)]);
        assert_eq!(report.pace(), [1, 0, 0, 0, 1]);
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&times, 0.5), Duration::from_millis(50));
        assert_eq!(quantile(&times, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&times, 1.0), Duration::from_millis(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}

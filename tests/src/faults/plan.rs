//! What goes wrong in a run, and when: made from a seed. Pure.

use std::{fmt, net::Ipv4Addr, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// A process of the sandbox, with a network namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// A member of etcd.
    Etcd(u8),
    /// A coordinator.
    Coordinator(u8),
    /// A policy worker.
    Policy(u8),
    /// A skill runner.
    Runner(u8),
    /// An expert worker.
    Expert(u8),
}

impl Component {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 13] = [
        Self::Etcd(0),
        Self::Etcd(1),
        Self::Etcd(2),
        Self::Coordinator(0),
        Self::Coordinator(1),
        Self::Coordinator(2),
        Self::Policy(0),
        Self::Policy(1),
        Self::Runner(0),
        Self::Runner(1),
        Self::Expert(0),
        Self::Expert(1),
        Self::Expert(2),
    ];

    /// Those that `wanted` takes.
    pub fn those(wanted: impl Fn(Self) -> bool) -> Vec<Self> {
        Self::ALL.into_iter().filter(|one| wanted(*one)).collect()
    }

    /// Whether it is a member of etcd.
    pub fn is_etcd(self) -> bool {
        matches!(self, Self::Etcd(_))
    }

    /// Whether it is a coordinator.
    pub fn is_coordinator(self) -> bool {
        matches!(self, Self::Coordinator(_))
    }

    /// Whether it is an expert worker.
    pub fn is_expert(self) -> bool {
        matches!(self, Self::Expert(_))
    }

    /// Its address; each is alone in its namespace, so ports are the same everywhere.
    pub fn address(self) -> Ipv4Addr {
        let host = match self {
            Self::Etcd(number) => 10 + number,
            Self::Coordinator(number) => 20 + number,
            Self::Policy(number) => 30 + number,
            Self::Runner(number) => 40 + number,
            Self::Expert(number) => 50 + number,
        };
        Ipv4Addr::new(10, 77, 0, host)
    }

    fn class(self) -> u8 {
        match self {
            Self::Etcd(_) => 0,
            Self::Coordinator(_) => 1,
            Self::Policy(_) => 2,
            Self::Runner(_) => 3,
            Self::Expert(_) => 4,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etcd(number) => write!(f, "etcd-{number}"),
            Self::Coordinator(number) => write!(f, "coordinator-{number}"),
            Self::Policy(number) => write!(f, "policy-{number}"),
            Self::Runner(number) => write!(f, "runner-{number}"),
            Self::Expert(number) => write!(f, "expert-{number}"),
        }
    }
}

/// Which way packets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What others send does not arrive.
    In,
    /// What it sends does not arrive.
    Out,
}

/// A small disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// That of a member of etcd.
    Etcd(u8),
    /// The blob store that the coordinators share.
    Blobs,
}

/// Something that goes wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again at the end.
    Killed(Component),
    /// SIGTERM, so that it drains; started again at the end, and killed before where it still runs.
    Restarted(Component),
    /// SIGSTOP; SIGCONT at the end.
    Paused(Component),
    /// No packet passes.
    LinkDown(Component),
    /// Packets pass one way only.
    OneWay(Component, Direction),
    /// This percentage of packets is lost, each way.
    Lossy(Component, u8),
    /// So many kilobits a second, each way.
    Slow(Component, u32),
    /// Nothing more can be written.
    DiskFull(Disk),
    /// The wall clock is off by so many seconds.
    ClockOff(Component, i32),
    /// Whichever member of etcd leads is killed; started again at the end.
    LeaderKilled,
    /// Another member of etcd is made its leader, at the beginning and at the end.
    LeaderMoved,
}

/// How many kinds of fault there are.
pub const KINDS: usize = 11;

impl Fault {
    /// Its kind, counted from 0.
    pub fn kind(&self) -> usize {
        match self {
            Self::Killed(_) => 0,
            Self::Paused(_) => 1,
            Self::OneWay(..) => 2,
            Self::LeaderKilled => 3,
            Self::Lossy(..) => 4,
            Self::ClockOff(..) => 5,
            Self::LinkDown(_) => 6,
            Self::DiskFull(_) => 7,
            Self::Slow(..) => 8,
            Self::LeaderMoved => 9,
            Self::Restarted(_) => 10,
        }
    }

    /// Whom it hits, where that is known before.
    pub fn victim(&self) -> Option<Component> {
        match *self {
            Self::Killed(victim)
            | Self::Restarted(victim)
            | Self::Paused(victim)
            | Self::LinkDown(victim)
            | Self::OneWay(victim, _)
            | Self::Lossy(victim, _)
            | Self::Slow(victim, _)
            | Self::ClockOff(victim, _) => Some(victim),
            Self::DiskFull(Disk::Etcd(number)) => Some(Component::Etcd(number)),
            Self::DiskFull(Disk::Blobs) | Self::LeaderKilled | Self::LeaderMoved => None,
        }
    }

    /// Whether it may cost etcd a member.
    fn hits_etcd(&self) -> bool {
        matches!(self, Self::LeaderKilled | Self::LeaderMoved)
            || self.victim().is_some_and(Component::is_etcd)
    }
}

/// A fault and when it begins and ends, from the beginning of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When it begins.
    pub from: Duration,
    /// When it ends.
    pub to: Duration,
    /// What it is.
    pub fault: Fault,
}

impl Planned {
    fn meets(&self, other: &Self) -> bool {
        self.from < other.to && other.from < self.to
    }
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Episodes a second.
    pub per_second: u32,
    /// Shortest and longest answer of the model, in milliseconds.
    pub answer_ms: (u64, u64),
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// From which it was made.
    pub seed: u64,
    /// How long clients create episodes. All faults end before.
    pub duration: Duration,
    /// What goes wrong, by its beginning.
    pub faults: Vec<Planned>,
    /// What clients do meanwhile.
    pub load: Load,
}

/// Faults at the same time, at most.
const AT_ONCE: usize = 3;
/// One run in so many loses the majority of etcd for a while.
const MAJORITY_LOST: u64 = 4;
/// Before the first fault and after the last one, in milliseconds.
const MARGIN_MS: u64 = 1_000;
/// Between the beginnings of two faults.
const SPACING_MS: u64 = 2_500;
const SHORTEST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 8_000;
/// How often another victim or time is tried where one does not fit.
const ATTEMPTS: usize = 64;

impl Plan {
    /// The run of a seed: the same for the same seed and duration. Kinds of fault come in turn,
    /// so that a run of [`KINDS`] faults, or neighbouring seeds, have all of them.
    pub fn new(seed: u64, duration: Duration) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let total = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let last = total.saturating_sub(MARGIN_MS);
        let count = usize::try_from(total / SPACING_MS)
            .unwrap_or(0)
            .saturating_sub(1);
        let at_most = if seed % MAJORITY_LOST == MAJORITY_LOST - 1 {
            2
        } else {
            1
        };
        let mut faults: Vec<Planned> = Vec::new();
        let first = usize::try_from(seed % KINDS as u64).unwrap_or(0) * count;
        for number in 0..count {
            let kind = (first + number) % KINDS;
            let earliest = MARGIN_MS + SPACING_MS * number as u64;
            let fitting = (0..ATTEMPTS).find_map(|_| {
                let from = earliest + random.random_range(0..SPACING_MS);
                let longest = LONGEST_MS.min(last.saturating_sub(from));
                if longest < SHORTEST_MS {
                    return None;
                }
                let length = random.random_range(SHORTEST_MS..=longest);
                let planned = Planned {
                    from: Duration::from_millis(from),
                    to: Duration::from_millis(from + length),
                    fault: fault(kind, &mut random),
                };
                fits(&planned, &faults, at_most).then_some(planned)
            });
            faults.extend(fitting);
        }
        faults.sort_by_key(|planned| planned.from);
        let shortest = random.random_range(20..200);
        Self {
            seed,
            duration,
            faults,
            load: Load {
                per_second: random.random_range(3..=8),
                answer_ms: (shortest, shortest + random.random_range(100..1500)),
            },
        }
    }

    /// Whether the clock of this component is set off in the run.
    pub fn sets_clock_of(&self, component: Component) -> bool {
        self.faults
            .iter()
            .any(|planned| matches!(planned.fault, Fault::ClockOff(one, _) if one == component))
    }
}

/// No component is hit twice at a time, and no more of etcd than `etcd` faults at a time.
fn fits(planned: &Planned, others: &[Planned], etcd: usize) -> bool {
    let meeting: Vec<&Planned> = others.iter().filter(|other| other.meets(planned)).collect();
    let victim = planned.fault.victim();
    let is_free = meeting
        .iter()
        .all(|other| victim.is_none() || other.fault.victim() != victim);
    let of_etcd = meeting
        .iter()
        .filter(|other| other.fault.hits_etcd())
        .count();
    let same_disk = meeting
        .iter()
        .any(|other| other.fault.kind() == planned.fault.kind() && victim.is_none());
    meeting.len() < AT_ONCE
        && is_free
        && !same_disk
        && (!planned.fault.hits_etcd() || of_etcd < etcd)
}

fn fault(kind: usize, random: &mut StdRng) -> Fault {
    match kind {
        0 => Fault::Killed(victim(random, |_| true)),
        1 => Fault::Paused(victim(random, |_| true)),
        2 => {
            let direction = if random.random() {
                Direction::In
            } else {
                Direction::Out
            };
            Fault::OneWay(victim(random, |_| true), direction)
        }
        3 => Fault::LeaderKilled,
        4 => Fault::Lossy(victim(random, |_| true), random.random_range(5..=40)),
        5 => {
            let off = random.random_range(2..=600);
            let off = if random.random() { off } else { -off };
            Fault::ClockOff(victim(random, |one| !one.is_etcd()), off)
        }
        6 => Fault::LinkDown(victim(random, |_| true)),
        7 => Fault::DiskFull(match random.random_range(0..6) {
            number @ 0..3 => Disk::Etcd(number),
            _ => Disk::Blobs,
        }),
        8 => Fault::Slow(victim(random, |_| true), random.random_range(32..=512)),
        9 => Fault::LeaderMoved,
        _ => Fault::Restarted(victim(random, |one| !one.is_etcd())),
    }
}

/// Coordinators are hit twice as often as the others, whose kinds are hit equally often.
fn victim(random: &mut StdRng, wanted: impl Fn(Component) -> bool) -> Component {
    loop {
        let class = match random.random_range(0..6u8) {
            5 => Component::Coordinator(0).class(),
            class => class,
        };
        let of_class = Component::those(|one| one.class() == class && wanted(one));
        if !of_class.is_empty() {
            return of_class[random.random_range(0..of_class.len())];
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

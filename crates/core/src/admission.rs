//! Who may begin now, who waits, and who is turned away. Pure: the caller says what time it is, in
//! durations since any fixed moment of its own.
//!
//! There is a fixed number of permits. Where all are out, a request waits in a line that is bounded
//! in length and in age. Permits are shared fairly between tenants: a freed one goes to the waiting
//! tenant that holds the fewest (max-min fairness), and within a tenant to whoever waited longest. In
//! a full line the newest request of the tenant with the most waiting gives way to one of a tenant
//! with fewer, so that nobody can keep others out.
//!
//! **Age.** A short burst may wait long; a line that never empties is a sign of overload, where long
//! waits only make everybody late. So the longest wait falls once the line has stood for a while:
//! the rule of controlled delay (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 2012) as
//! servers apply it, with two bounds on the wait instead of a drop rate.
//!
//! **Deadlines.** A request that would not get its permit in time to finish is turned away at once,
//! rather than when it is too late: the wait is estimated from the pace at which permits come back,
//! the least time to finish from the quickest of late.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use crate::ids::TenantId;

mod pace;

use pace::Pace;

/// Bounds of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineConfig {
    /// Most holders of a permit at once.
    pub permits: usize,
    /// Most requests that wait.
    pub max_waiting: usize,
    /// Longest wait in a burst.
    pub max_wait: Duration,
    /// Longest wait once the line has stood.
    pub standing_wait: Duration,
    /// How long the line must have been without an empty moment to count as standing.
    pub standing_after: Duration,
}

/// A place in the line, or the permit that came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(u64);

/// How a request entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It has a permit.
    Admitted(Place),
    /// It waits, until it is admitted or this moment has come.
    Waiting {
        /// Where.
        place: Place,
        /// When it has to give up, with [`Line::expired`].
        until: Duration,
        /// Why it has to.
        overdue: Reason,
        /// Who lost the place in a full line to it, and is to be told so.
        displaced: Option<Place>,
    },
}

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// As many wait as may.
    LineFull,
    /// It waited for as long as may be.
    Age,
    /// It could not finish before its deadline.
    Deadline,
}

impl Reason {
    /// A stable short name, also used as a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::LineFull => "max_running",
            Self::Age => "queue_age",
            Self::Deadline => "deadline",
        }
    }
}

/// A request that was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// When another attempt may be admitted, by the pace of late.
    pub retry_after: Duration,
}

/// Who waits. Those who go on with what was accepted before come before all new ones, are not
/// turned away, and count for nobody's share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claimant {
    /// Somebody who goes on with what was accepted before.
    Accepted,
    /// A new request of this tenant, to be finished in this time.
    New {
        /// Whose.
        tenant: TenantId,
        /// Time until its deadline.
        left: Duration,
    },
}

/// Permits and the line before them. See the module.
#[derive(Debug)]
pub struct Line {
    config: LineConfig,
    next: u64,
    /// Holders of a permit: whose, since when.
    holders: HashMap<Place, (Option<TenantId>, Duration)>,
    held: BTreeMap<TenantId, usize>,
    accepted: VecDeque<Place>,
    waiting: BTreeMap<TenantId, VecDeque<Place>>,
    waiters: usize,
    /// Since when somebody new has waited at every moment.
    standing_since: Option<Duration>,
    pace: Pace,
}

impl Line {
    /// A line in which nobody waits.
    pub fn new(config: LineConfig) -> Self {
        Self {
            config,
            next: 0,
            holders: HashMap::new(),
            held: BTreeMap::new(),
            accepted: VecDeque::new(),
            waiting: BTreeMap::new(),
            waiters: 0,
            standing_since: None,
            pace: Pace::default(),
        }
    }

    /// Permits that are out.
    pub fn in_use(&self) -> usize {
        self.holders.len()
    }

    /// New requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiters
    }

    /// Lets a claimant in, has it wait, or turns it away.
    ///
    /// # Errors
    /// [`Refused`] with [`Reason::LineFull`] or [`Reason::Deadline`].
    pub fn enter(&mut self, claimant: Claimant, now: Duration) -> Result<Entered, Refused> {
        let place = Place(self.next);
        let is_free = self.holders.len() < self.config.permits;
        let (tenant, left) = match claimant {
            Claimant::Accepted => {
                self.next += 1;
                if is_free {
                    self.grant(place, None, now);
                    return Ok(Entered::Admitted(place));
                }
                self.accepted.push_back(place);
                return Ok(Entered::Waiting {
                    place,
                    until: Duration::MAX,
                    overdue: Reason::Age,
                    displaced: None,
                });
            }
            Claimant::New { tenant, left } => (tenant, left),
        };
        if is_free {
            self.next += 1;
            self.grant(place, Some(tenant), now);
            return Ok(Entered::Admitted(place));
        }
        let wait = self.pace.wait(self.ahead_of(&tenant) + 1);
        let usable = left.saturating_sub(self.pace.quickest());
        if usable.is_zero() || wait.is_some_and(|wait| wait > usable) {
            return Err(self.refused(Reason::Deadline));
        }
        let displaced = if self.waiters < self.config.max_waiting {
            None
        } else {
            let displaced = self.displace(&tenant);
            Some(displaced.ok_or_else(|| self.refused(Reason::LineFull))?)
        };
        self.next += 1;
        self.waiting.entry(tenant).or_default().push_back(place);
        self.waiters += 1;
        self.standing_since.get_or_insert(now);
        let longest = self.longest_wait(now);
        let (wait, overdue) = if usable < longest {
            (usable, Reason::Deadline)
        } else {
            (longest, Reason::Age)
        };
        Ok(Entered::Waiting {
            place,
            until: now.saturating_add(wait),
            overdue,
            displaced,
        })
    }

    /// Gives a permit back, or a place in the line up; returns who holds the permit now instead.
    pub fn leave(&mut self, place: Place, now: Duration) -> Option<Place> {
        let Some((tenant, since)) = self.holders.remove(&place) else {
            self.forget(place);
            return None;
        };
        self.pace.finished(now.saturating_sub(since), now);
        if let Some(tenant) = tenant {
            self.count_down(&tenant);
        }
        self.admit_next(now)
    }

    /// Turns away a waiting request whose time is up. `None` where it holds a permit by now.
    pub fn expired(&mut self, place: Place, overdue: Reason) -> Option<Refused> {
        if self.holders.contains_key(&place) {
            return None;
        }
        self.forget(place);
        Some(self.refused(overdue))
    }

    /// Longest wait of who enters now.
    fn longest_wait(&self, now: Duration) -> Duration {
        let has_stood = self
            .standing_since
            .is_some_and(|since| now.saturating_sub(since) >= self.config.standing_after);
        if has_stood {
            self.config.standing_wait.min(self.config.max_wait)
        } else {
            self.config.max_wait
        }
    }

    /// What somebody is told who is turned away.
    pub fn refused(&self, reason: Reason) -> Refused {
        let retry_after = self.pace.wait(self.waiters + 1).unwrap_or_default();
        Refused {
            reason,
            retry_after,
        }
    }

    /// How many of those who wait get their permit before a new request of `tenant`: all of its own,
    /// and of others as many as they hold fewer.
    fn ahead_of(&self, tenant: &TenantId) -> usize {
        let own = self.waiting.get(tenant).map_or(0, VecDeque::len);
        let level = self.held.get(tenant).copied().unwrap_or(0) + own + 1;
        let others = self.waiting.iter().filter(|(other, _)| *other != tenant);
        let before_it = others.map(|(other, places)| {
            let held = self.held.get(other).copied().unwrap_or(0);
            places.len().min(level.saturating_sub(held))
        });
        self.accepted.len() + own + before_it.sum::<usize>()
    }

    /// Takes the newest place of the tenant with the most waiting, where that is more than `tenant`
    /// would have.
    fn displace(&mut self, tenant: &TenantId) -> Option<Place> {
        let own = self.waiting.get(tenant).map_or(0, VecDeque::len);
        let (longest, places) = self
            .waiting
            .iter_mut()
            .max_by_key(|(_, places)| places.len())?;
        if places.len() <= own + 1 {
            return None;
        }
        let displaced = places.pop_back()?;
        let emptied = places.is_empty().then(|| longest.clone());
        if let Some(emptied) = emptied {
            self.waiting.remove(&emptied);
        }
        self.waiters -= 1;
        Some(displaced)
    }

    fn admit_next(&mut self, now: Duration) -> Option<Place> {
        if self.holders.len() >= self.config.permits {
            return None;
        }
        if let Some(place) = self.accepted.pop_front() {
            self.grant(place, None, now);
            return Some(place);
        }
        // The fewest held, then whoever waited longest.
        let next = self.waiting.iter().min_by_key(|(tenant, places)| {
            let held = self.held.get(*tenant).copied().unwrap_or(0);
            (held, places.front().copied())
        });
        let tenant = next.map(|(tenant, _)| tenant.clone())?;
        let place = self.take_first(&tenant)?;
        self.note_emptiness();
        self.grant(place, Some(tenant), now);
        Some(place)
    }

    fn take_first(&mut self, tenant: &TenantId) -> Option<Place> {
        let places = self.waiting.get_mut(tenant)?;
        let place = places.pop_front()?;
        if places.is_empty() {
            self.waiting.remove(tenant);
        }
        self.waiters -= 1;
        Some(place)
    }

    fn grant(&mut self, place: Place, tenant: Option<TenantId>, now: Duration) {
        if let Some(tenant) = &tenant {
            *self.held.entry(tenant.clone()).or_default() += 1;
        }
        self.holders.insert(place, (tenant, now));
    }

    fn count_down(&mut self, tenant: &TenantId) {
        if let Some(held) = self.held.get_mut(tenant) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(tenant);
            }
        }
    }

    fn forget(&mut self, place: Place) {
        self.accepted.retain(|waiting| *waiting != place);
        let mut found = false;
        self.waiting.retain(|_, places| {
            let before = places.len();
            places.retain(|waiting| *waiting != place);
            found |= places.len() < before;
            !places.is_empty()
        });
        if found {
            self.waiters -= 1;
            self.note_emptiness();
        }
    }

    fn note_emptiness(&mut self) {
        if self.waiters == 0 {
            self.standing_since = None;
        }
    }
}

#[cfg(test)]
mod tests;

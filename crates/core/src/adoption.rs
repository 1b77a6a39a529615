//! Who goes on with the episodes of a coordinator that is gone. Pure.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::ids::{CoordinatorId, EpisodeId, TenantId};

/// Most owners that an episode has one after the other. One that has outlived so many may be what
/// ends them; it is given up with a failure.
pub const MAX_TERMS: u32 = 16;

/// An episode that has not ended, and who owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Who asked.
    pub tenant: TenantId,
    /// Which one.
    pub episode: EpisodeId,
    /// Its owner, which may be gone.
    pub owner: CoordinatorId,
}

/// A time during which the journal could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When it was last reached before.
    pub from: Timestamp,
    /// For how long not.
    pub length: Duration,
}

impl Outage {
    /// How long after `now` it will have been over for `time`: until then what else hung on leases
    /// may not be back.
    pub fn over_for(&self, time: Duration, now: Timestamp) -> Duration {
        let over = self.from.checked_add(self.length.saturating_add(time));
        let left = over.unwrap_or(now).duration_since(now);
        Duration::try_from(left).unwrap_or_default()
    }

    /// How much of it an episode that last went on at `progress` stood still for.
    pub fn after(&self, progress: Timestamp) -> Duration {
        let until = self.from.checked_add(self.length).unwrap_or(Timestamp::MAX);
        let stood = until.duration_since(progress.max(self.from));
        Duration::try_from(stood).unwrap_or_default()
    }
}

/// Who of the living takes a thing: the highest hash of both names. Everybody who sees the same
/// living comes to the same, and when one of them goes, only what was its own moves.
pub fn heir<'a>(
    thing: &str,
    living: impl IntoIterator<Item = &'a CoordinatorId>,
) -> Option<&'a CoordinatorId> {
    living.into_iter().max_by_key(|coordinator| {
        let mut hash = Sha256::new();
        hash.update(coordinator.as_str());
        hash.update([0]);
        hash.update(thing);
        <[u8; 32]>::from(hash.finalize())
    })
}

/// The episodes that `me` takes over: those of owners that are gone and whose heir it is, and its
/// own that `runs_here` does not know (their start failed, or their actor did).
pub fn to_adopt<'a>(
    unfinished: &'a [Unfinished],
    living: &BTreeSet<CoordinatorId>,
    me: &CoordinatorId,
    runs_here: impl Fn(&EpisodeId) -> bool,
) -> Vec<&'a Unfinished> {
    if !living.contains(me) {
        // Not in the list itself yet: what it knows of the others is older than it is.
        return Vec::new();
    }
    unfinished
        .iter()
        .filter(|one| {
            if one.owner == *me {
                !runs_here(&one.episode)
            } else {
                !living.contains(&one.owner)
                    && heir(one.episode.as_str(), living).is_some_and(|heir| heir == me)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ports::Membership;

    #[test]
    fn an_episode_stood_still_from_its_last_progress_until_the_end_of_the_outage() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let outage = Outage {
            from: at(100),
            length: Duration::from_secs(60),
        };
        let stood = [50, 100, 130, 160, 200].map(|s| outage.after(at(s)).as_secs());
        assert_eq!(stood, [60, 60, 30, 0, 0]);
        let settling = [150, 160, 161, 170].map(|s| outage.over_for(Duration::from_secs(2), at(s)));
        assert_eq!(settling.map(|left| left.as_secs()), [12, 2, 1, 0]);
        let mut members = Membership {
            outage: Some(outage),
            ..Membership::default()
        };
        assert_eq!(members.outage_at(at(500)), Some(outage));
        members.away_since = Some(at(490));
        let lasting = members.outage_at(at(500)).unwrap();
        assert_eq!((lasting.from, lasting.length.as_secs()), (at(490), 10));
    }

    fn coordinator(number: u8) -> CoordinatorId {
        CoordinatorId::new(format!("c{number}")).unwrap()
    }

    fn set(numbers: &BTreeSet<u8>) -> BTreeSet<CoordinatorId> {
        numbers.iter().map(|number| coordinator(*number)).collect()
    }

    fn owned(owners: &[u8]) -> Vec<Unfinished> {
        let one = |owner: &u8| Unfinished {
            tenant: TenantId::anonymous(),
            episode: EpisodeId::generate(),
            owner: coordinator(*owner),
        };
        owners.iter().map(one).collect()
    }

    #[test]
    fn nobody_inherits_where_nobody_lives() {
        assert_eq!(heir("e", &BTreeSet::new()), None);
    }

    #[test]
    fn the_heirs_share_the_load() {
        let living = set(&(0..4).collect());
        let orphans = owned(&[9; 2000]);
        for me in &living {
            let mine = to_adopt(&orphans, &living, me, |_| false).len();
            assert!((350..=650).contains(&mine), "{mine} of 2000 among 4");
        }
    }

    #[test]
    fn one_that_is_not_in_the_list_takes_nothing() {
        let living = set(&[1].into());
        assert!(to_adopt(&owned(&[9, 2]), &living, &coordinator(2), |_| false).is_empty());
    }

    proptest! {
        /// Every orphan is taken by exactly one of the living, and nothing else is taken.
        #[test]
        fn each_orphan_has_one_heir(
            living in prop::collection::btree_set(0u8..6, 1..5),
            owners in prop::collection::vec(0u8..8, 0..30),
        ) {
            let living = set(&living);
            let unfinished = owned(&owners);
            for one in &unfinished {
                let takers = living
                    .iter()
                    .filter(|me| to_adopt(&unfinished, &living, me, |_| true).contains(&one))
                    .count();
                prop_assert_eq!(takers, usize::from(!living.contains(&one.owner)));
            }
        }

        /// What runs nowhere although its owner lives is taken up by that owner.
        #[test]
        fn an_owner_takes_up_what_it_does_not_run(
            living in prop::collection::btree_set(0u8..6, 1..5),
            owners in prop::collection::vec(0u8..6, 0..30),
        ) {
            let living = set(&living);
            let unfinished = owned(&owners);
            for me in &living {
                for taken in to_adopt(&unfinished, &living, me, |_| false) {
                    prop_assert!(taken.owner == *me || !living.contains(&taken.owner));
                }
                let own = unfinished.iter().filter(|one| one.owner == *me);
                let taken = to_adopt(&unfinished, &living, me, |_| false);
                for one in own {
                    prop_assert!(taken.contains(&one));
                }
            }
        }

        /// When one goes, what the others had stays where it was.
        #[test]
        fn only_the_heritage_of_the_gone_moves(
            living in prop::collection::btree_set(0u8..6, 2..6),
            things in prop::collection::vec("[a-z]{1,8}", 1..20),
            gone in any::<prop::sample::Index>(),
        ) {
            let all = set(&living);
            let gone = all.iter().nth(gone.index(all.len())).unwrap().clone();
            let rest: BTreeSet<_> = all.iter().filter(|one| **one != gone).cloned().collect();
            for thing in &things {
                let before = heir(thing, &all).unwrap();
                if *before != gone {
                    prop_assert_eq!(heir(thing, &rest), Some(before));
                }
            }
        }
    }
}

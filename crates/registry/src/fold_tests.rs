use maestro_core::InstanceId;
use proptest::prelude::*;

use super::*;
use crate::codec::tests::{expert, instance, key, policy, skill};

fn put(revision: u64, entry: Stored) -> Change {
    Change {
        key: key(&entry),
        revision,
        entry: Some(entry),
    }
}

fn delete(revision: u64, key: Key) -> Change {
    Change {
        key,
        revision,
        entry: None,
    }
}

/// What happens at one revision to one of a few entries.
fn any_event() -> impl Strategy<Value = Stored> {
    let name = prop_oneof![Just("a"), Just("b")];
    let text = prop_oneof![Just("one"), Just("two")];
    (0..4_u8, name, text).prop_map(|(kind, name, text)| match kind {
        0 => expert(name, text),
        1 => skill(name, text),
        2 => instance(name, text, 1),
        _ => policy(text),
    })
}

/// A history: at each revision from 1 an entry is written or deleted.
fn any_history() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((any_event(), any::<bool>()), 1..40).prop_map(|events| {
        let numbered = (1..).zip(events);
        numbered
            .map(|(revision, (entry, written))| match written {
                true => put(revision, entry),
                false => delete(revision, key(&entry)),
            })
            .collect()
    })
}

/// What a fresh listing after `history` would bring.
fn listing(history: &[Change]) -> (Vec<Change>, u64) {
    let mut last = BTreeMap::new();
    for change in history {
        last.insert(change.key.clone(), change.clone());
    }
    let present = last
        .into_values()
        .filter(|change| change.entry.is_some())
        .collect();
    (present, history.last().map_or(0, |change| change.revision))
}

fn fresh(history: &[Change]) -> Snapshot {
    let (listing, revision) = listing(history);
    let mut builder = SnapshotBuilder::new();
    builder.reset(listing, revision);
    shown(&builder.snapshot())
}

/// What a snapshot shows. Which change was the last one is not known after a listing.
fn shown(snapshot: &Snapshot) -> Snapshot {
    assert!(snapshot.changed <= snapshot.revision);
    Snapshot {
        changed: 0,
        ..snapshot.clone()
    }
}

proptest! {
    /// Any order, any repetition, snapshots taken at any time in between.
    #[test]
    fn changes_fold_into_what_a_listing_shows(
        (history, order) in any_history().prop_flat_map(|history| {
            let mut order: Vec<usize> = (0..history.len()).collect();
            order.extend(0..history.len() / 2);
            (Just(history), Just(order).prop_shuffle())
        }),
        snapshot_every in 1_usize..5,
    ) {
        let mut builder = SnapshotBuilder::new();
        for (count, index) in order.into_iter().enumerate() {
            builder.apply(history[index].clone());
            if count % snapshot_every == 0 {
                builder.snapshot();
            }
        }
        prop_assert_eq!(shown(&builder.snapshot()), fresh(&history));
    }

    /// A listing somewhere in the middle of the history and the changes after it.
    #[test]
    fn a_listing_can_replace_any_part_of_the_history(
        history in any_history(),
        before in 0_usize..40,
        listed in 0_usize..40,
    ) {
        let (before, listed) = (before.min(history.len()), listed.min(history.len()));
        let mut builder = SnapshotBuilder::new();
        for change in &history[..before] {
            builder.apply(change.clone());
        }
        builder.snapshot();
        let (entries, revision) = listing(&history[..listed]);
        builder.reset(entries, revision);
        for change in &history[listed..] {
            builder.apply(change.clone());
        }
        prop_assert_eq!(shown(&builder.snapshot()), fresh(&history));
    }

    #[test]
    fn the_digest_is_always_the_catalogues(history in any_history()) {
        let mut builder = SnapshotBuilder::new();
        for change in history {
            builder.apply(change);
            let snapshot = builder.snapshot();
            prop_assert_eq!(snapshot.digest, Some(snapshot.catalogue.digest()));
        }
    }
}

#[test]
fn a_listing_asks_others_for_no_revision_that_they_may_never_see() {
    let mut builder = SnapshotBuilder::new();
    let (entries, _) = listing(&[put(4, expert("a", "one")), put(9, policy("q"))]);
    // Others wrote to the same etcd in between.
    builder.reset(entries, 500);
    let snapshot = builder.snapshot();
    assert_eq!((snapshot.revision, snapshot.changed), (500, 9));
    builder.apply(delete(501, key(&policy("q"))));
    assert_eq!(builder.snapshot().changed, 501);
}

#[test]
fn only_descriptions_make_a_new_catalogue() {
    let mut builder = SnapshotBuilder::new();
    builder.apply(put(1, expert("a", "one")));
    let first = builder.snapshot();
    builder.apply(put(2, instance("a", "i", 1)));
    builder.apply(put(3, policy("p")));
    builder.apply(put(4, expert("a", "one")));
    let second = builder.snapshot();
    assert!(Arc::ptr_eq(&first.catalogue, &second.catalogue));
    assert_eq!((second.revision, second.digest), (4, first.digest));
    let (entries, revision) = listing(&[put(4, expert("a", "one")), put(9, policy("q"))]);
    builder.reset(entries, revision);
    assert!(Arc::ptr_eq(&first.catalogue, &builder.snapshot().catalogue));
    builder.apply(put(10, expert("a", "two")));
    let third = builder.snapshot();
    assert_ne!(third.digest, first.digest);
    assert_eq!(first.catalogue.experts["a"].description, "one");
}

#[test]
fn instances_are_sorted_and_an_expert_without_any_serves_no_more() {
    let mut builder = SnapshotBuilder::new();
    for (revision, id) in [(1, "c"), (2, "a"), (3, "b")] {
        builder.apply(put(revision, instance("x", id, 1)));
    }
    let ids: Vec<InstanceId> = builder.snapshot().instances["x"]
        .iter()
        .map(|one| one.id.clone())
        .collect();
    assert_eq!(ids, ["a", "b", "c"].map(|id| InstanceId::new(id).unwrap()));
    for (revision, id) in [(4, "c"), (5, "a"), (6, "b")] {
        builder.apply(delete(revision, key(&instance("x", id, 1))));
    }
    assert!(builder.snapshot().instances.is_empty());
}

#[test]
fn remembered_deletions_are_bounded() {
    let mut builder = SnapshotBuilder::new();
    for revision in 1..=3 * REMEMBERED_DELETIONS as u64 {
        builder.apply(delete(
            revision,
            key(&instance("x", &format!("i{revision}"), 1)),
        ));
    }
    assert!(builder.deletions.len() <= REMEMBERED_DELETIONS);
}

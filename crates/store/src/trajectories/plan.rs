//! Which files are merged and which are deleted. Pure.

use std::{collections::BTreeMap, time::Duration};

use maestro_core::Timestamp;

use super::layout::{File, Partition};

/// What tidying is to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Too old.
    pub(super) expired: Vec<File>,
    /// Sets of files of one hour, each to become one.
    pub(super) merges: Vec<Vec<File>>,
}

/// Hours that ended more than `retention` ago go; those that ended more than `compact_after` ago have
/// their files merged into ones of at most `max_bytes`. Files come in any order.
pub(super) fn plan(
    files: impl IntoIterator<Item = File>,
    now: Timestamp,
    compact_after: Option<Duration>,
    retention: Option<Duration>,
    max_bytes: u64,
) -> Plan {
    let mut hours: BTreeMap<Partition, Vec<File>> = BTreeMap::new();
    for file in files {
        hours.entry(file.partition).or_default().push(file);
    }
    let mut plan = Plan::default();
    for (hour, files) in hours {
        let age = now.duration_since(hour.end());
        let is_past = |limit: Option<Duration>| {
            limit.is_some_and(|limit| !age.is_negative() && age.unsigned_abs() >= limit)
        };
        if is_past(retention) {
            plan.expired.extend(files);
        } else if is_past(compact_after) {
            plan.merges.extend(sets(files, max_bytes));
        }
    }
    plan
}

/// The files of one hour in sets that are to become one each, by rising ids, so that what is merged
/// covers few of them.
fn sets(mut files: Vec<File>, max_bytes: u64) -> Vec<Vec<File>> {
    files.sort_by(|a, b| (&a.first, &a.path).cmp(&(&b.first, &b.path)));
    let mut sets: Vec<Vec<File>> = vec![];
    let mut bytes = 0_u64;
    for file in files {
        if file.size > max_bytes / 2 {
            // Large enough: merging it again and again would cost more than it saves.
            continue;
        }
        match sets.last_mut() {
            Some(set) if bytes.saturating_add(file.size) <= max_bytes => {
                bytes += file.size;
                set.push(file);
            }
            _ => {
                bytes = file.size;
                sets.push(vec![file]);
            }
        }
    }
    sets.retain(|set| set.len() > 1);
    sets
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hour: u32) -> Timestamp {
        format!("2026-11-30T{hour:02}:30:00Z").parse().unwrap()
    }

    fn file(hour: u32, first: u32, size: u64) -> File {
        let partition = Partition::at(at(hour));
        let name = format!("{first:04}_{first:04}_x.parquet");
        let path: Path = partition.folder().join(name);
        File::parse(&path, size).unwrap()
    }

    fn names(files: &[File]) -> Vec<String> {
        files.iter().map(|file| file.first.clone()).collect()
    }

    #[test]
    fn an_hour_is_merged_once_it_is_over_for_long_enough() {
        let files = || {
            vec![
                file(7, 2, 10),
                file(7, 1, 10),
                file(9, 1, 10),
                file(9, 2, 10),
            ]
        };
        let merges = |now| plan(files(), at(now), Some(HOUR), None, 100).merges;
        assert_eq!(merges(8), Vec::<Vec<File>>::new());
        let merged = merges(9);
        assert_eq!(merged.len(), 1);
        assert_eq!(names(&merged[0]), ["0001", "0002"]);
        assert_eq!(merges(11).len(), 2);
        assert_eq!(plan(files(), at(11), None, None, 100), Plan::default());
    }

    #[test]
    fn what_is_too_old_goes_and_is_not_merged_before() {
        let files = vec![file(7, 1, 10), file(7, 2, 10), file(9, 1, 10)];
        let plan = plan(files, at(10), Some(HOUR), Some(2 * HOUR), 100);
        assert_eq!(names(&plan.expired), ["0001", "0002"]);
        assert!(plan.merges.is_empty());
    }

    #[test]
    fn a_file_alone_or_large_stays() {
        let alone = plan([file(7, 1, 10)], at(20), Some(HOUR), None, 100);
        assert!(alone.merges.is_empty());
        let large = [file(7, 1, 51), file(7, 2, 51), file(7, 3, 1)];
        assert!(plan(large, at(20), Some(HOUR), None, 100).merges.is_empty());
    }

    proptest! {
        /// Each file goes into at most one set, and no set is larger than allowed.
        #[test]
        fn sets_are_disjoint_and_bounded(sizes in prop::collection::vec(0_u64..80, 0..60)) {
            let files: Vec<File> =
                (0..).zip(&sizes).map(|(first, size)| file(7, first, *size)).collect();
            let merges = plan(files.clone(), at(20), Some(HOUR), None, 100).merges;
            let mut seen = std::collections::BTreeSet::new();
            for set in &merges {
                prop_assert!(set.len() > 1);
                prop_assert!(set.iter().map(|file| file.size).sum::<u64>() <= 100);
                for file in set {
                    prop_assert!(seen.insert(file.path.clone()));
                }
            }
        }
    }
}

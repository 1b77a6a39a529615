//! Where files of episodes stand. Pure.
//!
//! ```text
//! trajectories/date=2026-11-30/hour=07/FIRST_LAST_NAME.parquet
//! ```
//!
//! The folder is the hour in which the episodes were accepted, in UTC; FIRST and LAST are the lowest
//! and highest of their ids, so that a listing says which files may hold one.

use maestro_core::{EpisodeId, Timestamp, episode::EpisodeRecord};
use object_store::path::Path;

/// Folder of all trajectories.
pub(super) const ROOT: &str = "trajectories";

/// One hour.
const HOUR_S: i64 = 3600;

/// An hour of which the episodes stand together, as hours since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Partition(i64);

impl Partition {
    /// The hour that a time is in.
    pub(super) fn at(time: Timestamp) -> Self {
        Self(time.as_second().div_euclid(HOUR_S))
    }

    /// Where the episode of this id stands; `None` for an id that says no time.
    pub(super) fn of_id(id: &EpisodeId) -> Option<Self> {
        id.generated_at().map(Self::at)
    }

    /// Where an episode stands.
    pub(super) fn of(record: &EpisodeRecord) -> Self {
        Self::of_id(&record.spec.id).unwrap_or_else(|| Self::at(record.spec.created_at))
    }

    /// When no more episodes are accepted in it; the end of time where it cannot be said.
    pub(super) fn end(self) -> Timestamp {
        let second = (self.0.saturating_add(1)).saturating_mul(HOUR_S);
        Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
    }

    /// Its folder.
    pub(super) fn folder(self) -> Path {
        let start = Timestamp::from_second(self.0.saturating_mul(HOUR_S));
        let time = start.unwrap_or(Timestamp::MAX).strftime("date=%F/hour=%H");
        Path::from(format!("{ROOT}/{time}"))
    }

    /// The hour whose folder holds `path`.
    fn parse(path: &Path) -> Option<Self> {
        let mut parts = path.parts();
        let (root, date, hour) = (parts.next()?, parts.next()?, parts.next()?);
        if root.as_ref() != ROOT || parts.count() != 1 {
            return None;
        }
        let date = date.as_ref().strip_prefix("date=")?.to_owned();
        let hour = hour.as_ref().strip_prefix("hour=")?.to_owned();
        let time: Timestamp = format!("{date}T{hour}:00:00Z").parse().ok()?;
        Some(Self::at(time))
    }
}

/// A file of episodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct File {
    pub(super) partition: Partition,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) path: Path,
    /// Size in bytes.
    pub(super) size: u64,
}

impl File {
    /// The file at `path`; `None` for anything that is none.
    pub(super) fn parse(path: &Path, size: u64) -> Option<Self> {
        let partition = Partition::parse(path)?;
        let name = path.filename()?.strip_suffix(".parquet")?;
        let (first, rest) = name.split_once('_')?;
        let (last, _) = rest.split_once('_')?;
        Some(Self {
            partition,
            first: first.to_owned(),
            last: last.to_owned(),
            path: path.clone(),
            size,
        })
    }

    /// Whether it may hold the episode.
    pub(super) fn may_hold(&self, id: &EpisodeId) -> bool {
        (self.first.as_str()..=self.last.as_str()).contains(&id.as_str())
    }
}

/// Where a file stands whose episodes are from `first` to `last`.
pub(super) fn file(partition: Partition, (first, last): (&str, &str), name: &str) -> Path {
    partition
        .folder()
        .join(format!("{first}_{last}_{name}.parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn paths_are_as_documented() {
        let partition = Partition::at(time("2026-11-30T07:59:59.9Z"));
        let path = file(partition, ("a", "b-1"), "00ff");
        let expected = "trajectories/date=2026-11-30/hour=07/a_b-1_00ff.parquet";
        assert_eq!(path.as_ref(), expected);
        let parsed = File::parse(&path, 5).unwrap();
        assert_eq!((parsed.partition, parsed.size), (partition, 5));
        assert_eq!((parsed.first.as_str(), parsed.last.as_str()), ("a", "b-1"));
        assert_eq!(partition.end(), time("2026-11-30T08:00:00Z"));
    }

    #[test]
    fn what_others_put_there_is_no_file_of_episodes() {
        for other in [
            "trajectories/date=2026-11-30/hour=07/notes.txt",
            "trajectories/date=2026-11-30/hour=07/a.parquet",
            "trajectories/date=2026-11-30/hour=07/a_b_c.parquet#1",
            "trajectories/date=2026-11-30/a_b_c.parquet",
            "trajectories/date=soon/hour=07/a_b_c.parquet",
            "blobs/date=2026-11-30/hour=07/a_b_c.parquet",
        ] {
            // A name is not always a path that is written as it is.
            let path = Path::parse(other).unwrap();
            assert_eq!(File::parse(&path, 1), None, "{other}");
        }
    }

    #[test]
    fn the_name_says_which_ids_it_may_hold() {
        let path = file(Partition(0), ("b", "d"), "x");
        let file = File::parse(&path, 1).unwrap();
        let may_hold = |id| file.may_hold(&EpisodeId::new(id).unwrap());
        assert!(may_hold("b") && may_hold("c") && may_hold("d"));
        assert!(!may_hold("a") && !may_hold("e"));
    }

    #[test]
    fn an_id_says_the_hour() {
        let id = EpisodeId::generate();
        let now = Partition::at(Timestamp::now());
        let hour = Partition::of_id(&id).unwrap();
        assert!(hour == now || hour.end() == Timestamp::from_second(now.0 * HOUR_S).unwrap());
    }
}

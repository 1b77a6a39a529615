//! The store over a folder: what is written, found, merged and deleted, and what a crash leaves.

use std::{fs, path::PathBuf, slice::from_ref, time::Duration};

use maestro_core::ports::Batching;
use tempfile::TempDir;
use url::Url;

use super::{
    samples::{answered, graded},
    *,
};

const HOUR: Duration = Duration::from_secs(3600);

struct Store {
    folder: TempDir,
    store: ObjectTrajectories,
}

fn store_with(change: impl FnOnce(&mut TrajectoryConfig)) -> Store {
    let folder = TempDir::new().unwrap();
    let url = Url::from_file_path(folder.path().join("kept")).unwrap();
    let mut config = TrajectoryConfig::new(url);
    change(&mut config);
    let store = ObjectTrajectories::open(&config).unwrap().unwrap();
    Store { folder, store }
}

fn store() -> Store {
    store_with(|_| {})
}

impl Store {
    async fn put(&self, records: &[EpisodeRecord]) {
        self.store.put(records).await.unwrap();
    }

    async fn get(&self, record: &EpisodeRecord) -> Result<EpisodeRecord, CoreError> {
        self.store.get(&record.spec.tenant, &record.spec.id).await
    }

    /// Whatever stands in the store that is no folder.
    fn files(&self) -> Vec<PathBuf> {
        let mut open = vec![self.folder.path().join("kept")];
        let mut files = vec![];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(
                    fs::read_dir(path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            } else {
                files.push(path);
            }
        }
        files.sort();
        files
    }

    async fn listed(&self) -> Vec<File> {
        let mut files = self
            .store
            .objects
            .list(&Path::from(layout::ROOT))
            .await
            .unwrap();
        files.sort();
        files
    }
}

/// Late enough that every hour of now is over and merged.
fn later() -> Timestamp {
    Timestamp::now().checked_add(4 * HOUR).unwrap()
}

#[tokio::test]
async fn episodes_are_found_by_tenant_and_id() {
    let store = store();
    let records = [answered("4"), answered("5")];
    assert!(matches!(
        store.get(&records[0]).await,
        Err(CoreError::NotFound { .. })
    ));
    store.put(&records).await;
    for record in &records {
        assert_eq!(store.get(record).await.unwrap(), *record);
    }
    let other = TenantId::new("other").unwrap();
    let stranger = store.store.get(&other, &records[0].spec.id).await;
    assert!(matches!(stranger, Err(CoreError::NotFound { .. })));
    // An id that says no time was never given to an episode.
    let unknown = EpisodeId::new("e1").unwrap();
    let unknown = store.store.get(&records[0].spec.tenant, &unknown).await;
    assert!(matches!(unknown, Err(CoreError::NotFound { .. })));
}

#[tokio::test]
async fn the_path_says_the_hour() {
    let store = store();
    let mut record = answered("4");
    // 2026-11-30T07:59:59.999Z, as the first 48 bits.
    record.spec.id = EpisodeId::new("019ad3ba-f9bf-7000-8000-000000000000").unwrap();
    store.put(from_ref(&record)).await;
    let at = record.spec.id.generated_at().unwrap();
    let files = store.files();
    assert_eq!(files.len(), 1, "{files:?}");
    let folder = at
        .strftime("kept/trajectories/date=%Y-%m-%d/hour=%H")
        .to_string();
    assert_eq!(files[0].parent().unwrap(), store.folder.path().join(folder));
    assert_eq!(store.get(&record).await.unwrap(), record);
}

#[tokio::test]
async fn what_is_written_again_takes_no_room_and_counts_once() {
    let store = store();
    let records = [answered("4"), answered("5")];
    store.put(&records).await;
    let before = store.files();
    store.put(&records).await;
    assert_eq!(store.files(), before);
    // In another company: as after a crash between the writing and the deletion in the journal.
    store.put(&[records[0].clone(), answered("6")]).await;
    assert_eq!(store.files().len(), before.len() + 1);
    assert_eq!(store.get(&records[0]).await.unwrap(), records[0]);
}

#[tokio::test]
async fn outcomes_join_their_episode_and_the_last_one_counts() {
    let store = store();
    let record = answered("4");
    store.put(from_ref(&record)).await;
    let (tenant, id) = (&record.spec.tenant, &record.spec.id);
    for score in [0.25, 0.75] {
        let outcome = graded(&record, score).outcome.unwrap();
        store.store.report(tenant, id, &outcome).await.unwrap();
        let stored = store.get(&record).await.unwrap();
        assert_eq!(stored.outcome.unwrap().score, score);
    }
    // A clock that went back does not bring the first one back.
    let mut early = graded(&record, 0.5).outcome.unwrap();
    early.reported_at = Timestamp::UNIX_EPOCH;
    store.store.report(tenant, id, &early).await.unwrap();
    assert_eq!(
        store.get(&record).await.unwrap().outcome.unwrap().score,
        0.5
    );
    // Nor one within the microsecond that times are kept to.
    let stored = store.get(&record).await.unwrap().outcome.unwrap();
    let mut exact = stored.clone();
    exact.score = 0.125;
    exact.reported_at =
        Timestamp::from_nanosecond(stored.reported_at.as_nanosecond() + 900).unwrap();
    let mut same = record.clone();
    same.outcome = Some(exact);
    store.put(&[same]).await;
    store.store.report(tenant, id, &early).await.unwrap();
    let reread = store.listed().await.len();
    store.store.report(tenant, id, &early).await.unwrap();
    assert_eq!(
        store.listed().await.len(),
        reread + 1,
        "each report is a later version"
    );
    // The episode that was written first comes once more.
    store.put(from_ref(&record)).await;
    assert_eq!(
        store.get(&record).await.unwrap().outcome.unwrap().score,
        0.5
    );
    let unknown = EpisodeId::generate();
    let refused = store.store.report(tenant, &unknown, &early).await;
    assert!(matches!(refused, Err(CoreError::NotFound { .. })));
}

#[tokio::test]
async fn the_files_of_an_hour_that_is_over_become_one() {
    let store = store();
    let records: Vec<_> = (0..6).map(|n| answered(&n.to_string())).collect();
    for pair in records.chunks(2) {
        store.put(pair).await;
    }
    store.put(&[graded(&records[0], 1.0)]).await;
    let hours = store
        .listed()
        .await
        .iter()
        .map(|file| file.partition)
        .collect::<std::collections::BTreeSet<_>>();
    let early = store.store.tidy(Timestamp::now()).await.unwrap();
    assert_eq!(early, Tidied::default());
    let tidied = store.store.tidy(later()).await.unwrap();
    assert!(tidied.merged >= 3, "{tidied:?}");
    // One for each hour that the episodes are of: two, where the test ran across its end.
    assert_eq!(store.files().len(), hours.len());
    for record in &records[1..] {
        assert_eq!(store.get(record).await.unwrap(), *record);
    }
    assert_eq!(
        store.get(&records[0]).await.unwrap().outcome.unwrap().score,
        1.0
    );
    assert_eq!(store.store.tidy(later()).await.unwrap(), Tidied::default());
}

#[tokio::test]
async fn a_merge_that_was_cut_off_loses_and_doubles_nothing() {
    let store = store();
    let records = [answered("4"), answered("5"), answered("6")];
    for record in &records {
        store.put(from_ref(record)).await;
    }
    let before = store.listed().await;
    let hours = before
        .iter()
        .map(|file| file.partition)
        .collect::<std::collections::BTreeSet<_>>();
    let contents: Vec<_> = before
        .iter()
        .map(|file| store.folder.path().join("kept").join(file.path.as_ref()))
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    store.store.tidy(later()).await.unwrap();
    // As if the process had been killed after it wrote the merged file: nothing was deleted, or one.
    for killed_after in [0, 1] {
        for (path, content) in &contents[killed_after..] {
            fs::write(path, content).unwrap();
        }
        for record in &records {
            assert_eq!(store.get(record).await.unwrap(), *record);
        }
        store.store.tidy(later()).await.unwrap();
        assert_eq!(store.files().len(), hours.len());
        for record in &records {
            assert_eq!(store.get(record).await.unwrap(), *record);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_merge_at_once_lose_nothing() {
    let store = store();
    let records: Vec<_> = (0..40).map(|n| answered(&n.to_string())).collect();
    for record in &records {
        store.put(from_ref(record)).await;
    }
    let tidying = (0..4).map(|_| {
        let store = store.store.clone();
        tokio::spawn(async move { store.tidy(later()).await })
    });
    let tidied = futures::future::join_all(tidying).await;
    for tidied in tidied {
        tidied.unwrap().unwrap();
    }
    for record in &records {
        assert_eq!(store.get(record).await.unwrap(), *record);
    }
}

#[tokio::test]
async fn an_hour_that_is_too_old_goes() {
    let store = store_with(|config| config.retention_days = 1);
    let record = answered("4");
    store.put(from_ref(&record)).await;
    let after = |hours: u32| Timestamp::now().checked_add(hours * HOUR).unwrap();
    assert_eq!(store.store.tidy(after(23)).await.unwrap().expired, 0);
    assert_eq!(store.get(&record).await.unwrap(), record);
    assert_eq!(store.store.tidy(after(26)).await.unwrap().expired, 1);
    assert!(matches!(
        store.get(&record).await,
        Err(CoreError::NotFound { .. })
    ));
}

#[tokio::test]
async fn what_others_put_there_is_left_alone() {
    let store = store_with(|config| config.retention_days = 1);
    store.put(&[answered("4")]).await;
    let beside = store.files()[0].with_file_name("notes.txt");
    fs::write(&beside, "mine").unwrap();
    let after = Timestamp::now().checked_add(30 * HOUR).unwrap();
    assert_eq!(store.store.tidy(after).await.unwrap().expired, 1);
    assert_eq!(store.files(), [beside]);
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_hides_no_other_copy() {
    let store = store();
    let record = answered("4");
    store.put(from_ref(&record)).await;
    let file = store.files().remove(0);
    let content = fs::read(&file).unwrap();
    fs::write(&file, &content[..content.len() - 9]).unwrap();
    let error = store.get(&record).await.unwrap_err();
    assert!(matches!(error, CoreError::DataLoss(_)), "{error}");
    store.put(&[record.clone(), answered("5")]).await;
    assert_eq!(store.get(&record).await.unwrap(), record);
}

#[tokio::test]
async fn a_store_that_is_away_says_so() {
    let folder = TempDir::new().unwrap();
    let kept = folder.path().join("kept");
    let config = TrajectoryConfig::new(Url::from_file_path(&kept).unwrap());
    let store = ObjectTrajectories::open(&config).unwrap().unwrap();
    fs::remove_dir(&kept).unwrap();
    fs::write(&kept, "a file where the folder was").unwrap();
    let error = store.put(&[answered("4")]).await.unwrap_err();
    assert!(
        matches!(
            &error,
            CoreError::Unavailable {
                what: "trajectory store",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn large_hours_are_read_in_parts() {
    let store = store_with(|config| {
        config.batching = Batching::default();
        config.max_file_bytes = 256 << 20;
    });
    // More than one group of rows.
    let records: Vec<_> = (0..5000).map(|n| answered(&n.to_string())).collect();
    store.put(&records).await;
    for place in [0, 2500, 4999] {
        assert_eq!(store.get(&records[place]).await.unwrap(), records[place]);
    }
}

#[test]
fn without_a_url_there_is_no_store() {
    assert!(
        ObjectTrajectories::open(&TrajectoryConfig::default())
            .unwrap()
            .is_none()
    );
}

//! Finished episodes on their way from the journal into the store of trajectories.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use maestro_core::{
    CoreError, EpisodeId, TenantId, Timestamp,
    episode::{EpisodeRecord, EpisodeSpec, Outcome},
    ports::{Batching, Journal, Tidied, Trajectories},
};
use maestro_registry::{EtcdJournal, JournalConfig, Moving};
use maestro_store::{ObjectTrajectories, TrajectoryConfig};
use tempfile::TempDir;
use tokio::{sync::Semaphore, time};

use crate::support::{
    PATIENCE,
    episodes::{answer, blobs, conclusion, spec, step},
    server::EtcdServer,
};

/// Longer than the upkeep takes to delete what it may.
const SWEPT: Duration = Duration::from_secs(25);

/// A store of trajectories in a folder that can be taken away.
struct Folder {
    root: TempDir,
    store: Arc<ObjectTrajectories>,
}

impl Folder {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let url = format!("file://{}/kept", root.path().display());
        let config = TrajectoryConfig::new(url.parse().unwrap());
        let store = ObjectTrajectories::open(&config).unwrap().unwrap();
        Self {
            root,
            store: Arc::new(store),
        }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("kept")
    }

    fn away(&self) {
        fs::remove_dir_all(self.path()).unwrap();
        fs::write(self.path(), "a file where the folder was").unwrap();
    }

    fn back(&self) {
        fs::remove_file(self.path()).unwrap();
        fs::create_dir(self.path()).unwrap();
    }

    async fn get(&self, spec: &EpisodeSpec) -> Result<EpisodeRecord, CoreError> {
        self.store.get(&spec.tenant, &spec.id).await
    }

    /// The episode once it is there.
    async fn moved(&self, spec: &EpisodeSpec) -> EpisodeRecord {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.get(spec).await {
                Ok(record) => return record,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn at_once() -> Batching {
    Batching {
        max_wait_s: 0,
        ..Batching::default()
    }
}

/// A journal that keeps one finished episode besides those that are still to be moved.
async fn journal(server: &EtcdServer, trajectories: Arc<dyn Trajectories>) -> EtcdJournal {
    let config = JournalConfig {
        max_finished: 1,
        ..JournalConfig::default()
    };
    let moving = Moving {
        trajectories,
        batching: at_once(),
    };
    let etcd = crate::support::config(server.port());
    let connecting = EtcdJournal::connect_moving(config, &etcd, blobs(), Some(moving));
    Box::pin(connecting).await.unwrap()
}

async fn finished(journal: &EtcdJournal, question: &str) -> EpisodeSpec {
    let spec = spec(question, Some(question));
    journal.create(&spec).await.unwrap();
    journal.append(&spec.id, &step(0, "four")).await.unwrap();
    let rest = [answer(1)];
    journal
        .finish(&spec.id, &rest, &conclusion("4"))
        .await
        .unwrap();
    spec
}

async fn is_in(journal: &EtcdJournal, spec: &EpisodeSpec) -> bool {
    journal.get(&spec.tenant, &spec.id).await.is_ok()
}

async fn gone(journal: &EtcdJournal, spec: &EpisodeSpec) {
    let deadline = Instant::now() + SWEPT;
    while is_in(journal, spec).await {
        assert!(Instant::now() < deadline, "it is never deleted");
        time::sleep(Duration::from_millis(100)).await;
    }
}

fn outcome(score: f32) -> Outcome {
    Outcome {
        score,
        source: "user".into(),
        reported_at: Timestamp::now(),
    }
}

#[tokio::test]
async fn an_episode_is_moved_as_it_is_and_then_deleted() {
    let (server, folder) = (EtcdServer::start(), Folder::new());
    let journal = journal(&server, Arc::clone(&folder.store) as _).await;
    let mut specs = vec![];
    for number in 0..3 {
        specs.push(finished(&journal, &number.to_string()).await);
    }
    for spec in &specs {
        let kept = folder.moved(spec).await;
        assert_eq!(kept.steps.len(), 2);
        if let Ok(record) = journal.get(&spec.tenant, &spec.id).await {
            assert_eq!(kept, record);
        }
    }
    gone(&journal, &specs[0]).await;
    gone(&journal, &specs[1]).await;
    // As many as are to be kept are.
    assert!(is_in(&journal, &specs[2]).await);
    folder.get(&specs[0]).await.unwrap();
}

#[tokio::test]
async fn while_the_store_is_away_nothing_is_deleted_and_nothing_waits() {
    let (server, folder) = (EtcdServer::start(), Folder::new());
    folder.away();
    let journal = journal(&server, Arc::clone(&folder.store) as _).await;
    let first = finished(&journal, "0").await;
    // As long as a sweep takes to come, episodes come and end as ever.
    let until = Instant::now() + Duration::from_secs(12);
    let mut number = 1;
    while Instant::now() < until {
        finished(&journal, &number.to_string()).await;
        number += 1;
        time::sleep(Duration::from_millis(200)).await;
    }
    assert!(number > 20, "only {number} episodes ended");
    assert!(is_in(&journal, &first).await);
    folder.back();
    folder.moved(&first).await;
    gone(&journal, &first).await;
}

#[tokio::test]
async fn an_outcome_that_comes_after_the_move_is_moved_too() {
    let (server, folder) = (EtcdServer::start(), Folder::new());
    let journal = journal(&server, Arc::clone(&folder.store) as _).await;
    let first = finished(&journal, "0").await;
    assert_eq!(folder.moved(&first).await.outcome, None);
    journal
        .report(&first.tenant, &first.id, &outcome(0.75))
        .await
        .unwrap();
    // It goes only after the outcome has gone.
    finished(&journal, "1").await;
    gone(&journal, &first).await;
    let kept = folder.get(&first).await.unwrap();
    assert_eq!(kept.outcome.unwrap().score, 0.75);
    // There is nothing left to report on here.
    let late = journal
        .report(&first.tenant, &first.id, &outcome(0.5))
        .await;
    assert!(matches!(late, Err(CoreError::NotFound { .. })));
}

/// A store that stops after each writing until it is let go on.
struct Halting {
    store: Arc<ObjectTrajectories>,
    written: Semaphore,
    go_on: Semaphore,
}

impl Halting {
    fn before(folder: &Folder) -> Self {
        Self {
            store: Arc::clone(&folder.store),
            written: Semaphore::new(0),
            go_on: Semaphore::new(0),
        }
    }

    async fn written(&self) {
        let written = time::timeout(PATIENCE, self.written.acquire()).await;
        written.unwrap().unwrap().forget();
    }
}

#[async_trait]
impl Trajectories for Halting {
    async fn put(&self, records: &[EpisodeRecord]) -> Result<(), CoreError> {
        self.store.put(records).await?;
        self.written.add_permits(1);
        self.go_on.acquire().await.unwrap().forget();
        Ok(())
    }

    async fn get(&self, tenant: &TenantId, id: &EpisodeId) -> Result<EpisodeRecord, CoreError> {
        self.store.get(tenant, id).await
    }

    async fn tidy(&self, now: Timestamp) -> Result<Tidied, CoreError> {
        self.store.tidy(now).await
    }
}

#[tokio::test]
async fn what_was_written_and_not_noted_is_written_again_and_counts_once() {
    let (mut server, folder) = (EtcdServer::start(), Folder::new());
    let halting = Arc::new(Halting::before(&folder));
    let journal = journal(&server, Arc::clone(&halting) as _).await;
    let first = finished(&journal, "0").await;
    halting.written().await;
    // etcd goes before it can be noted, and for longer than a write is tried.
    server.kill();
    halting.go_on.add_permits(1);
    time::sleep(Duration::from_secs(2)).await;
    server.restart();
    halting.written().await;
    halting.go_on.add_permits(100);
    let second = finished(&journal, "1").await;
    gone(&journal, &first).await;
    folder.get(&first).await.unwrap();
    folder.moved(&second).await;
}

#[tokio::test]
async fn an_outcome_between_the_writing_and_the_noting_is_not_lost() {
    let (server, folder) = (EtcdServer::start(), Folder::new());
    let halting = Arc::new(Halting::before(&folder));
    let journal = journal(&server, Arc::clone(&halting) as _).await;
    let first = finished(&journal, "0").await;
    halting.written().await;
    journal
        .report(&first.tenant, &first.id, &outcome(1.0))
        .await
        .unwrap();
    halting.go_on.add_permits(1);
    halting.written().await;
    halting.go_on.add_permits(100);
    finished(&journal, "1").await;
    gone(&journal, &first).await;
    assert_eq!(
        folder.get(&first).await.unwrap().outcome.unwrap().score,
        1.0
    );
}

#[tokio::test]
async fn a_coordinator_that_goes_leaves_the_moving_to_another() {
    let (server, folder) = (EtcdServer::start(), Folder::new());
    let first = journal(&server, Arc::clone(&folder.store) as _).await;
    let second = journal(&server, Arc::clone(&folder.store) as _).await;
    let one = finished(&first, "0").await;
    let two = finished(&second, "1").await;
    folder.moved(&one).await;
    folder.moved(&two).await;
    drop(first);
    let three = finished(&second, "2").await;
    folder.moved(&three).await;
}

#[tokio::test]
async fn an_episode_that_cannot_be_read_keeps_no_other() {
    let (server, folder) = (EtcdServer::start(), Folder::new());
    let damaged = {
        // Its large step goes into blobs that nobody has any more.
        let journal = crate::support::episodes::journal(server.port()).await;
        let spec = spec("damaged", None);
        journal.create(&spec).await.unwrap();
        let large = step(0, &"x".repeat(100_000));
        journal.append(&spec.id, &large).await.unwrap();
        journal
            .finish(&spec.id, &[], &conclusion("4"))
            .await
            .unwrap();
        spec
    };
    let journal = journal(&server, Arc::clone(&folder.store) as _).await;
    let good = finished(&journal, "0").await;
    folder.moved(&good).await;
    finished(&journal, "1").await;
    gone(&journal, &good).await;
    assert!(folder.get(&damaged).await.is_err());
    // It is still there for people to look at.
    let read = journal.get(&damaged.tenant, &damaged.id).await.unwrap_err();
    assert!(
        !matches!(
            read,
            CoreError::NotFound {
                kind: "episode",
                ..
            }
        ),
        "{read}"
    );
}

#[tokio::test]
async fn many_episodes_are_moved_in_batches() {
    let (server, folder) = (EtcdServer::start(), Folder::new());
    let plain = crate::support::episodes::journal(server.port()).await;
    let endings = (0..300).map(|number| {
        let plain = &plain;
        async move { finished(plain, &number.to_string()).await }
    });
    let specs = futures::future::join_all(endings).await;
    drop(plain);
    let config = JournalConfig::default();
    let moving = Moving {
        trajectories: Arc::clone(&folder.store) as _,
        batching: Batching {
            max_rows: 64,
            ..at_once()
        },
    };
    let etcd = crate::support::config(server.port());
    let connecting = EtcdJournal::connect_moving(config, &etcd, blobs(), Some(moving));
    // What ended before there was a store is moved as well.
    let journal = Box::pin(connecting).await.unwrap();
    for spec in &specs {
        assert_eq!(
            folder.moved(spec).await,
            journal.get(&spec.tenant, &spec.id).await.unwrap()
        );
    }
}

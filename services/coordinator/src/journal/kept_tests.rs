use std::fs;

use maestro_core::{
    MicroUsd,
    episode::{Conclusion, Durability, EpisodeSpec, Termination},
    expert_call::Usage,
};
use maestro_store::{ObjectTrajectories, TrajectoryConfig};
use tempfile::TempDir;

use super::*;
use crate::testing::spec;

const PATIENCE: Duration = Duration::from_secs(10);

fn record() -> EpisodeRecord {
    // Times are kept to the microsecond.
    let now = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap();
    EpisodeRecord {
        spec: EpisodeSpec {
            durability: Durability::Ephemeral,
            ..spec("How many?", now)
        },
        steps: vec![],
        conclusion: Some(Conclusion {
            termination: Termination::Answered,
            answer: None,
            usage: Usage::default(),
            unsettled_cost: MicroUsd::ZERO,
            finished_at: now,
        }),
        outcome: None,
    }
}

fn start(folder: &TempDir, max_wait_s: u64) -> (Arc<ObjectTrajectories>, Kept, Keeping) {
    let url = format!("file://{}/kept", folder.path().display());
    let config = TrajectoryConfig::new(url.parse().unwrap());
    let store = Arc::new(ObjectTrajectories::open(&config).unwrap().unwrap());
    let keeper = Keeper {
        trajectories: Arc::clone(&store) as _,
        batching: Batching {
            max_wait_s,
            ..Batching::default()
        },
        is_tidying: true,
    };
    let (kept, keeping) = keeper.start();
    (store, kept, keeping)
}

#[tokio::test]
async fn what_waits_is_written_at_the_end() {
    let folder = TempDir::new().unwrap();
    let (store, kept, keeping) = start(&folder, 3600);
    let records = [record(), record()];
    for record in &records {
        kept.keep(record.clone());
    }
    keeping.finish(PATIENCE).await;
    for record in &records {
        let stored = store.get(&record.spec.tenant, &record.spec.id).await;
        assert_eq!(stored.unwrap(), *record);
    }
    // Whoever still ends an episode then is not held up.
    kept.keep(record());
}

#[tokio::test]
async fn a_store_that_is_away_for_a_while_gets_them_after_it() {
    let folder = TempDir::new().unwrap();
    let (store, kept, keeping) = start(&folder, 0);
    let path = folder.path().join("kept");
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "a file where the folder was").unwrap();
    let records = [record(), record()];
    for record in &records {
        kept.keep(record.clone());
    }
    time::sleep(Duration::from_millis(200)).await;
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    keeping.finish(PATIENCE).await;
    for record in &records {
        store
            .get(&record.spec.tenant, &record.spec.id)
            .await
            .unwrap();
    }
}

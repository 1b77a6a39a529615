//! Finished episodes as Parquet files, for whoever learns from them or asks about them.
//!
//! ```text
//! put ── a batch ─► one file for each hour ─► merged, once the hour is over ─► deleted, if so set
//! ```
//!
//! Files are written whole and never changed. An episode may stand in several of them (it was written
//! twice, an outcome came later, a merge was cut off): whoever reads takes, for each tenant and
//! episode, the row of the highest version. A file is deleted only after one that holds all of its
//! rows has been written, under a name that nothing else ever has; so several processes may write and
//! merge at once, and each may be cut off anywhere.

mod config;
mod file;
mod layout;
mod merge;
mod objects;
mod plan;
mod row;
mod schema;
mod step_row;

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use maestro_core::{
    CoreError, Digest, EpisodeId, TenantId, Timestamp,
    episode::{EpisodeRecord, Outcome},
    ports::{Tidied, Trajectories},
};
use object_store::path::Path;
use parquet::{arrow::arrow_reader::ArrowPredicateFn, errors::ParquetError};
use tokio::task;
use uuid::Uuid;

pub use config::TrajectoryConfig;
pub(crate) use file::FileError;

use self::{
    file::Keys,
    layout::{File, Partition},
    merge::Merged,
    objects::{Objects, is_gone},
    plan::plan,
    row::Row,
};
use crate::error::StoreError;

/// Files that are asked for one episode at once.
const READ_AT_ONCE: usize = 4;
/// How often an episode is looked for again when a file was merged away meanwhile.
const MAX_LOOKS: usize = 4;
/// Sets of files that one tidying merges; the others are left to the next.
const MAX_MERGES: usize = 64;

/// The store of trajectories on an object store. Clones share it.
#[derive(Clone, Debug)]
pub struct ObjectTrajectories {
    objects: Objects,
    config: Arc<TrajectoryConfig>,
}

impl ObjectTrajectories {
    /// Opens the store; `None` where the settings name none. A directory is created if it is not
    /// there; a bucket is not contacted yet.
    ///
    /// # Errors
    /// [`StoreError::Config`] naming the setting that cannot be used.
    pub fn open(config: &TrajectoryConfig) -> Result<Option<Self>, StoreError> {
        config.validate()?;
        let Some(url) = config.url.clone() else {
            return Ok(None);
        };
        Ok(Some(Self {
            objects: Objects::open(&config.store(url.clone()), &url)?,
            config: Arc::new(config.clone()),
        }))
    }

    /// Writes the rows of one hour.
    async fn write(&self, partition: Partition, mut rows: Vec<Row>) -> Result<(), StoreError> {
        rows.sort_by(|a, b| {
            let key = |row: &Row| (row.episode_id.clone(), row.tenant.clone(), -row.version);
            key(a).cmp(&key(b))
        });
        rows.dedup_by(|a, b| (&a.tenant, &a.episode_id) == (&b.tenant, &b.episode_id));
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let range = (first.episode_id.to_string(), last.episode_id.to_string());
        let content = blocking("writing episodes", move || file::encode(&rows)).await?;
        // The same episodes again become the same file.
        let name = Digest::of(&content).to_string();
        let path = layout::file(partition, (&range.0, &range.1), &name[..16]);
        self.objects.put(&path, content).await
    }

    /// The latest row of an episode.
    async fn latest(&self, tenant: &TenantId, id: &EpisodeId) -> Result<Row, CoreError> {
        let not_found = || CoreError::NotFound {
            kind: "episode",
            name: id.to_string(),
        };
        let partition = Partition::of_id(id).ok_or_else(not_found)?;
        for look in 1.. {
            let files = self.objects.list(&partition.folder()).await.map_err(away)?;
            let files = files.into_iter().filter(|file| file.may_hold(id)).collect();
            match self.find(files, tenant, id).await {
                Ok(row) => return row.ok_or_else(not_found),
                // It stands in the file that this one was merged into.
                Err(error) if is_gone(&error) && look < MAX_LOOKS => {}
                Err(error) => return Err(away(error)),
            }
        }
        Err(not_found())
    }

    /// The latest row of an episode among these files.
    async fn find(
        &self,
        files: Vec<File>,
        tenant: &TenantId,
        id: &EpisodeId,
    ) -> Result<Option<Row>, StoreError> {
        let mut found = stream::iter(files)
            .map(|file| async move {
                let rows = self.rows_of(&file, tenant, id).await;
                rows.map_err(|error| unreadable(&file.path, error))
            })
            .buffer_unordered(READ_AT_ONCE);
        let mut latest: Option<Row> = None;
        let mut damaged = None;
        while let Some(rows) = found.next().await {
            match rows {
                Ok(rows) => {
                    let rows = rows.into_iter().chain(latest.take());
                    latest = rows.max_by_key(|row| row.version);
                }
                Err(error @ StoreError::DamagedFile { .. }) => damaged = Some(error),
                Err(error) => return Err(error),
            }
        }
        match (latest, damaged) {
            (None, Some(error)) => Err(error),
            (latest, Some(error)) => {
                tracing::warn!(%error, episode = %id, "a copy of an episode cannot be read");
                Ok(latest)
            }
            (latest, None) => Ok(latest),
        }
    }

    /// The rows of an episode in one file.
    async fn rows_of(
        &self,
        file: &File,
        tenant: &TenantId,
        id: &EpisodeId,
    ) -> Result<Vec<Row>, FileError> {
        let opened = self.objects.open_file(file).await?;
        let groups = opened.metadata().row_groups().iter().enumerate();
        let groups = groups.filter(|(_, group)| file::may_hold(group, id.as_str()));
        let groups = groups.map(|(index, _)| index).collect();
        let wanted = {
            let (tenant, id) = (tenant.clone(), id.clone());
            move |batch: RecordBatch| selected(&batch, &tenant, &id)
        };
        let keys = file::key_columns(opened.parquet_schema());
        let predicate = ArrowPredicateFn::new(keys, wanted);
        let batches = opened
            .with_row_groups(groups)
            .with_row_filter(objects::only(predicate))
            .build()?;
        let batches: Vec<RecordBatch> = batches.try_collect().await?;
        let rows: Result<Vec<Vec<Row>>, FileError> = batches.iter().map(file::decode).collect();
        Ok(rows?.into_iter().flatten().collect())
    }

    /// Merges files of one hour; returns how many were.
    async fn merge(&self, files: Vec<File>) -> Result<u64, StoreError> {
        let Some(partition) = files.first().map(|file| file.partition) else {
            return Ok(0);
        };
        let mut contents = vec![];
        for file in &files {
            contents.push(self.objects.get(file).await?);
        }
        let results =
            blocking("merging files of episodes", move || merge::merge(&contents)).await?;
        let mut merged = 0;
        for result in results {
            self.replace(partition, &files, &result).await?;
            merged += result.replaces.len() as u64;
            tracing::info!(
                files = result.replaces.len(),
                episodes = result.rows,
                "files of episodes were merged"
            );
        }
        Ok(merged)
    }

    /// Puts a merged file in the place of those that it was made of. It is written first, and under
    /// a name of its own, so that nobody who merges the same files deletes it as one of them.
    async fn replace(
        &self,
        partition: Partition,
        files: &[File],
        merged: &Merged,
    ) -> Result<(), StoreError> {
        let name = Uuid::now_v7().simple().to_string();
        let (first, last) = (&merged.range.0, &merged.range.1);
        let path = layout::file(partition, (first, last), &name);
        let content: Bytes = merged.content.clone();
        self.objects.put(&path, content).await?;
        for file in merged.replaces.iter().filter_map(|place| files.get(*place)) {
            self.objects.delete(file).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Trajectories for ObjectTrajectories {
    async fn put(&self, records: &[EpisodeRecord]) -> Result<(), CoreError> {
        let mut hours: BTreeMap<Partition, Vec<Row>> = BTreeMap::new();
        for record in records {
            let rows = hours.entry(Partition::of(record)).or_default();
            rows.push(Row::try_from(record)?);
        }
        for (partition, rows) in hours {
            self.write(partition, rows).await.map_err(away)?;
        }
        Ok(())
    }

    async fn get(&self, tenant: &TenantId, id: &EpisodeId) -> Result<EpisodeRecord, CoreError> {
        EpisodeRecord::try_from(self.latest(tenant, id).await?)
    }

    async fn report(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
        outcome: &Outcome,
    ) -> Result<(), CoreError> {
        let row = self.latest(tenant, id).await?;
        let before = row.version;
        let mut record = EpisodeRecord::try_from(row)?;
        record.report(outcome);
        // A version is a time to the nanosecond, and times are kept to the microsecond.
        if record.version() <= before
            && let Some(outcome) = &mut record.outcome
            && let Ok(after) = Timestamp::from_nanosecond(i128::from(before) + 1)
        {
            outcome.reported_at = after;
        }
        self.put(&[record]).await
    }

    async fn tidy(&self, now: Timestamp) -> Result<Tidied, CoreError> {
        let config = &self.config;
        let (compact_after, retention) = (config.compact_after(), config.retention());
        if compact_after.is_none() && retention.is_none() {
            return Ok(Tidied::default());
        }
        let files = self.objects.list(&Path::from(layout::ROOT)).await;
        let files = files.map_err(away)?;
        let plan = plan(files, now, compact_after, retention, config.max_file_bytes);
        let mut tidied = Tidied::default();
        for file in &plan.expired {
            self.objects.delete(file).await.map_err(away)?;
            tidied.expired += 1;
        }
        for files in plan.merges.into_iter().take(MAX_MERGES) {
            match self.merge(files).await {
                Ok(merged) => tidied.merged += merged,
                // Somebody else merged some of them just now.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(away(error)),
            }
        }
        Ok(tidied)
    }
}

/// The rows of a batch that are of this episode.
fn selected(
    batch: &RecordBatch,
    tenant: &TenantId,
    id: &EpisodeId,
) -> Result<BooleanArray, ArrowError> {
    let keys = Keys::of(batch).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
    let is_wanted = |index: usize| {
        keys.episodes.value(index) == id.as_str() && keys.tenants.value(index) == tenant.as_str()
    };
    Ok((0..batch.num_rows())
        .map(|index| Some(is_wanted(index)))
        .collect())
}

/// Runs what takes long outside the threads that serve requests.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = task::spawn_blocking(work).await;
    let done = done.map_err(|_| StoreError::CutOff(what))?;
    done.map_err(|error| StoreError::Unwritable(error.to_string()))
}

/// What a failed reading means: the store's failure, or the file's.
fn unreadable(path: &Path, error: FileError) -> StoreError {
    let error = match error {
        FileError::Parquet(ParquetError::External(error)) => match error.downcast() {
            Ok(error) => return *error,
            Err(other) => FileError::Parquet(ParquetError::External(other)),
        },
        other => other,
    };
    StoreError::DamagedFile {
        path: path.to_string(),
        reason: error.to_string(),
    }
}

/// The error of a store of trajectories.
fn away(error: StoreError) -> CoreError {
    match CoreError::from(error) {
        CoreError::Unavailable { reason, .. } => CoreError::Unavailable {
            what: "trajectory store",
            reason,
        },
        other => other,
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;

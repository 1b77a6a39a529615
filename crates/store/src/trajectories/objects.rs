//! Files in the object store: whole ones written, parts of them read, each within its time.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use parquet::{
    arrow::{
        arrow_reader::{ArrowReaderOptions, RowFilter},
        async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder},
    },
    errors::ParquetError,
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
};
use tokio::task;
use url::Url;

use super::layout::File;
use crate::{blobs::within, config::StoreConfig, error::StoreError};

/// What is read of a file's end at first: nearly always all of its metadata.
const FOOTER_BYTES: usize = 64 << 10;

/// A store of files. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The folder, where it is one.
    folder: Option<PathBuf>,
    request_limit: Duration,
    transfer_limit: Duration,
}

impl Objects {
    pub(super) fn open(config: &StoreConfig, url: &Url) -> Result<Self, StoreError> {
        let folder = (url.scheme() == "file").then(|| url.to_file_path().ok());
        Ok(Self {
            store: config.build()?,
            folder: folder.flatten(),
            request_limit: config.request_timeout(),
            transfer_limit: config.transfer_timeout(),
        })
    }

    /// The files of episodes under a folder, in any order.
    pub(super) async fn list(&self, folder: &Path) -> Result<Vec<File>, StoreError> {
        let listing = self
            .store
            .list(Some(folder))
            .try_filter_map(async |meta| Ok(File::parse(&meta.location, meta.size)));
        within("a listing", self.transfer_limit, listing.try_collect()).await
    }

    /// Writes a file whole. Once it is written it outlives the machine's power, too.
    pub(super) async fn put(&self, path: &Path, content: Bytes) -> Result<(), StoreError> {
        const OPERATION: &str = "writing a file of episodes";
        let write = self.store.put(path, PutPayload::from_bytes(content));
        within(OPERATION, self.transfer_limit, write).await?;
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        // The episodes are deleted elsewhere after this, so it has to be on the disk.
        let file = folder.join(path.as_ref());
        let syncing = task::spawn_blocking(move || sync(&file, &folder));
        let synced = syncing.await.map_err(|_| StoreError::CutOff(OPERATION))?;
        synced.map_err(|source| StoreError::Backend {
            operation: OPERATION,
            source: object_store::Error::Generic {
                store: "file",
                source: Box::new(source),
            },
        })
    }

    /// All of a file.
    pub(super) async fn get(&self, file: &File) -> Result<Bytes, StoreError> {
        let read = async { self.store.get(&file.path).await?.bytes().await };
        within("reading a file of episodes", self.transfer_limit, read).await
    }

    /// Deletes a file; one that is gone is no error.
    pub(super) async fn delete(&self, file: &File) -> Result<(), StoreError> {
        const OPERATION: &str = "deleting a file of episodes";
        let deletion = self.store.delete(&file.path);
        match within(OPERATION, self.request_limit, deletion).await {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// A file, to be read in parts.
    pub(super) async fn open_file(
        &self,
        file: &File,
    ) -> Result<ParquetRecordBatchStreamBuilder<FileReader>, ParquetError> {
        let reader = FileReader {
            objects: self.clone(),
            path: file.path.clone(),
            size: file.size,
        };
        // With it only the pages of the wanted rows are read.
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        ParquetRecordBatchStreamBuilder::new_with_options(reader, options).await
    }
}

/// Whether the file was deleted since it was listed.
pub(super) fn is_gone(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Backend {
            source: object_store::Error::NotFound { .. },
            ..
        }
    )
}

/// Brings a file and the folders that name it onto the disk.
fn sync(file: &std::path::Path, root: &std::path::Path) -> io::Result<()> {
    fs::File::open(file)?.sync_all()?;
    let folders = file.ancestors().skip(1);
    for folder in folders.take_while(|folder| folder.starts_with(root)) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Reads parts of a file.
pub(super) struct FileReader {
    objects: Objects,
    path: Path,
    size: u64,
}

impl AsyncFileReader for FileReader {
    fn get_bytes(
        &mut self,
        range: std::ops::Range<u64>,
    ) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            let read = self.objects.store.get_range(&self.path, range);
            let limit = self.objects.transfer_limit;
            let read = within("reading a file of episodes", limit, read).await;
            read.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let size = self.size;
            let policy = options.map_or(PageIndexPolicy::Skip, |options| {
                options.offset_index_policy()
            });
            let metadata = ParquetMetaDataReader::new()
                .with_page_index_policy(policy)
                .with_prefetch_hint(Some(FOOTER_BYTES))
                .load_and_finish(self, size)
                .await?;
            Ok(Arc::new(metadata))
        }
        .boxed()
    }
}

/// A filter of one predicate.
pub(super) fn only(predicate: impl parquet::arrow::arrow_reader::ArrowPredicate) -> RowFilter {
    RowFilter::new(vec![Box::new(predicate)])
}

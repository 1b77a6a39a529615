//! Uploads that need not fit into memory.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use maestro_core::{CoreError, Digest};
use object_store::{ObjectStoreExt, WriteMultipart};
use sha2::{Digest as _, Sha256};
use tokio::time;
use uuid::Uuid;

use crate::{blobs::ObjectBlobs, error::StoreError, layout};

/// Size of the parts in which a large upload is written. Bucket stores want at least 5 MiB.
const PART_BYTES: usize = 8 << 20;

/// Parts that are written at the same time as the next one comes in.
const PARTS_IN_FLIGHT: usize = 2;

/// What an upload has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its address.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl ObjectBlobs {
    /// Stores what `chunks` brings. Holds at most about 24 MiB of it at a time, however long it
    /// is. With `announced` the content must have that digest.
    ///
    /// Nothing is stored when the stream fails, ends too late, brings too much, or is dropped. (A
    /// bucket keeps the parts of an upload that a crash cut off: give it a lifecycle rule for
    /// incomplete uploads and for `uploads/`.)
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Mismatch`], [`StoreError::Timeout`] where the next
    /// chunk or the store is late, [`StoreError::Source`] with the stream's own error.
    pub async fn put_stream(
        &self,
        chunks: impl Stream<Item = Result<Bytes, CoreError>> + Send,
        announced: Option<Digest>,
    ) -> Result<StoredBlob, StoreError> {
        let mut chunks = pin!(chunks);
        let mut tally = Tally::new(self.config.max_blob_bytes);
        let mut start = BytesMut::new();
        while let Some(chunk) = self.next_chunk(&mut chunks).await? {
            tally.add(&chunk)?;
            start.extend_from_slice(&chunk);
            if start.len() > PART_BYTES {
                return self
                    .put_large(start.freeze(), chunks, tally, announced)
                    .await;
            }
        }
        let stored = tally.finish(announced)?;
        self.store(stored.digest, start.freeze()).await?;
        Ok(stored)
    }

    async fn put_large(
        &self,
        start: Bytes,
        mut chunks: impl Stream<Item = Result<Bytes, CoreError>> + Send + Unpin,
        mut tally: Tally,
        announced: Option<Digest>,
    ) -> Result<StoredBlob, StoreError> {
        let staging = layout::upload(Uuid::now_v7());
        let upload = self
            .lookup("upload start", self.store.put_multipart(&staging))
            .await?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        writer.write(&start);
        drop(start);
        let copied = async {
            while let Some(chunk) = self.next_chunk(&mut chunks).await? {
                tally.add(&chunk)?;
                let ready = writer.wait_for_capacity(PARTS_IN_FLIGHT);
                self.transfer("upload", ready).await?;
                writer.write(&chunk);
            }
            let stored = tally.finish(announced)?;
            Ok((
                stored,
                self.is_stored(&stored.digest, stored.size_bytes).await?,
            ))
        };
        match copied.await {
            Ok((stored, false)) => {
                self.transfer("upload end", writer.finish()).await?;
                let path = layout::blob(&stored.digest);
                self.transfer("upload end", self.store.rename(&staging, &path))
                    .await?;
                self.note_written(&stored.digest).await;
                Ok(stored)
            }
            Ok((stored, true)) => {
                self.abandon(writer).await;
                Ok(stored)
            }
            Err(error) => {
                self.abandon(writer).await;
                Err(error)
            }
        }
    }

    async fn next_chunk(
        &self,
        chunks: &mut (impl Stream<Item = Result<Bytes, CoreError>> + Unpin),
    ) -> Result<Option<Bytes>, StoreError> {
        let after = self.config.transfer_timeout();
        match time::timeout(after, chunks.next()).await {
            Ok(chunk) => chunk.transpose().map_err(StoreError::Source),
            Err(_) => Err(StoreError::Timeout {
                operation: "waiting for the next chunk",
                after,
            }),
        }
    }

    async fn abandon(&self, writer: WriteMultipart) {
        if let Err(error) = self.lookup("upload abort", writer.abort()).await {
            tracing::warn!(%error, "the parts of an upload are left behind");
        }
    }
}

/// Counts and hashes an upload as it comes in.
struct Tally {
    hasher: Sha256,
    size: u64,
    limit: u64,
}

impl Tally {
    fn new(limit: u64) -> Self {
        Self {
            hasher: Sha256::new(),
            size: 0,
            limit,
        }
    }

    fn add(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.size = self.size.saturating_add(chunk.len() as u64);
        if self.size > self.limit {
            return Err(StoreError::TooLarge { limit: self.limit });
        }
        self.hasher.update(chunk);
        Ok(())
    }

    fn finish(self, announced: Option<Digest>) -> Result<StoredBlob, StoreError> {
        let actual = Digest::from_bytes(self.hasher.finalize().into());
        match announced {
            Some(announced) if announced != actual => {
                Err(StoreError::Mismatch { announced, actual })
            }
            _ => Ok(StoredBlob {
                digest: actual,
                size_bytes: self.size,
            }),
        }
    }
}

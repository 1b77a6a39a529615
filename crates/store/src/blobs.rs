//! Content-addressed blobs.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use maestro_core::{CoreError, Digest, ports::Blobs};
use moka::future::Cache;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use tokio::{task, time};

use crate::{config::StoreConfig, error::StoreError, layout};

/// From this size on, hashing leaves the threads that serve requests (1 MiB takes about 2 ms
/// without SHA instructions).
const HASH_INLINE_BYTES: usize = 1 << 20;

/// How many blobs that were found damaged are remembered, so that storing them again repairs them.
const REMEMBERED_DAMAGED: u64 = 1024;

/// Blobs on an object store. Clones share the store and the cache.
///
/// A write is atomic: a reader sees the whole content or nothing. On a file system it is not
/// synced: after a power cut a blob that was just written may be missing or damaged, which a read
/// notices and storing it again repairs.
#[derive(Clone)]
pub struct ObjectBlobs {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) config: Arc<StoreConfig>,
    cache: Cache<Digest, Bytes>,
    damaged: Cache<Digest, ()>,
}

impl ObjectBlobs {
    /// Opens the store. A directory is created if it is not there; a bucket is not contacted yet.
    ///
    /// # Errors
    /// [`StoreError::Config`] naming the setting that cannot be used.
    pub fn open(config: StoreConfig) -> Result<Self, StoreError> {
        config.validate()?;
        let cache = Cache::builder()
            .max_capacity(config.cache_bytes)
            .weigher(|_: &Digest, content: &Bytes| u32::try_from(content.len()).unwrap_or(u32::MAX))
            .build();
        Ok(Self {
            store: config.build()?,
            config: Arc::new(config),
            cache,
            damaged: Cache::new(REMEMBERED_DAMAGED),
        })
    }

    /// Size of a blob in bytes, `None` where there is none.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        if let Some(content) = self.cache.get(digest).await {
            return Ok(Some(content.len() as u64));
        }
        match self
            .lookup("blob lookup", self.store.head(&layout::blob(digest)))
            .await
        {
            Ok(meta) => Ok(Some(meta.size)),
            Err(StoreError::Backend {
                source: object_store::Error::NotFound { .. },
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether content of this digest and size needs no writing.
    pub(crate) async fn is_stored(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        if self.damaged.get(digest).await.is_some() {
            return Ok(false);
        }
        Ok(self.size(digest).await? == Some(size))
    }

    /// Notes that a blob has just been written whole.
    pub(crate) async fn note_written(&self, digest: &Digest) {
        self.damaged.invalidate(digest).await;
    }

    pub(crate) async fn store(&self, digest: Digest, content: Bytes) -> Result<(), StoreError> {
        self.check_size(content.len() as u64)?;
        if self.is_stored(&digest, content.len() as u64).await? {
            return Ok(());
        }
        self.write("blob write", &layout::blob(&digest), content)
            .await?;
        self.note_written(&digest).await;
        Ok(())
    }

    pub(crate) async fn write(
        &self,
        operation: &'static str,
        path: &Path,
        content: Bytes,
    ) -> Result<(), StoreError> {
        let write = self.store.put(path, PutPayload::from_bytes(content));
        self.transfer(operation, write).await.map(|_| ())
    }

    pub(crate) fn check_size(&self, size: u64) -> Result<(), StoreError> {
        let limit = self.config.max_blob_bytes;
        if size > limit {
            Err(StoreError::TooLarge { limit })
        } else {
            Ok(())
        }
    }

    /// A request without content, under its deadline.
    pub(crate) async fn lookup<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        within(operation, self.config.request_timeout(), request).await
    }

    /// A request with content, under its deadline.
    pub(crate) async fn transfer<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        within(operation, self.config.transfer_timeout(), request).await
    }

    async fn fetch(&self, digest: &Digest) -> Result<Bytes, StoreError> {
        let limit = self.config.max_blob_bytes;
        let path = layout::blob(digest);
        let read = async {
            let found = self.store.get(&path).await?;
            // The size is known before the content is read: a file that someone else put there
            // does not fill the memory.
            if found.meta.size > limit {
                Ok(None)
            } else {
                found.bytes().await.map(Some)
            }
        };
        let content = match self.transfer("blob read", read).await {
            Ok(Some(content)) => content,
            Ok(None) => return Err(StoreError::TooLarge { limit }),
            Err(StoreError::Backend {
                source: object_store::Error::NotFound { .. },
                ..
            }) => {
                return Err(StoreError::NotFound(*digest));
            }
            Err(error) => return Err(error),
        };
        let actual = digest_of(content.clone()).await?;
        if actual != *digest {
            self.damaged.insert(*digest, ()).await;
            let reason = format!("its {} bytes have the digest {actual}", content.len());
            return Err(StoreError::Damaged {
                digest: *digest,
                reason,
            });
        }
        Ok(content)
    }
}

#[async_trait]
impl Blobs for ObjectBlobs {
    async fn put(&self, content: Bytes) -> Result<Digest, CoreError> {
        self.check_size(content.len() as u64)?;
        let digest = digest_of(content.clone()).await?;
        self.store(digest, content).await?;
        Ok(digest)
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes, CoreError> {
        // Concurrent reads of one blob share one request.
        let read = self.cache.try_get_with(*digest, self.fetch(digest)).await;
        read.map_err(|error| CoreError::from(&*error))
    }

    async fn contains(&self, digest: &Digest) -> Result<bool, CoreError> {
        Ok(self.size(digest).await?.is_some())
    }
}

pub(crate) async fn within<T>(
    operation: &'static str,
    limit: Duration,
    request: impl Future<Output = object_store::Result<T>>,
) -> Result<T, StoreError> {
    match time::timeout(limit, request).await {
        Ok(result) => result.map_err(|source| StoreError::Backend { operation, source }),
        Err(_) => Err(StoreError::Timeout {
            operation,
            after: limit,
        }),
    }
}

async fn digest_of(content: Bytes) -> Result<Digest, StoreError> {
    if content.len() <= HASH_INLINE_BYTES {
        return Ok(Digest::of(&content));
    }
    let hash = task::spawn_blocking(move || Digest::of(&content));
    hash.await.map_err(|_| StoreError::CutOff("hashing"))
}

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use maestro_core::{CoreError, Digest, ports::Blobs};
use maestro_proto::v1::{
    DownloadBlobRequest, FindMissingBlobsRequest, UploadBlobRequest,
    blob_service_client::BlobServiceClient,
};
use maestro_telemetry::{Counter, Histogram, Label};
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use tonic::{Response, Status, transport::Channel};
use url::Url;

use super::chunks;
use crate::{
    call::request,
    client::{ClientConfig, Endpoints, Repeat},
    error::RpcError,
    status::{from_status, to_status},
};

const UPLOAD: &str = "maestro.v1.BlobService/UploadBlob";
const DOWNLOAD: &str = "maestro.v1.BlobService/DownloadBlob";
const FIND_MISSING: &str = "maestro.v1.BlobService/FindMissingBlobs";
/// From this size on it pays to ask whether a blob is there before it is sent.
const ASK_FIRST_BYTES: usize = 64 * 1024;

/// How blobs are fetched and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlobClientConfig {
    /// Most memory for blobs kept, in bytes; the least used go first.
    pub cache_bytes: u64,
    /// Largest blob fetched, in bytes.
    pub max_blob_bytes: usize,
    /// Longest time of one transfer, in milliseconds.
    pub timeout_ms: u64,
    /// Repetitions and connections.
    pub client: ClientConfig,
}

impl Default for BlobClientConfig {
    fn default() -> Self {
        Self {
            cache_bytes: 256 * 1024 * 1024,
            max_blob_bytes: 64 * 1024 * 1024,
            timeout_ms: 60_000,
            client: ClientConfig::default(),
        }
    }
}

/// The port [`Blobs`] over one or more servers of `BlobService`. Content is checked against its
/// digest and kept in memory up to a limit; several callers that want the same blob share one
/// download.
pub struct RemoteBlobs {
    endpoints: Endpoints<BlobServiceClient<Channel>>,
    cache: Cache<Digest, Bytes>,
    timeout: Duration,
    max_blob_bytes: usize,
}

impl RemoteBlobs {
    /// A client of the servers at `endpoints`. Connects at the first call. Must run inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`RpcError::NoEndpoint`], [`RpcError::Endpoint`].
    pub fn new(endpoints: &[Url], config: BlobClientConfig) -> Result<Self, RpcError> {
        let endpoints = Endpoints::new(
            "the blob client",
            endpoints,
            &config.client,
            BlobServiceClient::new,
        )?;
        let cache = Cache::builder()
            .max_capacity(config.cache_bytes)
            .weigher(|_: &Digest, content: &Bytes| {
                u32::try_from(content.len().saturating_add(64)).unwrap_or(u32::MAX)
            })
            .build();
        Ok(Self {
            endpoints,
            cache,
            timeout: Duration::from_millis(config.timeout_ms),
            max_blob_bytes: config.max_blob_bytes,
        })
    }

    async fn download(&self, digest: Digest) -> Result<Bytes, CoreError> {
        let most = self.max_blob_bytes;
        let content: Bytes = self
            .endpoints
            .call(
                DOWNLOAD,
                self.timeout,
                Repeat::Safe,
                |mut client, left| async move {
                    let message = DownloadBlobRequest {
                        digest: digest.to_string(),
                    };
                    let mut stream = client
                        .download_blob(request(message, left))
                        .await?
                        .into_inner();
                    let mut content = BytesMut::new();
                    while let Some(part) = stream.message().await? {
                        if content.len() + part.chunk.len() > most {
                            return Err(to_status(&CoreError::FailedPrecondition(format!(
                                "blob {} has more than {most} bytes",
                                digest.short()
                            ))));
                        }
                        if content.is_empty() && part.chunk.len() < super::CHUNK_BYTES {
                            content = BytesMut::from(part.chunk);
                        } else {
                            content.extend_from_slice(&part.chunk);
                        }
                    }
                    Ok(Response::new(content.freeze()))
                },
            )
            .await
            .map_err(|status| from_status(&status))?;
        if Digest::of(&content) != digest {
            return Err(CoreError::DataLoss(format!(
                "blob {} arrived with another content",
                digest.short()
            )));
        }
        Histogram::BlobSize.record(content.len() as f64, &[Label::Direction("input")]);
        Ok(content)
    }

    async fn upload(&self, digest: Digest, content: &Bytes) -> Result<(), CoreError> {
        let stored = self
            .endpoints
            .call(UPLOAD, self.timeout, Repeat::Safe, |mut client, left| {
                let mut name = digest.to_string();
                let parts = chunks(content).map(move |chunk| UploadBlobRequest {
                    digest: std::mem::take(&mut name),
                    chunk,
                });
                async move {
                    client
                        .upload_blob(request(futures::stream::iter(parts), left))
                        .await
                }
            })
            .await
            .map_err(|status| from_status(&status))?;
        if stored.digest != digest.to_string() {
            return Err(CoreError::DataLoss(format!(
                "blob {} was stored as {}",
                digest.short(),
                stored.digest
            )));
        }
        Histogram::BlobSize.record(content.len() as f64, &[Label::Direction("output")]);
        Ok(())
    }

    async fn is_stored(&self, digest: &Digest) -> Result<bool, Status> {
        let message = FindMissingBlobsRequest {
            digests: vec![digest.to_string()],
        };
        let reply = self
            .endpoints
            .call(
                FIND_MISSING,
                self.timeout,
                Repeat::Safe,
                |mut client, left| {
                    let request = request(message.clone(), left);
                    async move { client.find_missing_blobs(request).await }
                },
            )
            .await?;
        Ok(reply.missing.is_empty())
    }
}

#[async_trait]
impl Blobs for RemoteBlobs {
    async fn put(&self, content: Bytes) -> Result<Digest, CoreError> {
        let digest = Digest::of(&content);
        if self.cache.contains_key(&digest) {
            return Ok(digest);
        }
        let ask = content.len() >= ASK_FIRST_BYTES;
        let stored = ask
            && self
                .is_stored(&digest)
                .await
                .map_err(|status| from_status(&status))?;
        if !stored {
            self.upload(digest, &content).await?;
        }
        self.cache.insert(digest, content).await;
        Ok(digest)
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes, CoreError> {
        let cached = self.cache.get(digest).await;
        Counter::CacheRequests.increment(&[Label::Cache("blobs"), Label::Hit(cached.is_some())]);
        match cached {
            Some(content) => Ok(content),
            None => self
                .cache
                .try_get_with(*digest, self.download(*digest))
                .await
                .map_err(|error: Arc<CoreError>| error.as_ref().clone()),
        }
    }

    async fn contains(&self, digest: &Digest) -> Result<bool, CoreError> {
        if self.cache.contains_key(digest) {
            return Ok(true);
        }
        self.is_stored(digest)
            .await
            .map_err(|status| from_status(&status))
    }
}

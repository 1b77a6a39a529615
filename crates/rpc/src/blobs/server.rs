use std::{pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt};
use maestro_core::{CoreError, Digest, ports::Blobs};
use maestro_proto::v1::{
    DownloadBlobRequest, DownloadBlobResponse, FindMissingBlobsRequest, FindMissingBlobsResponse,
    UploadBlobRequest, UploadBlobResponse,
    blob_service_server::{BlobService, BlobServiceServer},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming};

use super::chunks;
use crate::status::to_status;

/// Largest chunk taken, in bytes.
const MAX_CHUNK_BYTES: usize = 1024 * 1024;
/// Most digests of one look-up.
const MAX_DIGESTS: usize = 1000;
/// Look-ups made at once for one request.
const LOOKUPS_AT_ONCE: usize = 16;
/// When an upload that was refused may be tried again.
const RETRY_MS: u64 = 500;

/// What a blob server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlobLimits {
    /// Largest blob, in bytes.
    pub max_blob_bytes: usize,
    /// Most uploads at once; a further one is refused with a delay. Together with the size this
    /// bounds the memory that uploads take.
    pub max_uploads: usize,
    /// Longest time between two chunks of an upload, in milliseconds.
    pub chunk_timeout_ms: u64,
}

impl Default for BlobLimits {
    fn default() -> Self {
        Self {
            max_blob_bytes: 64 * 1024 * 1024,
            max_uploads: 16,
            chunk_timeout_ms: 15_000,
        }
    }
}

/// `BlobService` over any [`Blobs`].
pub fn blob_service(
    blobs: Arc<dyn Blobs>,
    limits: BlobLimits,
) -> BlobServiceServer<impl BlobService> {
    let uploads = Arc::new(Semaphore::new(limits.max_uploads));
    // A message is a chunk and a digest.
    BlobServiceServer::new(BlobServer {
        blobs,
        limits,
        uploads,
    })
    .max_decoding_message_size(MAX_CHUNK_BYTES + 1024)
}

struct BlobServer {
    blobs: Arc<dyn Blobs>,
    limits: BlobLimits,
    uploads: Arc<Semaphore>,
}

impl BlobServer {
    fn admit(&self) -> Result<OwnedSemaphorePermit, CoreError> {
        Arc::clone(&self.uploads)
            .try_acquire_owned()
            .map_err(|_| CoreError::Exhausted {
                what: "uploads",
                limit: self.limits.max_uploads as u64,
                retry_after_ms: RETRY_MS,
            })
    }

    /// The whole content of an upload and the digest that the client stated, if it did.
    async fn receive(
        &self,
        mut stream: Streaming<UploadBlobRequest>,
    ) -> Result<(Option<Digest>, Bytes), Status> {
        let patience = Duration::from_millis(self.limits.chunk_timeout_ms);
        let mut stated = None;
        let mut content = BytesMut::new();
        let mut first = true;
        loop {
            let part = tokio::time::timeout(patience, stream.message())
                .await
                .map_err(|_| {
                    to_status(&CoreError::DeadlineExceeded(format!(
                        "no chunk within {} ms",
                        patience.as_millis()
                    )))
                })??;
            let Some(part) = part else {
                return Ok((stated, content.freeze()));
            };
            if first && !part.digest.is_empty() {
                stated = Some(parse("digest", &part.digest).map_err(|error| to_status(&error))?);
            }
            first = false;
            let size = content.len() + part.chunk.len();
            if part.chunk.len() > MAX_CHUNK_BYTES {
                return Err(to_status(&CoreError::invalid(
                    "chunk",
                    format!("has {} bytes; at most {MAX_CHUNK_BYTES}", part.chunk.len()),
                )));
            }
            if size > self.limits.max_blob_bytes {
                return Err(to_status(&CoreError::invalid(
                    "chunk",
                    format!(
                        "the blob has more than {} bytes",
                        self.limits.max_blob_bytes
                    ),
                )));
            }
            content.extend_from_slice(&part.chunk);
        }
    }
}

fn parse(field: &str, digest: &str) -> Result<Digest, CoreError> {
    digest
        .parse()
        .map_err(|_| CoreError::invalid(field, "must be 64 hexadecimal digits (SHA-256)"))
}

type Chunks = Pin<Box<dyn Stream<Item = Result<DownloadBlobResponse, Status>> + Send>>;

#[async_trait]
impl BlobService for BlobServer {
    async fn upload_blob(
        &self,
        request: Request<Streaming<UploadBlobRequest>>,
    ) -> Result<Response<UploadBlobResponse>, Status> {
        let _permit = self.admit().map_err(|error| to_status(&error))?;
        let (stated, content) = self.receive(request.into_inner()).await?;
        if let Some(stated) = stated
            && Digest::of(&content) != stated
        {
            return Err(to_status(&CoreError::invalid(
                "digest",
                format!("is not the content's: {}", Digest::of(&content)),
            )));
        }
        let size_bytes = content.len() as u64;
        let digest = self
            .blobs
            .put(content)
            .await
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(UploadBlobResponse {
            digest: digest.to_string(),
            size_bytes,
        }))
    }

    type DownloadBlobStream = Chunks;

    async fn download_blob(
        &self,
        request: Request<DownloadBlobRequest>,
    ) -> Result<Response<Chunks>, Status> {
        let digest =
            parse("digest", &request.into_inner().digest).map_err(|error| to_status(&error))?;
        let content = self
            .blobs
            .get(&digest)
            .await
            .map_err(|error| to_status(&error))?;
        let parts = chunks(&content).map(|chunk| Ok(DownloadBlobResponse { chunk }));
        Ok(Response::new(Box::pin(futures::stream::iter(parts))))
    }

    async fn find_missing_blobs(
        &self,
        request: Request<FindMissingBlobsRequest>,
    ) -> Result<Response<FindMissingBlobsResponse>, Status> {
        let digests = request.into_inner().digests;
        if digests.len() > MAX_DIGESTS {
            return Err(to_status(&CoreError::invalid(
                "digests",
                format!("{} digests; at most {MAX_DIGESTS}", digests.len()),
            )));
        }
        let missing: Vec<Option<String>> = futures::stream::iter(digests.into_iter().enumerate())
            .map(|(index, text)| async move {
                let digest = parse(&format!("digests[{index}]"), &text)?;
                Ok((!self.blobs.contains(&digest).await?).then_some(text))
            })
            .buffered(LOOKUPS_AT_ONCE)
            .try_collect()
            .await
            .map_err(|error: CoreError| to_status(&error))?;
        let missing = missing.into_iter().flatten().collect();
        Ok(Response::new(FindMissingBlobsResponse { missing }))
    }
}

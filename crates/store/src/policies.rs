//! Policies: weights with a manifest.

use std::cmp::Reverse;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use maestro_core::{
    CoreError, Digest,
    ports::{Blobs, PolicyManifest, PolicyStore},
};
use object_store::path::Path;

use crate::{blobs::ObjectBlobs, layout};

/// Manifests that a listing reads at the same time.
const CONCURRENT_READS: usize = 16;

/// Policies on an object store. Weights and manifests are blobs; a second copy of each manifest
/// under `policies/` says which there are.
#[derive(Clone)]
pub struct ObjectPolicies {
    blobs: ObjectBlobs,
}

impl ObjectPolicies {
    /// The policies among `blobs`.
    pub fn new(blobs: ObjectBlobs) -> Self {
        Self { blobs }
    }

    /// Reads a listed manifest; one that cannot be read is left out, so that it does not hide the
    /// others.
    async fn read(&self, digest: Digest) -> Option<(Digest, PolicyManifest)> {
        let manifest = match self.blobs.get(&digest).await {
            Ok(content) => serde_json::from_slice(&content).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        manifest
            .map_err(|error| tracing::warn!(%digest, %error, "a policy manifest cannot be read"))
            .ok()
            .map(|manifest| (digest, manifest))
    }
}

#[async_trait]
impl PolicyStore for ObjectPolicies {
    async fn push(&self, manifest: PolicyManifest, weights: Bytes) -> Result<Digest, CoreError> {
        let stored = self.blobs.put(weights).await?;
        if stored != manifest.weights {
            return Err(CoreError::invalid(
                "manifest.weights",
                format!(
                    "is {}, but the weights have the digest {stored}",
                    manifest.weights
                ),
            ));
        }
        // Maps of a manifest are ordered, so the same manifest always has the same digest.
        let content = serde_json::to_vec(&manifest)
            .map(Bytes::from)
            .map_err(|error| CoreError::Internal(format!("policy manifest: {error}")))?;
        let digest = self.blobs.put(content.clone()).await?;
        // Last, so that whatever is listed can be loaded.
        self.blobs
            .write("policy write", &layout::policy(&digest), content)
            .await?;
        Ok(digest)
    }

    async fn list(&self) -> Result<Vec<(Digest, PolicyManifest)>, CoreError> {
        let directory = Path::from(layout::POLICIES);
        let listing = self.blobs.store.list(Some(&directory));
        let listed: Vec<Digest> = self
            .blobs
            .lookup(
                "policy listing",
                listing
                    .try_filter_map(async |meta| Ok(layout::parse_policy(&meta.location)))
                    .try_collect(),
            )
            .await?;
        let mut policies: Vec<(Digest, PolicyManifest)> = stream::iter(listed)
            .map(|digest| self.read(digest))
            .buffer_unordered(CONCURRENT_READS)
            .filter_map(async |policy| policy)
            .collect()
            .await;
        policies.sort_by_key(|(digest, manifest)| (Reverse(manifest.created_at), *digest));
        Ok(policies)
    }
}

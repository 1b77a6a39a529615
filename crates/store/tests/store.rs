//! Blobs and policies, on a store in memory and on one in a directory.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::stream;
use maestro_core::{
    CoreError, Digest, Timestamp,
    ports::{Blobs, PolicyManifest, PolicyStore},
};
use maestro_store::{ObjectBlobs, ObjectPolicies, StoreConfig, StoreError};
use proptest::prelude::*;
use tempfile::TempDir;
use url::Url;

const MAX_BLOB_BYTES: u64 = 32 << 20;

fn memory() -> ObjectBlobs {
    open("memory://".parse().unwrap(), 1 << 20)
}

fn directory(cache_bytes: u64) -> (TempDir, ObjectBlobs) {
    let directory = TempDir::new().unwrap();
    let blobs = open(
        Url::from_file_path(directory.path().join("blobs")).unwrap(),
        cache_bytes,
    );
    (directory, blobs)
}

fn open(url: Url, cache_bytes: u64) -> ObjectBlobs {
    let config = StoreConfig {
        max_blob_bytes: MAX_BLOB_BYTES,
        cache_bytes,
        ..StoreConfig::new(url)
    };
    ObjectBlobs::open(config).unwrap()
}

/// The only file of a store.
fn only_file(directory: &TempDir) -> PathBuf {
    let mut files = files(directory);
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn files(directory: &TempDir) -> Vec<PathBuf> {
    let mut open = vec![directory.path().to_path_buf()];
    let mut files = vec![];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files
}

async fn keeps_content(blobs: &ObjectBlobs, content: Bytes) {
    let digest = Digest::of(&content);
    assert!(!blobs.contains(&digest).await.unwrap());
    assert!(matches!(
        blobs.get(&digest).await,
        Err(CoreError::NotFound { kind: "blob", .. })
    ));
    assert_eq!(blobs.put(content.clone()).await.unwrap(), digest);
    assert_eq!(blobs.put(content.clone()).await.unwrap(), digest);
    assert!(blobs.contains(&digest).await.unwrap());
    assert_eq!(
        blobs.size(&digest).await.unwrap(),
        Some(content.len() as u64)
    );
    assert_eq!(blobs.get(&digest).await.unwrap(), content);
    assert_eq!(blobs.get(&digest).await.unwrap(), content);
}

#[tokio::test]
async fn content_comes_back() {
    let (_guard, files) = directory(1 << 20);
    for blobs in [memory(), files] {
        keeps_content(&blobs, Bytes::new()).await;
        keeps_content(&blobs, Bytes::from_static(b"content")).await;
        keeps_content(&blobs, Bytes::from(vec![7; 3 << 20])).await;
    }
}

#[tokio::test]
async fn a_directory_outlives_the_process() {
    let (guard, blobs) = directory(0);
    let digest = blobs.put(Bytes::from_static(b"kept")).await.unwrap();
    drop(blobs);
    let again = open(Url::from_file_path(guard.path().join("blobs")).unwrap(), 0);
    assert_eq!(again.get(&digest).await.unwrap(), "kept");
}

#[tokio::test]
async fn too_large_content_is_refused() {
    let blobs = memory();
    let content = Bytes::from(vec![0; MAX_BLOB_BYTES as usize + 1]);
    let error = blobs.put(content.clone()).await.unwrap_err();
    assert!(matches!(&error, CoreError::Invalid(violation) if violation.field == "content"));
    let chunks = stream::iter((0..33).map(move |_| Ok(content.slice(..1 << 20))));
    let error = blobs.put_stream(chunks, None).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::TooLarge {
                limit: MAX_BLOB_BYTES
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn damage_is_noticed_and_repaired() {
    let (guard, blobs) = directory(0);
    let content = Bytes::from_static(b"the right content");
    let digest = blobs.put(content.clone()).await.unwrap();
    // Same length: only the digest tells.
    fs::write(only_file(&guard), b"the wrong content").unwrap();
    assert!(matches!(
        blobs.get(&digest).await,
        Err(CoreError::DataLoss(_))
    ));
    blobs.put(content.clone()).await.unwrap();
    assert_eq!(blobs.get(&digest).await.unwrap(), content);
    // Another length is seen without reading.
    fs::write(only_file(&guard), b"cut").unwrap();
    blobs.put(content.clone()).await.unwrap();
    assert_eq!(blobs.get(&digest).await.unwrap(), content);
}

#[tokio::test]
async fn hot_blobs_come_from_memory() {
    let (guard, blobs) = directory(1 << 20);
    let digest = blobs.put(Bytes::from_static(b"hot")).await.unwrap();
    blobs.get(&digest).await.unwrap();
    fs::remove_file(only_file(&guard)).unwrap();
    assert_eq!(blobs.get(&digest).await.unwrap(), "hot");
}

#[tokio::test]
async fn streams_are_stored_whole_or_not_at_all() {
    let (guard, in_directory) = directory(0);
    for blobs in [memory(), in_directory] {
        let content: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
        let digest = Digest::of(&content);
        let chunks = || {
            let chunks: Vec<_> = content
                .chunks(1_000_003)
                .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
                .collect();
            stream::iter(chunks)
        };
        let cut_off = stream::iter(
            content[..12_000_000]
                .chunks(1 << 20)
                .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
                .chain([Err(CoreError::Cancelled("by the client".into()))])
                .collect::<Vec<_>>(),
        );
        let error = blobs.put_stream(cut_off, Some(digest)).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Source(CoreError::Cancelled(_))),
            "{error}"
        );
        let error = blobs
            .put_stream(chunks(), Some(Digest::of(b"other")))
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
        assert!(!blobs.contains(&digest).await.unwrap());
        for _ in 0..2 {
            let stored = blobs.put_stream(chunks(), Some(digest)).await.unwrap();
            assert_eq!((stored.digest, stored.size_bytes), (digest, 20_000_000));
        }
        assert_eq!(blobs.get(&digest).await.unwrap(), content);
    }
    // Neither the refused nor the repeated upload has left anything.
    only_file(&guard);
}

#[tokio::test]
async fn a_stalled_upload_ends() {
    let config = StoreConfig {
        transfer_timeout_ms: 20,
        ..StoreConfig::new("memory://".parse().unwrap())
    };
    let blobs = ObjectBlobs::open(config).unwrap();
    let stalled = stream::pending::<Result<Bytes, CoreError>>();
    let error = blobs.put_stream(stalled, None).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout { .. }), "{error}");
}

fn manifest(weights: &Bytes, second: i64) -> PolicyManifest {
    PolicyManifest {
        kind: "scorer".into(),
        weights: Digest::of(weights),
        created_at: Timestamp::from_second(second).unwrap(),
        notes: BTreeMap::from([("seed".into(), second.to_string())]),
    }
}

#[tokio::test]
async fn policies_are_listed_newest_first_and_loadable() {
    let (_guard, in_directory) = directory(0);
    for blobs in [memory(), in_directory] {
        let policies: Arc<dyn PolicyStore> = Arc::new(ObjectPolicies::new(blobs.clone()));
        assert_eq!(policies.list().await.unwrap(), []);
        let weights = Bytes::from_static(b"weights");
        let mut expected = vec![];
        for second in [20, 10, 30] {
            let digest = policies
                .push(manifest(&weights, second), weights.clone())
                .await
                .unwrap();
            expected.push((digest, manifest(&weights, second)));
        }
        policies
            .push(manifest(&weights, 20), weights.clone())
            .await
            .unwrap();
        expected.sort_by_key(|(_, manifest)| -manifest.created_at.as_second());
        assert_eq!(policies.list().await.unwrap(), expected);
        let (digest, listed) = &expected[0];
        let content = blobs.get(digest).await.unwrap();
        assert_eq!(
            serde_json::from_slice::<PolicyManifest>(&content).unwrap(),
            *listed
        );
        assert_eq!(blobs.get(&listed.weights).await.unwrap(), weights);
    }
}

#[tokio::test]
async fn a_policy_must_name_its_own_weights() {
    let policies = ObjectPolicies::new(memory());
    let manifest = manifest(&Bytes::from_static(b"other"), 1);
    let error = policies
        .push(manifest, Bytes::from_static(b"weights"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, CoreError::Invalid(violation) if violation.field == "manifest.weights")
    );
    assert_eq!(policies.list().await.unwrap(), []);
}

#[tokio::test]
async fn an_unreadable_manifest_hides_no_other() {
    let (guard, blobs) = directory(0);
    let policies = ObjectPolicies::new(blobs);
    let weights = Bytes::from_static(b"weights");
    let kept = policies
        .push(manifest(&weights, 1), weights.clone())
        .await
        .unwrap();
    let lost = policies.push(manifest(&weights, 2), weights).await.unwrap();
    let blob = files(&guard)
        .into_iter()
        .find(|path| path.file_name().unwrap().to_string_lossy() == lost.to_string())
        .unwrap();
    fs::write(blob, b"{}").unwrap();
    let listed = policies.list().await.unwrap();
    assert_eq!(
        listed.iter().map(|(digest, _)| *digest).collect::<Vec<_>>(),
        [kept]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_content_in_any_chunks_has_one_address(
        content in prop::collection::vec(any::<u8>(), 0..4096),
        chunk_bytes in 1_usize..512,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_guard, in_directory) = directory(0);
            for blobs in [memory(), in_directory] {
                let chunks: Vec<_> = content
                    .chunks(chunk_bytes)
                    .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
                    .collect();
                let streamed = blobs.put_stream(stream::iter(chunks), None).await.unwrap();
                let put = blobs.put(Bytes::from(content.clone())).await.unwrap();
                prop_assert_eq!(streamed.digest, put);
                prop_assert_eq!(blobs.get(&put).await.unwrap(), Bytes::from(content.clone()));
            }
            Ok(())
        })?;
    }
}

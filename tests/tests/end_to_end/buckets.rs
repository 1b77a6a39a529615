//! Blobs in a bucket.

use std::{fs, path::Path, process::Command};

use bytes::Bytes;
use maestro_core::ports::Blobs;
use maestro_rpc::{BlobClientConfig, RemoteBlobs};
use maestro_tests::{Process, S3Server, binary, start_etcd};

fn coordinator(folder: &Path, etcd: &str, s3: &S3Server) -> Process {
    let settings = format!(
        "etcd: {{endpoints: ['{etcd}']}}\nblobs: {{store: {{url: '{}'}}}}\n\
         service: {{serve: {{listen: '127.0.0.1:0'}}, policy_workers: ['http://127.0.0.1:1'], \
         skill_runners: ['http://127.0.0.1:1']}}\n",
        s3.url()
    );
    let path = folder.join("coordinator.yaml");
    fs::write(&path, settings).unwrap();
    let mut command = Command::new(binary("maestro-coordinator").unwrap());
    command.arg("--config").arg(path).envs(s3.environment());
    Process::serve("coordinator", command, folder).unwrap()
}

fn blobs(coordinator: &Process) -> RemoteBlobs {
    let endpoint = coordinator.address.clone().unwrap();
    RemoteBlobs::new(&[endpoint], BlobClientConfig::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_in_a_bucket_outlive_the_coordinator() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = S3Server::start().await.unwrap();
    let (_etcd, etcd) = start_etcd(folder.path()).unwrap();
    let first = coordinator(folder.path(), &etcd, &s3);
    let client = blobs(&first);
    let small = Bytes::from_static(b"a small blob");
    // More than one part of a multipart upload.
    let large: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
    let small_digest = client.put(small.clone()).await.unwrap();
    let large_digest = client.put(Bytes::from(large.clone())).await.unwrap();
    let stored = s3.stored_bytes();
    assert!(stored >= 20_000_012, "{stored} bytes are in the bucket");
    // The same content again takes no room.
    client.put(small.clone()).await.unwrap();
    drop(first);

    let second = coordinator(folder.path(), &etcd, &s3);
    let client = blobs(&second);
    assert_eq!(client.get(&small_digest).await.unwrap(), small);
    assert_eq!(client.get(&large_digest).await.unwrap(), large);
    let absent = maestro_core::Digest::of(b"never stored");
    assert!(!client.contains(&absent).await.unwrap());
}

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use maestro_core::{CoreError, Digest, ports::Blobs};
use maestro_proto::v1::{UploadBlobRequest, blob_service_client::BlobServiceClient};
use maestro_rpc::{
    BlobClientConfig, BlobLimits, RemoteBlobs, Running, ServeConfig, Server, blob_service,
    from_status,
};
use tonic::transport::Channel;

use crate::world::{Idle, url};

/// A store in memory that counts its reads, and can be damaged.
#[derive(Default)]
struct Store {
    content: Mutex<BTreeMap<Digest, Bytes>>,
    reads: AtomicU32,
    writes: AtomicU32,
}

#[async_trait]
impl Blobs for Store {
    async fn put(&self, content: Bytes) -> Result<Digest, CoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let digest = Digest::of(&content);
        self.content.lock().unwrap().insert(digest, content);
        Ok(digest)
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes, CoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.content
            .lock()
            .unwrap()
            .get(digest)
            .cloned()
            .ok_or_else(|| CoreError::NotFound {
                kind: "blob",
                name: digest.to_string(),
            })
    }

    async fn contains(&self, digest: &Digest) -> Result<bool, CoreError> {
        Ok(self.content.lock().unwrap().contains_key(digest))
    }
}

async fn serve(store: &Arc<Store>) -> Running {
    let config = ServeConfig::default();
    let listener = config.bind().await.unwrap();
    let blobs: Arc<dyn Blobs> = Arc::clone(store) as _;
    let limits = BlobLimits {
        max_blob_bytes: 6 * 1024 * 1024,
        ..BlobLimits::default()
    };
    Server::new(config, Arc::new(Idle))
        .add_service(blob_service(blobs, limits))
        .serve(listener)
        .await
        .unwrap()
}

fn client(server: &Running) -> RemoteBlobs {
    RemoteBlobs::new(&[url(server)], BlobClientConfig::default()).unwrap()
}

fn content(length: usize) -> Bytes {
    (0..length)
        .map(|index| (index % 251) as u8)
        .collect::<Vec<_>>()
        .into()
}

#[tokio::test]
async fn blobs_of_every_size_survive_the_way_there_and_back() {
    let store = Arc::new(Store::default());
    let server = serve(&store).await;
    for length in [0, 1, 256 * 1024, 256 * 1024 + 1, 5 * 1024 * 1024] {
        let content = content(length);
        let digest = client(&server).put(content.clone()).await.unwrap();
        assert_eq!(digest, Digest::of(&content));
        assert!(client(&server).contains(&digest).await.unwrap());
        assert_eq!(
            client(&server).get(&digest).await.unwrap(),
            content,
            "{length}"
        );
    }
}

#[tokio::test]
async fn what_is_there_is_neither_sent_nor_fetched_twice() {
    let store = Arc::new(Store::default());
    let server = serve(&store).await;
    let content = content(300_000);
    let digest = client(&server).put(content.clone()).await.unwrap();
    let other = client(&server);
    other.put(content.clone()).await.unwrap();
    assert_eq!(store.writes.load(Ordering::SeqCst), 1);

    let reader = Arc::new(client(&server));
    let reads = (0..8).map(|_| {
        let reader = Arc::clone(&reader);
        async move { reader.get(&digest).await.unwrap() }
    });
    for read in futures::future::join_all(reads).await {
        assert_eq!(read, content);
    }
    assert_eq!(store.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn missing_and_damaged_blobs_are_typed_errors() {
    let store = Arc::new(Store::default());
    let server = serve(&store).await;
    let digest = Digest::of(b"nothing");
    let missing = client(&server).get(&digest).await.unwrap_err();
    assert_eq!(
        missing,
        CoreError::NotFound {
            kind: "blob",
            name: digest.to_string()
        }
    );
    store
        .content
        .lock()
        .unwrap()
        .insert(digest, Bytes::from_static(b"something else"));
    let damaged = client(&server).get(&digest).await.unwrap_err();
    assert!(matches!(damaged, CoreError::DataLoss(_)), "{damaged}");
}

#[tokio::test]
async fn bad_uploads_name_the_field_and_store_nothing() {
    let store = Arc::new(Store::default());
    let server = serve(&store).await;
    let channel = Channel::from_shared(url(&server).to_string())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let upload = async |parts: Vec<UploadBlobRequest>| {
        let mut client = BlobServiceClient::new(channel.clone());
        from_status(
            &client
                .upload_blob(futures::stream::iter(parts))
                .await
                .unwrap_err(),
        )
    };
    let part = |digest: &str, chunk: Bytes| UploadBlobRequest {
        digest: digest.into(),
        chunk,
    };
    let field = |error: CoreError| match error {
        CoreError::Invalid(violation) => violation.field,
        other => panic!("{other}"),
    };
    let wrong = Digest::of(b"other").to_string();
    assert_eq!(
        field(upload(vec![part(&wrong, content(10))]).await),
        "digest"
    );
    assert_eq!(
        field(upload(vec![part("xyz", content(10))]).await),
        "digest"
    );
    let seven: Vec<_> = (0..7).map(|_| part("", content(1024 * 1024))).collect();
    assert_eq!(field(upload(seven).await), "chunk");
    assert_eq!(store.writes.load(Ordering::SeqCst), 0);
}

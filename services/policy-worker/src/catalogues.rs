//! Keeps the content of every catalogue that decisions are made on, so that a step which names a
//! catalogue's digest can be replayed with the very entries that the policy saw.

use std::{sync::Arc, time::Duration};

use maestro_core::{ports::Blobs, registry::Catalogue};
use tokio::{sync::mpsc, time};
use tokio_util::task::AbortOnDropHandle;

/// Catalogues that wait while the blob store is away. A further one is not kept, which is logged.
const QUEUE: usize = 1024;
/// Longest time of one write.
const WRITE: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Where catalogues are handed in.
pub(crate) struct Catalogues {
    queue: mpsc::Sender<Arc<Catalogue>>,
    _writer: AbortOnDropHandle<()>,
}

impl Catalogues {
    /// Writes them to `blobs` in the background until this is dropped.
    pub(crate) fn start(blobs: Arc<dyn Blobs>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self {
            queue,
            _writer: AbortOnDropHandle::new(tokio::spawn(write(waiting, blobs))),
        }
    }

    /// Hands one in; never waits.
    pub(crate) fn keep(&self, catalogue: &Arc<Catalogue>) {
        if self.queue.try_send(Arc::clone(catalogue)).is_err() {
            tracing::error!(QUEUE, "a catalogue is not kept: too many wait already");
        }
    }
}

async fn write(mut waiting: mpsc::Receiver<Arc<Catalogue>>, blobs: Arc<dyn Blobs>) {
    while let Some(catalogue) = waiting.recv().await {
        let content = bytes::Bytes::from(catalogue.content());
        let mut pause = FIRST_RETRY;
        loop {
            let reason = match time::timeout(WRITE, blobs.put(content.clone())).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "took too long".to_owned(),
            };
            tracing::warn!(reason, "a catalogue is not in the blob store yet");
            time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use bytes::Bytes;
    use maestro_core::{CoreError, Digest};
    use maestro_store::{ObjectBlobs, StoreConfig};

    use super::*;

    /// A store whose first write fails.
    struct Flaky {
        store: ObjectBlobs,
        writes: AtomicU32,
    }

    #[async_trait]
    impl Blobs for Flaky {
        async fn put(&self, content: Bytes) -> Result<Digest, CoreError> {
            if self.writes.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(CoreError::Unavailable {
                    what: "store",
                    reason: "away".into(),
                });
            }
            self.store.put(content).await
        }

        async fn get(&self, digest: &Digest) -> Result<Bytes, CoreError> {
            self.store.get(digest).await
        }

        async fn contains(&self, digest: &Digest) -> Result<bool, CoreError> {
            self.store.contains(digest).await
        }
    }

    #[tokio::test]
    async fn a_catalogue_is_kept_once_the_store_is_back() {
        let store = ObjectBlobs::open(StoreConfig::new("memory:///".parse().unwrap())).unwrap();
        let blobs = Arc::new(Flaky {
            store: store.clone(),
            writes: AtomicU32::new(0),
        });
        let catalogue = Arc::new(Catalogue::default());
        let digest = Digest::of(&catalogue.content());
        let catalogues = Catalogues::start(blobs);
        catalogues.keep(&catalogue);
        let kept = async {
            while !store.contains(&digest).await.unwrap() {
                time::sleep(Duration::from_millis(10)).await;
            }
        };
        time::timeout(Duration::from_secs(10), kept).await.unwrap();
    }
}

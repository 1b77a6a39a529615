//! Follows the registry: lists it at one revision, then watches from the next. Whatever ends the
//! watch (a compaction, a lost connection, a restarted server), it lists again, so there is never
//! a gap; until then the last snapshot stays.
//!
//! Each directory of the registry is a watch of its own on one stream, because the journal and the
//! requests stand between them. etcd sends the changes of each in order, and those of all in order
//! too, as long as this end keeps reading, which is all that this thread does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use etcd_client::{
    EventType, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse, WatchOptions, WatchRequestSender,
    WatchResponse, WatchResponseStream,
};
use futures::FutureExt;
use maestro_core::registry::Snapshot;
use tokio::{
    sync::{oneshot, watch},
    time,
};
use tokio_util::sync::CancellationToken;

use super::client::{call, connect, header_revision, revision};
use crate::{
    backoff::Backoff,
    codec::Stored,
    config::EtcdConfig,
    error::RegistryError,
    fold::{Change, SnapshotBuilder},
    health::RegistryHealth,
    keys::Keys,
};

/// Largest listing or watch response in bytes; some 50,000 entries.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// How often a quiet watch is asked whether it is still there.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Most responses that go into one snapshot, where many wait.
const MAX_RESPONSES_PER_SNAPSHOT: usize = 256;

/// See the module.
pub(super) struct Follower {
    config: EtcdConfig,
    keys: Keys,
    builder: SnapshotBuilder,
    snapshots: watch::Sender<Arc<Snapshot>>,
    health: Arc<watch::Sender<RegistryHealth>>,
    stopped: CancellationToken,
    backoff: Backoff,
}

/// Told once, when the registry has been loaded or could not be.
type Ready = oneshot::Sender<Result<(), RegistryError>>;

impl Follower {
    pub(super) fn new(
        config: EtcdConfig,
        keys: Keys,
        health: Arc<watch::Sender<RegistryHealth>>,
        stopped: CancellationToken,
    ) -> Self {
        let mut builder = SnapshotBuilder::new();
        let snapshots = watch::Sender::new(builder.snapshot());
        Self {
            config,
            keys,
            builder,
            snapshots,
            health,
            stopped,
            backoff: Backoff::default(),
        }
    }

    pub(super) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Follows until it is stopped. A first listing that fails ends it.
    pub(super) async fn run(mut self, ready: Ready) {
        let stopped = self.stopped.clone();
        stopped
            .run_until_cancelled_owned(Box::pin(self.follow(ready)))
            .await;
    }

    async fn follow(&mut self, ready: Ready) {
        let mut ready = Some(ready);
        loop {
            let ended = Box::pin(self.session(&mut ready)).await;
            self.health.send_modify(|health| health.connected = false);
            if let Some(ready) = ready.take() {
                // Nobody waits any longer if the connect timeout has passed.
                let _ = ready.send(ended);
                return;
            }
            if let Err(error) = ended {
                tracing::warn!(%error, "the registry's watch ended; it is listed again");
            }
            time::sleep(self.backoff.next()).await;
        }
    }

    /// One listing and the watch after it, until something ends it.
    async fn session(&mut self, ready: &mut Option<Ready>) -> Result<(), RegistryError> {
        let client = connect(&self.config).await?;
        let listed = self.list(
            client
                .kv_client()
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        );
        let listed = listed.await?;
        let watch_client = client
            .watch_client()
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (requests, responses) = self.open(watch_client, listed + 1).await?;
        self.publish();
        if let Some(ready) = ready.take() {
            let _ = ready.send(Ok(()));
        }
        self.watch(requests, responses).await
    }

    /// Lists all directories at one revision and returns it.
    async fn list(&mut self, mut kv: etcd_client::KvClient) -> Result<i64, RegistryError> {
        let all = Some(GetOptions::new().with_prefix());
        let reads: Vec<TxnOp> = self
            .keys
            .directories()
            .map(|one| TxnOp::get(one, all.clone()))
            .collect();
        let listing = kv.txn(Txn::new().and_then(reads));
        let response = call("listing", self.config.connect_timeout(), listing).await?;
        let mut changes = vec![];
        for directory in response.op_responses() {
            if let TxnOpResponse::Get(entries) = directory {
                changes.extend(
                    entries
                        .kvs()
                        .iter()
                        .filter_map(|pair| self.read(pair, true)),
                );
            }
        }
        let at = response.header().map_or(0, |header| header.revision());
        if revision(at) < self.builder.revision() {
            tracing::warn!(
                was = self.builder.revision(),
                is = at,
                "the registry was set back to an earlier revision"
            );
        }
        self.builder.reset(changes, revision(at));
        self.health.send_modify(|health| health.listings += 1);
        Ok(at)
    }

    /// Watches every directory from the revision `from` on.
    async fn open(
        &self,
        mut client: etcd_client::WatchClient,
        from: i64,
    ) -> Result<(WatchRequestSender, WatchResponseStream), RegistryError> {
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(from)
            .with_progress_notify();
        let limit = self.config.request_timeout();
        let mut directories = self.keys.directories();
        let first = directories.next().unwrap_or_default();
        let opening = client.watch(first, Some(options.clone()));
        let mut stream = call("opening a watch", limit, opening).await?;
        for directory in directories {
            let opening = stream.watch(directory, Some(options.clone()));
            call("opening a watch", limit, opening).await?;
        }
        Ok(stream.split())
    }

    async fn watch(
        &mut self,
        mut requests: WatchRequestSender,
        mut responses: WatchResponseStream,
    ) -> Result<(), RegistryError> {
        let patience = HEARTBEAT + self.config.request_timeout();
        let mut heartbeat = time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut heard = time::Instant::now();
        loop {
            tokio::select! {
                biased;
                response = responses.message() => {
                    self.take(response)?;
                    // Whatever waits already goes into the same snapshot.
                    for _ in 1..MAX_RESPONSES_PER_SNAPSHOT {
                        let Some(response) = responses.message().now_or_never() else { break };
                        self.take(response)?;
                    }
                    heard = time::Instant::now();
                    self.backoff.reset();
                    self.publish();
                }
                _ = heartbeat.tick() => {
                    if heard.elapsed() > patience {
                        let operation = "waiting for a sign of the watch";
                        return Err(RegistryError::Timeout { operation, after: patience });
                    }
                    let asking = requests.request_progress();
                    call("asking for progress", self.config.request_timeout(), asking).await?;
                }
            }
        }
    }

    /// Applies one response of the watch.
    fn take(
        &mut self,
        response: Result<Option<WatchResponse>, etcd_client::Error>,
    ) -> Result<(), RegistryError> {
        const OPERATION: &str = "the watch";
        let closed = |reason: String| RegistryError::Unavailable {
            operation: OPERATION,
            reason,
        };
        let response = response
            .map_err(|error| RegistryError::from_etcd(OPERATION, &error))?
            .ok_or_else(|| closed("it was closed".into()))?;
        if response.compact_revision() > 0 {
            return Err(RegistryError::Compacted(response.compact_revision()));
        }
        if response.canceled() {
            return Err(closed(format!(
                "it was cancelled: {}",
                response.cancel_reason()
            )));
        }
        for event in response.events() {
            let written = event.event_type() == EventType::Put;
            if let Some(change) = event.kv().and_then(|pair| self.read(pair, written)) {
                self.builder.apply(change);
            }
        }
        tracing::trace!(
            revision = header_revision(response.header()),
            events = response.events().len(),
            "registry watch"
        );
        Ok(())
    }

    /// The change that a pair stands for. One that cannot be read counts as absent, as it would in
    /// a listing.
    fn read(&self, pair: &KeyValue, written: bool) -> Option<Change> {
        let key = self.keys.parse(pair.key());
        let entry = match &key {
            None => Err("the key is none of the registry's".to_owned()),
            Some(_) if !written => Ok(None),
            Some(key) => Stored::decode(key, pair.value())
                .map(Some)
                .map_err(|error| error.to_string()),
        };
        let entry = entry.unwrap_or_else(|error| {
            let key = String::from_utf8_lossy(pair.key());
            tracing::warn!(%key, error, "an entry of the registry cannot be read and is left out");
            self.health.send_modify(|health| health.unreadable += 1);
            None
        });
        Some(Change {
            key: key?,
            revision: revision(pair.mod_revision()),
            entry,
        })
    }

    /// Publishes what has changed.
    fn publish(&mut self) {
        if self.builder.is_changed() {
            self.snapshots.send_replace(self.builder.snapshot());
        }
        self.health.send_modify(|health| {
            health.connected = true;
            health.last_contact = Instant::now();
        });
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;

//! Reading episodes back.

use std::{sync::Arc, time::Duration};

use etcd_client::{GetOptions, KeyValue, KvClient, WatchOptions, WatchStream};
use futures::stream::{BoxStream, StreamExt};
use maestro_core::{
    CoreError, EpisodeId, TenantId,
    episode::{EpisodeRecord, Outcome, PendingCall, Step},
    ports::{Blobs, Standing},
};

use super::{
    MAX_MESSAGE_BYTES,
    codec::{self, Head, StoredStep},
    keys::{JournalKeys, Part},
};
use crate::{
    backoff::Backoff,
    error::RegistryError,
    etcd::client::{call, header_revision},
};

/// A followed episode of which nothing is heard is read again after this.
const REREAD: Duration = Duration::from_secs(10);

/// What is needed to read. Clones share the connection.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) client: etcd_client::Client,
    pub(super) keys: JournalKeys,
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) limit: Duration,
}

/// An episode as it was read.
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) head_bytes: Vec<u8>,
    /// Revision of the head's last change.
    pub(super) head_revision: i64,
    /// Revision of etcd at which it was read.
    pub(super) revision: i64,
    steps: Vec<Step>,
    pub(super) call: Option<PendingCall>,
    outcome: Option<Outcome>,
}

impl Found {
    pub(super) fn record(&self) -> EpisodeRecord {
        EpisodeRecord {
            steps: self.steps.clone(),
            outcome: self.outcome.clone(),
            ..self.head.record.clone()
        }
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            record: self.record(),
            call: self.call.clone(),
        }
    }
}

/// The error of an episode that is not in the journal.
pub(super) fn not_found(id: &EpisodeId) -> CoreError {
    CoreError::NotFound {
        kind: "episode",
        name: id.to_string(),
    }
}

impl Reader {
    pub(super) fn kv(&self) -> KvClient {
        self.client
            .kv_client()
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// All of an episode, at one revision.
    pub(super) async fn read(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
    ) -> Result<Option<Found>, CoreError> {
        let prefix = self.keys.episode(tenant, id);
        let mut kv = self.kv();
        let reading = kv.get(prefix.as_str(), Some(GetOptions::new().with_prefix()));
        let response = call("reading an episode", self.limit, reading).await?;
        let mut head = None;
        let (mut steps, mut pending, mut outcome) = (vec![], None, None);
        // By rising key, and so the steps in order.
        for pair in response.kvs() {
            match self.keys.parse_part(&prefix, pair.key()) {
                Some(Part::Head) => head = Some(pair),
                Some(Part::Step(_)) => steps.push(self.step(pair).await?),
                Some(Part::Call) => pending = Some(codec::decode_call(pair.value())?),
                Some(Part::Outcome) => outcome = Some(codec::decode_outcome(pair.value())?),
                None => {}
            }
        }
        let Some(pair) = head else {
            return Ok(None);
        };
        let in_place = |(position, step): (usize, &Step)| {
            u32::try_from(position).is_ok_and(|position| position == step.index)
        };
        if !steps.iter().enumerate().all(in_place) {
            let message = format!("the journal lacks a step of episode {id}");
            return Err(CoreError::DataLoss(message));
        }
        Ok(Some(Found {
            head: Head::decode(pair.value())?,
            head_bytes: pair.value().to_vec(),
            head_revision: pair.mod_revision(),
            revision: response.header().map_or(0, |header| header.revision()),
            steps,
            call: pending,
            outcome,
        }))
    }

    async fn step(&self, pair: &KeyValue) -> Result<Step, CoreError> {
        match codec::decode_step(pair.value())? {
            StoredStep::Inline(step) => Ok(*step),
            StoredStep::Blob(digest) => codec::read_step_bytes(&self.blobs.get(&digest).await?),
        }
    }

    /// The episode as it stands, again after each change, until it has ended or is gone.
    pub(super) async fn follow(
        self,
        tenant: TenantId,
        id: EpisodeId,
    ) -> Result<BoxStream<'static, Standing>, CoreError> {
        let found = self.read(&tenant, &id).await?;
        let found = found.ok_or_else(|| not_found(&id))?;
        let first = found.standing();
        let follower = Follower {
            reader: self,
            tenant,
            id,
            watch: None,
            from: found.revision + 1,
            is_over: first.record.conclusion.is_some(),
            backoff: Backoff::default(),
        };
        let rest = futures::stream::unfold(follower, |mut follower| async move {
            let standing = follower.next().await?;
            Some((standing, follower))
        });
        Ok(futures::stream::iter([first]).chain(rest).boxed())
    }

    async fn watch(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
        from: i64,
    ) -> Result<WatchStream, RegistryError> {
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let mut client = self.client.watch_client();
        let opening = client.watch(self.keys.episode(tenant, id), Some(options));
        call("opening a watch", self.limit, opening).await
    }
}

struct Follower {
    reader: Reader,
    tenant: TenantId,
    id: EpisodeId,
    watch: Option<WatchStream>,
    /// Revision from which changes are not seen yet.
    from: i64,
    is_over: bool,
    backoff: Backoff,
}

impl Follower {
    async fn next(&mut self) -> Option<Standing> {
        while !self.is_over {
            if let Err(error) = self.changed().await {
                tracing::debug!(%error, episode = %self.id, "following is interrupted");
                self.watch = None;
                tokio::time::sleep(self.backoff.next()).await;
            }
            match self.reader.read(&self.tenant, &self.id).await {
                Ok(Some(found)) => {
                    self.backoff.reset();
                    self.from = self.from.max(found.revision + 1);
                    self.is_over = found.head.record.conclusion.is_some();
                    return Some(found.standing());
                }
                Ok(None) => return None,
                Err(error) => {
                    tracing::debug!(%error, episode = %self.id, "following is interrupted");
                    self.watch = None;
                    tokio::time::sleep(self.backoff.next()).await;
                }
            }
        }
        None
    }

    /// Waits for a change, or for the time of the next look.
    async fn changed(&mut self) -> Result<(), RegistryError> {
        const OPERATION: &str = "following an episode";
        let closed = |reason: &str| RegistryError::Unavailable {
            operation: OPERATION,
            reason: reason.to_owned(),
        };
        let watch = match &mut self.watch {
            Some(watch) => watch,
            None => {
                let opened = self.reader.watch(&self.tenant, &self.id, self.from).await?;
                self.watch.insert(opened)
            }
        };
        let until = tokio::time::Instant::now() + REREAD;
        loop {
            let Ok(message) = tokio::time::timeout_at(until, watch.message()).await else {
                return Ok(());
            };
            let response = message
                .map_err(|error| RegistryError::from_etcd(OPERATION, &error))?
                .ok_or_else(|| closed("the watch was closed"))?;
            if response.canceled() || response.compact_revision() > 0 {
                // What it missed is read anyway.
                return Err(closed(response.cancel_reason()));
            }
            let seen = header_revision(response.header());
            // What a read has shown already needs no other.
            if !response.events().is_empty() && i64::try_from(seen).is_ok_and(|r| r >= self.from) {
                return Ok(());
            }
        }
    }
}

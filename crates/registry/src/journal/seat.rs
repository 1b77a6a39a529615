//! Keeps a coordinator's lease, and a copy of who else has one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use etcd_client::{
    Compare, CompareOp, EventType, GetOptions, KvClient, PutOptions, Txn, TxnOp, TxnOpResponse,
    WatchOptions,
};
use maestro_core::{CoordinatorId, Timestamp, adoption::Outage, ports::Membership};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{codec, keys::JournalKeys};
use crate::{
    backoff::Backoff,
    config::EtcdConfig,
    error::RegistryError,
    etcd::client::{self, call, connect, hold_lease},
};

/// How often a quiet watch is asked whether it is still there.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// What a coordinator owns its episodes by: its key, which stands as long as its lease does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) id: CoordinatorId,
    pub(super) key: String,
    /// Revision at which the key was made. One that is made anew is another's.
    pub(super) created: i64,
}

impl Seat {
    /// Holds as long as the lease does.
    pub(super) fn fence(&self) -> Compare {
        Compare::create_revision(self.key.as_str(), CompareOp::Equal, self.created)
    }
}

/// See the module. Runs on a thread of its own, so that no load delays a renewal.
pub(super) struct SeatKeeper {
    pub(super) config: EtcdConfig,
    pub(super) keys: JournalKeys,
    pub(super) host: String,
    pub(super) membership: Arc<watch::Sender<Membership>>,
    pub(super) seat: Arc<watch::Sender<Option<Seat>>>,
    /// Ends it: the lease is given back.
    pub(super) stop: CancellationToken,
    pub(super) lease: Option<i64>,
    /// When etcd last answered a renewal.
    pub(super) heard: Option<time::Instant>,
}

impl SeatKeeper {
    /// Holds a lease until it is stopped. After a loss it takes another, under another name.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let Err(error) = Box::pin(self.session(&mut backoff)).await else {
                break;
            };
            if matches!(error, RegistryError::LeaseGone) {
                self.lease = None;
                self.leave();
            }
            tracing::warn!(%error, "the coordinator's lease is interrupted");
            self.note_silence();
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = time::sleep(backoff.next()) => {}
            }
        }
        self.leave();
    }

    fn leave(&self) {
        self.seat.send_replace(None);
        self.membership
            .send_modify(|membership| membership.me = None);
    }

    /// A third of the lease: how often it is renewed and how long a request may take.
    fn beat(&self) -> Duration {
        self.config.lease_ttl() / 3
    }

    fn limit(&self) -> Duration {
        self.config.request_timeout().min(self.beat())
    }

    /// Tells since when etcd is away, where that is longer than the lease bears.
    fn note_silence(&self) {
        let silence = self.silence();
        if silence > self.config.lease_ttl() {
            let from = Timestamp::now().checked_sub(silence).ok();
            self.membership
                .send_modify(|membership| membership.away_since = membership.away_since.or(from));
        }
    }

    fn silence(&self) -> Duration {
        self.heard.map_or(Duration::ZERO, |heard| heard.elapsed())
    }

    /// Tells for how long etcd was away, where that is more than the lease bears.
    fn note_outage(&mut self) {
        let silence = self.silence();
        self.heard = Some(time::Instant::now());
        self.membership
            .send_modify(|membership| membership.away_since = None);
        if silence <= self.config.lease_ttl() {
            return;
        }
        let now = Timestamp::now();
        let from = now.checked_sub(silence).unwrap_or(now);
        let outage = Outage {
            from,
            length: silence,
        };
        self.membership
            .send_modify(|membership| membership.outage = Some(outage));
    }

    /// Holds the lease over one connection. `Ok` once it was stopped.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), RegistryError> {
        let client = connect(&self.config).await?;
        let (mut leases, mut kv) = (client.lease_client(), client.kv_client());
        let limit = self.limit();
        let ttl_s = self.config.lease_ttl_s;
        let (lease, mut keeper, mut renewals) =
            hold_lease(&mut leases, &mut self.lease, ttl_s, limit).await?;
        self.note_outage();
        let seated = self.seat.borrow().is_some();
        if !seated {
            let seat = self.sit(&mut kv, lease).await?;
            tracing::info!(coordinator = %seat.id, "this coordinator holds a lease");
            let id = seat.id.clone();
            self.seat.send_replace(Some(seat));
            self.membership
                .send_modify(|membership| membership.me = Some(id));
        }
        backoff.reset();
        let mut renewed = time::Instant::now();
        let mut beat = time::interval(self.beat());
        beat.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    let revoking = leases.revoke(lease);
                    if let Err(error) = call("revoking the lease", limit, revoking).await {
                        tracing::warn!(%error, "the coordinator's lease is left to expire");
                    }
                    return Ok(());
                }
                _ = beat.tick() => {
                    let after = 2 * self.beat();
                    if renewed.elapsed() > after {
                        return Err(RegistryError::Timeout { operation: "a renewal", after });
                    }
                    call("a renewal", limit, keeper.keep_alive()).await?;
                }
                renewal = renewals.message() => {
                    client::renewed(renewal)?;
                    renewed = time::Instant::now();
                    self.heard = Some(renewed);
                }
            }
        }
    }

    /// Writes this coordinator's key. An attempt before may have written it already.
    async fn sit(&self, kv: &mut KvClient, lease: i64) -> Result<Seat, RegistryError> {
        const OPERATION: &str = "taking a seat";
        let unreadable = |reason: &str| RegistryError::Unavailable {
            operation: OPERATION,
            reason: reason.to_owned(),
        };
        // A lease's number is unique in its cluster and never negative.
        let id = CoordinatorId::new(format!("{lease:016x}"))
            .map_err(|error| unreadable(&error.to_string()))?;
        let key = self.keys.coordinator(&id);
        let value = codec::encode_coordinator(&self.host, Timestamp::now());
        let put = TxnOp::put(
            key.as_str(),
            value,
            Some(PutOptions::new().with_lease(lease)),
        );
        let txn = Txn::new()
            .when([Compare::version(key.as_str(), CompareOp::Equal, 0)])
            .and_then([put])
            .or_else([TxnOp::get(key.as_str(), None)]);
        let response = call(OPERATION, self.limit(), kv.txn(txn)).await?;
        let created = if response.succeeded() {
            response.header().map(|header| header.revision())
        } else {
            response.op_responses().first().and_then(|one| match one {
                TxnOpResponse::Get(found) => found.kvs().first().map(|pair| pair.create_revision()),
                _ => None,
            })
        };
        let created = created.ok_or_else(|| unreadable("its key has no revision"))?;
        Ok(Seat { id, key, created })
    }
}

/// Keeps a copy of everything under `prefix` and tells `changed` of it, until it is stopped. While
/// etcd is away the last copy stays.
pub(super) async fn mirror(
    config: EtcdConfig,
    prefix: String,
    stop: CancellationToken,
    changed: impl Fn(&BTreeMap<String, Vec<u8>>),
) {
    let mut backoff = Backoff::default();
    let mirroring = async {
        loop {
            let ended = Box::pin(mirror_once(&config, &prefix, &changed, &mut backoff)).await;
            if let Err(error) = ended {
                tracing::warn!(%error, prefix, "a watch of the journal ended; it is listed again");
            }
            time::sleep(backoff.next()).await;
        }
    };
    stop.run_until_cancelled(mirroring).await;
}

async fn mirror_once(
    config: &EtcdConfig,
    prefix: &str,
    changed: &impl Fn(&BTreeMap<String, Vec<u8>>),
    backoff: &mut Backoff,
) -> Result<(), RegistryError> {
    const OPERATION: &str = "a watch of the journal";
    let limit = config.request_timeout();
    let client = connect(config).await?;
    let mut kv = client.kv_client();
    let reading = kv.get(prefix, Some(GetOptions::new().with_prefix()));
    let listed = call("listing", limit, reading).await?;
    let name = |key: &[u8]| {
        let key = str::from_utf8(key).ok()?;
        Some(key.strip_prefix(prefix)?.to_owned())
    };
    let mut copy: BTreeMap<String, Vec<u8>> = listed
        .kvs()
        .iter()
        .filter_map(|pair| Some((name(pair.key())?, pair.value().to_vec())))
        .collect();
    changed(&copy);
    let from = listed.header().map_or(0, |header| header.revision()) + 1;
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(from)
        .with_progress_notify();
    let mut watching = client.watch_client();
    let opening = watching.watch(prefix, Some(options));
    let (mut requests, mut responses) = call("opening a watch", limit, opening).await?.split();
    backoff.reset();
    let patience = HEARTBEAT + limit;
    let mut heartbeat = time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut heard = time::Instant::now();
    let closed = |reason: &str| RegistryError::Unavailable {
        operation: OPERATION,
        reason: reason.to_owned(),
    };
    loop {
        tokio::select! {
            biased;
            response = responses.message() => {
                let response = response
                    .map_err(|error| RegistryError::from_etcd(OPERATION, &error))?
                    .ok_or_else(|| closed("it was closed"))?;
                if response.compact_revision() > 0 {
                    return Err(RegistryError::Compacted(response.compact_revision()));
                }
                if response.canceled() {
                    return Err(closed(response.cancel_reason()));
                }
                heard = time::Instant::now();
                for event in response.events() {
                    let Some(pair) = event.kv() else { continue };
                    let Some(name) = name(pair.key()) else { continue };
                    if event.event_type() == EventType::Put {
                        copy.insert(name, pair.value().to_vec());
                    } else {
                        copy.remove(&name);
                    }
                }
                if !response.events().is_empty() {
                    changed(&copy);
                }
            }
            _ = heartbeat.tick() => {
                if heard.elapsed() > patience {
                    let operation = "waiting for a sign of the watch";
                    return Err(RegistryError::Timeout { operation, after: patience });
                }
                call("asking for progress", limit, requests.request_progress()).await?;
            }
        }
    }
}

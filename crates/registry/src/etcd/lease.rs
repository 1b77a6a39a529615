//! Keeps this process's lease and everything that is registered under it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use etcd_client::{Compare, CompareOp, KvClient, PutOptions, Txn, TxnOp, TxnOpResponse};
use maestro_core::{CoreError, Timestamp, ports::InstanceSpec, registry::Instance};
use tokio::{
    sync::{mpsc, watch},
    time,
};

use super::{
    client::{self, call, connect, existing, hold_lease},
    registration::{Command, EtcdRegistration},
};
use crate::{
    backoff::Backoff,
    codec::Stored,
    config::EtcdConfig,
    decide::{self, Existing, Write},
    error::RegistryError,
    health::RegistryHealth,
    keys::{Key, Keys},
};

/// Most registrations that wait for a connection; more are refused.
const MAX_WAITING: usize = 64;

/// How often a claim is tried again when another writer came in between.
const MAX_ATTEMPTS: u32 = 8;

/// A registration that is to be kept.
struct Kept {
    spec: InstanceSpec,
    handle: Weak<()>,
}

/// See the module.
pub(super) struct LeaseKeeper {
    config: EtcdConfig,
    keys: Keys,
    commands: mpsc::Receiver<Command>,
    health: Arc<watch::Sender<RegistryHealth>>,
    kept: BTreeMap<Key, Kept>,
    /// Ended, but perhaps still in etcd.
    ended: BTreeSet<Key>,
    /// Kept, but held by another process since a loss of the lease.
    contested: BTreeSet<Key>,
    /// Keys to be brought in line with `kept` and `ended`.
    unsettled: VecDeque<Key>,
    /// Registrations asked for while there was no connection.
    waiting: VecDeque<Command>,
    lease: Option<i64>,
    former_lease: Option<i64>,
}

impl LeaseKeeper {
    pub(super) fn new(
        config: EtcdConfig,
        keys: Keys,
        commands: mpsc::Receiver<Command>,
        health: Arc<watch::Sender<RegistryHealth>>,
    ) -> Self {
        Self {
            config,
            keys,
            commands,
            health,
            kept: BTreeMap::new(),
            ended: BTreeSet::new(),
            contested: BTreeSet::new(),
            unsettled: VecDeque::new(),
            waiting: VecDeque::new(),
            lease: None,
            former_lease: None,
        }
    }

    /// Keeps the lease until nobody can command any more, then gives it back.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let Err(error) = Box::pin(self.session(&mut backoff)).await else {
                return;
            };
            self.health.send_modify(|health| health.leased = false);
            if matches!(error, RegistryError::LeaseGone) {
                self.former_lease = self.lease.take();
            }
            tracing::warn!(%error, kept = self.kept.len(), "the lease is interrupted");
            if !self.pause(backoff.next()).await {
                return;
            }
        }
    }

    /// A third of the lease: how often it is renewed, and how long one request may take, so that
    /// no request makes a renewal come too late.
    fn beat(&self) -> Duration {
        self.config.lease_ttl() / 3
    }

    fn request_limit(&self) -> Duration {
        self.config.request_timeout().min(self.beat())
    }

    /// Holds the lease over one connection, until that is lost (`Err`) or nobody can command.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), RegistryError> {
        let client = connect(&self.config).await?;
        let (mut leases, mut kv) = (client.lease_client(), client.kv_client());
        let limit = self.request_limit();
        let ttl_s = self.config.lease_ttl_s;
        let (lease, mut keeper, mut renewals) =
            hold_lease(&mut leases, &mut self.lease, ttl_s, limit).await?;
        self.unsettled = self.ended.iter().chain(self.kept.keys()).cloned().collect();
        backoff.reset();
        self.note_renewal();
        // Taken one by one: what the connection does not survive waits for the next.
        while let Some(command) = self.waiting.pop_front() {
            self.obey(command, &mut kv, lease).await?;
        }

        let mut renewed = time::Instant::now();
        let mut beat = time::interval(self.beat());
        beat.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            let settling = !self.unsettled.is_empty();
            tokio::select! {
                biased;
                _ = beat.tick() => {
                    let after = 2 * self.beat();
                    if renewed.elapsed() > after {
                        return Err(RegistryError::Timeout { operation: "a renewal", after });
                    }
                    call("a renewal", limit, keeper.keep_alive()).await?;
                    self.sweep();
                }
                renewal = renewals.message() => {
                    client::renewed(renewal)?;
                    renewed = time::Instant::now();
                    self.note_renewal();
                }
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command, &mut kv, lease).await?,
                    None => {
                        let revoking = leases.revoke(lease);
                        if let Err(error) = call("revoking the lease", limit, revoking).await {
                            tracing::warn!(%error, "the lease is left to expire");
                        }
                        return Ok(());
                    }
                },
                () = future::ready(()), if settling => self.settle_next(&mut kv, lease).await?,
            }
        }
    }

    /// Waits while etcd is away. Registrations wait too, until their callers give up, because etcd
    /// may be back before the next attempt. Returns whether somebody can still command.
    async fn pause(&mut self, wait: Duration) -> bool {
        let away = || CoreError::Unavailable {
            what: "etcd",
            reason: "not connected".into(),
        };
        let over = time::sleep(wait);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return true,
                command = self.commands.recv() => match command {
                    None => return false,
                    Some(Command::Sweep) => self.sweep(),
                    Some(Command::Register { spec, reply }) => {
                        self.waiting.retain(Command::is_awaited);
                        if self.waiting.len() < MAX_WAITING {
                            self.waiting.push_back(Command::Register { spec, reply });
                        } else {
                            let _ = reply.send(Err(away()));
                        }
                    }
                    Some(Command::Revoke { key, handle, reply }) => {
                        self.end(&key, &handle);
                        let _ = reply.send(Err(away()));
                    }
                },
            }
        }
    }

    /// Does what is asked. `Err` means that the connection is not to be trusted any more.
    async fn obey(
        &mut self,
        command: Command,
        kv: &mut KvClient,
        lease: i64,
    ) -> Result<(), RegistryError> {
        match command {
            Command::Sweep => {
                self.sweep();
                Ok(())
            }
            Command::Revoke { key, handle, reply } => {
                self.end(&key, &handle);
                let settled = self.settle(&key, kv, lease).await;
                let (answer, session) = split(settled);
                let _ = reply.send(answer);
                session
            }
            // Its caller has given up while it waited.
            Command::Register { reply, .. } if reply.is_closed() => Ok(()),
            Command::Register { spec, reply } => {
                let key = Key::Instance(spec.expert.clone(), spec.id.clone());
                if let Some(kept) = self.kept.get(&key) {
                    let conflict =
                        decide::conflict(&key, entry(&kept.spec).summary(), entry(&spec).summary());
                    let _ = reply.send(Err(conflict));
                    return Ok(());
                }
                let claimed = self.claim(&key, &spec, kv, lease).await;
                if let Ok(Err(conflict)) = claimed {
                    let _ = reply.send(Err(conflict));
                    return Ok(());
                }
                let (answer, session) = split(claimed.map(|_| ()));
                match answer {
                    Ok(()) => {
                        let handle = Arc::new(());
                        self.ended.remove(&key);
                        self.kept.insert(
                            key.clone(),
                            Kept {
                                spec,
                                handle: Arc::downgrade(&handle),
                            },
                        );
                        // If nobody waits any more, the handle is dropped here and swept.
                        let _ = reply.send(Ok(EtcdRegistration::new(key, handle)));
                    }
                    Err(error) => {
                        // It may have been written all the same.
                        self.ended.insert(key);
                        let _ = reply.send(Err(error));
                    }
                }
                session
            }
        }
    }

    /// Ends the registrations whose handles are gone, and tries again those that were refused.
    fn sweep(&mut self) {
        let gone: Vec<Key> = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.handle.strong_count() == 0)
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.kept.remove(&key);
            self.ended.insert(key);
        }
        for key in self.ended.iter().chain(&self.contested) {
            if !self.unsettled.contains(key) {
                self.unsettled.push_back(key.clone());
            }
        }
    }

    /// Ends one registration, if `handle` is (still) its handle.
    fn end(&mut self, key: &Key, handle: &Weak<()>) {
        if self
            .kept
            .get(key)
            .is_some_and(|kept| kept.handle.ptr_eq(handle))
        {
            self.kept.remove(key);
            self.ended.insert(key.clone());
        }
    }

    async fn settle_next(&mut self, kv: &mut KvClient, lease: i64) -> Result<(), RegistryError> {
        match self.unsettled.pop_front() {
            Some(key) => self.settle(&key, kv, lease).await,
            None => Ok(()),
        }
    }

    /// Brings etcd in line with what is to be kept under `key`.
    async fn settle(
        &mut self,
        key: &Key,
        kv: &mut KvClient,
        lease: i64,
    ) -> Result<(), RegistryError> {
        if self.ended.contains(key) {
            let name = self.keys.format(key);
            let ours = Compare::lease(name.as_str(), CompareOp::Equal, lease);
            let delete = Txn::new()
                .when([ours])
                .and_then([TxnOp::delete(name, None)]);
            call("a deregistration", self.request_limit(), kv.txn(delete)).await?;
            self.ended.remove(key);
            return Ok(());
        }
        let Some(kept) = self.kept.get(key) else {
            self.contested.remove(key);
            return Ok(());
        };
        let spec = kept.spec.clone();
        match self.claim(key, &spec, kv, lease).await? {
            Ok(()) => {
                self.contested.remove(key);
            }
            Err(conflict) => {
                if self.contested.insert(key.clone()) {
                    tracing::error!(%conflict, "a registration was taken over while it was lost");
                }
            }
        }
        Ok(())
    }

    /// Writes the instance unless it stands there already or somebody else holds its identifier.
    async fn claim(
        &self,
        key: &Key,
        spec: &InstanceSpec,
        kv: &mut KvClient,
        lease: i64,
    ) -> Result<Result<(), CoreError>, RegistryError> {
        let limit = self.request_limit();
        let name = self.keys.format(key);
        let ours: Vec<i64> = [Some(lease), self.former_lease]
            .into_iter()
            .flatten()
            .collect();
        let new = entry(spec);
        let (mut seen, mut revision, mut bytes) = ((Existing::Absent, 0), 0, vec![]);
        for _ in 0..MAX_ATTEMPTS {
            match decide::claim(key, &seen.0, seen.1, &ours, &new) {
                Err(conflict) => return Ok(Err(conflict)),
                Ok(Write::Superfluous) => return Ok(Ok(())),
                Ok(Write::Needed) => {}
            }
            let unchanged = Compare::mod_revision(name.as_str(), CompareOp::Equal, revision);
            let put = TxnOp::put(
                name.as_str(),
                new.encode_over(&bytes),
                Some(PutOptions::new().with_lease(lease)),
            );
            let look = TxnOp::get(name.as_str(), None);
            let txn = Txn::new().when([unchanged]).and_then([put]).or_else([look]);
            let response = call("a registration", limit, kv.txn(txn)).await?;
            if response.succeeded() {
                return Ok(Ok(()));
            }
            (seen, revision, bytes) = ((Existing::Absent, 0), 0, vec![]);
            if let Some(TxnOpResponse::Get(found)) = response.op_responses().first()
                && let Some(pair) = found.kvs().first()
            {
                seen = (existing(key, pair), pair.lease());
                (revision, bytes) = (pair.mod_revision(), pair.value().to_vec());
            }
        }
        let reason = format!("{:?} is being written too often", key.name());
        Err(RegistryError::Unavailable {
            operation: "a registration",
            reason,
        })
    }

    fn note_renewal(&self) {
        self.health.send_modify(|health| {
            health.leased = true;
            health.last_contact = Instant::now();
        });
    }
}

/// The entry of an instance that is registered now.
fn entry(spec: &InstanceSpec) -> Stored {
    let InstanceSpec {
        expert,
        id,
        endpoint,
        capacity,
    } = spec.clone();
    Stored::Instance(Instance {
        expert,
        id,
        endpoint,
        capacity,
        written_at: Timestamp::now(),
    })
}

/// What to tell the caller and what to tell the session: an error ends both.
fn split(result: Result<(), RegistryError>) -> (Result<(), CoreError>, Result<(), RegistryError>) {
    match result {
        Ok(()) => (Ok(()), Ok(())),
        Err(error) => {
            let answer = CoreError::Unavailable {
                what: "etcd",
                reason: error.to_string(),
            };
            (Err(answer), Err(error))
        }
    }
}

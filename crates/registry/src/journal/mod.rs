//! The durable journal in etcd ([`maestro_core::ports::SharedJournal`]).
//!
//! ```text
//! episodes ── EtcdJournal ── Submitter ─► writer: group commit ─────────────► etcd
//!                  │                                                     ▲
//!                  ├─ thread journal-lease: the coordinator's seat; who else lives; wishes
//!                  ├─ upkeep: room, deletion of finished episodes ────────────┤
//!                  └─ mover: finished episodes ─► store of trajectories ──────┘
//! ```
//!
//! Every write compares two things: that the seat of this coordinator stands (its key under its
//! lease, once for a whole batch), and that the episode's head is as this owner left it. An owner
//! that lost its lease, or an episode, is told [`CoreError::Superseded`] and writes nothing more.
//! What cannot be known, such as a write whose answer was lost, is found out by writing again:
//! every write is idempotent.

mod batch;
mod codec;
mod config;
mod keys;
mod mover;
mod owned;
mod port;
mod reads;
mod seat;
mod shared;
mod upkeep;
mod writer;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use maestro_core::{
    CoreError, EpisodeId,
    ports::{Blobs, Membership},
};
use tokio::{sync::watch, time};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

pub use config::JournalConfig;
pub use mover::Moving;

use self::{
    keys::JournalKeys,
    mover::Mover,
    owned::OwnedEpisodes,
    reads::Reader,
    seat::{Seat, SeatKeeper, mirror},
    upkeep::Upkeep,
    writer::Submitter,
};
use crate::{
    config::EtcdConfig,
    error::RegistryError,
    etcd::{client, start},
};

/// Largest answer, in bytes: an episode of the most and largest steps is far smaller.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// How many transactions wrote how much, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalTally {
    /// Transactions.
    pub transactions: u64,
    /// Writes that they held.
    pub writes: u64,
}

/// The durable journal as one coordinator sees it. Dropping it gives its lease back: what it still
/// owns is adopted by others.
pub struct EtcdJournal {
    config: JournalConfig,
    keys: JournalKeys,
    reader: Reader,
    submitter: Submitter,
    owned: OwnedEpisodes,
    /// Whether finished episodes go to a store of trajectories.
    is_moving: bool,
    seat: watch::Receiver<Option<Seat>>,
    membership: watch::Receiver<Membership>,
    cancellations: watch::Receiver<Arc<BTreeMap<EpisodeId, String>>>,
    /// Ends the seat.
    leave: CancellationToken,
    /// Is closed once the seat's thread has ended.
    left: watch::Receiver<()>,
    _leave_with_it: DropGuard,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl EtcdJournal {
    /// Connects and takes a seat among the coordinators. `registry` is where the journal is unless
    /// its settings name another etcd.
    ///
    /// # Errors
    /// [`RegistryError::Config`] for a setting that cannot be used; any other where etcd cannot be
    /// reached within the connect timeout.
    pub async fn connect(
        config: JournalConfig,
        registry: &EtcdConfig,
        blobs: Arc<dyn Blobs>,
    ) -> Result<Self, RegistryError> {
        Box::pin(Self::connect_moving(config, registry, blobs, None)).await
    }

    /// The same, with a store that finished episodes are moved to before they are deleted. Where it
    /// is away they stay.
    ///
    /// # Errors
    /// As [`EtcdJournal::connect`].
    pub async fn connect_moving(
        config: JournalConfig,
        registry: &EtcdConfig,
        blobs: Arc<dyn Blobs>,
        moving: Option<Moving>,
    ) -> Result<Self, RegistryError> {
        config.validate()?;
        let etcd = config.etcd.clone().unwrap_or_else(|| registry.clone());
        etcd.validate()?;
        let keys = JournalKeys::new(etcd.prefix.clone());
        let client = client::connect(&etcd).await?;
        let request_limit = etcd.request_timeout();
        let kv = client
            .kv_client()
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (submitter, writing) =
            writer::writer(kv, config.queue, config.write_timeout(), request_limit);

        let membership = Arc::new(watch::Sender::new(Membership::default()));
        let (cancellations_sender, cancellations) = watch::channel(Arc::default());
        let seat_sender = Arc::new(watch::Sender::new(None));
        let leave = CancellationToken::new();
        let (ended, left) = watch::channel(());
        let mut seat = seat_sender.subscribe();
        let mut members = membership.subscribe();
        let threads = Threads {
            etcd: etcd.clone(),
            keys: keys.clone(),
            membership,
            seat: seat_sender,
            cancellations: cancellations_sender,
            leave: leave.clone(),
        };
        start("journal-lease", move || threads.run(ended))?;
        let guard = leave.clone().drop_guard();

        let limit = etcd.connect_timeout();
        let ready = async {
            // Their senders live in the thread; it ends only when it is told to.
            let seated = seat.wait_for(Option::is_some).await.is_ok();
            let listed = members.wait_for(is_listed).await.is_ok();
            seated && listed
        };
        match time::timeout(limit, ready).await {
            Ok(true) => {}
            Ok(false) | Err(_) => {
                return Err(RegistryError::Timeout {
                    operation: "taking a seat in the journal",
                    after: limit,
                });
            }
        }
        let reader = Reader {
            client,
            keys: keys.clone(),
            blobs,
            limit: request_limit,
        };
        let upkeep = Upkeep {
            reader: reader.clone(),
            config: config.clone(),
            membership: members.clone(),
            seat: seat.clone(),
            submitter: submitter.clone(),
            is_moving: moving.is_some(),
        };
        let is_moving = moving.is_some();
        let mover = moving.map(|moving| Mover {
            reader: reader.clone(),
            moving,
            membership: members.clone(),
            seat: seat.clone(),
            submitter: submitter.clone(),
            moved_to: 0,
            waiting_since: None,
        });
        let mut tasks = vec![
            AbortOnDropHandle::new(tokio::spawn(writing)),
            AbortOnDropHandle::new(tokio::spawn(upkeep.run())),
        ];
        tasks.extend(mover.map(|mover| AbortOnDropHandle::new(tokio::spawn(mover.run()))));
        Ok(Self {
            config,
            keys,
            reader,
            submitter,
            owned: OwnedEpisodes::default(),
            is_moving,
            seat,
            membership: members,
            cancellations,
            leave,
            left,
            _leave_with_it: guard,
            _tasks: tasks,
        })
    }

    /// How much was written since the start.
    pub fn tally(&self) -> JournalTally {
        let tally = self.submitter.tally();
        JournalTally {
            transactions: tally.transactions.load(Ordering::Relaxed),
            writes: tally.writes.load(Ordering::Relaxed),
        }
    }

    /// The seat, while there is one.
    fn seat(&self) -> Result<Seat, CoreError> {
        self.seat
            .borrow()
            .clone()
            .ok_or_else(|| CoreError::Unavailable {
                what: "journal",
                reason: "this coordinator holds no lease".to_owned(),
            })
    }

    /// How long the thread may take to give the lease back.
    fn leave_limit(&self) -> Duration {
        self.config.write_timeout()
    }
}

fn is_listed(membership: &Membership) -> bool {
    membership
        .me
        .as_ref()
        .is_some_and(|me| membership.living.contains(me))
}

/// What runs on the journal's thread.
struct Threads {
    etcd: EtcdConfig,
    keys: JournalKeys,
    membership: Arc<watch::Sender<Membership>>,
    seat: Arc<watch::Sender<Option<Seat>>>,
    cancellations: watch::Sender<Arc<BTreeMap<EpisodeId, String>>>,
    leave: CancellationToken,
}

impl Threads {
    async fn run(self, ended: watch::Sender<()>) {
        let keeper = SeatKeeper {
            config: self.etcd.clone(),
            keys: self.keys.clone(),
            host: std::env::var("HOSTNAME").unwrap_or_default(),
            membership: Arc::clone(&self.membership),
            seat: self.seat,
            stop: self.leave.clone(),
            lease: None,
            heard: None,
        };
        let membership = self.membership;
        let members = mirror(
            self.etcd.clone(),
            self.keys.coordinators(),
            self.leave.clone(),
            move |copy| {
                let living = copy.keys().filter_map(|name| name.parse().ok()).collect();
                membership.send_modify(|membership| membership.living = Arc::new(living));
            },
        );
        let cancellations = self.cancellations;
        let wishes = mirror(
            self.etcd.clone(),
            self.keys.cancellations(),
            self.leave.clone(),
            move |copy| {
                let wish = |(name, value): (&String, &Vec<u8>)| {
                    Some((name.parse().ok()?, codec::decode_cancellation(value).ok()?))
                };
                cancellations.send_replace(Arc::new(copy.iter().filter_map(wish).collect()));
            },
        );
        tokio::join!(keeper.run(), members, wishes);
        drop(ended);
    }
}

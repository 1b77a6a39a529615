//! What a service reaches beside its peers: the registry and the blobs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use maestro_core::ports::{Blobs, Registry};
use maestro_registry::{
    EtcdConfig, EtcdJournal, EtcdRegistry, JournalConfig, Moving, RegistryError,
};
use maestro_rpc::RemoteBlobs;
use maestro_store::ObjectBlobs;
use maestro_telemetry::{Counter, Gauge, Label};
use tokio_util::task::AbortOnDropHandle;

use crate::{config::BlobSource, error::ProcessError};

/// How long the start waits for the registry.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(500);
/// How often the registry's state is written to the gauges.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// The registry, connected, and the blobs, not yet opened.
pub struct Resources {
    registry: Arc<EtcdRegistry>,
    etcd: EtcdConfig,
    blobs: BlobSource,
}

/// Connects again and again, for a minute.
async fn patiently<T, F>(what: &str, connect: impl Fn() -> F) -> Result<T, RegistryError>
where
    F: Future<Output = Result<T, RegistryError>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        match connect().await {
            Ok(connected) => return Ok(connected),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "{what} cannot be reached yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

impl Resources {
    /// Connects to the registry, which may come up later than this process.
    ///
    /// # Errors
    /// Why it could not be reached within a minute.
    pub async fn connect(etcd: EtcdConfig, blobs: BlobSource) -> Result<Self, ProcessError> {
        let registry = patiently("the registry", || EtcdRegistry::connect(etcd.clone())).await?;
        Ok(Self {
            registry: Arc::new(registry),
            etcd,
            blobs,
        })
    }

    /// Takes a seat among the coordinators that share the durable journal, which is in the
    /// registry's etcd unless its settings name another. Large steps go into `blobs`, finished
    /// episodes where `moving` says.
    ///
    /// # Errors
    /// Why it could not be reached within a minute.
    pub async fn journal(
        &self,
        config: &JournalConfig,
        blobs: &Arc<dyn Blobs>,
        moving: Option<Moving>,
    ) -> Result<EtcdJournal, ProcessError> {
        let connect = || {
            let (config, blobs) = (config.clone(), Arc::clone(blobs));
            let moving = moving.clone();
            Box::pin(EtcdJournal::connect_moving(
                config, &self.etcd, blobs, moving,
            ))
        };
        Ok(patiently("the journal", connect).await?)
    }

    /// The live registry.
    pub fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry) as _
    }

    /// The blobs, wherever they are.
    ///
    /// # Errors
    /// Settings that cannot be used, or a store that cannot be opened.
    pub fn blobs(&self) -> Result<Arc<dyn Blobs>, ProcessError> {
        Ok(match self.blobs.clone() {
            BlobSource::Remote { endpoints, client } => {
                Arc::new(RemoteBlobs::new(&endpoints, client)?)
            }
            BlobSource::Store(store) => Arc::new(ObjectBlobs::open(store)?),
        })
    }

    /// The blob store itself, for a service that serves it to others.
    ///
    /// # Errors
    /// [`ProcessError::Setting`] where only servers of blobs are named, or a store that cannot be
    /// opened.
    pub fn store(&self) -> Result<ObjectBlobs, ProcessError> {
        match self.blobs.clone() {
            BlobSource::Store(store) => Ok(ObjectBlobs::open(store)?),
            BlobSource::Remote { .. } => Err(ProcessError::Setting {
                setting: "blobs",
                reason: "must be a store: this service serves blobs to others".to_owned(),
            }),
        }
    }

    /// Keeps the gauges of the registry's connection and of the snapshot's age up to date until the
    /// handle is dropped.
    pub(crate) fn watch_health(&self) -> AbortOnDropHandle<()> {
        let health = self.registry.health();
        let snapshots = self.registry.snapshots();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(HEALTH_INTERVAL);
            // The first listing is the start, not a loss.
            let mut listings = 1;
            loop {
                ticks.tick().await;
                let (connected, age, listed) = {
                    let health = health.borrow();
                    (health.connected, health.age(), health.listings)
                };
                for _ in listings..listed {
                    Counter::RegistryRelists.increment(&[Label::Reason("watch_lost")]);
                }
                listings = listings.max(listed);
                Gauge::RegistryConnected.set(f64::from(u8::from(connected)), &[]);
                Gauge::RegistrySnapshotAge.set(age.as_secs_f64(), &[]);
                Gauge::RegistryRevision.set(snapshots.borrow().revision as f64, &[]);
            }
        }))
    }
}

//! Joins the parts and serves them.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use maestro_core::ports::{Blobs, Journal, PolicyStore, Registry, SharedJournal, Trajectories};
use maestro_proto::v1::{
    episode_service_server::EpisodeServiceServer,
    policy_admin_service_server::PolicyAdminServiceServer,
    registry_service_server::RegistryServiceServer,
};
use maestro_rpc::{
    ChannelPool, DrainReport, Drainable, ExpertRouter, PolicyClient, Running, Server,
    ServiceStatus, SkillClient, blob_service,
};
use ractor::{Actor, ActorRef};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{
    actors::{Live, PolicyHealth, Root, World},
    admission::Admission,
    adoption::Adopter,
    config::CoordinatorConfig,
    creations::Creations,
    error::CoordinatorError,
    journal::{Journals, Keeper, Keeping},
    permits::Permits,
    services::{EpisodeApi, PolicyAdminApi, RegistryApi},
    watching::Watching,
};

/// The adapters that a coordinator runs on.
pub struct Ports {
    /// The live registry.
    pub registry: Arc<dyn Registry>,
    /// Images, bundles, weights.
    pub blobs: Arc<dyn Blobs>,
    /// Which policies there are.
    pub policies: Arc<dyn PolicyStore>,
    /// Records of episodes that end with this process.
    pub journal: Arc<dyn Journal>,
    /// Records of those that outlive it; without it there are none.
    pub durable: Option<Arc<dyn SharedJournal>>,
    /// Where finished episodes are kept for good; without it they go with their journal.
    pub trajectories: Option<Arc<dyn Trajectories>>,
}

/// A serving coordinator. Dropping it ends every episode where it stands.
pub struct Coordinator {
    running: Running,
    root: ActorRef<()>,
    root_task: JoinHandle<()>,
    cleanup: TaskTracker,
    /// Writes ephemeral episodes to the store of trajectories.
    keeping: Option<Keeping>,
    _adopting: Option<AbortOnDropHandle<()>>,
}

/// Starts a coordinator and serves it.
///
/// # Errors
/// What is wrong with the configuration, or why it cannot listen.
pub async fn start(
    config: CoordinatorConfig,
    ports: Ports,
) -> Result<Coordinator, CoordinatorError> {
    config.validate()?;
    let snapshots = ports.registry.snapshots();
    let keeper = ports.trajectories.as_ref().map(|store| Keeper {
        trajectories: Arc::clone(store),
        batching: config.trajectories.batching,
        // Else the coordinators agree on who does it.
        is_tidying: ports.durable.is_none(),
    });
    let keeper = keeper.filter(|_| config.trajectories.ephemeral);
    let (kept, keeping) = keeper.map(Keeper::start).unzip();
    let pool = Arc::new(ChannelPool::new(config.expert_connections));
    let world = Arc::new(World {
        policy: Arc::new(PolicyClient::new(
            &config.policy_workers,
            config.policy_client,
        )?),
        policy_health: PolicyHealth::default(),
        skills: Arc::new(SkillClient::new(
            &config.skill_runners,
            config.skill_client,
        )?),
        experts: Arc::new(ExpertRouter::new(snapshots.clone(), pool, config.experts)),
        journals: Journals {
            memory: ports.journal,
            durable: ports.durable.clone(),
            trajectories: ports.trajectories,
            kept,
        },
        creations: Creations::new(config.episodes.max_running),
        snapshots,
        config: config.episodes.clone(),
    });
    let live = Arc::new(Live::new());
    let cleanup = TaskTracker::new();
    let (scheduler, scheduler_ref) = watch::channel(None);
    let root = Root {
        world: Arc::clone(&world),
        live: Arc::clone(&live),
        cleanup: cleanup.clone(),
        scheduler,
    };
    let (root, root_task) =
        Actor::spawn(None, root, ())
            .await
            .map_err(|error| CoordinatorError::Actor {
                name: "root",
                reason: error.to_string(),
            })?;
    let (draining, draining_ref) = watch::channel(false);
    let permits = Permits::new(&config.episodes);
    let adopting = ports.durable.clone().map(|journal| {
        let adopter = Adopter {
            live: Arc::clone(&live),
            journal,
            permits: Arc::clone(&permits),
            max_suspend: config.episodes.max_suspend(),
            scheduler: scheduler_ref.clone(),
            draining: draining_ref.clone(),
        };
        AbortOnDropHandle::new(tokio::spawn(adopter.run()))
    });
    if adopting.is_none() {
        tracing::info!("there is no durable journal: every episode ends with this process");
    }
    let watching = Watching {
        world: Arc::clone(&world),
        live: Arc::clone(&live),
        draining: draining_ref.clone(),
    };
    let episodes = EpisodeApi {
        admission: Admission {
            blobs: Arc::clone(&ports.blobs),
            limits: config.images,
        },
        permits,
        world: Arc::clone(&world),
        live: Arc::clone(&live),
        scheduler: scheduler_ref,
        draining: draining_ref,
        watching,
        accepting: cleanup.clone(),
    };
    let registry = RegistryApi {
        registry: Arc::clone(&ports.registry),
        blobs: Arc::clone(&ports.blobs),
    };
    let policies = PolicyAdminApi {
        registry: ports.registry,
        policies: ports.policies,
        blobs: Arc::clone(&ports.blobs),
    };
    let max = config.serve.max_message_bytes;
    let listener = config.serve.bind().await?;
    let capacity = u32::try_from(config.episodes.max_running).unwrap_or(u32::MAX);
    let drainable = Arc::new(DrainEpisodes {
        live,
        world,
        draining,
        capacity,
        cleanup: cleanup.clone(),
    });
    let running = Server::new(config.serve, drainable)
        .serve_while_draining()
        .add_service(EpisodeServiceServer::new(episodes).max_decoding_message_size(max))
        .add_service(RegistryServiceServer::new(registry).max_decoding_message_size(max))
        .add_service(PolicyAdminServiceServer::new(policies).max_decoding_message_size(max))
        .add_service(blob_service(ports.blobs, config.blobs))
        .serve(listener)
        .await?;
    Ok(Coordinator {
        running,
        root,
        root_task,
        cleanup,
        keeping,
        _adopting: adopting,
    })
}

impl Coordinator {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Resolves when the server has failed.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn wait(&mut self) -> Result<(), CoordinatorError> {
        Ok(self.running.wait().await?)
    }

    /// Takes no new episodes, lets the running ones finish for at most `grace`, leaves the durable
    /// ones of the rest to other coordinators, cancels the others, and closes.
    pub async fn drain(self, grace: Duration) -> DrainReport {
        let report = self.running.drain(grace).await;
        self.root.stop(None);
        self.cleanup.close();
        let ended = async {
            self.cleanup.wait().await;
            self.root_task.await
        };
        if tokio::time::timeout(maestro_rpc::serve::CLOSE_TIME, ended)
            .await
            .is_err()
        {
            tracing::warn!("actors had not stopped when the time was up");
        }
        if let Some(keeping) = self.keeping {
            keeping.finish(maestro_rpc::serve::CLOSE_TIME).await;
        }
        report
    }
}

/// How the coordinator drains: no new episodes, wait for the running ones, hand over or cancel the
/// rest.
struct DrainEpisodes {
    live: Arc<Live>,
    world: Arc<World>,
    draining: watch::Sender<bool>,
    capacity: u32,
    cleanup: TaskTracker,
}

/// Part of the grace period kept back for what has not finished by itself.
const CANCEL_SHARE: u32 = 10;

#[async_trait]
impl Drainable for DrainEpisodes {
    fn status(&self) -> ServiceStatus {
        let in_flight = u32::try_from(*self.live.count().borrow()).unwrap_or(u32::MAX);
        let snapshot = self.world.snapshot();
        let journal = match &self.world.journals.durable {
            Some(_) => "etcd",
            None => "memory",
        };
        let details = BTreeMap::from([
            ("journal".to_owned(), journal.to_owned()),
            ("pairs".to_owned(), snapshot.action_set().len().to_string()),
            (
                "catalogue".to_owned(),
                snapshot
                    .digest
                    .map(|digest| digest.to_string())
                    .unwrap_or_default(),
            ),
        ]);
        ServiceStatus {
            service: "coordinator",
            in_flight,
            capacity: self.capacity,
            revision: snapshot.revision,
            details,
        }
    }

    async fn drain(&self, grace: Duration) -> u32 {
        self.draining.send_replace(true);
        let mut count = self.live.count();
        let finish = grace - grace / CANCEL_SHARE;
        let finished = tokio::time::timeout(finish, count.wait_for(|count| *count == 0))
            .await
            .is_ok();
        let mut cancelled = 0;
        if !finished {
            for (_, episode) in &self.live.all() {
                if episode.is_shared {
                    episode.leave("drain");
                } else {
                    episode.cancel("the coordinator shuts down");
                    cancelled += 1;
                }
            }
            let gone = count.wait_for(|count| *count == 0);
            let gone = tokio::time::timeout(grace / CANCEL_SHARE, gone).await;
            if gone.is_err() {
                tracing::warn!(
                    tasks = self.cleanup.len(),
                    "episodes had not ended when the time was up"
                );
            }
        }
        if let Some(journal) = &self.world.journals.durable
            && let Err(error) = journal.resign().await
        {
            tracing::warn!(%error, "the episodes that are left are adopted later");
        }
        cancelled
    }
}

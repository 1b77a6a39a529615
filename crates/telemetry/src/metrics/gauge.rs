use super::{Label, METADATA, key};

declare! {
    /// A value that rises and falls.
    Gauge {
        BuildInfo => "maestro_build_info",
            "Always 1; service and version of the process stand in the labels.";
        EpisodesRunning => "maestro_episodes_running",
            "Episodes under way.";
        RpcInFlight => "maestro_rpc_server_in_flight_requests",
            "Requests being served, health checks and reflection excluded.";
        QueueDepth => "maestro_queue_depth_items",
            "Items waiting in a bounded queue, by queue.";
        PermitsInUse => "maestro_permits_in_use",
            "Permits taken, by resource.";
        PermitsLimit => "maestro_permits_limit",
            "Permits there are, by resource.";
        BreakerInstances => "maestro_breaker_instances",
            "Serving instances by expert and state of this process's breaker for them.";
        RegistryConnected => "maestro_registry_connected",
            "1 while the watch of the registry is up, else 0.";
        RegistryRevision => "maestro_registry_revision",
            "Revision of the registry snapshot in use.";
        RegistrySnapshotAge => "maestro_registry_snapshot_age_seconds",
            "Time since the registry last confirmed the snapshot in use.";
        JournalBytes => "maestro_journal_store_bytes",
            "Data in use in the etcd of the durable journal.";
        JournalLimit => "maestro_journal_limit_bytes",
            "Data in use in that etcd from which on new durable episodes are refused.";
        JournalFinished => "maestro_journal_finished_episodes",
            "Finished episodes in the durable journal, as the coordinator that deletes them sees it.";
        TrajectoriesWaiting => "maestro_trajectories_waiting_seconds",
            "Time for which finished episodes have been waiting for the store of trajectories; 0 while none wait.";
        ActionSetPairs => "maestro_action_set_pairs",
            "Pairs of expert and skill that can be chosen now.";
        PolicyEmbeddings => "maestro_policy_cached_embeddings",
            "Embeddings of registry entries held by the policy.";
        SandboxLayer => "maestro_sandbox_layer_enabled",
            "1 where the kernel has this layer of the sandbox for code, else 0, by layer.";
        Draining => "maestro_draining",
            "1 once the process takes no new work, else 0.";
    }
}

impl Gauge {
    /// Sets the series of `labels`.
    pub fn set(self, value: f64, labels: &[Label<'_>]) {
        self.update(labels, |gauge| gauge.set(value));
    }

    /// Adds to the series of `labels`.
    pub fn add(self, amount: f64, labels: &[Label<'_>]) {
        self.update(labels, |gauge| gauge.increment(amount));
    }

    /// Subtracts from the series of `labels`.
    pub fn subtract(self, amount: f64, labels: &[Label<'_>]) {
        self.update(labels, |gauge| gauge.decrement(amount));
    }

    /// Adds one to the series of `labels` for as long as the result lives: a permit that is taken,
    /// a place in a queue.
    pub fn hold(self, labels: &[Label<'_>]) -> Held {
        let handle = self.handle(labels);
        handle.add(1.0);
        Held(handle)
    }

    /// The series of `labels`, for a path too hot to look it up each time. Get it after
    /// [`crate::install_metrics`].
    pub fn handle(self, labels: &[Label<'_>]) -> GaugeHandle {
        let key = key(self.name(), labels);
        GaugeHandle(metrics::with_recorder(|recorder| {
            recorder.register_gauge(&key, &METADATA)
        }))
    }

    fn update(self, labels: &[Label<'_>], apply: impl FnOnce(metrics::Gauge)) {
        let key = key(self.name(), labels);
        metrics::with_recorder(|recorder| apply(recorder.register_gauge(&key, &METADATA)));
    }
}

/// One that counts in a [`Gauge`] until it is dropped.
#[derive(Debug)]
pub struct Held(GaugeHandle);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.subtract(1.0);
    }
}

/// One series of a [`Gauge`].
#[derive(Clone, Debug)]
pub struct GaugeHandle(metrics::Gauge);

impl GaugeHandle {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Adds to the value.
    pub fn add(&self, amount: f64) {
        self.0.increment(amount);
    }

    /// Subtracts from the value.
    pub fn subtract(&self, amount: f64) {
        self.0.decrement(amount);
    }
}

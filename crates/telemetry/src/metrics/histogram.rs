use std::time::Duration;

use super::{Label, METADATA, key};

declare! {
    /// A distribution, with buckets of its own.
    Histogram {
        RpcServerDuration => "maestro_rpc_server_duration_seconds",
            "Time from a request's headers to the end of its response, by method and code.";
        RpcClientDuration => "maestro_rpc_client_duration_seconds",
            "Time of one request as its sender sees it, by method and code.";
        EpisodeDuration => "maestro_episode_duration_seconds",
            "Time from acceptance to the end of an episode, by termination.";
        StepDuration => "maestro_step_duration_seconds",
            "Time of one step, decision and call together, by action.";
        DecisionDuration => "maestro_decision_duration_seconds",
            "Time from asking for a decision to having it, by outcome.";
        InferenceDuration => "maestro_policy_inference_duration_seconds",
            "Time of one forward pass over a batch of decisions.";
        InferenceBatchSize => "maestro_policy_batch_size_decisions",
            "Decisions computed in one forward pass.";
        DecisionEntropy => "maestro_decision_entropy_nats",
            "Entropy of the distribution that a decision was taken from.";
        ShadowProbability => "maestro_shadow_probability_ratio",
            "Probability that a slot's shadow gives to the action that was taken, by slot.";
        SkillDuration => "maestro_skill_duration_seconds",
            "Time of one run of a skill, by skill and outcome.";
        SandboxRunDuration => "maestro_sandbox_run_duration_seconds",
            "Time of one program in the sandbox, by outcome.";
        ExpertCallDuration => "maestro_expert_call_duration_seconds",
            "Time of one call to an expert as its caller sees it, by expert and outcome.";
        BackendDuration => "maestro_backend_duration_seconds",
            "Time that an expert's backend took for one call, by expert and outcome.";
        QueueWait => "maestro_queue_wait_seconds",
            "Time that an item waited in a queue or for a permit, by queue.";
        RegistryPropagation => "registry_propagation_seconds",
            "Time from the registry write that completes a pair to its being in the action set.";
        JournalWriteDuration => "maestro_journal_write_duration_seconds",
            "Time of one write to the journal.";
        BlobSize => "maestro_blob_size_bytes",
            "Size of transferred blobs, by direction.";
    }
}

/// 100 µs to 10 s: requests on a local network and decisions.
const FAST_SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// 500 µs to 5 min: whatever waits for a frozen model.
const SLOW_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 120.0, 300.0,
];

/// 1 ms to 10 s, fine around the aim of 100 ms.
const PROPAGATION_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.11, 0.125,
    0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// 0 is certain; ln n is a free choice among n.
const NATS: &[f64] = &[
    0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0,
];

/// Fine at both ends: what is hardly ever chosen, and what nearly always is.
const PROBABILITIES: &[f64] = &[
    0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999,
];

const BATCH_SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

const BYTES: &[f64] = &[
    1024.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

impl Histogram {
    /// Upper bounds of its buckets, rising. Everything above the last falls into `+Inf`.
    pub const fn buckets(self) -> &'static [f64] {
        match self {
            Self::RpcServerDuration
            | Self::RpcClientDuration
            | Self::DecisionDuration
            | Self::InferenceDuration
            | Self::QueueWait
            | Self::JournalWriteDuration => FAST_SECONDS,
            Self::EpisodeDuration
            | Self::StepDuration
            | Self::SkillDuration
            | Self::SandboxRunDuration
            | Self::ExpertCallDuration
            | Self::BackendDuration => SLOW_SECONDS,
            Self::RegistryPropagation => PROPAGATION_SECONDS,
            Self::InferenceBatchSize => BATCH_SIZES,
            Self::DecisionEntropy => NATS,
            Self::ShadowProbability => PROBABILITIES,
            Self::BlobSize => BYTES,
        }
    }

    /// Records `value` (in the unit of the name) in the series of `labels`.
    pub fn record(self, value: f64, labels: &[Label<'_>]) {
        self.handle(labels).record(value);
    }

    /// Records a time in the series of `labels`.
    pub fn record_duration(self, time: Duration, labels: &[Label<'_>]) {
        self.record(time.as_secs_f64(), labels);
    }

    /// The series of `labels`, for a path too hot to look it up each time. Get it after
    /// [`crate::install_metrics`]: before that there is nothing to record into.
    pub fn handle(self, labels: &[Label<'_>]) -> HistogramHandle {
        let key = key(self.name(), labels);
        HistogramHandle(metrics::with_recorder(|recorder| {
            recorder.register_histogram(&key, &METADATA)
        }))
    }
}

/// One series of a [`Histogram`].
#[derive(Clone, Debug)]
pub struct HistogramHandle(metrics::Histogram);

impl HistogramHandle {
    /// Records `value` in the unit of the metric's name.
    pub fn record(&self, value: f64) {
        self.0.record(value);
    }

    /// Records a time.
    pub fn record_duration(&self, time: Duration) {
        self.0.record(time.as_secs_f64());
    }
}

//! Settings of the coordinator.

use std::time::Duration;

use maestro_core::admission::LineConfig;
use maestro_registry::JournalConfig;
use maestro_rpc::{BlobLimits, ClientConfig, PoolConfig, RouterConfig, ServeConfig};
use maestro_store::TrajectoryConfig;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{admission::ImageLimits, error::CoordinatorError};

/// Settings of the coordinator, wherever it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoordinatorConfig {
    /// Where and how it serves.
    pub serve: ServeConfig,
    /// Policy workers, at least one.
    pub policy_workers: Vec<Url>,
    /// Skill runners, at least one.
    pub skill_runners: Vec<Url>,
    /// How policy workers are called.
    pub policy_client: ClientConfig,
    /// How skill runners are called.
    pub skill_client: ClientConfig,
    /// How experts are called under direct skills.
    pub experts: RouterConfig,
    /// Connections to experts.
    pub expert_connections: PoolConfig,
    /// Episodes at once and how they are kept.
    pub episodes: EpisodeConfig,
    /// Where durable episodes are kept.
    pub journal: JournalConfig,
    /// Where finished episodes are kept for good.
    pub trajectories: TrajectoryConfig,
    /// Images that clients may send.
    pub images: ImageLimits,
    /// Uploads that clients may make.
    pub blobs: BlobLimits,
}

/// A policy worker that says nothing for so long is passed over: decisions take milliseconds.
const SILENT_POLICY_MS: u64 = 2_000;

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            serve: ServeConfig::default(),
            policy_workers: Vec::new(),
            skill_runners: Vec::new(),
            policy_client: ClientConfig {
                attempt_timeout_ms: Some(SILENT_POLICY_MS),
                ..ClientConfig::default()
            },
            skill_client: ClientConfig::default(),
            experts: RouterConfig::default(),
            expert_connections: PoolConfig::default(),
            episodes: EpisodeConfig::default(),
            journal: JournalConfig::default(),
            trajectories: TrajectoryConfig::default(),
            images: ImageLimits::default(),
            blobs: BlobLimits::default(),
        }
    }
}

impl CoordinatorConfig {
    /// The default settings with these workers.
    pub fn new(policy_workers: Vec<Url>, skill_runners: Vec<Url>) -> Self {
        Self {
            policy_workers,
            skill_runners,
            ..Self::default()
        }
    }

    /// Checks what no type rules out.
    ///
    /// # Errors
    /// [`CoordinatorError::Setting`] naming the setting.
    pub fn validate(&self) -> Result<(), CoordinatorError> {
        let needed = [
            ("policy_workers", self.policy_workers.is_empty()),
            ("skill_runners", self.skill_runners.is_empty()),
            ("episodes.max_running", self.episodes.max_running == 0),
        ];
        if !(0.0..=1.0).contains(&self.episodes.fallback.confidence) {
            return Err(CoordinatorError::Setting {
                setting: "episodes.fallback.confidence",
                reason: "must be 0 to 1",
            });
        }
        match needed.iter().find(|(_, missing)| *missing) {
            Some((setting, _)) => Err(CoordinatorError::Setting {
                setting,
                reason: "must be at least one",
            }),
            None => {
                self.trajectories.validate()?;
                Ok(self.journal.validate()?)
            }
        }
    }
}

/// Bounds on episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EpisodeConfig {
    /// Most episodes at once. A further one waits as `queue` allows, or is refused with
    /// RESOURCE_EXHAUSTED.
    pub max_running: usize,
    /// Who waits for another episode to end.
    pub queue: QueueConfig,
    /// When a refused client may try again at the earliest, in milliseconds; what it is told follows
    /// the pace at which episodes end.
    pub retry_after_ms: u64,
    /// Most finished episodes kept in memory for `GetEpisode`; the oldest goes first. Durable ones
    /// are kept as the settings of the journal say.
    pub max_finished: usize,
    /// Longest time of one decision, in milliseconds.
    pub decide_timeout_ms: u64,
    /// What happens while no policy worker answers.
    pub fallback: FallbackConfig,
    /// How long to wait for the registry to catch up with a decision that names a newer revision,
    /// in milliseconds.
    pub catch_up_ms: u64,
    /// What becomes of new durable episodes while the journal is away.
    pub durable_while_away: WhileAway,
    /// How long a durable episode waits for a journal that is away before this coordinator leaves it
    /// to whoever reaches the journal first, in milliseconds.
    pub max_suspend_ms: u64,
}

impl Default for EpisodeConfig {
    fn default() -> Self {
        Self {
            max_running: 1024,
            queue: QueueConfig::default(),
            retry_after_ms: 250,
            max_finished: 10_000,
            decide_timeout_ms: 10_000,
            fallback: FallbackConfig::default(),
            catch_up_ms: 1_000,
            durable_while_away: WhileAway::default(),
            max_suspend_ms: 60 * 60 * 1000,
        }
    }
}

/// What becomes of new durable episodes while the journal is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhileAway {
    /// They wait for it in the journal's queue, for as long as one write may take.
    #[default]
    Queue,
    /// They are refused at once.
    Refuse,
}

/// What decides while no policy worker answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// Nothing: the episode fails.
    None,
    /// A fixed rule ([`maestro_core::fallback`]).
    #[default]
    CheapestFirst,
}

/// What happens while no policy worker answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FallbackConfig {
    /// What decides then.
    pub policy: Fallback,
    /// For how long the policy workers are asked again before that, in milliseconds.
    pub patience_ms: u64,
    /// How sure an answer must be for the rule to give it without asking further, 0 to 1.
    pub confidence: f32,
}

impl Default for FallbackConfig {
    fn default() -> Self {
        Self {
            policy: Fallback::default(),
            patience_ms: 2_000,
            confidence: 0.8,
        }
    }
}

impl FallbackConfig {
    /// For how long the policy workers are asked again.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }
}

/// The line of new episodes before the permits. A request that waits holds its images in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Most requests that wait; 0 refuses at once.
    pub max_waiting: usize,
    /// Longest wait, in milliseconds.
    pub max_wait_ms: u64,
    /// Longest wait under overload, in milliseconds.
    pub overload_wait_ms: u64,
    /// How long somebody must have been waiting at every moment for it to be overload, in
    /// milliseconds.
    pub overload_after_ms: u64,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_waiting: 256,
            max_wait_ms: 5_000,
            overload_wait_ms: 500,
            overload_after_ms: 2_000,
        }
    }
}

impl EpisodeConfig {
    /// Permits and the line before them.
    pub fn line(&self) -> LineConfig {
        LineConfig {
            permits: self.max_running,
            max_waiting: self.queue.max_waiting,
            max_wait: Duration::from_millis(self.queue.max_wait_ms),
            standing_wait: Duration::from_millis(self.queue.overload_wait_ms),
            standing_after: Duration::from_millis(self.queue.overload_after_ms),
        }
    }

    /// Longest time of one decision.
    pub fn decide_timeout(&self) -> Duration {
        Duration::from_millis(self.decide_timeout_ms)
    }

    /// How long a durable episode waits for a journal that is away.
    pub fn max_suspend(&self) -> Duration {
        Duration::from_millis(self.max_suspend_ms)
    }

    /// How long to wait for the registry to catch up.
    pub fn catch_up(&self) -> Duration {
        Duration::from_millis(self.catch_up_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named() {
        let read = |yaml: &str| serde_saphyr::from_str::<CoordinatorConfig>(yaml);
        let good = "{policy_workers: ['http://p:1'], skill_runners: ['http://s:1']}";
        read(good).unwrap().validate().unwrap();
        let unknown = read(&good.replace("skill_runners", "skill_runner")).unwrap_err();
        assert!(unknown.to_string().contains("skill_runner"), "{unknown}");
        for (yaml, setting) in [
            ("{policy_workers: ['http://p:1']}", "skill_runners"),
            ("{skill_runners: ['http://s:1']}", "policy_workers"),
            (
                "{policy_workers: ['http://p:1'], skill_runners: ['http://s:1'], \
                 episodes: {max_running: 0}}",
                "episodes.max_running",
            ),
            (
                "{policy_workers: ['http://p:1'], skill_runners: ['http://s:1'], \
                 episodes: {fallback: {confidence: 1.5}}}",
                "episodes.fallback.confidence",
            ),
            (
                "{policy_workers: ['http://p:1'], skill_runners: ['http://s:1'], \
                 journal: {queue: 0}}",
                "journal.queue",
            ),
        ] {
            let error = read(yaml).unwrap().validate().unwrap_err().to_string();
            assert!(error.contains(setting), "{error}");
        }
    }
}

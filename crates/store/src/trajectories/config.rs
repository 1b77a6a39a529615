use std::time::Duration;

use maestro_core::ports::Batching;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{config::StoreConfig, error::StoreError};

/// Where finished episodes are kept for good, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrajectoryConfig {
    /// `file:///directory` or a bucket, as for blobs; it may be the same. Absent: finished episodes
    /// are kept in the journal alone, for as long as its settings say.
    pub url: Option<Url>,
    /// Whether ephemeral episodes are kept too.
    pub ephemeral: bool,
    /// How episodes are gathered into files.
    pub batching: Batching,
    /// How long after its end the files of an hour are merged, in seconds; 0: never.
    pub compact_after_s: u64,
    /// Size in bytes up to which files are merged.
    pub max_file_bytes: u64,
    /// After how many days the episodes of an hour are deleted; 0: never.
    pub retention_days: u64,
    /// Longest time of a request without content in milliseconds.
    pub request_timeout_ms: u64,
    /// Longest time of a listing, or of reading or writing one file, in milliseconds.
    pub transfer_timeout_ms: u64,
}

impl Default for TrajectoryConfig {
    fn default() -> Self {
        Self {
            url: None,
            ephemeral: false,
            batching: Batching::default(),
            compact_after_s: 2 * 60 * 60,
            max_file_bytes: 64 << 20,
            retention_days: 0,
            request_timeout_ms: 10_000,
            transfer_timeout_ms: 60_000,
        }
    }
}

impl TrajectoryConfig {
    /// The default settings for a store at `url`.
    pub fn new(url: Url) -> Self {
        Self {
            url: Some(url),
            ..Self::default()
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`StoreError::Config`] naming the setting.
    pub fn validate(&self) -> Result<(), StoreError> {
        let at_least_one = [
            (
                "trajectories.batching.max_rows",
                self.batching.max_rows as u64,
            ),
            ("trajectories.batching.max_bytes", self.batching.max_bytes),
            ("trajectories.max_file_bytes", self.max_file_bytes),
            ("trajectories.request_timeout_ms", self.request_timeout_ms),
            ("trajectories.transfer_timeout_ms", self.transfer_timeout_ms),
        ];
        match at_least_one.iter().find(|(_, value)| *value == 0) {
            Some((field, _)) => Err(StoreError::config(field, "must be at least 1")),
            None => Ok(()),
        }
    }

    /// The store behind it, as a blob store opens it.
    pub(super) fn store(&self, url: Url) -> StoreConfig {
        StoreConfig {
            request_timeout_ms: self.request_timeout_ms,
            transfer_timeout_ms: self.transfer_timeout_ms,
            ..StoreConfig::new(url)
        }
    }

    /// How long after its end an hour is merged; `None` for never.
    pub(super) fn compact_after(&self) -> Option<Duration> {
        (self.compact_after_s > 0).then(|| Duration::from_secs(self.compact_after_s))
    }

    /// How long after its end an hour is deleted; `None` for never.
    pub(super) fn retention(&self) -> Option<Duration> {
        let seconds = self.retention_days.saturating_mul(24 * 60 * 60);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named() {
        let good: TrajectoryConfig = serde_json::from_str(r#"{"url": "s3://b/p"}"#).unwrap();
        good.validate().unwrap();
        let unknown = serde_json::from_str::<TrajectoryConfig>(r#"{"uri": "s3://b/p"}"#);
        assert!(unknown.unwrap_err().to_string().contains("uri"));
        let mut bad = good;
        bad.batching.max_rows = 0;
        let error = bad.validate().unwrap_err().to_string();
        assert!(error.contains("trajectories.batching.max_rows"), "{error}");
    }

    #[test]
    fn zero_is_never() {
        let config = TrajectoryConfig {
            compact_after_s: 0,
            ..TrajectoryConfig::default()
        };
        assert_eq!((config.compact_after(), config.retention()), (None, None));
        let config = TrajectoryConfig {
            retention_days: 2,
            ..config
        };
        assert_eq!(config.retention(), Some(Duration::from_secs(172_800)));
    }
}

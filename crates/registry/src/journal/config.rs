use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{config::EtcdConfig, error::RegistryError};

/// Where durable episodes are kept and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// Whether there is a durable journal. Without one, durable episodes end with their coordinator
    /// like all others.
    pub enabled: bool,
    /// The etcd of the journal; absent: that of the registry. Its `lease_ttl_s` says how long a
    /// coordinator that is gone keeps its episodes.
    pub etcd: Option<EtcdConfig>,
    /// Most writes that wait. When it is full, new durable episodes are refused with
    /// RESOURCE_EXHAUSTED, and running ones wait.
    pub queue: usize,
    /// Longest time of one write, waiting included, in milliseconds. It is tried again after that.
    pub write_timeout_ms: u64,
    /// Data in use in etcd, in bytes, from which on new durable episodes are refused. It must leave
    /// the registry room below etcd's own quota (by default 2 GiB).
    pub max_bytes: u64,
    /// How long finished episodes are kept, in seconds.
    pub retention_s: u64,
    /// Most finished episodes kept; the oldest goes first.
    pub max_finished: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            etcd: None,
            queue: 4096,
            write_timeout_ms: 10_000,
            max_bytes: 1 << 30,
            retention_s: 24 * 60 * 60,
            max_finished: 10_000,
        }
    }
}

impl JournalConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`RegistryError::Config`] naming the setting.
    pub fn validate(&self) -> Result<(), RegistryError> {
        let positive = [
            ("journal.queue", self.queue as u64),
            ("journal.write_timeout_ms", self.write_timeout_ms),
            ("journal.max_bytes", self.max_bytes),
            ("journal.retention_s", self.retention_s),
            ("journal.max_finished", self.max_finished),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            let reason = "must be at least 1";
            return Err(RegistryError::Config { field, reason });
        }
        self.etcd.as_ref().map_or(Ok(()), EtcdConfig::validate)
    }

    pub(super) fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    pub(super) fn retention(&self) -> Duration {
        Duration::from_secs(self.retention_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_by_name() {
        JournalConfig::default().validate().unwrap();
        let queue = JournalConfig {
            queue: 0,
            ..JournalConfig::default()
        };
        let error = queue.validate().unwrap_err().to_string();
        assert!(error.contains("journal.queue"), "{error}");
        let etcd = JournalConfig {
            etcd: Some(EtcdConfig::new(Vec::<String>::new())),
            ..JournalConfig::default()
        };
        assert!(etcd.validate().is_err());
    }
}

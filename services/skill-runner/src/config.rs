//! Settings of the skill runner.

use maestro_rpc::{PoolConfig, RouterConfig, ServeConfig};
use serde::{Deserialize, Serialize};

use crate::{
    error::RunnerError, registration::LibraryMode, runner::RunnerConfig, sandbox::SandboxConfig,
};

/// What a process serves with, whichever way it got its registry and its blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How the server listens.
    pub serve: ServeConfig,
    /// How experts are called.
    pub router: RouterConfig,
    /// Connections to them.
    pub pool: PoolConfig,
    /// Limits of the runs.
    pub runner: RunnerConfig,
    /// How code of skills is run.
    pub sandbox: SandboxConfig,
    /// What is done with the skills that come with the program.
    pub library: LibraryMode,
}

impl Config {
    /// Checks what no type rules out.
    ///
    /// # Errors
    /// [`RunnerError::Setting`] naming the setting.
    pub fn validate(&self) -> Result<(), RunnerError> {
        let positive = [
            (
                "runner.max_concurrent_runs",
                u64::from(self.runner.max_concurrent_runs),
            ),
            ("runner.max_cached_skills", self.runner.max_cached_skills),
            ("sandbox.max_concurrent", self.sandbox.max_concurrent as u64),
            (
                "sandbox.limits.cpu_seconds",
                self.sandbox.limits.cpu_seconds,
            ),
        ];
        for (setting, value) in positive {
            if value == 0 {
                return Err(RunnerError::Setting {
                    setting,
                    reason: "must be at least 1",
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named() {
        let config: Config = serde_saphyr::from_str("{runner: {max_concurrent_runs: 7}}").unwrap();
        assert_eq!(config.runner.max_concurrent_runs, 7);
        config.validate().unwrap();
        let config: Config = serde_saphyr::from_str("{runner: {max_concurrent_runs: 0}}").unwrap();
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("max_concurrent_runs"), "{error}");
        let error = serde_saphyr::from_str::<Config>("{runer: {}}").unwrap_err();
        assert!(error.to_string().contains("runer"), "{error}");
    }
}

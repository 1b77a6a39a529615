//! The policy of slots that the registry gives none.

use maestro_policy::{PolicyError, Runtime, ScorerPolicy, suits};

use crate::config::{Builtin, Config};

/// The policy that comes with the program, made by `make policy`.
const MANIFEST: &[u8] = include_bytes!("../assets/policy.json");
const WEIGHTS: &[u8] = include_bytes!("../assets/policy.safetensors");

/// The policy that comes with the program; `None` where it was trained with another text encoder
/// than the runtime's.
///
/// # Errors
/// [`PolicyError`] where it cannot be built.
pub fn shipped(runtime: &Runtime) -> Result<Option<ScorerPolicy>, PolicyError> {
    if !suits(MANIFEST, runtime)? {
        return Ok(None);
    }
    ScorerPolicy::load(MANIFEST, WEIGHTS, runtime.clone()).map(Some)
}

/// The policy that the settings ask for.
///
/// # Errors
/// [`PolicyError`] where it cannot be built.
pub fn policy(config: &Config, runtime: &Runtime) -> Result<ScorerPolicy, PolicyError> {
    if config.builtin == Builtin::Shipped {
        if let Some(policy) = shipped(runtime)? {
            return Ok(policy);
        }
        tracing::warn!(
            "the policy that comes with the program was trained with another text encoder; \
             the untrained one decides"
        );
    }
    let scorer = config.untrained.scorer(runtime.embedder().dim());
    ScorerPolicy::untrained(scorer, runtime.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use maestro_core::Digest;
    use maestro_models::{DeviceSetting, StaticTable};
    use maestro_policy::ServingConfig;

    use super::*;

    /// 12 MB.
    const MOST_BYTES: usize = 12_000_000;

    fn runtime() -> Runtime {
        let table = Arc::new(StaticTable::bundled().unwrap());
        Runtime::open(DeviceSetting::Cpu, table, ServingConfig::default()).unwrap()
    }

    #[test]
    fn what_comes_with_the_program_is_trained_and_small() {
        let policy = shipped(&runtime()).unwrap().unwrap();
        assert_eq!(*policy.version(), Digest::of(MANIFEST));
        assert_eq!(policy.manifest().notes["training"], "grpo");
        assert!(WEIGHTS.len() < MOST_BYTES);
    }

    #[test]
    fn the_settings_choose() {
        let version = |builtin| {
            let config = Config {
                builtin,
                ..Config::default()
            };
            *policy(&config, &runtime()).unwrap().version()
        };
        assert_eq!(version(Builtin::Shipped), Digest::of(MANIFEST));
        assert_ne!(version(Builtin::Untrained), Digest::of(MANIFEST));
    }
}

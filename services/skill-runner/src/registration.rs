//! Puts the skills that come with the program into the registry, so that a new installation can
//! answer from the start.

use std::{sync::Arc, time::Duration};

use maestro_core::{
    CoreError,
    ports::{Blobs, PutMode, Registry},
};
use maestro_skills::Skill;
use serde::{Deserialize, Serialize};
use tokio::time;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// Longest time to store and register one skill.
const ATTEMPT: Duration = Duration::from_secs(30);

/// What a runner does with the skills that come with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LibraryMode {
    /// Registers nothing.
    #[serde(rename = "none")]
    Off,
    /// Registers those whose names are free. A skill that somebody else registered stays.
    #[default]
    Register,
    /// Registers all, in the place of others of their names.
    Replace,
}

/// Stores and registers each skill; where the registry or the blob store is away, again and again.
pub(crate) async fn register(
    skills: Vec<Skill>,
    mode: PutMode,
    registry: Arc<dyn Registry>,
    blobs: Arc<dyn Blobs>,
) {
    for skill in skills {
        let mut pause = FIRST_RETRY;
        loop {
            let attempt = time::timeout(ATTEMPT, put(&skill, mode, &*registry, &*blobs));
            let error = match attempt.await {
                Ok(Ok(())) => break,
                Ok(Err(error @ CoreError::Conflict { .. })) => {
                    tracing::info!(skill = %skill.name(), %error, "another skill has this name");
                    break;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "took too long".to_owned(),
            };
            tracing::warn!(skill = %skill.name(), error, "a skill is not registered yet");
            time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }
}

/// The bundle first: whoever sees the header can fetch it.
async fn put(
    skill: &Skill,
    mode: PutMode,
    registry: &dyn Registry,
    blobs: &dyn Blobs,
) -> Result<(), CoreError> {
    blobs.put(skill.bundle().clone()).await?;
    registry.put_skill(&skill.header(), mode).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use maestro_registry::MemoryRegistry;
    use maestro_store::{ObjectBlobs, StoreConfig};

    use super::*;
    use crate::library::library;

    #[tokio::test]
    async fn a_new_installation_has_the_library_and_keeps_what_others_registered() {
        let registry = Arc::new(MemoryRegistry::new());
        let store = StoreConfig::new("memory:///".parse().unwrap());
        let blobs = Arc::new(ObjectBlobs::open(store).unwrap());
        let own = library().unwrap();
        let mut foreign = own[0].header();
        foreign.description = "Somebody else's skill of this name.".to_owned();
        registry.put_skill(&foreign, PutMode::Create).await.unwrap();
        for mode in [PutMode::Create, PutMode::Replace] {
            register(
                library().unwrap(),
                mode,
                Arc::clone(&registry) as _,
                Arc::clone(&blobs) as _,
            )
            .await;
            let snapshots = registry.snapshots();
            let skills = snapshots.borrow().catalogue.skills.clone();
            assert_eq!(skills.len(), own.len());
            let kept = skills[&foreign.name] == foreign;
            assert_eq!(kept, mode == PutMode::Create);
        }
        for skill in &own {
            assert!(blobs.contains(&skill.digest()).await.unwrap());
        }
    }
}

//! Fetches the bundles of skills as they are registered, so that their first run need not.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use maestro_core::{Digest, SkillName, Timestamp, registry::Snapshot};
use maestro_telemetry::Histogram;
use tokio::{
    sync::{Semaphore, watch},
    time,
};

use crate::runner::Runner;

/// Most bundles that are fetched at once.
const AT_ONCE: usize = 8;
/// Longest time for one. A run that needs it later tries again by itself.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Follows the registry until it ends. What is there at the start is fetched too, and is no
/// measurement of how fast additions arrive. A bundle that is slow to come holds up no other change.
pub(crate) async fn follow(runner: Arc<Runner>, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
    let mut before = Arc::new(Snapshot::default());
    let permits = Semaphore::new(AT_ONCE);
    // As many as there are skills at most.
    let mut fetching = FuturesUnordered::new();
    loop {
        let now = Arc::clone(&snapshots.borrow_and_update());
        let is_first = before.revision == 0;
        for (name, digest, written) in newly_registered(&before, &now) {
            let written = written.filter(|_| !is_first);
            fetching.push(fetch(&runner, &permits, name, digest, written));
        }
        before = now;
        loop {
            tokio::select! {
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                Some(()) = fetching.next() => {}
            }
        }
    }
}

async fn fetch(
    runner: &Runner,
    permits: &Semaphore,
    name: SkillName,
    digest: Digest,
    written: Option<Timestamp>,
) {
    // Closed never.
    let Ok(_permit) = permits.acquire().await else {
        return;
    };
    match time::timeout(ATTEMPT, runner.fetch(digest)).await {
        Ok(Ok(())) => record(written),
        Ok(Err(failure)) => tracing::warn!(skill = %name, %failure, "no bundle yet"),
        Err(_) => tracing::warn!(skill = %name, "the bundle took too long"),
    }
}

fn record(written: Option<Timestamp>) {
    let Some(written) = written else { return };
    // Clocks of two machines differ; a time before the write counts as none.
    let time = Duration::try_from(Timestamp::now().duration_since(written));
    Histogram::RegistryPropagation.record_duration(time.unwrap_or_default(), &[]);
}

/// The skills of `now` whose bundle is another than in `before`, with when they were written.
fn newly_registered(
    before: &Snapshot,
    now: &Snapshot,
) -> Vec<(SkillName, Digest, Option<Timestamp>)> {
    let known: BTreeMap<&SkillName, Digest> = before
        .catalogue
        .skills
        .iter()
        .map(|(name, header)| (name, header.bundle))
        .collect();
    let skills = now.catalogue.skills.iter();
    skills
        .filter(|(name, header)| known.get(name) != Some(&header.bundle))
        .map(|(name, header)| {
            let written = now.skills_written.get(name).copied();
            (name.clone(), header.bundle, written)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use maestro_core::registry::Catalogue;

    use super::*;
    use crate::runner::testing;

    fn snapshot(versions: &[(&str, &str)]) -> Snapshot {
        let mut catalogue = Catalogue::default();
        for (name, prompt) in versions {
            let mut header = testing::skill(&format!(
                "description: d\nsteps: {{}}\nanswer: {{text: {prompt}}}\n"
            ))
            .header();
            header.name = name.parse().unwrap();
            catalogue.skills.insert(header.name.clone(), header);
        }
        Snapshot::new(1, catalogue)
    }

    #[test]
    fn skills_that_come_or_change_are_new() {
        let before = snapshot(&[("a", "one"), ("b", "one"), ("c", "one")]);
        let now = snapshot(&[("a", "one"), ("b", "two"), ("d", "one")]);
        let new = newly_registered(&before, &now);
        let names: Vec<&str> = new.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["b", "d"]);
        assert_eq!(newly_registered(&now, &now), []);
    }
}

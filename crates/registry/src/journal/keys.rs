//! Where what stands. Pure.
//!
//! ```text
//! journal/TENANT/EPISODE/head        owner, what was asked, how it ended
//! journal/TENANT/EPISODE/steps/NNNN  appended, never changed
//! journal/TENANT/EPISODE/call        the last call that was to be made
//! journal/TENANT/EPISODE/outcome     how good it was
//! requests/TENANT/REQUEST            the episode that a request id stands for
//! coordinators/ID                    under the coordinator's lease
//! running/COORDINATOR/EPISODE        index of what has not ended, by owner
//! finished/TENANT/EPISODE            index of what has ended and is kept
//! cancellations/EPISODE              somebody wants it cancelled
//! ```

use maestro_core::{CoordinatorId, EpisodeId, RequestId, TenantId, adoption::Unfinished};

/// Keys of the journal under one prefix.
#[derive(Clone, Debug)]
pub(super) struct JournalKeys {
    prefix: String,
}

/// A part of an episode's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Head,
    Step(u32),
    Call,
    Outcome,
}

impl JournalKeys {
    pub(super) fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// Under which all of an episode stands.
    pub(super) fn episode(&self, tenant: &TenantId, id: &EpisodeId) -> String {
        format!("{}/journal/{tenant}/{id}/", self.prefix)
    }

    pub(super) fn part(&self, tenant: &TenantId, id: &EpisodeId, part: Part) -> String {
        let episode = self.episode(tenant, id);
        match part {
            Part::Head => format!("{episode}head"),
            // As wide as the numbers of steps ever are, so that they sort.
            Part::Step(index) => format!("{episode}steps/{index:04}"),
            Part::Call => format!("{episode}call"),
            Part::Outcome => format!("{episode}outcome"),
        }
    }

    /// Which part of the episode stands under `key`; `None` for what a newer version put there.
    pub(super) fn parse_part(&self, episode: &str, key: &[u8]) -> Option<Part> {
        match str::from_utf8(key).ok()?.strip_prefix(episode)? {
            "head" => Some(Part::Head),
            "call" => Some(Part::Call),
            "outcome" => Some(Part::Outcome),
            step => Some(Part::Step(step.strip_prefix("steps/")?.parse().ok()?)),
        }
    }

    pub(super) fn request(&self, tenant: &TenantId, request: &RequestId) -> String {
        format!("{}/requests/{tenant}/{}", self.prefix, request.as_str())
    }

    pub(super) fn coordinators(&self) -> String {
        format!("{}/coordinators/", self.prefix)
    }

    pub(super) fn coordinator(&self, id: &CoordinatorId) -> String {
        format!("{}{id}", self.coordinators())
    }

    pub(super) fn all_running(&self) -> String {
        format!("{}/running/", self.prefix)
    }

    pub(super) fn running(&self, owner: &CoordinatorId, id: &EpisodeId) -> String {
        format!("{}{owner}/{id}", self.all_running())
    }

    /// The entry of the index of running episodes.
    pub(super) fn parse_running(&self, key: &[u8], tenant: TenantId) -> Option<Unfinished> {
        let path = str::from_utf8(key)
            .ok()?
            .strip_prefix(&self.all_running())?;
        let (owner, episode) = path.split_once('/')?;
        Some(Unfinished {
            tenant,
            episode: EpisodeId::new(episode).ok()?,
            owner: CoordinatorId::new(owner).ok()?,
        })
    }

    pub(super) fn all_finished(&self) -> String {
        format!("{}/finished/", self.prefix)
    }

    pub(super) fn finished_of(&self, tenant: &TenantId) -> String {
        format!("{}{tenant}/", self.all_finished())
    }

    pub(super) fn finished(&self, tenant: &TenantId, id: &EpisodeId) -> String {
        format!("{}{id}", self.finished_of(tenant))
    }

    pub(super) fn parse_finished(&self, key: &[u8]) -> Option<(TenantId, EpisodeId)> {
        let path = str::from_utf8(key)
            .ok()?
            .strip_prefix(&self.all_finished())?;
        let (tenant, episode) = path.split_once('/')?;
        Some((TenantId::new(tenant).ok()?, EpisodeId::new(episode).ok()?))
    }

    pub(super) fn cancellations(&self) -> String {
        format!("{}/cancellations/", self.prefix)
    }

    pub(super) fn cancellation(&self, id: &EpisodeId) -> String {
        format!("{}{id}", self.cancellations())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_where_the_design_says() {
        let keys = JournalKeys::new("/maestro/v1");
        let (tenant, id) = (TenantId::anonymous(), EpisodeId::new("e1").unwrap());
        let part = |part| keys.part(&tenant, &id, part);
        assert_eq!(part(Part::Head), "/maestro/v1/journal/default/e1/head");
        assert_eq!(
            part(Part::Step(7)),
            "/maestro/v1/journal/default/e1/steps/0007"
        );
        let request = RequestId::new("r-1").unwrap();
        assert_eq!(
            keys.request(&tenant, &request),
            "/maestro/v1/requests/default/r-1"
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let keys = JournalKeys::new("/m");
        let (tenant, id) = (TenantId::anonymous(), EpisodeId::generate());
        let owner = CoordinatorId::new("c1").unwrap();
        for part in [Part::Head, Part::Step(12), Part::Call, Part::Outcome] {
            let key = keys.part(&tenant, &id, part);
            let episode = keys.episode(&tenant, &id);
            assert_eq!(keys.parse_part(&episode, key.as_bytes()), Some(part));
        }
        let running = keys.running(&owner, &id);
        let entry = keys.parse_running(running.as_bytes(), tenant.clone());
        assert_eq!(
            entry,
            Some(Unfinished {
                tenant: tenant.clone(),
                episode: id.clone(),
                owner
            })
        );
        let finished = keys.finished(&tenant, &id);
        assert_eq!(keys.parse_finished(finished.as_bytes()), Some((tenant, id)));
    }
}

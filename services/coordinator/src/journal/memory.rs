use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use maestro_core::{
    CoreError, RequestId, TenantId,
    episode::{Conclusion, EpisodeRecord, EpisodeSpec, Outcome, Step},
    ids::EpisodeId,
    ports::{Created, Journal, ListQuery},
};

/// A journal in memory: records end with the process. Running episodes are bounded by admission;
/// of finished ones the newest are kept, the oldest is dropped when there are too many.
pub struct MemoryJournal {
    max_finished: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<EpisodeId, EpisodeRecord>,
    requests: HashMap<(TenantId, RequestId), EpisodeId>,
    finished: VecDeque<EpisodeId>,
}

impl MemoryJournal {
    /// An empty journal that keeps at most `max_finished` finished episodes.
    pub fn new(max_finished: usize) -> Self {
        Self {
            max_finished,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_found(id: &EpisodeId) -> CoreError {
    CoreError::NotFound {
        kind: "episode",
        name: id.to_string(),
    }
}

impl State {
    fn owned(
        &mut self,
        tenant: &TenantId,
        id: &EpisodeId,
    ) -> Result<&mut EpisodeRecord, CoreError> {
        self.records
            .get_mut(id)
            .filter(|record| record.spec.tenant == *tenant)
            .ok_or_else(|| not_found(id))
    }

    fn drop_oldest(&mut self) {
        let Some(id) = self.finished.pop_front() else {
            return;
        };
        if let Some(record) = self.records.remove(&id)
            && let Some(request) = record.spec.request_id
        {
            self.requests.remove(&(record.spec.tenant, request));
        }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn create(&self, spec: &EpisodeSpec) -> Result<Created, CoreError> {
        let mut state = self.lock();
        if let Some(request) = &spec.request_id {
            let key = (spec.tenant.clone(), request.clone());
            if let Some(id) = state.requests.get(&key).cloned() {
                let same = state
                    .records
                    .get(&id)
                    .is_some_and(|r| r.spec.asks_the_same(spec));
                return if same {
                    Ok(Created::Existing(id))
                } else {
                    Err(CoreError::Conflict {
                        kind: "request_id",
                        name: request.as_str().to_owned(),
                        existing: format!("episode {id} with another task"),
                        refused: "this task".to_owned(),
                    })
                };
            }
            state.requests.insert(key, spec.id.clone());
        }
        let record = EpisodeRecord {
            spec: spec.clone(),
            steps: vec![],
            conclusion: None,
            outcome: None,
        };
        state.records.insert(spec.id.clone(), record);
        Ok(Created::New)
    }

    async fn append(&self, id: &EpisodeId, step: &Step) -> Result<(), CoreError> {
        let mut state = self.lock();
        let record = state.records.get_mut(id).ok_or_else(|| not_found(id))?;
        if record.conclusion.is_some() {
            return Err(CoreError::FailedPrecondition(format!(
                "episode {id} has ended"
            )));
        }
        let position = usize::try_from(step.index).unwrap_or(usize::MAX);
        match record.steps.get(position) {
            Some(existing) if existing == step => Ok(()),
            Some(_) => Err(CoreError::FailedPrecondition(format!(
                "step {position} of episode {id} is written already and differs"
            ))),
            None if position == record.steps.len() => {
                record.steps.push(step.clone());
                Ok(())
            }
            None => Err(CoreError::FailedPrecondition(format!(
                "step {position} of episode {id} would leave a gap"
            ))),
        }
    }

    async fn finish(
        &self,
        id: &EpisodeId,
        rest: &[Step],
        conclusion: &Conclusion,
    ) -> Result<(), CoreError> {
        let mut state = self.lock();
        let record = state.records.get_mut(id).ok_or_else(|| not_found(id))?;
        if record.conclusion.is_some() {
            return Ok(());
        }
        let written = record.steps.len();
        let unwritten = rest
            .iter()
            .filter(|step| usize::try_from(step.index).is_ok_and(|index| index >= written));
        record.steps.extend(unwritten.cloned());
        record.conclusion = Some(conclusion.clone());
        state.finished.push_back(id.clone());
        while state.finished.len() > self.max_finished {
            state.drop_oldest();
        }
        Ok(())
    }

    async fn report(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
        outcome: &Outcome,
    ) -> Result<(), CoreError> {
        let mut state = self.lock();
        let record = state.owned(tenant, id)?;
        if record.conclusion.is_none() {
            return Err(CoreError::FailedPrecondition(format!(
                "episode {id} is still running"
            )));
        }
        record.outcome = Some(outcome.clone());
        Ok(())
    }

    async fn get(&self, tenant: &TenantId, id: &EpisodeId) -> Result<EpisodeRecord, CoreError> {
        self.lock().owned(tenant, id).cloned()
    }

    async fn list(
        &self,
        tenant: &TenantId,
        query: &ListQuery,
    ) -> Result<Vec<EpisodeRecord>, CoreError> {
        let state = self.lock();
        let wanted = |record: &&EpisodeRecord| {
            record.spec.tenant == *tenant
                && query.status.is_none_or(|status| record.status() == status)
                && query
                    .before
                    .as_ref()
                    .is_none_or(|before| record.spec.id < *before)
        };
        Ok(state
            .records
            .values()
            .rev()
            .filter(wanted)
            .take(query.page_size)
            .cloned()
            .collect())
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;

use super::{Label, METADATA, key};

declare! {
    /// Something that is counted and only grows.
    Counter {
        Episodes => "maestro_episodes_total",
            "Episodes that ended, by termination.";
        EpisodesRejected => "maestro_episodes_rejected_total",
            "Episodes that were refused at admission, by reason.";
        Decisions => "maestro_decisions_total",
            "Decisions of the policy, by action.";
        FallbackDecisions => "maestro_fallback_decisions_total",
            "Decisions taken by the fixed rule while no policy worker answered, by action.";
        PolicyChoices => "maestro_policy_choices_total",
            "Pairs that the policy chose, by whether it met both descriptions in training (known).";
        ShadowDecisions => "maestro_shadow_decisions_total",
            "Decisions that a slot's shadow scored as well, by slot and whether it would have chosen the same (agreed).";
        ShadowDropped => "maestro_shadow_dropped_total",
            "Decisions that a slot's shadow did not score, by slot and reason.";
        CallFailures => "maestro_call_failures_total",
            "Calls to experts that failed, by expert and kind of failure (reason).";
        Retries => "maestro_retries_total",
            "Requests sent again, by method and reason.";
        HedgedCalls => "maestro_hedged_calls_total",
            "Slow calls that were made a second time, by expert and who answered (first, second, neither).";
        CostMicroUsd => "maestro_cost_micro_usd_total",
            "Money spent on calls in millionths of a US dollar, by expert.";
        Tokens => "maestro_tokens_total",
            "Tokens that calls used up, by expert and direction.";
        CacheRequests => "maestro_cache_requests_total",
            "Look-ups in a cache, by cache and result.";
        RegistryRelists => "maestro_registry_relists_total",
            "Times that the whole registry was listed again, by reason.";
        EpisodesAdopted => "maestro_episodes_adopted_total",
            "Durable episodes that this coordinator took over from one that is gone.";
        EpisodesHandedOver => "maestro_episodes_handed_over_total",
            "Durable episodes that this coordinator left to others, by reason.";
        JournalTransactions => "maestro_journal_transactions_total",
            "Transactions of the durable journal.";
        JournalWrites => "maestro_journal_writes_total",
            "Writes of the durable journal; many share a transaction.";
        JournalWriteFailures => "maestro_journal_write_failures_total",
            "Writes that the journal refused, by reason.";
        TrajectoriesStored => "maestro_trajectories_stored_total",
            "Finished episodes that were written to the store of trajectories, repetitions included.";
        TrajectoryFailures => "maestro_trajectory_failures_total",
            "What the store of trajectories could not take or do, by reason.";
        TrajectoryFilesDeleted => "maestro_trajectory_files_deleted_total",
            "Files of the store of trajectories that were deleted, by reason: merged or expired.";
    }
}

impl Counter {
    /// Adds `amount` to the series of `labels`.
    pub fn add(self, amount: u64, labels: &[Label<'_>]) {
        let key = key(self.name(), labels);
        metrics::with_recorder(|recorder| {
            recorder.register_counter(&key, &METADATA).increment(amount);
        });
    }

    /// Adds one to the series of `labels`.
    pub fn increment(self, labels: &[Label<'_>]) {
        self.add(1, labels);
    }
}

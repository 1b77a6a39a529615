//! One run: starts everything, carries out the plan, waits until all is quiet, and collects.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use maestro_proto::v1;

use super::{
    check::{Violation, check, termination},
    clients::{self, Coordinators, RECOVERY},
    etcd,
    evidence::{Call, Evidence, JournalDump, LeaseEnd, Living},
    journal,
    plan::{Component, Fault, Plan},
    settings::url,
    site::Disks,
    stage::{BEAT, Stage},
    tasks::{EXPERTS, PRICE_MICRO_USD},
};
use crate::{openai::ChatServer, process::SandboxError};

/// Until nothing runs any more and all leases are right, once clients are done.
const QUIET_LIMIT: Duration = Duration::from_secs(45);
/// How long keys may outlive their process: the lease (3 s), the half second in which etcd looks
/// for ended ones, and as much for the machine.
const LEASE_LIMIT: Duration = Duration::from_secs(6);

/// What came of a run.
pub struct Report {
    /// What was planned.
    pub plan: Plan,
    /// What was seen.
    pub evidence: Evidence,
    /// What must not be.
    pub violations: Vec<Violation>,
    /// Faults that could not be done when they were due, and why.
    pub left_out: Vec<String>,
    /// Processes that ended by themselves and were started again.
    pub ended_alone: Vec<String>,
    /// Where the logs are, if something was violated.
    pub logs: Option<PathBuf>,
}

impl Report {
    /// How many durable episodes ended in which way.
    pub fn terminations(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for episode in self.evidence.journal.episodes.values() {
            use v1::termination::Termination as T;
            let head = episode.head.as_ref().and_then(|head| head.episode.as_ref());
            let name = match head.and_then(termination) {
                Some(T::Answered(_)) => "answered",
                Some(T::Truncated(_)) => "truncated",
                Some(T::Cancelled(_)) => "cancelled",
                Some(T::Failed(_)) => "failed",
                None => "not ended",
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// Why durable episodes failed, and how many each.
    pub fn failures(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for episode in self.evidence.journal.episodes.values() {
            let head = episode.head.as_ref().and_then(|head| head.episode.as_ref());
            if let Some(v1::termination::Termination::Failed(failure)) = head.and_then(termination)
            {
                let reason = format!("{:?}: {}", failure.kind(), failure.message);
                *counts.entry(reason).or_default() += 1;
            }
        }
        counts
    }

    /// Episodes that had several owners, and calls that were made again.
    pub fn adopted(&self) -> (usize, usize) {
        let heads = || {
            let episodes = self.evidence.journal.episodes.values();
            episodes.filter_map(|episode| episode.head.as_ref())
        };
        let repeated = heads()
            .filter_map(|head| head.episode.as_ref()?.conclusion.as_ref()?.usage.as_ref())
            .map(|usage| usage.repeated_calls as usize)
            .sum();
        (heads().filter(|head| head.terms > 1).count(), repeated)
    }
}

/// Carries out the plan of a seed.
///
/// # Errors
/// Where the sandbox itself fails: what it needs is not there, or Maestro does not start.
pub fn run(seed: u64, duration: Duration) -> Result<Report, SandboxError> {
    let plan = Plan::new(seed, duration);
    let mut stage = Stage::new(&plan, Disks::Small)?;
    let model = stage.start(plan.load.answer_ms)?;
    let mut run = Run {
        plan,
        stage,
        left_out: Vec::new(),
    };
    let evidence = run.carry_out(&model)?;
    let violations = check(&evidence);
    let Run {
        plan,
        stage: Stage { site, runtime },
        left_out,
    } = run;
    drop(model);
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(Report {
        plan,
        evidence,
        left_out,
        ended_alone: site.ended_alone.clone(),
        logs: (!violations.is_empty()).then(|| site.keep_logs()),
        violations,
    })
}

struct Run {
    plan: Plan,
    stage: Stage,
    left_out: Vec<String>,
}

impl Run {
    fn carry_out(&mut self, model: &ChatServer) -> Result<Evidence, SandboxError> {
        let coordinators = self.stage.coordinators()?;
        let clients = self
            .stage
            .runtime
            .spawn(clients::all(self.plan.clone(), coordinators.clone()));
        self.faults()?;
        let limit = self.plan.duration + RECOVERY + Duration::from_secs(30);
        let clients = self.stage.wait("the clients", clients, limit)?;
        let mut evidence = Evidence {
            clients,
            living: living(|_| true),
            price_micro_usd: PRICE_MICRO_USD,
            lease_limit: LEASE_LIMIT,
            ..Evidence::default()
        };
        self.quiet(&mut evidence, &coordinators)?;
        let ids: BTreeSet<String> = evidence.journal.episodes.keys().cloned().collect();
        let ids: Vec<String> = ids.into_iter().collect();
        let reader = coordinators.clone();
        let reading = self
            .stage
            .runtime
            .spawn(async move { reader.read(&ids).await });
        evidence.reads = self.stage.wait("the episodes", reading, RECOVERY)?;
        evidence.calls = model.keys().into_iter().map(|key| Call { key }).collect();
        evidence.leases = self.leases()?;
        evidence.panics = self.stage.site.panics();
        Ok(evidence)
    }

    /// Begins and ends each fault when it is due.
    fn faults(&mut self) -> Result<(), SandboxError> {
        let mut due: Vec<(Duration, bool, usize)> = Vec::new();
        for (number, planned) in self.plan.faults.iter().enumerate() {
            due.push((planned.from, true, number));
            due.push((planned.to, false, number));
        }
        due.sort();
        let faults: Vec<Fault> = self
            .plan
            .faults
            .iter()
            .map(|planned| planned.fault)
            .collect();
        let mut begun = vec![false; faults.len()];
        let started = Instant::now();
        for (at, begins, number) in due {
            while started.elapsed() < at {
                self.stage.site.attend()?;
                std::thread::sleep(BEAT.min(at.saturating_sub(started.elapsed())));
            }
            let fault = faults[number];
            if begins {
                match self.stage.site.begin(fault) {
                    Ok(()) => begun[number] = true,
                    Err(error) => self.left_out.push(format!("{fault:?}: {error}")),
                }
            } else if begun[number] {
                self.stage.site.end(fault)?;
            }
        }
        Ok(())
    }

    /// Waits until nothing runs and every key under a lease is right; what is wrong after that is
    /// for the checker.
    fn quiet(
        &mut self,
        evidence: &mut Evidence,
        coordinators: &Coordinators,
    ) -> Result<(), SandboxError> {
        let until = Instant::now() + QUIET_LIMIT;
        loop {
            self.stage.site.attend()?;
            let lister = coordinators.clone();
            let listing = self
                .stage
                .runtime
                .spawn(async move { lister.running().await });
            let running = self.stage.wait("a list of episodes", listing, RECOVERY)?;
            let dump = self.dump();
            if let (Ok(running), Ok(dump)) = (&running, &dump) {
                evidence.running.clone_from(running);
                evidence.journal = dump.clone();
                let is_quiet = running.is_empty()
                    && dump.running.is_empty()
                    && super::check::leases(evidence).is_empty();
                if is_quiet {
                    return Ok(());
                }
            }
            if Instant::now() > until {
                // A coordinator that does not answer by now is no matter of evidence.
                running.map_err(SandboxError::Timeout)?;
                return dump.map(drop);
            }
            std::thread::sleep(BEAT * 3);
        }
    }

    fn dump(&self) -> Result<JournalDump, SandboxError> {
        let printed = etcd::dump(&self.stage.site.network, journal::PREFIX)?;
        journal::read(&printed).map_err(|said| SandboxError::Command {
            command: "etcdctl get".to_owned(),
            said,
        })
    }

    /// Kills a coordinator and an expert worker for good, and sees their keys go.
    fn leases(&mut self) -> Result<Vec<LeaseEnd>, SandboxError> {
        let number = u8::try_from(self.plan.seed % 3).unwrap_or(0);
        let victims = [Component::Coordinator(number), Component::Expert(number)];
        for victim in victims {
            self.stage.site.kill(victim)?;
        }
        let killed = Instant::now();
        let living = living(|one| victims.contains(&one));
        let mut gone: BTreeMap<String, Option<Duration>> = living
            .coordinators
            .into_iter()
            .chain(living.instances)
            .map(|holder| (holder, None))
            .collect();
        while killed.elapsed() < LEASE_LIMIT * 2 && gone.values().any(Option::is_none) {
            // The keys were there when this was asked, at the earliest.
            let asked = killed.elapsed();
            let dump = self.dump()?;
            let holders: BTreeSet<&str> =
                dump.leased.iter().map(|one| one.holder.as_str()).collect();
            for (holder, after) in &mut gone {
                if after.is_none() && !holders.contains(holder.as_str()) {
                    *after = Some(asked);
                }
            }
            std::thread::sleep(BEAT);
        }
        let ends = gone.into_iter();
        Ok(ends
            .map(|(holder, gone_after)| LeaseEnd { holder, gone_after })
            .collect())
    }
}

/// How processes call themselves in the registry.
fn living(wanted: impl Fn(Component) -> bool) -> Living {
    let those = |is: fn(Component) -> bool| Component::those(|one| is(one) && wanted(one));
    let instances = those(Component::is_expert)
        .into_iter()
        .flat_map(|worker| EXPERTS.map(|expert| journal::instance(expert, &url(worker))));
    Living {
        coordinators: those(Component::is_coordinator)
            .iter()
            .map(Component::to_string)
            .collect(),
        instances: instances.collect(),
    }
}

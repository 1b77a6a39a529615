//! Carries out a trial.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Offer, Report, Seen, Sizes, load, sizes};
use crate::{
    faults::{
        etcd, journal,
        plan::{Component, Fault, Load, Plan},
        settings::url,
        site::Disks,
        stage::{BEAT, Stage},
    },
    openai::ChatServer,
    process::{SandboxError, io_error},
};

/// For a process to end after SIGTERM, and for one to serve again.
const PATIENCE: Duration = Duration::from_secs(60);
/// For clients to end after the load.
const CLIENTS_LIMIT: Duration = Duration::from_secs(300);
/// How long a process stays away before it is started again.
const AWAY: Duration = Duration::from_secs(10);
/// How long the journal may take to be quiet once clients are done.
const QUIET: Duration = Duration::from_secs(10);
/// Between two readings of sizes.
const READINGS: Duration = Duration::from_secs(60);

/// What is done under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing: sizes are read every minute.
    None,
    /// A coordinator is killed, and started again ten seconds later.
    KillCoordinator,
    /// The leading member of etcd is killed, and started again ten seconds later.
    KillLeader,
    /// Every process, one after the other: SIGTERM, and started again once it has ended.
    RollingRestart,
    /// All members of etcd are killed, and started again a minute later.
    EtcdAway,
}

/// A trial.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// What is done.
    pub operation: Operation,
    /// What clients do meanwhile.
    pub offer: Offer,
    /// How long they do before the operation, and after it.
    pub margin: Duration,
    /// Shortest and longest answer of the model, in milliseconds.
    pub answer_ms: (u64, u64),
}

/// Carries out a trial.
///
/// # Errors
/// Where the sandbox itself fails.
pub fn run(trial: &Trial) -> Result<Report, SandboxError> {
    let (mut stage, _model) = stage(trial.answer_ms)?;
    let started = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let load = load::offer(trial.offer, 1, started, stopped);
    let load = stage.runtime.spawn(load);
    let mut report = Report::default();
    let mut operator = Operator {
        stage: &mut stage,
        report: &mut report,
        started,
    };
    operator.operate(trial.operation, trial.margin)?;
    // Whether the load still listens is seen when it is waited for.
    let _listens = stop.send(true);
    report.seen = clients(&mut stage, load)?;
    report.running = running(&mut stage)?;
    report.ended_alone.clone_from(&stage.site.ended_alone);
    stage.runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(report)
}

/// Offers each rate for a time and tells how many requests a second were answered, refused at first,
/// and not answered; ends at the first rate that was not reached, or after the last.
///
/// # Errors
/// Where the sandbox itself fails.
pub fn peak(
    rates: impl IntoIterator<Item = u32>,
    durable_percent: u32,
    answer_ms: (u64, u64),
    time: Duration,
    mut tell: impl FnMut(u32, &Report),
) -> Result<(), SandboxError> {
    let (mut stage, _model) = stage(answer_ms)?;
    let mut first = 1;
    for per_second in rates {
        let offer = Offer {
            per_second,
            durable_percent,
        };
        let started = Instant::now();
        let (stop, stopped) = watch::channel(false);
        let load = stage
            .runtime
            .spawn(load::offer(offer, first, started, stopped));
        std::thread::sleep(time);
        // As above.
        let _listens = stop.send(true);
        let seen = clients(&mut stage, load)?;
        first += u32::try_from(seen.len()).unwrap_or(u32::MAX);
        let report = Report {
            seen,
            ..Report::default()
        };
        tell(per_second, &report);
    }
    stage.runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(())
}

fn stage(answer_ms: (u64, u64)) -> Result<(Stage, ChatServer), SandboxError> {
    let plan = Plan {
        seed: 0,
        duration: Duration::ZERO,
        faults: Vec::new(),
        load: Load {
            per_second: 0,
            answer_ms,
        },
    };
    let mut stage = Stage::new(&plan, Disks::Machine)?;
    let model = stage.start(answer_ms)?;
    model.forget();
    Ok((stage, model))
}

type Clients = JoinHandle<Result<Vec<Seen>, tonic::transport::Error>>;

fn clients(stage: &mut Stage, load: Clients) -> Result<Vec<Seen>, SandboxError> {
    let seen = stage.wait("the clients", load, CLIENTS_LIMIT)?;
    seen.map_err(|error| SandboxError::Timeout(error.to_string()))
}

/// How many episodes still run in the journal, once it has had time.
fn running(stage: &mut Stage) -> Result<usize, SandboxError> {
    let until = Instant::now() + QUIET;
    loop {
        let printed = etcd::dump(&stage.site.network, &format!("{}running/", journal::PREFIX))?;
        let dump = journal::read(&printed).map_err(SandboxError::Timeout)?;
        if dump.running.is_empty() || Instant::now() > until {
            return Ok(dump.running.len());
        }
        std::thread::sleep(BEAT);
    }
}

struct Operator<'a> {
    stage: &'a mut Stage,
    report: &'a mut Report,
    started: Instant,
}

impl Operator<'_> {
    fn mark(&mut self, what: impl Into<String>) {
        self.report
            .marks
            .push((self.started.elapsed(), what.into()));
    }

    fn measure(&mut self) -> Result<(), SandboxError> {
        let sizes = Sizes::read(self.stage, self.started.elapsed())?;
        self.report.sizes.push(sizes);
        Ok(())
    }

    /// Looks after the processes for a time.
    fn idle(&mut self, time: Duration) -> Result<(), SandboxError> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.stage.site.attend()?;
            std::thread::sleep(BEAT);
        }
        Ok(())
    }

    /// The same, and reads the sizes of all.
    fn watch(&mut self, time: Duration) -> Result<(), SandboxError> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.idle(READINGS.min(until - Instant::now()))?;
            self.measure()?;
        }
        Ok(())
    }

    fn operate(&mut self, operation: Operation, margin: Duration) -> Result<(), SandboxError> {
        if operation == Operation::None {
            return self.watch(margin);
        }
        self.idle(margin)?;
        self.disturb(operation)?;
        self.idle(margin)
    }

    fn disturb(&mut self, operation: Operation) -> Result<(), SandboxError> {
        match operation {
            Operation::None => Ok(()),
            Operation::KillCoordinator => self.kill_coordinator(),
            Operation::KillLeader => {
                self.stage.site.begin(Fault::LeaderKilled)?;
                self.mark("etcd's leader is killed");
                self.idle(AWAY)?;
                self.stage.site.end(Fault::LeaderKilled)?;
                self.mark("it is started again");
                self.serving(Component::Etcd(0))
            }
            Operation::RollingRestart => Component::ALL
                .into_iter()
                .try_for_each(|component| self.restart(component)),
            Operation::EtcdAway => self.etcd_away(),
        }
    }

    fn kill_coordinator(&mut self) -> Result<(), SandboxError> {
        const VICTIM: u8 = 0;
        let victim = Component::Coordinator(VICTIM);
        let coordinators = format!("{}coordinators/", journal::PREFIX);
        let printed = etcd::dump(&self.stage.site.network, &coordinators)?;
        let dump = journal::read(&printed).map_err(SandboxError::Timeout)?;
        let key = dump
            .leased
            .into_iter()
            .find(|leased| leased.holder == victim.to_string())
            .ok_or_else(|| SandboxError::Timeout(format!("the key of {victim}")))?
            .key;
        let deletions = Deletions::watch(self.stage, &coordinators)?;
        self.stage.site.begin(Fault::Killed(victim))?;
        self.report.killed = Some((usize::from(VICTIM), self.started.elapsed()));
        self.mark(format!("{victim} is killed"));
        let ended = deletions.wait_for(&key, PATIENCE)?;
        self.report.lease_ended = Some(ended.duration_since(self.started));
        self.idle(AWAY)?;
        self.stage.site.end(Fault::Killed(victim))?;
        self.mark("it is started again");
        self.serving(victim)
    }

    fn etcd_away(&mut self) -> Result<(), SandboxError> {
        const TIME: Duration = Duration::from_secs(60);
        let members = Component::those(Component::is_etcd);
        for member in &members {
            self.stage.site.begin(Fault::Killed(*member))?;
        }
        self.mark("etcd is killed");
        self.idle(TIME)?;
        for coordinator in Component::those(Component::is_coordinator) {
            let age = sizes::metric(
                self.stage,
                coordinator,
                "maestro_registry_snapshot_age_seconds",
            )?;
            self.report.snapshot_ages.push(age);
        }
        for member in &members {
            self.stage.site.end(Fault::Killed(*member))?;
        }
        self.mark("it is started again");
        self.serving(members[0])
    }

    /// As a rolling update does it, but with no process beside the one that goes.
    fn restart(&mut self, component: Component) -> Result<(), SandboxError> {
        self.stage.site.begin(Fault::Restarted(component))?;
        self.mark(format!("SIGTERM to {component}"));
        let until = Instant::now() + PATIENCE;
        while !self.stage.site.has_ended(component)? {
            if Instant::now() > until {
                return Err(SandboxError::Timeout(format!("the end of {component}")));
            }
            self.idle(BEAT)?;
        }
        self.stage.site.end(Fault::Restarted(component))?;
        self.serving(component)?;
        self.mark(format!("{component} serves again"));
        self.idle(Duration::from_secs(2))
    }

    /// Waits until a process says that it serves, and with etcd's members until all do.
    fn serving(&mut self, component: Component) -> Result<(), SandboxError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let serves = if component.is_etcd() {
                etcd::serves(&self.stage.site.network)
            } else {
                let asking = self.stage.runtime.spawn(is_serving(url(component)));
                self.stage.wait("a health check", asking, PATIENCE)?
            };
            if serves {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(SandboxError::Timeout(format!("{component} serving again")));
            }
            self.idle(BEAT)?;
        }
    }
}

/// What a readiness probe asks.
async fn is_serving(url: String) -> bool {
    let Ok(endpoint) = Endpoint::from_shared(url) else {
        return false;
    };
    let endpoint = endpoint.timeout(Duration::from_secs(1));
    let Ok(channel) = endpoint.connect().await else {
        return false;
    };
    let request = HealthCheckRequest::default();
    let checked = HealthClient::new(channel).check(request).await;
    checked.is_ok_and(|health| health.into_inner().status() == ServingStatus::Serving)
}

/// Keys under a prefix that etcd deletes, with the time at which that was heard.
struct Deletions {
    etcdctl: Child,
    heard: mpsc::Receiver<(Instant, String)>,
}

impl Deletions {
    fn watch(stage: &Stage, prefix: &str) -> Result<Self, SandboxError> {
        let mut etcdctl = stage
            .site
            .network
            .inside(None, Path::new("etcdctl"))
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", etcd::endpoints().join(",")))
            .args(["watch", prefix, "--prefix", "--write-out=json"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io_error("etcdctl watch"))?;
        let output = etcdctl.stdout.take();
        let (sender, heard) = mpsc::channel();
        // Ends with the process, whose output it reads.
        std::thread::spawn(move || {
            let Some(output) = output else { return };
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let at = Instant::now();
                for key in deleted(&line) {
                    if sender.send((at, key)).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self { etcdctl, heard })
    }

    fn wait_for(&self, key: &str, limit: Duration) -> Result<Instant, SandboxError> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok((at, heard)) if heard == key => return Ok(at),
                Ok(_) => {}
                Err(_) => return Err(SandboxError::Timeout(format!("the end of {key}"))),
            }
        }
    }
}

/// The keys that a line of `etcdctl watch --write-out=json` says are deleted.
fn deleted(line: &str) -> Vec<String> {
    const DELETED: u64 = 1;
    let events = serde_json::from_str(line).map(|line: Value| line["Events"].clone());
    let events = events.ok().and_then(|events| events.as_array().cloned());
    let events = events.unwrap_or_default();
    let keys = events
        .iter()
        .filter(|event| event["type"] == DELETED)
        .filter_map(|event| BASE64_STANDARD.decode(event["kv"]["key"].as_str()?).ok());
    keys.filter_map(|key| String::from_utf8(key).ok()).collect()
}

impl Drop for Deletions {
    fn drop(&mut self) {
        // It may have ended with etcd.
        let _ended = self.etcdctl.kill().and_then(|()| self.etcdctl.wait());
    }
}

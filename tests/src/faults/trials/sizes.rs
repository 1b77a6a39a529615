//! How large processes are, and what their gauges say.

use std::{fs, time::Duration};

use crate::{
    faults::{etcd, plan::Component, settings::METRICS_PORT, stage::Stage},
    process::{SandboxError, io_error},
};

/// For the answer of a metrics endpoint.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the processes take at a moment.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// From the beginning of the load.
    pub at: Duration,
    /// Resident memory in KiB and open handles, by process.
    pub processes: Vec<(Component, u64, usize)>,
    /// Size of etcd's database in bytes, and how much of it is in use, of the member with most.
    pub etcd: (u64, u64),
    /// Keys of Maestro in etcd.
    pub keys: u64,
}

impl Sizes {
    /// Reads them.
    ///
    /// # Errors
    /// Of a process that is gone, or etcd's.
    pub(super) fn read(stage: &Stage, at: Duration) -> Result<Self, SandboxError> {
        let processes = Component::ALL.into_iter().filter_map(|component| {
            let id = stage.site.process_id(component)?;
            Some(process(id).map(|(memory, handles)| (component, memory, handles)))
        });
        Ok(Self {
            at,
            processes: processes.collect::<Result<_, _>>()?,
            etcd: etcd::size(&stage.site.network)?,
            keys: etcd::count(&stage.site.network, crate::faults::journal::PREFIX)?,
        })
    }
}

/// Resident memory in KiB and open handles of a process.
fn process(id: u32) -> Result<(u64, usize), SandboxError> {
    let path = format!("/proc/{id}/status");
    let status = fs::read_to_string(&path).map_err(io_error(path))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = line
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let path = format!("/proc/{id}/fd");
    let handles = fs::read_dir(&path).map_err(io_error(path))?.count();
    Ok((memory, handles))
}

/// A gauge or counter of a component, its series added up.
///
/// # Errors
/// Where its metrics cannot be read or do not have it.
pub(super) fn metric(stage: &Stage, component: Component, name: &str) -> Result<f64, SandboxError> {
    let url = format!("http://{}:{METRICS_PORT}/metrics", component.address());
    let failed = |error: reqwest::Error| SandboxError::Command {
        command: format!("metrics of {component}"),
        said: error.to_string(),
    };
    let reading = stage.runtime.spawn(async move {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        client
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await
    });
    let text = stage
        .runtime
        .block_on(reading)
        .map_err(|error| SandboxError::Timeout(format!("metrics of {component}: {error}")))?
        .map_err(failed)?;
    let values: Vec<f64> = text
        .lines()
        .filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    if values.is_empty() {
        return Err(SandboxError::Timeout(format!("{name} of {component}")));
    }
    Ok(values.iter().sum())
}

//! How each component is started.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{etcd, plan::Component};
use crate::process::{SandboxError, binary, io_error};

/// The folder of the blobs, within that of the run.
pub(super) const BLOBS: &str = "blobs";
/// Where every service listens, at an address of its own.
const PORT: u16 = 7070;

/// Where every service tells its metrics.
pub(super) const METRICS_PORT: u16 = 9090;

/// A program and its arguments.
pub(super) struct Kept {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
}

/// Where a service is reached.
pub(super) fn url(component: Component) -> String {
    format!("http://{}:{PORT}", component.address())
}

/// The command of a component; its settings are written into `folder`.
///
/// # Errors
/// Where the settings cannot be written.
pub(super) fn command(component: Component, folder: &Path) -> Result<Kept, SandboxError> {
    if component.is_etcd() {
        return Ok(Kept {
            program: PathBuf::from("etcd"),
            arguments: etcd::arguments(component, &folder.join(component.to_string())),
        });
    }
    let path = folder.join(format!("{component}.yaml"));
    let text = settings(component, folder);
    fs::write(&path, text).map_err(io_error(path.display().to_string()))?;
    let program = match component {
        Component::Coordinator(_) => "maestro-coordinator",
        Component::Policy(_) => "maestro-policy-worker",
        Component::Runner(_) => "maestro-skill-runner",
        Component::Expert(_) | Component::Etcd(_) => "maestro-expert-worker",
    };
    Ok(Kept {
        program: binary(program)?,
        arguments: vec!["--config".to_owned(), path.display().to_string()],
    })
}

fn settings(component: Component, folder: &Path) -> String {
    let list = |urls: Vec<String>| {
        let quoted: Vec<String> = urls.iter().map(|url| format!("'{url}'")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let all = |wanted: fn(Component) -> bool| {
        list(Component::those(wanted).into_iter().map(url).collect())
    };
    let coordinators = all(Component::is_coordinator);
    let blobs = match component {
        Component::Coordinator(_) => {
            format!(
                "{{store: {{url: 'file://{}'}}}}",
                folder.join(BLOBS).display()
            )
        }
        _ => format!("{{remote: {{endpoints: {coordinators}}}}}"),
    };
    let service = match component {
        Component::Coordinator(_) => format!(
            "  policy_workers: {}\n  skill_runners: {}\n",
            all(|one| matches!(one, Component::Policy(_))),
            all(|one| matches!(one, Component::Runner(_))),
        ),
        Component::Expert(_) => "  adopt: [openai]\n".to_owned(),
        _ => String::new(),
    };
    format!(
        "log: {{filter: 'info'}}\nmetrics: '{}:{METRICS_PORT}'\netcd: {{endpoints: {}}}\nblobs: {blobs}\nservice:\n  \
         serve: {{listen: '{}:{PORT}'}}\n{service}",
        component.address(),
        list(etcd::endpoints()),
        component.address(),
    )
}

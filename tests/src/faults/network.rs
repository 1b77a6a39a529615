//! Network namespaces: one for each component and one for clients, which holds the bridge between
//! them. Nothing outside of them is reached or changed.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::plan::{Component, Direction};
use crate::process::{SandboxError, io_error};

/// Where clients and the model are.
pub(super) const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Of every sandbox's namespaces; the process id and a number follow.
const PREFIX: &str = "maestro-faults-";
const FOLDER: &str = "/run/netns";

/// The namespaces of one run. Dropping it removes them.
pub(super) struct Network {
    prefix: String,
}

/// Runs a program and waits for its end.
///
/// # Errors
/// Where it cannot be started or fails, with what it said.
pub(super) fn done(program: &str, arguments: &[&str]) -> Result<Output, SandboxError> {
    let what = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(io_error(what()))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(SandboxError::Command {
        command: what(),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

impl Network {
    /// Makes the namespaces, and removes those of runs that are gone.
    ///
    /// # Errors
    /// Where namespaces cannot be made: that needs root.
    pub(super) fn new() -> Result<Self, SandboxError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let network = Self {
            prefix: format!("{PREFIX}{}-{number}-", std::process::id()),
        };
        let clients = network.clients();
        done("ip", &["netns", "add", &clients])?;
        let address = format!("{CLIENTS}/24");
        network.ip(&["link", "add", "bridge", "type", "bridge"])?;
        network.ip(&["address", "add", &address, "dev", "bridge"])?;
        network.ip(&["link", "set", "bridge", "up"])?;
        network.ip(&["link", "set", "lo", "up"])?;
        for component in Component::ALL {
            network.join(component)?;
        }
        Ok(network)
    }

    fn join(&self, component: Component) -> Result<(), SandboxError> {
        let (name, port) = (self.name(component), port(component));
        done("ip", &["netns", "add", &name])?;
        self.ip(&[
            "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name,
        ])?;
        self.ip(&["link", "set", &port, "master", "bridge"])?;
        self.ip(&["link", "set", &port, "up"])?;
        let address = format!("{}/24", component.address());
        for arguments in [
            ["address", "add", &address, "dev", "eth0"].as_slice(),
            &["link", "set", "eth0", "up"],
            &["link", "set", "lo", "up"],
        ] {
            let mut all = vec!["-n", name.as_str()];
            all.extend(arguments);
            done("ip", &all)?;
        }
        Ok(())
    }

    fn clients(&self) -> String {
        format!("{}clients", self.prefix)
    }

    fn name(&self, component: Component) -> String {
        format!("{}{component}", self.prefix)
    }

    /// `ip` in the namespace of the clients.
    fn ip(&self, arguments: &[&str]) -> Result<(), SandboxError> {
        let clients = self.clients();
        let mut all = vec!["-n", clients.as_str()];
        all.extend(arguments);
        done("ip", &all).map(drop)
    }

    /// A command that runs in the namespace of a component; of the clients where none is named.
    pub(super) fn inside(&self, component: Option<Component>, program: &Path) -> Command {
        let name = component.map_or_else(|| self.clients(), |component| self.name(component));
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={FOLDER}/{name}"))
            .arg("--")
            .arg(program);
        command
    }

    /// What moves a thread among the clients.
    ///
    /// # Errors
    /// Where the namespace cannot be opened.
    pub(super) fn door(&self) -> Result<Door, SandboxError> {
        let path = Path::new(FOLDER).join(self.clients());
        let file = File::open(&path).map_err(io_error(path.display().to_string()))?;
        Ok(Door(file))
    }

    /// Sets a link up or down.
    ///
    /// # Errors
    /// `ip`'s.
    pub(super) fn set_link(&self, component: Component, is_up: bool) -> Result<(), SandboxError> {
        let state = if is_up { "up" } else { "down" };
        self.ip(&["link", "set", &port(component), state])
    }

    /// Limits a link to so many kilobits a second, each way; `None` lifts it.
    ///
    /// # Errors
    /// `tc`'s.
    pub(super) fn set_rate(
        &self,
        component: Component,
        kbit: Option<u32>,
    ) -> Result<(), SandboxError> {
        let rate = kbit.map(|kbit| format!("{kbit}kbit"));
        let (clients, name, port) = (self.clients(), self.name(component), port(component));
        for (namespace, device) in [(&clients, port.as_str()), (&name, "eth0")] {
            let mut all = vec!["-n", namespace.as_str(), "qdisc"];
            match &rate {
                Some(rate) => all.extend([
                    "replace", "dev", device, "root", "tbf", "rate", rate, "burst", "8kb",
                    "latency", "400ms",
                ]),
                None => all.extend(["del", "dev", device, "root"]),
            }
            done("tc", &all)?;
        }
        Ok(())
    }

    /// Drops this percentage of a component's packets, one way or both, until [`Self::let_pass`].
    ///
    /// # Errors
    /// `nft`'s.
    pub(super) fn drop_packets(
        &self,
        component: Component,
        direction: Option<Direction>,
        percent: u8,
    ) -> Result<(), SandboxError> {
        let mut rules = "add table inet faults\n".to_owned();
        let some = match percent {
            100.. => String::new(),
            percent => format!("numgen random mod 100 < {percent}"),
        };
        for (way, hook, device) in [
            (Direction::In, "input", "iifname"),
            (Direction::Out, "output", "oifname"),
        ] {
            if direction.is_none_or(|direction| direction == way) {
                rules.push_str(&format!(
                    "add chain inet faults {hook} {{ type filter hook {hook} priority 0; }}\n\
                     add rule inet faults {hook} {device} \"eth0\" {some} drop\n"
                ));
            }
        }
        self.nft(component, &rules)
    }

    /// Ends [`Self::drop_packets`].
    ///
    /// # Errors
    /// `nft`'s.
    pub(super) fn let_pass(&self, component: Component) -> Result<(), SandboxError> {
        self.nft(component, "delete table inet faults\n")
    }

    fn nft(&self, component: Component, rules: &str) -> Result<(), SandboxError> {
        let output = self
            .inside(Some(component), Path::new("nft"))
            .arg(rules)
            .output()
            .map_err(io_error("nft"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(SandboxError::Command {
            command: format!("nft {rules}"),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.prefix);
    }
}

/// The bridge's end of a component's cable. Names of devices have at most 15 characters.
fn port(component: Component) -> String {
    component.to_string()
}

/// Moves threads into the namespace of the clients.
pub(super) struct Door(File);

impl Door {
    /// From now on the calling thread's connections are made among the clients.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn enter(&self) -> Result<(), SandboxError> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| io_error("entering a namespace")(errno.into()))
    }
}

/// Removes what runs left behind whose process is gone.
fn sweep() {
    for name in namespaces() {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        let is_gone = owner.is_some_and(|id| !Path::new("/proc").join(id).exists());
        if is_gone {
            remove(&name);
        }
    }
}

fn namespaces() -> Vec<String> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = entries.map(|entry| PathBuf::from(entry.file_name()).display().to_string());
    names.filter(|name| name.starts_with(PREFIX)).collect()
}

/// Removes the namespaces whose names begin so, with the processes in them.
fn remove(prefix: &str) {
    for name in namespaces()
        .into_iter()
        .filter(|name| name.starts_with(prefix))
    {
        if let Ok(output) = done("ip", &["netns", "pids", &name]) {
            let own = std::process::id().to_string();
            for id in String::from_utf8_lossy(&output.stdout).split_whitespace() {
                if id != own {
                    // It may have ended in between.
                    let _gone = done("kill", &["-9", id]);
                }
            }
        }
        // Nothing can be done about one that stays; the next run tries again.
        let _removed = done("ip", &["netns", "delete", &name]);
    }
}

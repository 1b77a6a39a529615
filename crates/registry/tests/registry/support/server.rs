//! A real etcd on loopback.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// An `etcd` process with its data in a temporary directory. Killed with its handle.
pub(crate) struct EtcdServer {
    directory: TempDir,
    client_port: u16,
    peer_port: u16,
    arguments: Vec<String>,
    process: Child,
}

impl EtcdServer {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        for _ in 0..5 {
            let directory = TempDir::new().unwrap();
            let (client_port, peer_port) = free_ports();
            let mut process = spawn(directory.path(), client_port, peer_port, &arguments);
            if answers(client_port, &mut process) {
                return Self {
                    directory,
                    client_port,
                    peer_port,
                    arguments,
                    process,
                };
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("etcd does not start; is it installed?");
    }

    pub(crate) fn port(&self) -> u16 {
        self.client_port
    }

    /// Kills the process as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again on the same ports and data.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(
            self.directory.path(),
            self.client_port,
            self.peer_port,
            &self.arguments,
        );
        assert!(answers(self.client_port, &mut self.process));
    }

    /// Starts it again on the same ports with no data.
    pub(crate) fn restart_empty(&mut self) {
        self.directory = TempDir::new().unwrap();
        self.restart();
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_ports() -> (u16, u16) {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (one, two) = (listen(), listen());
    (
        one.local_addr().unwrap().port(),
        two.local_addr().unwrap().port(),
    )
}

fn spawn(directory: &Path, client_port: u16, peer_port: u16, arguments: &[String]) -> Child {
    let client = format!("http://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    Command::new("etcd")
        .args([
            "--name",
            "default",
            "--logger",
            "zap",
            "--log-level",
            "error",
        ])
        .arg("--data-dir")
        .arg(directory.join("etcd"))
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args(["--initial-cluster", &format!("default={peer}")])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd should be in PATH")
}

/// Waits until the port is open, which etcd opens once it has a leader.
fn answers(port: u16, process: &mut Child) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline && process.try_wait().unwrap().is_none() {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

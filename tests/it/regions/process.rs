//! One node: the real program in a process of its own, or a daemon of this process; with its config, its disk and its log in a folder of its own.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use portolan::daemon::{Daemon, Detours, Setup};
use tokio::{runtime::Runtime, task::JoinHandle};

use super::{
    ground::{Addresses, Ground},
    place::Place,
};
use crate::daemon::{eventually, start};

/// The program that is tested.
pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_portolan");

/// Lines of a log that a failing test shows.
const TAIL: usize = 60;

/// What is fixed about a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    /// Its name.
    pub(super) name: &'static str,
    /// Where it stands, as a position in [`super::REGION_NAMES`].
    pub(super) region: usize,
    /// The host part of its address.
    pub(super) host: u8,
    /// Whether it stands in the address book.
    pub(super) is_voter: bool,
}

/// What runs.
enum Running {
    Process(Child),
    /// On a runtime of its own; the daemon is gone from here while it stops.
    Here {
        daemon: Option<Box<Daemon>>,
        runtime: Runtime,
        stopping: Option<JoinHandle<()>>,
    },
}

/// A node, running or not. Dropping it kills it.
pub(super) struct Node {
    pub(super) named: Named,
    ground: Ground,
    addresses: Addresses,
    folder: PathBuf,
    running: Option<Running>,
}

impl Node {
    /// With its files in a folder that is made here: a node config with this text, and a plan.
    pub(super) fn new(ground: Ground, named: Named, addresses: Addresses, folder: PathBuf, config: &str, plan: &str) -> Self {
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("node.yaml"), config).unwrap();
        let node = Self { named, ground, addresses, folder, running: None };
        node.write_plan(plan);
        node
    }

    /// Replaces its plan file as people's tools do: written beside, then renamed.
    pub(super) fn write_plan(&self, plan: &str) {
        let beside = self.folder.join("plan.new");
        std::fs::write(&beside, plan).unwrap();
        std::fs::rename(beside, self.folder.join("plan.yaml")).unwrap();
    }

    pub(super) const fn dns(&self) -> SocketAddr {
        self.addresses.dns
    }

    pub(super) const fn http(&self) -> SocketAddr {
        self.addresses.http
    }

    pub(super) const fn control(&self) -> SocketAddr {
        self.addresses.control
    }

    /// The break-glass socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn config(&self) -> PathBuf {
        self.folder.join("node.yaml")
    }

    /// Starts it in its region, where `detours` lead to the others.
    pub(super) async fn start(&mut self, place: &Place, detours: Detours) {
        assert!(self.running.is_none(), "{} runs", self.named.name);
        self.running = Some(match self.ground {
            Ground::Namespaces => self.start_process(place).await,
            Ground::Loopback => self.start_here(detours).await,
        });
    }

    async fn start_process(&self, place: &Place) -> Running {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg("--config").arg(self.config());
        command.env_clear().stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // A child stands in the namespace of the thread that starts it.
        Running::Process(place.run(async move { command.spawn() }).await.unwrap())
    }

    async fn start_here(&self, detours: Detours) -> Running {
        let mut setup = Setup::load(&self.config()).unwrap();
        setup.cluster.as_mut().expect("it has peers").detours = detours;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let daemon = runtime.spawn(start(setup)).await.unwrap();
        Running::Here { daemon: Some(Box::new(daemon)), runtime, stopping: None }
    }

    /// As a machine that loses power: nothing is said, nothing is written.
    pub(super) fn kill(&mut self) {
        match self.running.take().expect("it runs") {
            Running::Process(mut child) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            // A runtime is not thrown away on another one's thread. Its tasks end before its daemon could stop in order.
            Running::Here { daemon, runtime, .. } => drop(thread::spawn(move || (drop(runtime), drop(daemon))).join()),
        }
    }

    /// Asks it to stop.
    pub(super) fn ask_to_stop(&mut self) {
        match self.running.as_mut().expect("it runs") {
            Running::Process(child) => {
                rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM).unwrap();
            }
            Running::Here { daemon, runtime, stopping } => {
                *stopping = daemon.take().map(|daemon| runtime.spawn(daemon.stop()));
            }
        }
    }

    /// Waits until it has stopped, and says whether it did in order.
    pub(super) async fn stopped(&mut self) -> bool {
        match self.running.as_mut().expect("it runs") {
            Running::Process(child) => {
                let ended = || {
                    let status = child.try_wait().unwrap();
                    async move { status }
                };
                let status = eventually(&format!("{} stops", self.named.name), ended, Option::is_some).await.unwrap();
                self.running = None;
                status.success()
            }
            Running::Here { stopping, .. } => {
                let in_order = stopping.take().expect("it was asked to").await.is_ok();
                self.kill();
                in_order
            }
        }
    }

    /// As if the disk had been replaced.
    pub(super) fn empty_disk(&self) {
        std::fs::remove_dir_all(self.folder.join("state")).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The last lines of its log, for a failing test. Daemons of this process have none.
    pub(super) fn tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("--- log of {}\n{}\n", self.named.name, lines[lines.len().saturating_sub(TAIL)..].join("\n"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
    }
}

/// Runs a verb of the program that talks to nobody.
pub(super) fn offline(folder: &Path, arguments: &[&str]) {
    let output = Command::new(PROGRAM).args(arguments).current_dir(folder).env_clear().output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

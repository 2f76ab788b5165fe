//! One node: the real program as a process of its own, with its config, its disk and its log in a folder of its own.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use super::place::{Place, host};
use crate::daemon::eventually;

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

/// A node, running or not. Dropping it kills it.
pub(super) struct Node {
    pub(super) named: Named,
    folder: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// With its files in a folder that is made here: a node config with this text, and a plan.
    pub(super) fn new(named: Named, folder: PathBuf, config: &str, plan: &str) -> Self {
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("node.yaml"), config).unwrap();
        let node = Self { named, folder, child: None };
        node.write_plan(plan);
        node
    }

    /// Replaces its plan file as people's tools do: written beside, then renamed.
    pub(super) fn write_plan(&self, plan: &str) {
        let beside = self.folder.join("plan.new");
        std::fs::write(&beside, plan).unwrap();
        std::fs::rename(beside, self.folder.join("plan.yaml")).unwrap();
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        host(self.named.region, self.named.host)
    }

    pub(super) fn dns(&self) -> SocketAddr {
        (self.address(), 53).into()
    }

    pub(super) fn http(&self) -> SocketAddr {
        (self.address(), 8080).into()
    }

    pub(super) fn control(&self) -> SocketAddr {
        (self.address(), 8443).into()
    }

    /// The break-glass socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    pub(super) const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts the process in its region.
    pub(super) async fn start(&mut self, place: &Place) {
        assert!(self.child.is_none(), "{} runs", self.named.name);
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg("--config").arg(self.folder.join("node.yaml"));
        command.env_clear().stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // A child stands in the namespace of the thread that starts it.
        self.child = Some(place.run(async move { command.spawn() }).await.unwrap());
    }

    /// As a machine that loses power: nothing is said, nothing is written.
    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to stop.
    pub(super) fn ask_to_stop(&self) {
        let child = self.child.as_ref().expect("it runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM).unwrap();
    }

    /// Waits until it has stopped.
    pub(super) async fn stopped(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("it runs");
        let ended = || {
            let status = child.try_wait().unwrap();
            async move { status }
        };
        let status = eventually(&format!("{} stops", self.named.name), ended, Option::is_some).await.unwrap();
        self.child = None;
        status
    }

    /// As if the disk had been replaced.
    pub(super) fn empty_disk(&self) {
        std::fs::remove_dir_all(self.folder.join("state")).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The last lines of its log, for a failing test.
    pub(super) fn tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("--- log of {}\n{}\n", self.named.name, lines[lines.len().saturating_sub(TAIL)..].join("\n"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// Runs a verb of the program that talks to nobody.
pub(super) fn offline(folder: &Path, arguments: &[&str]) {
    let output = Command::new(PROGRAM).args(arguments).current_dir(folder).env_clear().output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

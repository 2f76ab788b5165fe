//! What stands beside a database costs: the agent of a primary and its supervisor, each a process of its own, as they are shipped.
//!
//! `cargo bench -- agent [--seconds 30]`. One node, one group of three members, each a fake with its agent and supervisor; the lease is the plan's
//! default. Measured is the primary's agent, which renews a lease, looks at its database and tells of it every second.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::unistd::{User, geteuid};
use portolan::{
    daemon::{Daemon, Setup},
    engine::fake,
};
use portolan_core::model::{ids::Label, time::Tick};
use tokio::time::sleep;

use super::{
    daemon,
    fleet::{entry, free, until},
    process,
};

const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-1"];

/// After the group is adopted, until everything has its rhythm.
const WARM_UP: Duration = Duration::from_secs(10);

pub(crate) fn run() {
    let seconds = process::option("--seconds", 30);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(Duration::from_secs(seconds)));
}

/// Since boot.
pub(crate) fn clock() -> Tick {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
    Tick(u64::try_from(now.tv_sec()).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec()).unwrap() / 1000)
}

/// Tells what is resident of a process, and what of that is its own, in MiB.
pub(crate) fn tell_memory(name: &str, pid: u32) {
    for (kind, kib) in [("resident", process::resident_kib(pid)), ("own", process::own_kib(pid))] {
        println!("figure {name}_{kind}_mib {:.1}", f64::from(u32::try_from(kib).unwrap()) / 1024.0);
    }
}

/// A process that ends with this.
struct Beside(Child);

impl Beside {
    fn start(verb: &str, config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command.arg(verb).arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn measure(time: Duration) {
    let folder = tempfile::tempdir().unwrap();
    // A database is not root's, and its user passes through.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let owner = if geteuid().is_root() { User::from_name("postgres") } else { User::from_uid(geteuid()) };
    let owner = owner.unwrap().expect("somebody whom the databases may belong to: make setup");
    let ids = geteuid().is_root().then(|| (owner.uid.as_raw(), owner.gid.as_raw()));
    let (peer, addresses) = (free(), REGIONS.map(|_| free()));
    let plan = daemon::write(folder.path(), &plan(&addresses));
    let setup = Setup {
        data_dir: Some(folder.path().join("node")),
        cluster: Some(daemon::voter(peer, vec![entry("bench", REGIONS[0], peer)], Default::default())),
        ..daemon::setup(plan)
    };
    let node = Daemon::start(setup).await.unwrap();
    let mut beside = Vec::new();
    for (at, (region, address)) in REGIONS.iter().zip(addresses).enumerate() {
        let directory = folder.path().join(region);
        let data = directory.join("data");
        std::fs::create_dir_all(&data).unwrap();
        if let Some((uid, gid)) = ids {
            [&directory, &data].into_iter().for_each(|path| chown(path, Some(uid), Some(gid)).unwrap());
        }
        fake::create(&data, 7, at > 0, ids).unwrap();
        let here = directory.display();
        let config = format!(
            "version: 1\nagent: a{at}\nvoters: [{{ node: bench, address: \"{peer}\" }}]\ndata_dir: {here}/agent\nsecrets_dir: {here}\n\
             socket: {here}/sock\nuser: {}\nfake: {{ directory: {here}/data, listen: \"{address}\" }}\n",
            owner.name
        );
        let path = directory.join("agent.yaml");
        std::fs::write(&path, config).unwrap();
        let supervisor = Beside::start("supervise", &path);
        let socket = directory.join("sock");
        until("the supervisor listens", async || std::os::unix::net::UnixStream::connect(&socket).is_ok()).await;
        beside.push((supervisor, Beside::start("agent", &path)));
    }
    let is_served = async || {
        let state = node.agreed();
        state.group(&Label::new("orders")).is_some_and(|group| group.in_force().is_some_and(|grant| grant.is_attested))
    };
    until("the primary has its lease", is_served).await;
    sleep(WARM_UP).await;
    let (supervisor, agent) = (beside[0].0.0.id(), beside[0].1.0.id());
    // The database lives below its supervisor, and is not what is measured.
    let before = (process::cpu_alone(agent), process::cpu_alone(supervisor));
    sleep(time).await;
    let percent = |now: Duration, before: Duration| 100.0 * (now - before).as_secs_f64() / time.as_secs_f64();
    println!("figure agent_core_percent {:.2}", percent(process::cpu_alone(agent), before.0));
    tell_memory("agent", agent);
    println!("figure supervisor_core_percent {:.2}", percent(process::cpu_alone(supervisor), before.1));
    tell_memory("supervisor", supervisor);
    assert!(is_served().await, "it still has its lease");
    drop(beside);
    node.stop().await;
}

fn plan(addresses: &[SocketAddr]) -> String {
    let mut text = String::from(
        "version: 1\nrevision: 1\nname: bench\nregions: { us-east-1: {}, eu-west-1: {}, ap-southeast-1: {} }\ndata_groups:\n  orders:\n    \
         engine: fake\n    primary: us-east-1\n    fence: [{ agent: stop }, { lease: expire }]\n    members:\n",
    );
    for (at, (region, address)) in REGIONS.iter().zip(addresses).enumerate() {
        writeln!(text, "      {region}: {{ address: \"{address}\", agent: a{at} }}").unwrap();
    }
    text
}

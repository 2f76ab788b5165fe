//! The whole daemon against real sockets: DNS in front, probed servers behind, gRPC and HTTP beside it.
//!
//! Regions are small HTTP servers on loopback addresses of their own ([`site`]); what is answered for them are documentation addresses.
//! Clients are sockets on other loopback addresses, or client subnets. Nothing sleeps until something should have happened: a test asks
//! until it has ([`eventually`]), and fails after a generous limit.

mod apart;
pub(crate) mod ask;
mod automatic;
mod backups;
mod bootstrap;
mod boundaries;
mod checks;
mod clocks;
mod cluster;
mod control_loss;
mod dig;
mod drills;
mod evacuation;
mod failure;
mod groups;
mod history;
mod hooks;
mod load;
mod marks;
pub(crate) mod plan;
mod rejoin;
mod reload;
mod resolver;
mod restart;
mod returns;
mod roles;
mod seed;
mod setback;
pub(crate) mod site;
mod traffic;
mod validation;
mod weights;

use std::{
    fmt::Debug,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use portolan::{
    client::{Client, ClientNetwork, Target},
    daemon::{Clock, Daemon, Listen, Setup},
    telemetry::Readiness,
};
use portolan_core::node::report::Status;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use ask::{PATIENCE, Question, Reply};
use clocks::Wound;
use plan::{API, Plan, ZONE};
use site::Site;

/// How long something may take that takes a few seconds at most on an idle machine. Nothing is shown by it but that a test waits in vain.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Between two looks at something that is about to happen.
const LOOK: Duration = Duration::from_millis(20);

/// A daemon with its files.
struct Bed {
    daemon: Daemon,
    files: Files,
}

/// What a daemon is started with; outlives it, so that another can follow.
struct Files {
    directory: TempDir,
    setup: Setup,
    /// The wall clock of its machine, where a test steps that; `None`: the system's.
    wall: Option<Arc<Wound>>,
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// What probes of databases ask for, by the name of `database`.
fn secrets(directory: &Path) -> PathBuf {
    let secrets = directory.join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("database"), "user=postgres sslmode=disable").unwrap();
    secrets
}

impl Files {
    /// A plan on disk, every listener on a free port, no state.
    fn new(plan: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Apart from the state, whose writes would wake the watch on the plan.
        std::fs::create_dir(directory.path().join("config")).unwrap();
        std::fs::create_dir(directory.path().join("hooks")).unwrap();
        let file = directory.path().join("config/plan.yaml");
        std::fs::write(&file, plan).unwrap();
        let setup = Setup {
            node: "use1-a".to_owned(),
            region: plan::US.to_owned(),
            data_dir: None,
            plan: file,
            listen: Listen { dns: vec![loopback()], control: Some(loopback()), http: Some(loopback()), socket: None },
            tls: None,
            auth: Default::default(),
            geo_database: None,
            secrets_dir: Some(secrets(directory.path())),
            hooks_dir: Some(directory.path().join("hooks")),
            latency_table: None,
            stale_limit: Duration::from_secs(3600),
            allowed_targets: Vec::new(),
            cluster: None,
        };
        Self { directory, setup, wall: None }
    }

    /// With a directory for state.
    fn with_state(mut self) -> Self {
        self.setup.data_dir = Some(self.directory.path().join("state"));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("config").join(name)
    }

    /// Replaces a file as people's tools do: written beside, then renamed.
    fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        let beside = self.directory.path().join("new");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, self.path(name)).unwrap();
    }

    async fn start(self) -> Bed {
        let clock = || self.wall.clone().map_or_else(Clock::start, |wall| Clock::by(wall));
        Bed { daemon: start_by(clock, self.setup.clone()).await, files: self }
    }
}

/// Starts a daemon, also where one was stopped, which lets go of its disk when its last task is gone.
pub(crate) async fn start(setup: Setup) -> Daemon {
    start_by(Clock::start, setup).await
}

async fn start_by(clock: impl Fn() -> Clock, setup: Setup) -> Daemon {
    let start = || async { Daemon::start_by(clock(), setup.clone()).await.map_err(|error| format!("{error:#}")) };
    let is_free = |started: &Result<Daemon, String>| !started.as_ref().is_err_and(|error| error.contains("another process has it open"));
    let started = eventually("the daemon starts", start, is_free).await;
    started.unwrap_or_else(|error| panic!("{error}"))
}

impl Bed {
    /// A daemon with this plan, as soon as it answers.
    async fn start(plan: &Plan) -> Self {
        let bed = Files::new(&plan.text(1)).start().await;
        bed.ready().await;
        bed
    }

    fn dns(&self) -> SocketAddr {
        self.daemon.dns()[0]
    }

    /// Waits for the first round of probes.
    async fn ready(&self) {
        eventually("the daemon is ready", || self.get("/readyz"), |(status, _)| *status == 200).await;
    }

    async fn ask(&self, question: Question) -> Reply {
        question.ask(self.dns()).await
    }

    /// The address that the client with this address is given for the service `api`.
    async fn api(&self, client: impl Into<IpAddr>) -> String {
        self.ask(Question::a(API).from(client)).await.one().to_owned()
    }

    /// The status and body of a page of the `http` listener.
    async fn get(&self, path: &str) -> (u16, String) {
        page(self.daemon.http().unwrap(), path).await.unwrap_or_else(|error| panic!("no answer from {path}: {error}"))
    }

    /// A client of the control API.
    async fn client(&self) -> Client {
        let addresses = vec![self.daemon.control().unwrap().to_string()];
        Client::connect(&Target { addresses, tls: None, ca_file: None, token: None }).await.unwrap()
    }

    async fn status(&self) -> Status {
        self.client().await.status(true).await.unwrap()
    }

    /// The texts of notices about refused files.
    async fn refusals(&self) -> Vec<String> {
        let notices = self.status().await.notices;
        notices.into_iter().filter(|notice| notice.kind.ends_with("_rejected")).map(|notice| notice.text).collect()
    }

    /// The reasons for an object's state as text.
    async fn why(&self, object: &str) -> String {
        self.client().await.why(object, None).await.unwrap().reason.render()
    }

    /// The reasons for an answer as text.
    async fn preview(&self, name: &str, client: &str) -> String {
        let network: ClientNetwork = client.parse().unwrap();
        let preview = self.client().await.preview(&name.parse().unwrap(), "A".parse().unwrap(), Some(network), None, None).await;
        preview.unwrap().reason.render()
    }

    /// The revision of the plan that answers come from.
    async fn revision(&self) -> String {
        self.ask(Question::a(&format!("revision.{ZONE}")).of_type("TXT")).await.one().to_owned()
    }

    /// Stops in order, and gives the files for another start.
    async fn stop(self) -> Files {
        let pictures = self.daemon.pictures().clone();
        self.daemon.stop().await;
        assert_eq!(pictures.readiness(), Readiness::NotReady("stopping".to_owned()));
        self.files
    }
}

/// Three regions that are probed, with their servers in the plan's order.
async fn three_sites() -> (Plan, Vec<Site>) {
    let sites = vec![Site::healthy().await, Site::healthy().await, Site::healthy().await];
    (Plan::three_regions().probed_at(sites.iter().map(|site| site.address)), sites)
}

/// The status and body of a page.
pub(crate) async fn page(server: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let work = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok::<_, std::io::Error>((status, body.to_owned()))
    };
    timeout(PATIENCE, work).await.map_err(|_| std::io::ErrorKind::TimedOut)?
}

/// Looks again and again until it holds; gives what was seen, and when it was not in time the panic says what was seen last.
pub(crate) async fn eventually<T: Debug, F: Future<Output = T>>(what: &str, look: impl FnMut() -> F, holds: impl Fn(&T) -> bool) -> T {
    within(LIMIT, what, look, holds).await.0
}

/// Looks again and again until there is something.
pub(crate) async fn given<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        pause().await;
    }
}

/// Between two looks.
async fn pause() {
    sleep(LOOK).await;
}

/// Like [`eventually`], with a limit; gives how long it took too.
pub(crate) async fn within<T: Debug, F: Future<Output = T>>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
    holds: impl Fn(&T) -> bool,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        let seen = look().await;
        if holds(&seen) {
            return (seen, start.elapsed());
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}; the last was {seen:?}");
        pause().await;
    }
}

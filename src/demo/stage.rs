//! Sets everything up, in order: sites, plan, daemon, a client of its API, clients of its answers; and takes it down again.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use portolan_core::node::report::Status;

use super::{
    clients::{Clients, Map},
    plan::{self, PLACES, Place},
    scratch::Scratch,
    site::Site,
};
use crate::{
    cli::{self, Actions, Env, Exit, Failure, Terminal},
    client::{Client, Target},
    daemon::{Clock, Daemon, Listen, Setup},
    telemetry::Readiness,
};

/// The node's name.
const NODE: &str = "demo";
/// The daemon belongs to none of the regions: it sees all of them from outside.
const NODE_REGION: &str = "outside";
/// Until answers are ready: the first round is spread over one interval, and the slowest probe lasts its timeout.
const READY_MAX: Duration = Duration::from_secs(20);
/// How often something is looked at that is waited for.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// A table from disk plays no part here.
const STALE_LIMIT: Duration = Duration::from_secs(3600);

/// Everything that runs.
pub(super) struct Stage {
    pub(super) sites: Vec<Site>,
    pub(super) clients: Clients,
    pub(super) client: Client,
    pub(super) clock: Arc<Clock>,
    /// From the daemon's start until it had judged every endpoint.
    pub(super) ready_after: Duration,
    /// Where DNS is answered.
    pub(super) dns: SocketAddr,
    /// Where the control API listens.
    pub(super) control: SocketAddr,
    /// Where health and metrics are.
    pub(super) http: SocketAddr,
    /// The plan's file.
    pub(super) plan: PathBuf,
    daemon: Daemon,
    /// Removed when dropped, so after everything else.
    _scratch: Scratch,
}

impl Stage {
    /// Starts `n` regions and a daemon that answers for them.
    pub(super) async fn start(n: usize, env: &Env) -> Result<Self, Failure> {
        let clock = Arc::new(Clock::start());
        let sites = Site::open(&PLACES[..n]).await.map_err(|error| {
            failed("start the regions", &format!("{error}; every address of 127.0.0.0/8 must be this machine's, as on Linux"))
        })?;
        let parent = env.get("TMPDIR").filter(|path| !path.is_empty()).map_or_else(|| Path::new("/tmp"), Path::new);
        let scratch = Scratch::create(parent, clock.entropy()).map_err(|error| failed("make a directory for the plan", &error))?;
        let path = scratch.path().join("plan.yaml");
        let regions: Vec<(&'static Place, Vec<SocketAddr>)> = sites.iter().map(|site| (site.place, site.addresses())).collect();
        fs::write(&path, plan::text(&regions)).map_err(|error| failed("write the plan", &error))?;

        let begun = clock.tick();
        let daemon = Daemon::start(setup(&scratch, &path)).await.map_err(|error| failed("start the daemon", &format!("{error:#}")))?;
        ready(&daemon, &clock).await?;
        let ready_after = clock.tick().since(begun);
        let listeners = (daemon.dns().first().copied(), daemon.control(), daemon.http());
        let (Some(dns), Some(control), Some(http)) = listeners else {
            return Err(failed("start the daemon", &"it does not listen where it was told to"));
        };
        let client = Client::connect(&Target::of_listener(control, None)).await?;
        let map = Map::new(&sites);
        let clients = Clients::start(dns, map, clock.clone()).await.map_err(|error| failed("start the clients", &error))?;
        Ok(Self { sites, clients, client, clock, ready_after, dns, control, http, plan: path, daemon, _scratch: scratch })
    }

    /// How things stand, over the API, with every endpoint.
    pub(super) async fn status(&self) -> Result<Status, super::Stop> {
        Ok(self.client.status(true).await?)
    }

    /// What a verb prints for a person at another terminal. `arguments` without the program's name and the address.
    pub(super) async fn verb(&self, arguments: &[&str]) -> Result<String, Failure> {
        let address = self.control.to_string();
        let arguments: Vec<String> =
            ["portolan"].into_iter().chain(arguments.iter().copied()).chain(["--address", &address]).map(str::to_owned).collect();
        // On a thread that may block: a verb brings a runtime of its own.
        let printed = tokio::task::spawn_blocking(move || {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false, colour: false };
            let exit = cli::run(arguments.into_iter().map(Into::into), &Env::new(), &mut terminal, &ClientOnly);
            (exit, String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
        });
        match printed.await {
            Ok((Exit::Ok | Exit::Degraded, out, _)) => Ok(out),
            Ok((_, _, err)) => Err(Failure::new(Exit::Error, format!("demo: {}", err.trim_end()))),
            Err(error) => Err(failed("run a verb", &error)),
        }
    }

    /// Takes everything down, in order.
    pub(super) async fn stop(self) -> io::Result<()> {
        let Self { clients, client, daemon, sites, .. } = self;
        let asked = clients.stop().await;
        drop(client);
        daemon.stop().await;
        drop(sites);
        asked
    }
}

/// The verbs that need nothing but a daemon.
struct ClientOnly;

impl Actions for ClientOnly {}

fn setup(scratch: &Scratch, plan: &Path) -> Setup {
    Setup {
        node: NODE.to_owned(),
        region: NODE_REGION.to_owned(),
        data_dir: Some(scratch.path().join("data")),
        plan: plan.to_owned(),
        listen: Listen { dns: vec![free_port()], control: Some(free_port()), http: Some(free_port()), socket: None },
        tls: None,
        auth: Default::default(),
        geo_database: None,
        latency_table: None,
        stale_limit: STALE_LIMIT,
        allowed_targets: Vec::new(),
        cluster: None,
    }
}

fn free_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

async fn ready(daemon: &Daemon, clock: &Clock) -> Result<(), Failure> {
    let deadline = clock.tick() + READY_MAX;
    loop {
        match daemon.pictures().readiness() {
            Readiness::Ready => return Ok(()),
            Readiness::NotReady(reason) if clock.tick() > deadline => return Err(failed("wait for the daemon", &reason)),
            Readiness::NotReady(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

fn failed(attempt: &str, cause: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, format!("demo: {attempt}: {cause}"))
}

//! The composition root: the only place that knows every part.
//!
//! ```text
//!  files --reload--> Event --.                                  .--> answers (an atomic pointer) <-- DNS sockets
//!  probe results ---> Event --+--> control: the one task that --+--> probe orders
//!  heartbeats ------> Event --'    owns the core's Node         +--> log, metrics, state on disk
//!                                                               '--> picture: a copy of the node, for status and why
//! ```
//!
//! One task owns the node; nothing else changes it, so there is no lock. Queries read the last published table and wait for nothing.

mod actions;
mod agreement;
mod answers;
mod authority;
mod backups;
pub mod beside;
mod clock;
mod cluster;
mod control;
mod history;
mod limits;
mod peering;
mod picture;
mod prober;
mod readings;
mod references;
mod reload;
mod roles;
mod secret;
mod seen;
mod serve;
mod setup;
mod source;
mod store;
mod world;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    api::{ApiOptions, ApiServer, event_log::EventLog},
    dns::{DnsOptions, DnsServer},
    latest::Latest,
    mesh::Far,
    probe::{ProbeEnv, scheduler::Prober},
    telemetry::{HttpServer, Metrics, Probes},
};
use answers::Answers;
use authority::Authority;
use backups::Backups;
use cluster::Cluster;
use control::{Control, Inputs, Outlets};
use portolan_core::{
    cluster::{Entry, Outcome, State},
    health::vantage::{PROBERS_PER_REGION, UNPROVEN_HOLD},
    model::ids::Label,
    node::{Node, Peers, Settings},
    plan::Plan,
};
use readings::DaemonReadings;
use source::DaemonSource;

pub use crate::net::detour::Detours;
pub use actions::Program;
pub use clock::Clock;
pub use history::fuzz_history;
pub use picture::Pictures;
use prober::ProbeThreads;
pub use serve::serve;
pub use setup::{Clustering, Listen, ListenError, PeerEntry, Setup};
pub use world::{LoadedWorld, WorldError, load_world};

/// Orders to probes and results from them that may wait: a second's worth at the largest plan that is measured.
const PROBE_QUEUE: usize = 4096;

/// Commands that may wait for the control task; what does not fit is refused to the asker.
const COMMAND_QUEUE: usize = 256;

/// How long a stop waits for what is under way.
const STOP_MAX: Duration = Duration::from_secs(5);

/// A running daemon. Dropping it stops it without ceremony, and without waiting; [`Daemon::stop`] does it in order.
pub struct Daemon {
    dns: Arc<DnsServer>,
    control: Option<ApiServer>,
    http: Option<HttpServer>,
    pictures: Pictures,
    cluster: Cluster,
    _cluster_guard: DropGuard,
    _introduction: watch::Sender<Far>,
    prober: Prober,
    _probe_threads: ProbeThreads,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("node", &self.cluster.me().node).finish_non_exhaustive()
    }
}

impl Daemon {
    /// Starts everything that `setup` asks for: files are read and checked first, then ports are bound, then probes begin.
    ///
    /// # Errors
    /// What is wrong with a file, or which port cannot be had. Nothing runs then.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        Self::start_by(Clock::start(), setup).await
    }

    /// The same by a clock of the caller's.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_by(clock: Clock, setup: Setup) -> anyhow::Result<Self> {
        setup.listen.check(setup.tls.is_some())?;
        if let Some(directory) = &setup.data_dir {
            store::make(directory)?;
        }
        let clock = Arc::new(clock);
        let (store, left) = store::Store::open(setup.data_dir.as_deref()).context("open the data directory")?;
        let start = world::load_or_fall_back(&setup, left.plan.as_ref()).await?;
        let settings = Settings {
            node: Label::new(&setup.node),
            region: Label::new(&setup.region),
            stale_limit: setup.stale_limit,
            seed: portolan_core::steering::rendezvous::salt(&setup.node),
        };
        let detours = setup.cluster.as_ref().map(|it| it.detours.clone()).unwrap_or_default();
        let secrets_dir = setup.secrets_dir.clone();
        let secrets = move |name: &str| {
            let directory = secrets_dir.as_ref().ok_or_else(|| format!("secret `{name}`: this node has no secrets_dir"))?;
            secret::read(directory, name).map_err(|error| format!("{error:#}"))
        };
        let probes = ProbeEnv::new(clock.clone()).by(detours.clone()).with_secrets(Arc::new(secrets));
        let (cluster, wires) = Cluster::start(&setup, &clock, probes.clone()).await?;
        let mut node = Node::new(settings, start.loaded.world.clone(), start.loaded.digest.clone(), left.node, clock.now());
        let seen = seen::SeenStore::new(setup.data_dir.as_deref());
        node.remember(seen.read(cluster.cluster_id().as_deref()));
        let saved_orders = node.overrides();
        node.join(peers(&setup, &start.loaded.plan, cluster.incarnation(), 0), clock.now());

        let answers = Arc::new(Answers::new(clock.clone()));
        let options = DnsOptions {
            nsid: Some(setup.node.clone().into_bytes()),
            chaos_id: Some(setup.node.clone()),
            seed: clock.entropy(),
            ..DnsOptions::default()
        };
        let dns = Arc::new(DnsServer::start(&setup.listen.dns, answers.clone(), options)?);
        let stop = CancellationToken::new();
        limits::raise_descriptor_limit();
        let probe_threads = ProbeThreads::start().context("start threads for probes")?;
        let (prober, orders, results) = Prober::start(probe_threads.handle(), probes, PROBE_QUEUE);
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let (pictures, painter) = picture::pair(clock.clone(), answers.clone(), commands.clone());
        let (plans, plan_in_force) = watch::channel(start.loaded.plan.clone());
        let backups = Backups::start(&setup, plan_in_force, clock.clone(), stop.clone());
        let readings = DaemonReadings::new(dns.clone(), pictures.clone(), cluster.clone(), clock.clone(), backups.clone());
        let metrics = Arc::new(Metrics::new(Arc::new(readings))?);

        let cluster::Wires { introduction, events: links, stated } = wires;
        let inputs = Inputs { commands: command_queue, results, orders, links, stated, stop: stop.clone() };
        let start_ms = u64::try_from(clock.now().wall.0).unwrap_or(0);
        let events = Arc::new(EventLog::new(&setup.node, start_ms));
        let (history, scribe) = history::open(&setup, &clock, &commands)?;
        let outlets = Outlets { answers, painter, store, seen, scribe, metrics: metrics.clone(), events: events.clone() };
        let control = Control::new(node, clock.clone(), outlets, start.loaded.origin(), cluster.clone());
        let task = probe_threads.handle().spawn(control.run(inputs, start.notices));
        let (references, of_plan) = watch::channel(Vec::new());
        reload::watch(&setup, commands.clone(), start.loaded, cluster.clone(), (references, plans), stop.clone())?;
        tokio::spawn(agreement::follow(cluster.clone(), clock.clone(), saved_orders, commands.clone(), stop.clone()));
        if cluster.me().has_peers {
            let others = cluster.me().book.iter().filter(|entry| entry.node != cluster.me().node);
            let others = others.map(|entry| entry.address.clone()).collect();
            tokio::spawn(references::watch(others, of_plan, detours, commands.clone(), stop.clone()));
        }

        let source = Arc::new(DaemonSource::new(pictures.clone(), commands, history));
        let control = match setup.listen.control {
            Some(address) => {
                let authority = Authority {
                    cluster: cluster.clone(),
                    pictures: pictures.clone(),
                    clock: clock.clone(),
                    backups,
                    events,
                    allowed_targets: setup.allowed_targets.clone(),
                    plan_file: setup.plan.clone(),
                };
                let options = ApiOptions {
                    listen: address,
                    tls: setup.tls.clone(),
                    socket: setup.listen.socket.clone(),
                    auth: setup.auth.clone(),
                    clock: clock.clone(),
                };
                Some(ApiServer::start_with(options, source, Arc::new(authority)).await?)
            }
            None => None,
        };
        let http = match setup.listen.http {
            Some(address) => {
                let (live, ready, started) = (pictures.clone(), pictures.clone(), pictures.clone());
                let probes = Probes {
                    live: Box::new(move || live.is_live()),
                    ready: Box::new(move || ready.readiness()),
                    started: Box::new(move || started.startup()),
                };
                Some(HttpServer::start(address, probes, metrics).await?)
            }
            None => None,
        };
        Ok(Self {
            dns,
            control,
            http,
            pictures,
            _cluster_guard: cluster.guard(),
            cluster,
            _introduction: introduction,
            prober,
            _probe_threads: probe_threads,
            stop: stop.drop_guard(),
            task,
        })
    }

    /// Where DNS is answered, over UDP and TCP.
    #[must_use]
    pub fn dns(&self) -> &[SocketAddr] {
        self.dns.addresses()
    }

    /// Where the control API listens; `None`: nowhere.
    #[must_use]
    pub fn control(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(ApiServer::address)
    }

    /// Where health and metrics of this process are; `None`: nowhere.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::address)
    }

    /// Status and reasons, for a caller in the same process.
    #[must_use]
    pub fn pictures(&self) -> &Pictures {
        &self.pictures
    }

    /// What the cluster agreed on, as this node knows.
    #[must_use]
    pub fn agreed(&self) -> Arc<State> {
        self.cluster.truth().latest().state
    }

    /// Where peers reach it; `None`: it has no peers.
    #[must_use]
    pub fn peer_address(&self) -> Option<&str> {
        self.cluster.mesh().map(|_| self.cluster.me().address.as_str())
    }

    /// Commits a command, wherever the leader is, for a caller in the same process. Within 8 s it is committed or the error says whether it may
    /// still be.
    ///
    /// # Errors
    /// A sentence.
    pub async fn propose(&self, entry: Entry) -> anyhow::Result<Outcome> {
        Ok(self.cluster.propose(entry).await?.outcome)
    }

    /// Stops in order: no new work, then the state to disk, then the sockets.
    pub async fn stop(self) {
        self.pictures.stop();
        drop(self.stop);
        if let Some(control) = self.control {
            control.set_serving(false).await;
            control.shutdown().await;
        }
        // The control task writes the state before it ends; a panic in it has been reported by the panic hook.
        let _ = tokio::time::timeout(STOP_MAX, self.task).await;
        self.prober.stop().await;
        self.cluster.stop().await;
        if let Some(http) = self.http {
            http.shutdown().await;
        }
        if let Ok(dns) = Arc::try_unwrap(self.dns) {
            dns.shutdown().await;
        }
    }
}

/// Who else there is: the regions of the address book. Empty for a node on its own. `joins` counts how often the plan's rules changed since the
/// start, each time of which the node is another observer.
fn peers(setup: &Setup, plan: &Plan, incarnation: u64, joins: u16) -> Peers {
    let vantage = plan.vantage.as_ref();
    Peers {
        incarnation: incarnation << u16::BITS | u64::from(joins),
        regions: setup.cluster.iter().flat_map(|it| &it.book).map(|entry| entry.region.clone()).collect(),
        probers_per_region: vantage.map_or(PROBERS_PER_REGION, |vantage| vantage.probers_per_region),
        unproven_hold: vantage.map_or(UNPROVEN_HOLD, |vantage| vantage.unproven_hold),
    }
}

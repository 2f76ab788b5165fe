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
mod answers;
mod clock;
mod control;
mod limits;
mod picture;
mod prober;
mod readings;
mod reload;
mod serve;
mod setup;
mod source;
mod store;
mod world;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    api::ApiServer,
    dns::{DnsOptions, DnsServer},
    probe::{ProbeEnv, scheduler::Prober},
    telemetry::{HttpServer, Metrics, Probes},
};
use answers::Answers;
use control::{Control, Inputs};
use portolan_core::{
    model::ids::Label,
    node::{Node, Settings},
};
use readings::DaemonReadings;
use source::DaemonSource;

pub use actions::Program;
pub use clock::Clock;
pub use picture::Pictures;
use prober::ProbeThreads;
pub use serve::serve;
pub use setup::{Listen, ListenError, Setup};
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
    prober: Prober,
    _probe_threads: ProbeThreads,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Daemon {
    /// Starts everything that `setup` asks for: files are read and checked first, then ports are bound, then probes begin.
    ///
    /// # Errors
    /// What is wrong with a file, or which port cannot be had. Nothing runs then.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        setup.listen.check(setup.tls.is_some())?;
        let clock = Arc::new(Clock::start());
        let (store, left) = store::Store::open(setup.data_dir.as_deref()).context("open the data directory")?;
        let start = world::load_or_fall_back(&setup, left.plan.as_ref()).await?;
        let settings = Settings {
            node: Label::new(&setup.node),
            region: Label::new(&setup.region),
            stale_limit: setup.stale_limit,
            seed: portolan_core::steering::rendezvous::salt(&setup.node),
        };
        let node = Node::new(settings, start.loaded.world.clone(), start.loaded.digest.clone(), left.node, clock.now());

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
        let (prober, orders, results) = Prober::start(probe_threads.handle(), ProbeEnv::new(clock.clone()), PROBE_QUEUE);
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let (pictures, painter) = picture::pair(clock.clone(), answers.clone(), commands.clone());
        let readings = DaemonReadings::new(dns.clone(), pictures.clone());
        let metrics = Arc::new(Metrics::new(Arc::new(readings))?);

        let inputs = Inputs { commands: command_queue, results, orders, stop: stop.clone() };
        let control = Control::new(node, clock, answers, painter, store, metrics.clone(), start.loaded.source.clone());
        let task = probe_threads.handle().spawn(control.run(inputs, start.notices));
        reload::watch(&setup, commands.clone(), start.loaded, stop.clone())?;

        let source = Arc::new(DaemonSource::new(pictures.clone(), commands));
        let control = match setup.listen.control {
            Some(address) => Some(ApiServer::start(address, setup.tls.as_ref(), source).await?),
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
        Ok(Self { dns, control, http, pictures, prober, _probe_threads: probe_threads, stop: stop.drop_guard(), task })
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

    /// Stops in order: no new work, then the state to disk, then the sockets.
    pub async fn stop(self) {
        drop(self.stop);
        if let Some(control) = self.control {
            control.set_serving(false).await;
            control.shutdown().await;
        }
        // The control task writes the state before it ends; a panic in it has been reported by the panic hook.
        let _ = tokio::time::timeout(STOP_MAX, self.task).await;
        self.prober.stop().await;
        if let Some(http) = self.http {
            http.shutdown().await;
        }
        if let Ok(dns) = Arc::try_unwrap(self.dns) {
            dns.shutdown().await;
        }
    }
}

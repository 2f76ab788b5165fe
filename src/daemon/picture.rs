//! What others may see of the control task: liveness, readiness, and copies of the node to ask at leisure.
//!
//! Status and reasons are worked out on a copy, away from the control task, so that no question delays a verdict.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use portolan_core::{
    model::{
        ids::{RegionIdx, ServiceIdx},
        time::{Now, Tick, Timestamp},
    },
    node::{Node, Readiness as NodeReadiness, report::Status},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Clock,
    answers::Answers,
    control::{Command, TURN_MAX},
};
use crate::telemetry::{NoticeReading, Readiness, RegionReading, ReloadReading, TableReading};

/// The control task is taken for stuck when it has not turned for so many of its longest turns.
const STUCK_TURNS: u32 = 30;

/// How often notices are counted for metrics: a scrape comes every few seconds.
const NOTICED_EVERY: Duration = Duration::from_secs(1);

/// Slices of the minute over which served answers are shown.
const SLICES: usize = 12;

/// How many notices there are of each kind and severity.
type Notices = BTreeMap<(String, &'static str), u64>;

/// The state that is seen.
struct Seen {
    turned: AtomicU64,
    ready: ArcSwap<NodeReadiness>,
    started: ArcSwap<bool>,
    stopping: AtomicBool,
    table: Mutex<Option<(u64, Tick)>>,
    reload: Mutex<Option<ReloadReading>>,
    regions: ArcSwap<Vec<RegionReading>>,
    noticed: Mutex<(Tick, Notices)>,
    served: Mutex<Window>,
}

/// The control task's side: paints.
pub(super) struct Painter {
    seen: Arc<Seen>,
    generation: watch::Sender<u64>,
}

/// Everybody else's side: looks. Cheap to clone.
#[derive(Clone)]
pub struct Pictures {
    seen: Arc<Seen>,
    clock: Arc<Clock>,
    generation: watch::Receiver<u64>,
    commands: mpsc::Sender<Command>,
    answers: Arc<Answers>,
}

pub(super) fn pair(clock: Arc<Clock>, answers: Arc<Answers>, commands: mpsc::Sender<Command>) -> (Pictures, Painter) {
    let seen = Arc::new(Seen {
        turned: AtomicU64::new(clock.tick().0),
        ready: ArcSwap::from_pointee(NodeReadiness::NotReady("starting".to_owned())),
        started: ArcSwap::from_pointee(false),
        stopping: AtomicBool::new(false),
        table: Mutex::new(None),
        reload: Mutex::new(None),
        regions: ArcSwap::from_pointee(Vec::new()),
        noticed: Mutex::default(),
        served: Mutex::new(Window::default()),
    });
    let (sender, generation) = watch::channel(0);
    (Pictures { seen: seen.clone(), clock, generation, commands, answers }, Painter { seen, generation: sender })
}

/// A panic while one of these locks was held left a plain value behind, so it can be used all the same.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Painter {
    /// The loop turned.
    pub(super) fn turned(&self, now: Now, node: &Node) {
        self.seen.turned.store(now.tick.0, Relaxed);
        let ready = node.readiness(now);
        if **self.seen.ready.load() != ready {
            if ready == NodeReadiness::Ready {
                self.seen.started.store(Arc::new(true));
            }
            self.seen.ready.store(Arc::new(ready));
        }
        let mut noticed = lock(&self.seen.noticed);
        if now.tick.since(noticed.0) >= NOTICED_EVERY {
            let mut counts = Notices::new();
            for notice in node.notices(now) {
                *counts.entry((notice.kind, notice.severity.word())).or_default() += 1;
            }
            *noticed = (now.tick, counts);
        }
    }

    /// A table came into force.
    pub(super) fn published(&self, generation: u64, now: Now, regions: Vec<RegionReading>) {
        *lock(&self.seen.table) = Some((generation, now.tick));
        self.seen.regions.store(Arc::new(regions));
        // Without watchers there is nobody to tell.
        let _ = self.generation.send_replace(generation);
    }

    /// A file was accepted or refused.
    pub(super) fn reloaded(&self, successful: bool, now: Now) {
        let mut reload = lock(&self.seen.reload);
        let succeeded_at = if successful { Some(now.wall) } else { reload.and_then(|before| before.succeeded_at) };
        *reload = Some(ReloadReading { successful, succeeded_at });
    }
}

impl Pictures {
    /// Whether the control task turns.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.clock.tick().since(Tick(self.seen.turned.load(Relaxed))) < TURN_MAX * STUCK_TURNS
    }

    /// Whether queries may be sent here.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.seen.stopping.load(Relaxed) {
            return Readiness::NotReady("stopping".to_owned());
        }
        match &**self.seen.ready.load() {
            NodeReadiness::Ready => Readiness::Ready,
            NodeReadiness::NotReady(reason) => Readiness::NotReady(reason.clone()),
        }
    }

    /// No new queries shall be sent here: the daemon stops.
    pub(super) fn stop(&self) {
        self.seen.stopping.store(true, Relaxed);
    }

    /// Whether the start is over: once ready, always.
    #[must_use]
    pub fn startup(&self) -> Readiness {
        if **self.seen.started.load() { Readiness::Ready } else { self.readiness() }
    }

    pub(super) fn table(&self) -> Option<TableReading> {
        let (generation, since) = (*lock(&self.seen.table))?;
        Some(TableReading { generation, age: self.clock.tick().since(since) })
    }

    pub(super) fn reload(&self) -> Option<ReloadReading> {
        *lock(&self.seen.reload)
    }

    /// What status warns of, as of a second ago at most.
    pub(super) fn notices(&self) -> Vec<NoticeReading> {
        let noticed = lock(&self.seen.noticed);
        noticed.1.iter().map(|((kind, severity), count)| NoticeReading { kind: kind.clone(), severity, count: *count }).collect()
    }

    pub(super) fn regions(&self) -> Vec<RegionReading> {
        self.seen.regions.load().to_vec()
    }

    /// The generation of the table in force, to wait for changes.
    #[must_use]
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// A copy of the node with the clocks; `None`: the daemon is stopping, or has too much to do.
    pub(super) async fn copy(&self) -> Option<(Arc<Node>, Now)> {
        let (reply, copy) = oneshot::channel();
        self.commands.send(Command::Copy(reply)).await.ok()?;
        Some((copy.await.ok()?, self.clock.now()))
    }

    /// How things stand; `None`: the daemon is stopping.
    pub async fn status(&self) -> Option<Status> {
        let (node, now) = self.copy().await?;
        let served = self.served(now);
        tokio::task::spawn_blocking(move || node.status(now, &served)).await.ok()
    }

    /// What queries left behind.
    fn served(&self, now: Now) -> portolan_core::node::Served {
        let Some(published) = self.answers.published() else { return portolan_core::node::Served::default() };
        let topology = &published.table.world.topology;
        let totals: Vec<u64> = published.trail.answers.iter().map(|count| count.load(Relaxed)).collect();
        let mut outstanding = BTreeMap::new();
        for (position, service) in topology.services.iter().enumerate() {
            for region in service.answered().iter() {
                let key: (ServiceIdx, RegionIdx) = (ServiceIdx::at(position), region);
                if let Some(until) = published.trail.outstanding.until(key.0, region).filter(|until| *until > now.tick) {
                    outstanding.insert(key, now.wall + until.since(now.tick));
                }
            }
        }
        portolan_core::node::Served { answers: lock(&self.seen.served).lately(totals, now.tick), outstanding }
    }

    /// Until when a resolver may hold an answer of this service that points to this region; `None`: nobody can.
    #[must_use]
    pub fn outstanding(&self, service: &str, region: &str) -> Option<Timestamp> {
        let now = self.clock.now();
        let published = self.answers.published()?;
        let topology = &published.table.world.topology;
        let until = published.trail.outstanding.until(topology.service(service)?, topology.region(region)?)?;
        (until > now.tick).then(|| now.wall + until.since(now.tick))
    }
}

/// Totals now and then, so that the last minute can be told apart.
#[derive(Default)]
struct Window {
    samples: std::collections::VecDeque<(Tick, Vec<u64>)>,
}

impl Window {
    /// The increase over about the last minute; over all time when nothing older was sampled.
    fn lately(&mut self, totals: Vec<u64>, now: Tick) -> Vec<u64> {
        let minute = Duration::from_secs(60);
        let slice = minute / u32::try_from(SLICES).unwrap_or(1);
        if self.samples.back().is_some_and(|(_, last)| last.len() != totals.len() || last.iter().zip(&totals).any(|(was, is)| is < was)) {
            self.samples.clear();
        }
        if self.samples.back().is_none_or(|(at, _)| now.since(*at) >= slice) {
            self.samples.push_back((now, totals.clone()));
        }
        while self.samples.len() > 1 && now.since(self.samples[1].0) >= minute {
            self.samples.pop_front();
        }
        let first = self.samples.front().filter(|(at, _)| now.since(*at) >= slice);
        match first {
            Some((_, before)) => totals.iter().zip(before).map(|(is, was)| is - was).collect(),
            None => totals,
        }
    }
}

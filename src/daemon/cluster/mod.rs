//! The node among others: who it is, what is agreed, and how a command gets to the leader.
//!
//! ```text
//!  disk: identity, vote, log                                    .--> control task: overrides, plan
//!  consensus (members) --standing--.                            |
//!  mesh: follow a voter (others) --+--> truth: one watched value-+--> host: who is refused, which generation
//!                                                               '--> leader's duties, registration
//!  birth: found, or join   attach: whom to link to   propose: to the leader, wherever it is
//! ```
//!
//! A node on its own is a cluster of one voter, so that a command means the same there.
//!
//! Invariants: a node with an empty disk makes a cluster only with all others of the address book, all of them empty, and with the word of each
//! that it is the only one to do so; it votes only after a leader made it a member.

mod attach;
mod birth;
mod force;
mod groups;
mod host;
mod leader;
mod local;
mod membership;
mod propose;
mod register;
mod tell;
mod transport;
mod truth;
mod words;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use portolan_core::{
    cluster::{NodeId, NodeRole, State},
    failover::{order::Status, step::Decide, token::Token},
    model::{ids::Label, time::Tick},
    node::Databases,
    recovery::outlook::Outlook,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Clock, PeerEntry, Setup, roles::Stated};
use crate::{
    agent::{self, Crew},
    latest::Latest,
    mesh::{Address, Event, Far, FarRole, Mesh, MeshSetup, Passport, Patience},
    probe::ProbeEnv,
    raft::{Consensus, Disk, Identity, Members, Timing},
    telemetry::GroupReading,
};

pub(super) use leader::REPLACE_AFTER;
pub(super) use local::{LOCAL_LIFE_MAX, LocalOrders};
pub(super) use membership::{Order, Ordered, What};
pub(super) use propose::Unproposed;
pub(super) use truth::{Truth, Via};

/// What agents said and this node has not heard yet: a few seconds of the talk of three thousand.
const AGENTS_QUEUE: usize = 4096;

/// Questions about groups that wait: people and scrapers, of which there are few.
const OUTLOOK_QUEUE: usize = 64;

/// The file with everything that a node must not forget.
pub(super) const DISK_FILE: &str = "cluster.redb";

/// What happens on links and waits for the control task.
const EVENT_QUEUE: usize = 4096;

/// A cluster of one node elects itself this quickly after a start.
const ALONE_HEARTBEAT: std::time::Duration = std::time::Duration::from_millis(100);
const ALONE_ELECTION: std::time::Duration = std::time::Duration::from_millis(600);

/// Who this node is, for as long as it runs.
#[derive(Debug)]
pub(super) struct Me {
    pub(super) node: Label,
    pub(super) region: Label,
    /// What it is to be; what it is, the membership says.
    pub(super) role: NodeRole,
    /// Where peers reach it.
    pub(super) address: String,
    /// It keeps its disk over a restart.
    pub(super) is_persistent: bool,
    /// How the cluster must be called; `None`: any name.
    pub(super) cluster_name: Option<String>,
    /// The address book in order of name.
    pub(super) book: Vec<PeerEntry>,
    /// Its digest: nodes with other books do not found a cluster together.
    pub(super) book_digest: Vec<u8>,
    /// Others agree, not this node alone.
    pub(super) has_peers: bool,
}

/// What all parts share.
pub(super) struct Shared {
    pub(super) me: Me,
    pub(super) clock: Arc<Clock>,
    pub(super) disk: Disk,
    pub(super) identity: watch::Sender<Identity>,
    consensus: ArcSwap<Consensus>,
    /// Wakes when this node took part anew.
    pub(super) restarted: watch::Sender<u64>,
    transport: Arc<transport::PeerTransport>,
    /// Why this node has no say any more, as long as its disk is this one.
    pub(super) left_behind: Arc<OnceLock<String>>,
    timing: Timing,
    pub(super) mesh: Option<Mesh>,
    pub(super) truth: watch::Sender<Truth>,
    /// Others say that this node is no member any more, and its own log does not know.
    pub(super) was_removed: AtomicBool,
    /// Which voter an observer is at, and whom others told it of.
    search: attach::Search,
    /// The revision of the plan that this node runs; `None`: none.
    pub(super) running: watch::Sender<Option<u64>>,
    /// Orders that hold without a majority.
    pub(super) local: LocalOrders,
    /// Whom this node gave its word that nobody else founds the cluster.
    words: words::Words,
    /// Of this node's own tries to found the cluster, which go one after the other.
    founding: tokio::sync::Mutex<()>,
    /// How far each linked peer's wall clock is ahead, in milliseconds.
    pub(super) clocks: Mutex<BTreeMap<Label, i64>>,
    /// Why this node should not lead; `None`: nothing speaks against it.
    pub(super) unfit: watch::Sender<Option<String>>,
    /// When a leader last wrote to this node; zero: never.
    pub(super) led_at: AtomicU64,
    /// Without a word for so long a leader is taken for gone.
    leader_silence_max: std::time::Duration,
    /// How long a voter must be lost before it is replaced.
    replace_after: std::time::Duration,
    pub(super) stop: CancellationToken,
    /// The agents that are attached here.
    crew: Arc<groups::DaemonCrew>,
    /// What probes see of databases.
    databases: watch::Sender<Arc<Databases>>,
    /// For a probe out of turn.
    probes: ProbeEnv,
    /// Where the programs are that the plan names; `None`: nowhere.
    hooks_dir: Option<PathBuf>,
    /// How groups stand, for metrics.
    groups_shown: watch::Sender<Arc<Vec<GroupReading>>>,
    /// Takes questions about groups.
    outlooks: mpsc::Sender<groups::Asked>,
    /// Takes what they state of their members.
    stated: mpsc::Sender<Stated>,
    /// By which token this node's names lead to each group's primary; `None`: it has no table yet.
    routes: watch::Sender<Option<Routes>>,
}

/// By which token names that follow a group's primary are answered; `None`: some of them lead nowhere.
type Routes = BTreeMap<Label, Option<Token>>;

/// The handle. Cheap to clone.
#[derive(Clone)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

/// What is to be told of this node on links, and where what happens there comes out.
pub(super) struct Wires {
    pub(super) introduction: watch::Sender<Far>,
    pub(super) events: mpsc::Receiver<Event>,
    /// What agents state that are attached here.
    pub(super) stated: mpsc::Receiver<Stated>,
}

impl Cluster {
    /// Opens the disk, takes the peer port and takes part.
    ///
    /// # Errors
    /// What of it cannot be had.
    pub(super) async fn start(setup: &Setup, clock: &Arc<Clock>, probes: ProbeEnv) -> anyhow::Result<(Self, Wires)> {
        let disk = match &setup.data_dir {
            Some(directory) => Disk::open(&directory.join(DISK_FILE))?,
            None => Disk::in_memory()?,
        };
        let identity = Identity::open(&disk, clock.entropy()).await.context("read who this node is")?;
        let listener = match &setup.cluster {
            Some(clustering) => Some(Mesh::bind(clustering.listen, setup.tls.is_some()).await?),
            None => None,
        };
        let me = me(setup, listener.as_ref().map(|listener| listener.address().to_string()));
        let timing = timing(setup, &me);
        let (identity, _) = watch::channel(identity);
        let (truth, _) = watch::channel(Truth::nothing());
        let (events, event_queue) = mpsc::channel(EVENT_QUEUE);
        let (introduction, introduced) = watch::channel(introduction(&me, &identity.latest()));
        let stop = CancellationToken::new();

        let host = Arc::new(host::ClusterHost::default());
        let (said, heard) = mpsc::channel(AGENTS_QUEUE);
        let (stated, stated_queue) = mpsc::channel(AGENTS_QUEUE);
        let crew = Arc::new(groups::DaemonCrew::new(said));
        let (ask, asked) = mpsc::channel(OUTLOOK_QUEUE);
        let mesh = match listener {
            Some(listener) => {
                let mesh_setup = MeshSetup {
                    patience: Patience::of_election(timing.election),
                    tls: setup.tls.clone(),
                    peers: me.book.iter().map(|entry| Address { node: entry.node.clone(), address: entry.address.clone() }).collect(),
                    detours: setup.cluster.as_ref().map(|it| it.detours.clone()).unwrap_or_default(),
                    introduction: introduced,
                    events,
                    clock: clock.system(),
                    others: agent::routes(Arc::clone(&crew) as Arc<dyn Crew>, stop.clone()),
                    stop: stop.clone(),
                };
                Some(Mesh::start(listener, mesh_setup, host.clone())?)
            }
            None => None,
        };
        let name = me.cluster_name.clone().unwrap_or_else(|| "portolan".to_owned());
        let left_behind = Arc::new(OnceLock::new());
        let transport = Arc::new(transport::PeerTransport { mesh: mesh.clone(), left_behind: Arc::clone(&left_behind) });
        let id = identity.latest().id;
        let consensus = Consensus::start(id, &name, timing, disk.clone(), transport.clone()).await.context("take part in the consensus")?;
        let shared = Arc::new(Shared {
            me,
            clock: clock.clone(),
            disk,
            identity,
            consensus: ArcSwap::from_pointee(consensus),
            restarted: watch::Sender::new(0),
            transport,
            left_behind,
            timing,
            mesh,
            truth,
            was_removed: AtomicBool::new(false),
            search: attach::Search::default(),
            running: watch::Sender::new(None),
            local: LocalOrders::default(),
            words: words::Words::default(),
            founding: tokio::sync::Mutex::default(),
            clocks: Mutex::default(),
            unfit: watch::Sender::new(None),
            led_at: AtomicU64::new(0),
            leader_silence_max: timing.election * 2,
            replace_after: setup.cluster.as_ref().map_or(REPLACE_AFTER, |it| it.replace_after),
            stop: stop.clone(),
            crew: Arc::clone(&crew),
            databases: watch::Sender::default(),
            probes,
            hooks_dir: setup.hooks_dir.clone(),
            groups_shown: watch::Sender::default(),
            outlooks: ask,
            stated,
            routes: watch::Sender::new(None),
        });
        host.serve(&shared);
        crew.serve(&shared);
        tokio::spawn(stop.clone().run_until_cancelled_owned(groups::keep(Arc::clone(&shared), crew, heard, asked)));
        for task in [Task::Truth, Task::Birth, Task::Attach, Task::Register, Task::Leader, Task::Local, Task::Tell] {
            let shared = Arc::clone(&shared);
            tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
                match task {
                    Task::Truth => truth::keep(shared).await,
                    Task::Birth => birth::be_born(shared).await,
                    Task::Attach => attach::keep(shared).await,
                    Task::Register => register::keep(shared).await,
                    Task::Leader => leader::serve(shared).await,
                    Task::Local => local::hand_over(shared).await,
                    Task::Tell => tell::who_leads(shared).await,
                }
            }));
        }
        Ok((Self { shared, _stop: Arc::new(stop.drop_guard()) }, Wires { introduction, events: event_queue, stated: stated_queue }))
    }

    /// What is agreed, as this node knows.
    pub(super) fn truth(&self) -> watch::Receiver<Truth> {
        self.shared.truth.subscribe()
    }

    /// Since when nobody with a leader spoke, as `truth` has it: zero on the leader; `None`: nobody did since the start.
    pub(super) fn silence(&self, truth: &Truth, now: Tick) -> Option<std::time::Duration> {
        match truth.leader {
            Some(leader) if leader == self.id() => Some(std::time::Duration::ZERO),
            _ => (truth.heard != Tick(0)).then(|| now.since(truth.heard)),
        }
    }

    /// What agents of databases told this node last, by group and region, and how long ago.
    pub(super) fn agents(&self) -> BTreeMap<(Label, Label), (std::time::Duration, Status)> {
        self.shared.crew.statuses(self.shared.clock.tick())
    }

    /// How groups stand, for metrics: of a second ago at most.
    pub(super) fn groups(&self) -> Vec<GroupReading> {
        self.shared.groups_shown.latest().to_vec()
    }

    /// Asks whoever may refuse a decision by the plan in force, before a person's is proposed; what is not a yes becomes a guard.
    pub(super) async fn ask_before(&self, group: &Label, decide: &mut Decide, by: &str) {
        groups::ask_before(&self.shared, &self.shared.crew, group, decide, by).await;
    }

    /// How a group stands now, as this node knows; `None`: the plan has no such group, or the daemon is stopping.
    pub(super) async fn outlook(&self, group: &Label) -> Option<Outlook> {
        let (answer, told) = oneshot::channel();
        self.shared.outlooks.send((group.clone(), answer)).await.ok()?;
        told.await.ok()?
    }

    /// The program of the plan that hears how operations on a group end; `None`: it names none.
    pub(super) fn teller(&self, group: &Label) -> Option<String> {
        groups::teller(&self.shared.crew, group)
    }

    /// Which vantage regions got into the database of a member, and how long ago last: each is asked to look now.
    pub(super) async fn reached(&self, group: &Label, member: &Label) -> BTreeMap<Label, std::time::Duration> {
        groups::reached(&self.shared, group, member).await
    }

    /// What probes see of databases now.
    pub(super) fn sees(&self, databases: Databases) {
        self.shared.databases.send_if_modified(|known| {
            let is_news = **known != databases;
            if is_news {
                *known = Arc::new(databases);
            }
            is_news
        });
    }

    /// Takes note by which token names lead to each group's primary here.
    pub(super) fn routes(&self, routes: Routes) {
        self.shared.routes.send_if_modified(|before| before.replace(routes.clone()) != Some(routes));
    }

    /// The mesh; `None` on a node on its own.
    pub(super) fn mesh(&self) -> Option<&Mesh> {
        self.shared.mesh.as_ref()
    }

    /// Who this node is.
    pub(super) fn me(&self) -> &Me {
        &self.shared.me
    }

    /// The id of the cluster that this node belongs to; `None`: it belongs to none yet.
    pub(super) fn cluster_id(&self) -> Option<String> {
        self.shared.identity.latest().cluster
    }

    /// This node's id.
    pub(super) fn id(&self) -> u64 {
        self.shared.consensus().id()
    }

    /// Higher at each start of this node.
    pub(super) fn incarnation(&self) -> u64 {
        self.shared.identity.latest().incarnation
    }

    /// Who is a member of the consensus, as this node knows.
    pub(super) fn members(&self) -> Members {
        self.shared.consensus().members()
    }

    /// The latest term that this node knows.
    pub(super) fn term(&self) -> u64 {
        self.shared.consensus().leadership().term
    }

    /// How many voters this node knows of.
    pub(super) fn n_voters(&self) -> usize {
        self.shared.voters().len()
    }

    /// How many voters this node reaches, itself included; `None`: it does not vote, and so has a link to one of them only.
    pub(super) fn voters_reachable(&self) -> Option<u32> {
        let linked = self.linked();
        let is_reached = |name: &&Label| linked.contains(*name) || **name == self.shared.me.node;
        let reached = || self.shared.voters().keys().filter(is_reached).count();
        self.shared.is_voter().then(|| u32::try_from(reached()).unwrap_or(u32::MAX))
    }

    /// The nodes that this one has a link to.
    pub(super) fn linked(&self) -> Vec<Label> {
        self.mesh().map(|mesh| mesh.peers().into_iter().map(|(name, _)| name).collect()).unwrap_or_default()
    }

    /// How far each linked peer's wall clock is ahead of this node's, in milliseconds.
    pub(super) fn clocks(&self) -> BTreeMap<Label, i64> {
        self.shared.clocks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Orders that hold without a majority.
    pub(super) fn local(&self) -> &LocalOrders {
        &self.shared.local
    }

    /// Notes how far peers' wall clocks are ahead of this node's, in milliseconds.
    pub(super) fn note_clocks(&self, ahead: &BTreeMap<Label, i64>) {
        self.shared.clocks.lock().unwrap_or_else(PoisonError::into_inner).clone_from(ahead);
    }

    /// Tells others which plan this node runs.
    pub(super) fn runs(&self, revision: u64) {
        self.shared.running.send_if_modified(|before| before.replace(revision) != Some(revision));
    }

    /// The revision of the plan that this node runs; `None`: none yet.
    pub(super) fn running(&self) -> Option<u64> {
        self.shared.running.latest()
    }

    /// Says why this node should not lead, or that nothing speaks against it.
    pub(super) fn is_unfit(&self, why: Option<String>) {
        self.shared.unfit.send_if_modified(|before| {
            let is_new = *before != why;
            *before = why;
            is_new
        });
    }

    /// Takes no part any more when it is dropped, whoever else has a handle: nothing is heard or said from then on.
    pub(super) fn guard(&self) -> DropGuard {
        self.shared.stop.clone().drop_guard()
    }

    /// Takes no part any more.
    pub(super) async fn stop(self) {
        self.shared.stop.cancel();
        // What is under way is synced already; an error is a panic that the hook has reported.
        let _ = self.shared.consensus().shutdown().await;
    }
}

#[derive(Clone, Copy)]
enum Task {
    Truth,
    Birth,
    Attach,
    Register,
    Leader,
    Local,
    Tell,
}

impl Shared {
    /// How long an answer of another node may be on its way.
    pub(super) fn patience(&self) -> Patience {
        Patience::of_election(self.timing.election)
    }

    /// This node's part in the consensus. Not to be kept: [`Self::restarted`] says when there is another.
    pub(super) fn consensus(&self) -> Arc<Consensus> {
        self.consensus.load_full()
    }

    /// This node's id.
    pub(super) fn id(&self) -> NodeId {
        NodeId(self.consensus().id())
    }

    /// The replicated state, as this node has it.
    pub(super) fn state(&self) -> Arc<State> {
        self.truth.latest().state
    }

    /// Whether this node is a member of the consensus, as far as it knows.
    pub(super) fn is_member(&self) -> bool {
        !self.was_removed.load(Relaxed) && self.is_listed()
    }

    /// Whether it is one by its own log.
    pub(super) fn is_listed(&self) -> bool {
        let members = self.consensus().members();
        let id = self.consensus().id();
        members.voters.contains_key(&id) || members.learners.contains_key(&id)
    }

    /// Whether this node votes, as far as it knows itself.
    pub(super) fn is_voter(&self) -> bool {
        self.consensus().members().voters.contains_key(&self.consensus().id())
    }

    /// Who leads, for a member: as the consensus knows, and only while the leader shows that it does.
    pub(super) fn leads(&self) -> Option<u64> {
        let silent = self.clock.tick().since(Tick(self.led_at.load(Relaxed)));
        self.consensus().leads(Some(silent), self.leader_silence_max)
    }

    /// All voters that this node knows of, by name: of the membership, of the registry, of the address book, whichever knows best.
    pub(super) fn voters(&self) -> BTreeMap<Label, Address> {
        let address = |node: &Label, address: &str| (node.clone(), Address { node: node.clone(), address: address.to_owned() });
        let members = self.consensus().members();
        if self.is_member() && !members.voters.is_empty() {
            return members.voters.values().map(|member| address(&Label::new(&member.name), &member.address)).collect();
        }
        let state = self.state();
        let registered: BTreeMap<_, _> = state.voters().map(|node| address(&node.name, &node.address)).collect();
        if registered.is_empty() { self.me.book.iter().map(|entry| address(&entry.node, &entry.address)).collect() } else { registered }
    }
}

fn me(setup: &Setup, listening: Option<String>) -> Me {
    let clustering = setup.cluster.as_ref();
    let mut book = clustering.map(|it| it.book.clone()).unwrap_or_default();
    book.sort_by(|a, b| a.node.cmp(&b.node));
    let node = Label::new(&setup.node);
    let listed = book.iter().find(|entry| entry.node == node).map(|entry| entry.address.clone());
    let text: Vec<String> = book.iter().map(|entry| format!("{} {} {}\n", entry.node, entry.region, entry.address)).collect();
    Me {
        region: Label::new(&setup.region),
        role: clustering.map_or(NodeRole::Voter, |it| it.role),
        address: listed.or(listening).unwrap_or_else(|| "alone:0".to_owned()),
        is_persistent: setup.data_dir.is_some(),
        cluster_name: clustering.and_then(|it| it.name.clone()),
        book_digest: digest::digest(&digest::SHA256, text.concat().as_bytes()).as_ref().to_vec(),
        has_peers: clustering.is_some(),
        book,
        node,
    }
}

fn timing(setup: &Setup, me: &Me) -> Timing {
    match &setup.cluster {
        None => Timing { heartbeat: ALONE_HEARTBEAT, election: ALONE_ELECTION, place: 0 },
        Some(clustering) => {
            let place = me.book.iter().position(|entry| entry.node == me.node).unwrap_or(me.book.len());
            Timing { heartbeat: clustering.heartbeat, election: clustering.election, place: u32::try_from(place).unwrap_or(0) }
        }
    }
}

fn introduction(me: &Me, identity: &Identity) -> Far {
    Far {
        passport: Passport {
            cluster: identity.cluster.clone(),
            id: identity.id,
            node: me.node.clone(),
            region: me.region.clone(),
            generation: 0,
        },
        role: if me.role.votes() { FarRole::Voter } else { FarRole::Observer },
        incarnation: identity.incarnation,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        heard: Vec::new(),
        plan_revision: None,
    }
}

//! Agreement over the real consensus: a host for each process, rounds in which their time goes on, and the ways between them.
//!
//! ```text
//! every ROUND: each host: what arrived --> run until now --> what leaves --> ways of the network --> what arrives, later
//!                             |                  '--> facts: entries applied, votes, commands acknowledged --> invariants
//!                             '--> standing, or the stream that an observer follows --> core node: orders, plan
//! ```
//!
//! The log that nodes are compared with ([`crate::log::Log`]) is made of the entries that any of them applied first.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portolan::raft::{Reply, Standing};
use portolan_core::{
    cluster::{Change, Entry, FEATURE_LEVEL, NodeId, NodeRole, Outcome, State},
    model::time::Now,
    node::Effect,
};

use crate::{
    ambush::{Ambush, Move},
    calls,
    clock::Moment,
    desk::{Out, Parcel, Way},
    disaster::{Act, Disaster},
    disk::Platter,
    following::Following,
    happened::Happened,
    host::{Host, Making},
    invariants::Invariant,
    log::{Log, stamped},
    members::{Want, Work},
    queue,
    random::Random,
    station::{Fate, Input, Process},
    vote::Votes,
    world::{Broken, World},
};

/// What this simulation is called, and how a run of it is replayed.
pub(crate) const NAME: &str = "over raft";
pub(crate) const REPLAY: &str = "cargo test --test sim_raft over_raft";

/// How long nodes run before anything goes wrong, in milliseconds: the cluster is founded meanwhile.
pub(crate) const WARM: (usize, usize) = (4000, 6000);

/// What agreement needs to come to rest: two elections at most, who was lost is replaced, and a command goes through.
pub(crate) const SETTLES_LATER: Duration = Duration::from_secs(18);

/// A soak is three voters and six observers, and ten faults an hour.
pub(crate) const SOAKS_SPARSELY: bool = true;

/// In how many of 1000 episodes a majority is lost for good, or power goes at the worst moment, and how long such a one is.
pub(crate) const SCENES: usize = 200;
pub(crate) const SCENE_LENGTH: Duration = crate::disaster::LENGTH;

/// After everything is mended, a command must go through from here on.
pub(crate) const PROBE_AFTER: Duration = Duration::from_secs(16);

/// Nothing else is agreed any more for so long before everything is to come to rest: a command is tried for eight seconds.
const SILENT_BEFORE: Duration = Duration::from_secs(14);

/// In which steps hosts live: what they send is on its way for as long at least.
const ROUND: Duration = Duration::from_millis(20);

/// More parcels than a kernel keeps for a process that sleeps.
const INBOX_MAX: usize = 4096;

/// What happens next.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Round,
    Arrive {
        from: usize,
        to: usize,
        parcel: Box<Parcel>,
    },
    /// Somebody wants something of those who vote.
    Want(Want),
    /// A command that must go through.
    Probe(String),
    Disaster(Act),
    Ambush(Move),
}

/// What a node hears of the replicated state.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// By its own log.
    Standing(Box<Standing>),
    /// By the stream that it follows.
    Entry {
        index: u64,
        octets: Arc<[u8]>,
    },
    Snapshot {
        next: u64,
        octets: Vec<u8>,
    },
}

/// What there is to tell invariants.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// A process applied an entry.
    Applied { index: u64, octets: Arc<[u8]> },
    /// A process took a snapshot over: entries from this one on follow.
    Restored { next: u64 },
    /// A voter stands for election, and so has voted for itself.
    Stands { id: u64, vote: (u64, u64) },
    /// A voter gave its vote.
    Voted { voter: u64, vote: (u64, u64) },
    /// A voter said that it would vote so.
    WouldVote { candidate: u64 },
    /// The leader hands leadership to this voter, or a person makes it stand.
    AskedToLead { id: u64 },
    /// A command was acknowledged to whom asked for it.
    Acknowledged { request: Option<String>, index: u64, outcome: Outcome, repeated: bool },
    /// A change of who votes or leads ended.
    Changed { want: Want, is_done: bool },
    /// A survivor went on alone, from this entry of its log.
    Forced { last: u64 },
    /// A process, or its consensus, cannot start with what the disk holds.
    CannotStart(String),
    /// Another node says who is a member.
    Greeted(calls::Greeting),
}

/// A machine as agreement has it.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    pub(crate) platter: Platter,
    pub(crate) host: Option<Host>,
    /// In Raft; `None`: it was never started with this disk.
    pub(crate) id: Option<u64>,
    /// Its disk takes part in a log.
    pub(crate) takes_part: bool,
    /// The next entry that it lacks.
    pub(crate) next: u64,
    inbox: Vec<(usize, Parcel)>,
    /// The machine's clock when its process last ran.
    ran: u64,
    was_suspended: bool,
    /// Power goes in the middle of a write.
    has_fuse: bool,
    pub(crate) following: Option<Following>,
    /// How often it went to another voter.
    pub(crate) turn: usize,
    /// Which machines vote, as one said that does not vote itself.
    pub(crate) told: Vec<usize>,
    pub(crate) leaderless_since: Option<Moment>,
    /// When it was last looked at whether it is one.
    pub(crate) looked: Moment,
    /// When it last wrote itself into the registry.
    pub(crate) registered: Moment,
    /// For a planted bug.
    votes: Votes,
}

pub(crate) struct Agreement {
    pub(crate) seats: Vec<Seat>,
    seed: u64,
    links: BTreeMap<(usize, usize, Way), (Random, Moment)>,
    n_streams: u64,
    /// Outcomes by request id, as the first entry that bore it had it.
    pub(crate) outcomes: BTreeMap<String, Outcome>,
    /// Which entries are commands, with their request ids.
    pub(crate) requests: BTreeMap<u64, Option<String>>,
    /// The command that must go through in this episode, and whether it has.
    pub(crate) probe: Option<(String, bool)>,
    pub(crate) work: Option<Work>,
    /// A voter whose disk was emptied: its old id, and where it was.
    pub(crate) lost: Option<(u64, usize)>,
    pub(crate) disaster: Option<Disaster>,
    pub(crate) ambush: Option<Ambush>,
    /// Those that a forced quorum left behind, by id, and the generation that did.
    pub(crate) left_behind: BTreeMap<u64, u64>,
    /// Machines whose nodes are to become voters.
    pub(crate) newcomers: Vec<usize>,
    /// The commands of the log, with their octets.
    pub(crate) entries: BTreeMap<u64, Arc<[u8]>>,
    pub(crate) n_elections: u64,
    pub(crate) n_changes: u64,
}

impl Agreement {
    pub(crate) fn new(random: &mut Random, n: usize) -> Self {
        Self {
            seats: (0..n).map(|_| Seat::default()).collect(),
            seed: random.next(),
            links: BTreeMap::new(),
            n_streams: 0,
            outcomes: BTreeMap::new(),
            requests: BTreeMap::new(),
            probe: None,
            work: None,
            lost: None,
            disaster: None,
            ambush: None,
            left_behind: BTreeMap::new(),
            newcomers: Vec::new(),
            entries: BTreeMap::new(),
            n_elections: 0,
            n_changes: 0,
        }
    }

    /// The last command up to this entry; entries of Raft itself are nothing to the replicated state.
    fn last_command(&self, index: u64) -> u64 {
        self.requests.range(..=index).next_back().map_or(0, |(index, _)| *index)
    }

    /// Whether a scene is on, whose places are taken.
    pub(crate) fn is_played(&self) -> bool {
        self.disaster.is_some() || self.ambush.is_some()
    }

    /// Whether one more disk must not be lost: too few would be left.
    pub(crate) fn is_fragile(&self) -> bool {
        self.is_played() || self.lost.is_some() || self.work.is_some() || !self.newcomers.is_empty()
    }

    pub(crate) fn new_stream(&mut self) -> u64 {
        self.n_streams += 1;
        self.n_streams
    }
}

/// What must hold of it alone.
pub(crate) fn invariants() -> Vec<Box<dyn Invariant>> {
    crate::agreed::all()
}

impl World {
    /// The voters found the cluster, through the first of them.
    pub(crate) fn found_cluster(&mut self) {
        let members: BTreeMap<u64, portolan::raft::Member> =
            self.voters.clone().into_iter().filter_map(|voter| Some((self.agreement.seats[voter].id?, self.member(voter)))).collect();
        let at = self.stations[self.voters[0]].now(self.now).wall;
        let mut changes = vec![Change::Found { cluster: "shop".into() }, Change::PutPlan(Box::new(self.shapes[&1].put()))];
        for &voter in &self.voters {
            changes.extend(self.registered(voter, NodeRole::Voter));
        }
        let entries: Vec<Arc<[u8]>> = changes.into_iter().map(|change| stamped(change, at, None, "").encode().unwrap().into()).collect();
        let Some(host) = self.agreement.seats[self.voters[0]].host.as_mut() else { return };
        let desk = Arc::clone(&host.desk);
        desk.tell(Fact::AskedToLead { id: desk.id });
        let now = self.stations[self.voters[0]].now(self.now).tick.0;
        host.spawn(now, async move {
            let Some(consensus) = desk.consensus() else { return };
            consensus.initialize(members).await.unwrap();
            for octets in entries {
                while !matches!(calls::propose(Arc::clone(&desk), Arc::clone(&octets), false).await, calls::Outcome::Committed(_)) {}
            }
        });
        self.schedule(self.now + ROUND, queue::Event::Agree(Event::Round));
    }

    pub(crate) fn agree(&mut self, event: Event) {
        match event {
            Event::Round => {
                for id in 0..self.stations.len() {
                    self.live(id);
                }
                self.schedule(self.now + ROUND, queue::Event::Agree(Event::Round));
            }
            Event::Arrive { from, to, parcel } => {
                let seat = &mut self.agreement.seats[to];
                if self.suspended[to] == 0 && self.network.has_link(to) && seat.inbox.len() < INBOX_MAX {
                    seat.inbox.push((from, *parcel));
                }
            }
            Event::Want(want) => self.want(want),
            Event::Disaster(act) => self.act(act),
            Event::Ambush(step) => self.ambush(step),
            Event::Probe(request) => {
                let change = Change::Acknowledge { object: "probe".to_owned(), end: portolan_core::cluster::End::AfterMs(1000) };
                let proposer = self.random.below(self.stations.len());
                let at = self.stations[proposer].now(self.now).wall;
                self.agreement.probe = Some((request.clone(), false));
                self.submit(proposer, stamped(change, at, Some(request), "is everything well?"), None);
            }
        }
    }

    /// A node hands an entry in, if its process runs.
    pub(crate) fn submit(&mut self, proposer: usize, entry: Entry, _: Option<u64>) {
        let octets: Arc<[u8]> = entry.encode().expect("invariant: people here are brief").into();
        let Some(host) = self.agreement.seats[proposer].host.as_mut() else { return };
        let (desk, request) = (Arc::clone(&host.desk), entry.request_id);
        let now = self.stations[proposer].now(self.now).tick.0;
        host.spawn(now, async move {
            let outcome = calls::propose(Arc::clone(&desk), octets, request.is_some()).await;
            if let calls::Outcome::Committed(Reply::Applied { index, outcome, repeated }) = outcome {
                desk.tell(Fact::Acknowledged { request, index, outcome, repeated });
            }
        });
    }

    /// The leader takes away what has ended, by its clock, and from the registry who votes no more.
    pub(crate) fn expire_orders(&mut self) {
        self.mend_members();
        if self.settles.since(self.now) < SILENT_BEFORE {
            return;
        }
        self.keep_registered();
        for id in 0..self.stations.len() {
            let at = self.stations[id].now(self.now).wall;
            let seat = &self.agreement.seats[id];
            let Some(host) = seat.host.as_ref().filter(|it| self.stations[id].is_awake() && it.leadership().is_leader) else { continue };
            if host.standing().and_then(|it| it.state.next_end()).is_some_and(|end| end <= at) {
                self.submit(id, stamped(Change::Expire, at, None, ""), None);
            } else if let Some(gone) = gone(host) {
                self.submit(id, stamped(Change::ForgetNode { id: gone }, at, None, ""), None);
            }
        }
    }

    /// What the replicated state is at the start of a process: on a member, as its consensus finds it; on others, unknown.
    pub(crate) fn state_left(&self, _: usize) -> (u64, State) {
        (0, State::supporting(FEATURE_LEVEL))
    }

    /// A process starts.
    pub(crate) fn begin_to_agree(&mut self, id: usize) {
        let fresh = self.random.next().max(1);
        let making = Making {
            station: id,
            number: self.stations[id].number,
            place: u32::try_from(self.stations[id].region).expect("invariant: few"),
            fresh: self.agreement.seats[id].id.unwrap_or(fresh),
            seed: self.random.next(),
            now: self.stations[id].now(self.now).tick.0,
            grants_pre_votes: self.planted.grants_pre_votes(),
        };
        let is_founder = self.now == Moment(0) && self.voters.contains(&id);
        let seat = &mut self.agreement.seats[id];
        seat.takes_part |= is_founder;
        match Host::start(making, &seat.platter, seat.takes_part) {
            Ok(host) => {
                seat.id = Some(host.desk.id);
                seat.ran = making.now;
                seat.host = Some(host);
            }
            Err(text) => self.note(id, Fact::CannotStart(text)),
        }
    }

    /// A process is gone, and what it did not sync.
    pub(crate) fn cease_to_agree(&mut self, id: usize, _: &Process, fate: Fate) {
        let fate = self.disk_fate(id, fate);
        // What a disk that lies keeps is some earlier moment: redb does not outlive more than one torn write, and need not.
        let kept = if self.planted.lies_about_sync() { 0 } else { *self.random.pick(&[0, 0, 300, 700, 1000]) };
        let seat = &mut self.agreement.seats[id];
        seat.host = None;
        let random = &mut self.random;
        seat.platter.tear(|| random.permille(kept));
        if self.planted.forgets_vote() {
            seat.votes.forget(&seat.platter);
        }
        let old = std::mem::take(seat);
        if fate == Fate::Emptied {
            if self.planted.keeps_id() {
                self.agreement.seats[id] = Seat { id: old.id, takes_part: old.takes_part, ..Seat::default() };
            } else {
                let is_voter = old.id.is_some_and(|own| old.takes_part && self.votes(own));
                self.agreement.lost = old.id.filter(|_| is_voter).map(|old| (old, id)).or(self.agreement.lost);
            }
            return;
        }
        self.agreement.seats[id] = Seat { platter: old.platter.plugged(), id: old.id, takes_part: old.takes_part, ..Seat::default() };
    }

    /// A process dies until the fault ends: at once, or as soon as it writes.
    pub(crate) fn crash(&mut self, id: usize, fate: Fate) {
        let waits = self.random.permille(500);
        let fuse = u32::try_from(self.random.below(16)).expect("invariant: few");
        let seat = &mut self.agreement.seats[id];
        if waits && seat.host.is_some() && seat.takes_part && fate != Fate::Emptied {
            self.down[id] += 1;
            let seat = &mut self.agreement.seats[id];
            seat.platter.set_fuse(Some(fuse));
            seat.has_fuse = true;
            return;
        }
        self.put_down(id, fate);
    }

    /// The disk of a machine whose process is gone is emptied.
    pub(crate) fn empty(&mut self, id: usize) {
        self.agreement.seats[id] = Seat::default();
    }

    /// Whether the node of a machine was left behind by a forced quorum.
    pub(crate) fn is_left_behind(&self, id: usize) -> bool {
        self.agreement.seats[id].id.is_some_and(|own| self.agreement.left_behind.contains_key(&own))
    }

    /// One process lives up to now.
    fn live(&mut self, id: usize) {
        let now = self.stations[id].now(self.now).tick.0;
        let is_awake = self.stations[id].is_awake();
        let lies = self.planted.lies_about_sync() && !self.random.permille(50);
        let (is_suspended, is_over) = (self.suspended[id] > 0, self.down[id] == 0);
        let seat = &mut self.agreement.seats[id];
        let Some(mut host) = seat.host.take() else {
            seat.inbox.clear();
            return;
        };
        if !is_awake {
            seat.was_suspended |= is_suspended;
            seat.host = Some(host);
            return;
        }
        seat.platter.set_lies(lies);
        if self.planted.forgets_vote() {
            seat.votes.look(self.now, &seat.platter);
        }
        if seat.has_fuse && is_over {
            seat.platter.set_fuse(None);
            seat.has_fuse = false;
        }
        let slept = now.saturating_sub(seat.ran);
        if slept > 3 * u64::try_from(ROUND.as_micros()).expect("invariant: short") && !host.is_idle {
            if seat.was_suspended { host.freeze(slept) } else { host.skip(slept) }
        }
        (seat.ran, seat.was_suspended) = (now, false);
        let inbox = std::mem::take(&mut seat.inbox);
        let mut told = Vec::new();
        for (from, parcel) in inbox {
            if let Parcel::Tell { stream, after, told: step } = parcel {
                told.push((from, stream, after, step));
            } else if let Err(text) = host.accept(now, from, parcel) {
                host.desk.tell(Fact::CannotStart(text));
            }
        }
        if !host.is_idle {
            host.run(now);
        }
        let mut out = host.take_out();
        // By their ways, not by the order in which tasks woke.
        out.sort_by_key(|it| match it {
            Out::Fact(Fact::Applied { index, .. } | Fact::Restored { next: index }) => (0, *index, Way::Log),
            Out::Fact(_) => (1, 0, Way::Log),
            Out::Post { to, way, .. } => (2, *to as u64, *way),
        });
        let standing = host.standing().filter(|it| it.applied.is_some_and(|applied| applied >= self.agreement.seats[id].next));
        let seat = &mut self.agreement.seats[id];
        let is_dark = seat.platter.is_dark();
        seat.takes_part |= host.desk.consensus().is_some();
        seat.host = Some(host);
        for it in out {
            match it {
                Out::Post { to, way, parcel } => self.send(id, to, way, parcel),
                Out::Fact(fact) => self.note(id, fact),
            }
        }
        if is_dark {
            self.say(id, || "loses power while it writes".to_owned());
            self.stop(id, Fate::Kept);
            return;
        }
        if let Some(standing) = standing
            && !self.is_left_behind(id)
            && self.agreement.seats[id].host.as_ref().is_some_and(Host::is_member)
        {
            self.turn(id, vec![Input::Agreed(News::Standing(Box::new(standing)))]);
        }
        for (from, stream, after, step) in told {
            self.heard_of_stream(id, from, stream, after, step);
        }
        self.see_to_stream(id);
    }

    /// Puts a parcel on its way.
    pub(crate) fn send(&mut self, from: usize, to: usize, way: Way, parcel: Parcel) {
        if !self.network.has_link(from) || !self.network.has_link(to) {
            return;
        }
        let seed = self.agreement.seed ^ ((from as u64) << 32 | (to as u64) << 16 | way as u64);
        let (random, last) = self.agreement.links.entry((from, to, way)).or_insert_with(|| (Random::new(seed), Moment::default()));
        let (here, there) = (self.stations[from].region, self.stations[to].region);
        let is_doubled = self.network.doubled > 0 && random.permille(self.network.doubled);
        let delays: Vec<Duration> = (0..=usize::from(is_doubled)).filter_map(|_| self.network.delay(random, here, there)).collect();
        let mut earliest = *last;
        for delay in delays {
            let mut at = self.now + delay;
            if way == Way::Stream {
                at = at.max(earliest);
                earliest = at;
            }
            let parcel = Box::new(parcel.clone());
            self.schedule(at, queue::Event::Agree(Event::Arrive { from, to, parcel }));
        }
        if let Some((_, last)) = self.agreement.links.get_mut(&(from, to, way)) {
            *last = earliest;
        }
    }

    /// Something happened on a machine.
    pub(crate) fn note(&mut self, id: usize, fact: Fact) {
        match &fact {
            Fact::Applied { .. } if self.is_left_behind(id) => {}
            Fact::Applied { index, octets } => self.witness(id, *index, octets),
            Fact::Stands { id: raft, vote } => {
                self.agreement.n_elections += 1;
                self.say(id, || format!("stands for election as {raft:x}, {vote:?}"));
            }
            Fact::Acknowledged { request, index, .. } => {
                self.say(id, || format!("is told that {request:?} is entry {index}"));
                if let Some((probe, is_done)) = &mut self.agreement.probe {
                    *is_done |= request.as_ref() == Some(probe);
                }
            }
            Fact::Changed { want, is_done } => {
                self.say(id, || format!("{want:?}: {}", if *is_done { "done" } else { "not done" }));
                self.changed(want, *is_done);
            }
            Fact::Greeted(greeting) => {
                let seat = &mut self.agreement.seats[id];
                let is_listed = seat.id.is_some_and(|own| greeting.members.contains(&own));
                if let Some(host) = seat.host.as_ref().filter(|_| greeting.has_leader && !greeting.members.is_empty() && !is_listed) {
                    host.desk.set_removed(true);
                }
            }
            Fact::Restored { .. } | Fact::Voted { .. } | Fact::WouldVote { .. } | Fact::AskedToLead { .. } => {}
            Fact::Forced { .. } | Fact::CannotStart(_) => {}
        }
        self.note_ambush(id, &fact);
        self.look(&Happened::Agreed { id, fact: &fact });
    }

    /// The first one that applies an entry says what it is.
    fn witness(&mut self, id: usize, index: u64, octets: &Arc<[u8]>) {
        if index <= self.log.end() {
            return;
        }
        let entry = match Entry::decode(octets, FEATURE_LEVEL) {
            Ok(entry) => entry,
            Err(halt) => {
                self.broken = Some(Broken { invariant: "one_history", at: self.now, text: format!("entry {index} is none: {halt}") });
                return;
            }
        };
        if let Some(applied) = self.enter(index, &entry, octets) {
            self.say(id, || format!("entry {index}: {}, {applied}", entry.change));
        }
    }

    /// Takes an entry into the log that nodes are compared with.
    pub(crate) fn enter(&mut self, index: u64, entry: &Entry, octets: &Arc<[u8]>) -> Option<Outcome> {
        let number = entry.request_id.as_deref().and_then(command_number);
        self.log.pass_over(index - 1);
        self.agreement.requests.insert(index, entry.request_id.clone());
        self.agreement.entries.insert(index, Arc::clone(octets));
        match self.log.commit(entry, octets, number) {
            Ok(applied) => {
                if let Some(request) = entry.request_id.clone() {
                    self.agreement.outcomes.entry(request).or_insert_with(|| applied.outcome.clone());
                }
                Some(applied.outcome)
            }
            Err(text) => {
                self.broken = Some(Broken { invariant: "acknowledged_is_kept", at: self.now, text });
                None
            }
        }
    }

    /// A node takes in what is agreed. What it knows never goes back.
    pub(crate) fn take_news(&mut self, id: usize, process: &mut Process, now: Now, news: News, effects: &mut Vec<Effect>) {
        match news {
            News::Standing(standing) => {
                let Some(applied) = standing.applied else { return };
                let next = &mut self.agreement.seats[id].next;
                if applied < *next {
                    return;
                }
                *next = applied + 1;
                process.state = (*standing.state).clone();
                process.applied = self.agreement.last_command(applied);
            }
            News::Entry { index, octets } => {
                if self.planted.skips(id, index) {
                    return;
                }
                if let Err(halt) = process.state.apply_octets(index, &octets) {
                    self.broken = Some(Broken { invariant: "one_state", at: self.now, text: format!("node {id} halts: {halt}") });
                    return;
                }
                process.applied = index;
            }
            News::Snapshot { next, octets } => match State::restore(&octets, FEATURE_LEVEL) {
                Ok(state) => {
                    process.state = state;
                    process.applied = self.agreement.last_command(next.saturating_sub(1));
                }
                Err(halt) => {
                    self.broken =
                        Some(Broken { invariant: "one_state", at: self.now, text: format!("node {id} reads no snapshot: {halt}") });
                    return;
                }
            },
        }
        if let Some(host) = &self.agreement.seats[id].host {
            host.desk.set_state(process.state.clone());
        }
        if process.applied == 0 {
            return;
        }
        self.follow_state(id, process, now, effects);
        self.applied.push((id, process.applied));
    }
}

impl Log {
    /// Entries up to this one that are no commands.
    fn pass_over(&mut self, index: u64) {
        while self.end() < index {
            let orders = self.orders_at(self.end());
            self.heads.push(self.state.audit().head().hash);
            self.orders.push(orders);
        }
    }
}

/// The command that a request id is of.
fn command_number(request: &str) -> Option<u64> {
    request.strip_prefix('r')?.split('-').next()?.parse().ok()
}

/// A registered voter that is none.
fn gone(host: &Host) -> Option<NodeId> {
    let members = host.members();
    let state = host.standing()?.state;
    if members.is_changing || members.voters.is_empty() {
        return None;
    }
    state.voters().map(|node| node.id).find(|id| !members.voters.contains_key(&id.0))
}

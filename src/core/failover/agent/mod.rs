//! The agent beside a member's database: orders and facts in, the next thing to do out.
//!
//! ```text
//! orders --> token? --> goal --.
//! lease  --> live? ------------+--> next --> one task at a time (start, promote, seal, follow ...)
//! facts of the database -------'         '-> kill, at once, whatever runs
//! ```
//!
//! An order gives a goal, not a procedure: what is to be done next follows from the goal and from what the database is now. So an order that is
//! repeated, or an agent that was restarted in the middle, does what is left and nothing twice.
//!
//! Invariants, each with a test that takes it away and must then find harm: a lower token changes nothing (A1); one task at a time, and none
//! of another token survives a new one, but as that one's own where it orders the same (A2); nothing is opened for writes without a live lease of
//! this boot and of exactly that grant (A3, A4), nor before the supervisor has the deadline (A5); the database is killed at the soft deadline (A6);
//! a fence is on disk before it is answered (A7); a copy is sealed before it says where it ends (A9); a clock that runs badly takes the lease its
//! proof (L10).

mod doubt;
mod facts;
mod task;
#[cfg(test)]
mod tests;
mod told;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    keys::{Key, holds},
    lease::{Class, Grant, Holder, Ignored, Reply, Request},
    order::{Answer, Order, Said, Verb},
    token::Token,
};
use crate::model::{group::OnControlLoss, ids::Label, time::Tick};

use doubt::Doubt;

pub use doubt::{CLEAN_AFTER, Found, STANDSTILL_MAX};
pub use facts::{Database, Facts, Opening};
pub use task::{Task, Work};

/// The longest word of trouble: a line on a screen of 3 AM, and a bound for what an agent can make others keep.
pub const TROUBLE_CHARS_MAX: usize = 300;

/// What an agent keeps on disk. It is written, and synced, before anything that follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// How often an agent was started with this disk. Whoever starts one counts it up first.
    pub starts: u64,
    /// The highest token ever seen.
    pub highest: Token,
    /// The last grant to this region; `None`: none, or another member was followed since.
    pub grant: Option<Grant>,
    /// The decision that this member is fenced by; nothing starts before a grant or an order above it.
    pub fenced_by: Option<Token>,
}

/// What the adapter does, in order: what comes after [`Effect::Save`] waits for the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write this, and sync it.
    Save(Disk),
    /// Send this to the leader.
    Tell(Answer),
    /// Send this to the leader. It was made before this moment, and its time counts from there.
    Renew(Request),
    /// Ask all other members, and the voters of regions without one, directly whether they acknowledge this grant (L12).
    AskPeers {
        /// The grant's.
        token: Token,
        /// Of the request whose time it is.
        sequence: u64,
    },
    /// Let the supervisor kill the database at this moment, unless another one is given. [`Agent::armed`] says that it did.
    Arm(Tick),
    /// Kill the whole control group, now. Tasks die with it.
    Kill,
    /// End the task that runs, and wait until nothing of it does: what comes after is done in a world in which it acts no more (A2).
    Abort,
    /// The task that runs is this one from now on: begun for an older decision, it is what the new one orders, too.
    HandOver(Task),
    /// Begin this task: whatever it does that opens only if [`Agent::may`] says so in the same critical section.
    Begin(Task),
}

/// What an agent is to bring about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Goal {
    /// Nothing writes; what else runs may run.
    Rest,
    Fence(Token),
    Stop(Token),
    Seal(Token),
    Drain {
        token: Token,
        position: u64,
        fetch_from: Option<Label>,
    },
    /// By the grant on disk.
    Lead,
    Follow {
        token: Token,
        upstream: Label,
        reclone: bool,
    },
}

impl Goal {
    /// Whether a task that is under way leads there, and nowhere else.
    fn is_served_by(&self, task: &Task) -> bool {
        match (self, &task.work) {
            (Self::Follow { upstream, reclone, .. }, Work::Follow { upstream: of, reclone: copies }) => {
                upstream == of && (*reclone || !copies)
            }
            _ => false,
        }
    }
}

/// A round in which all peers are asked to stand in for a quorum.
#[derive(Clone, Debug)]
struct PeerRound {
    sequence: u64,
    missing: BTreeSet<Label>,
}

/// The agent of one member.
#[derive(Clone, Debug)]
pub struct Agent {
    region: Label,
    disk: Disk,
    /// Statuses since it was started.
    n_told: u64,
    holder: Holder,
    /// The supervisor that the database lives under; `None`: none.
    supervisor: Option<u64>,
    goal: Goal,
    facts: Facts,
    task: Option<Task>,
    /// Why the last task did not do what it should.
    trouble: Option<String>,
    /// The deadline that the supervisor has.
    armed: Option<Tick>,
    /// Another manager runs the database: no supervisor stands under it, and to kill is to have the manager fence it.
    is_managed: bool,
    /// Managed: until when it may write without a lease.
    excused_until: Tick,
    /// Managed: the highest token by which the manager was told to fence it, and took that; `None`: none since this agent was started.
    marked_by: Option<Token>,
    /// It was killed, and nobody has looked since.
    is_unseen: bool,
    peers: Option<PeerRound>,
    /// Regions of voters without a member, as the leader told with the last lease.
    voters: BTreeSet<Label>,
    /// Why the end of a lease would prove nothing now, though there is a supervisor; `None`: it would.
    doubt: Option<Doubt>,
    /// When it was seen to go on last; `None`: not yet.
    went_on: Option<Tick>,
    /// When the database was stopped last for taking writes though it is to follow; `None`: it was not.
    usurped: Option<Tick>,
}

impl Agent {
    /// An agent that starts, with what is on its disk. No lease outlives the process (A3): a database that runs by one ends at the deadline that
    /// the supervisor has (B4), unless this agent renews it before. `supervisor`: its incarnation, and that deadline.
    #[must_use]
    pub fn new(region: Label, disk: Disk, supervisor: Option<(u64, Option<Tick>)>, now: Tick) -> Self {
        let mut agent = Self {
            region,
            holder: Holder::new(disk.starts),
            disk,
            n_told: 0,
            supervisor: supervisor.map(|(incarnation, _)| incarnation),
            goal: Goal::Rest,
            facts: Facts::default(),
            task: None,
            trouble: None,
            armed: supervisor.and_then(|(_, deadline)| deadline),
            is_managed: false,
            excused_until: Tick(0),
            marked_by: None,
            is_unseen: false,
            peers: None,
            voters: BTreeSet::new(),
            doubt: None,
            went_on: None,
            usurped: None,
        };
        if let Some(grant) = agent.disk.grant.clone().filter(|grant| grant.token == agent.disk.highest) {
            agent.holder.take_up(grant, now);
            agent.goal = Goal::Lead;
        }
        agent
    }

    /// The same, of a database that another manager runs. Nothing stops that one with the agent, so one that starts finds it writing and has no
    /// lease: it has the time of a margin to get one, as long as a fence may take. Its class is bare, so nobody counts on the end of its lease.
    #[must_use]
    pub fn under_manager(self, now: Tick) -> Self {
        let margin = self.disk.grant.as_ref().map(|grant| grant.margin).unwrap_or_default();
        Self { is_managed: true, supervisor: None, armed: None, excused_until: now + margin, ..self }
    }

    //--- What comes in

    /// An order came.
    pub fn ordered(&mut self, order: Order, now: Tick) -> Vec<Effect> {
        let Order { token, verb } = order;
        if token < self.disk.highest && holds(Key::Cmp) {
            return vec![Effect::Tell(Answer { token, said: Said::Refused { highest: self.disk.highest } })];
        }
        let mut out = Vec::new();
        if verb == Verb::Fence && !holds(Key::Sticky) {
            self.kill(&mut out);
            out.push(Effect::Tell(Answer { token, said: Said::Fenced }));
            return out;
        }
        let goal = match verb {
            Verb::Promise => None,
            Verb::Fence => Some(Goal::Fence(token)),
            Verb::Stop => Some(Goal::Stop(token)),
            Verb::Seal => Some(Goal::Seal(token)),
            Verb::Drain { position, fetch_from } => Some(Goal::Drain { token, position, fetch_from }),
            Verb::Lead(grant) => {
                self.take_up(token, None, &mut out);
                self.lead(grant, now, &mut out);
                self.next(now, &mut out);
                return out;
            }
            Verb::Follow { upstream, reclone } => Some(Goal::Follow { token, upstream, reclone }),
        };
        let is_new = token > self.disk.highest;
        self.take_up(token, goal.as_ref(), &mut out);
        match goal {
            // A promise is kept by what is on disk. Whoever leads is outranked by it; a standby goes on to receive, and begins nothing.
            None => {
                match self.goal {
                    Goal::Lead => self.aim(Goal::Fence(token), &mut out),
                    _ if is_new => self.goal = Goal::Rest,
                    _ => {}
                }
                out.push(Effect::Tell(Answer { token, said: Said::Promised }));
            }
            // One decision seals, then drains: an order that was overtaken does not undo what followed it.
            Some(Goal::Seal(_)) if matches!(self.goal, Goal::Drain { token: of, .. } if of == token) => {}
            Some(goal) => self.aim(goal, &mut out),
        }
        self.next(now, &mut out);
        out
    }

    /// An answer to a renewal came.
    pub fn answered(&mut self, reply: &Reply, now: Tick) -> Vec<Effect> {
        let mut out = Vec::new();
        match self.holder.answered(reply, now) {
            Ok(found) => {
                self.peers = None;
                self.voters.clone_from(&reply.voters);
                let found = found.map(Found::Leader).or_else(|| reply.drifts.map(Found::Host));
                found.into_iter().for_each(|found| self.doubt(found, now));
            }
            Err(Ignored::Outranked(token)) if token > self.disk.highest => {
                self.take_up(token, None, &mut out);
                match reply.instead.clone().filter(|grant| grant.token == token && grant.region == self.region) {
                    Some(grant) => self.lead(grant, now, &mut out),
                    // The refusal may overtake the order: what is killed has no position at which it stopped, and a switchover needs that.
                    None if reply.stops => self.aim(Goal::Stop(token), &mut out),
                    None => self.aim(Goal::Fence(token), &mut out),
                }
            }
            Err(_) => {}
        }
        self.next(now, &mut out);
        out
    }

    /// The member of a region, or its voter where it has none, acknowledges the holder of `token` in the round of `sequence`.
    pub fn acknowledged(&mut self, peer: &Label, token: Token, sequence: u64, now: Tick) -> Vec<Effect> {
        let mut out = Vec::new();
        if let Some(round) = self.peers.as_mut().filter(|round| round.sequence == sequence) {
            round.missing.remove(peer);
            if round.missing.is_empty() {
                let voters = self.voters.clone();
                let reply = Reply { sequence, token, granted: true, instead: None, stops: false, stamps: None, drifts: None, voters };
                out = self.answered(&reply, now);
            }
        }
        out
    }

    /// Whether this member acknowledges the holder of `token`: it has seen none above it, on disk.
    #[must_use]
    pub fn acknowledges(&self, token: Token) -> bool {
        self.disk.highest <= token || !holds(Key::Peers)
    }

    /// What the database is now.
    pub fn observed(&mut self, facts: Facts, now: Tick) -> Vec<Effect> {
        (self.facts, self.is_unseen) = (facts, false);
        let mut out = Vec::new();
        self.next(now, &mut out);
        out
    }

    /// A task ended, well or not: the facts say what it did. `trouble`: why it did not do it, in one line of at most [`TROUBLE_CHARS_MAX`].
    pub fn ended(&mut self, task: &Task, trouble: Option<String>, facts: Facts, now: Tick) -> Vec<Effect> {
        if self.task.as_ref() == Some(task) {
            if task.work == Work::Mark && trouble.is_none() {
                self.marked_by = self.marked_by.max(Some(task.token));
            }
            (self.task, self.trouble) = (None, trouble);
        }
        self.observed(facts, now)
    }

    /// The supervisor took the deadline.
    pub fn armed(&mut self, until: Tick, now: Tick) -> Vec<Effect> {
        self.armed = Some(until);
        let mut out = Vec::new();
        self.next(now, &mut out);
        out
    }

    /// The supervisor is another one, or there is none.
    pub fn supervised(&mut self, supervisor: Option<u64>) {
        if self.supervisor != supervisor && !self.is_managed {
            (self.supervisor, self.armed) = (supervisor, None);
        }
    }

    /// Time passes.
    pub fn advance(&mut self, now: Tick) -> Vec<Effect> {
        let mut out = Vec::new();
        self.doubt = self.doubt.filter(|doubt| now < doubt.until);
        // The margin's begin kills; by the end of the lease nothing is left to be killed, or the kill is repeated.
        while self.holder.advance(now).is_some() {
            self.kill(&mut out);
        }
        if let Some(request) = self.holder.ask(self.class(), now) {
            let (token, sequence) = (request.token, request.sequence);
            out.push(Effect::Renew(request));
            self.ask_peers(token, sequence, now, &mut out);
        }
        self.next(now, &mut out);
        out
    }

    /// When [`Self::advance`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.holder.next_deadline().into_iter().chain(self.doubt.map(|doubt| doubt.until)).min()
    }

    //--- What is asked of it

    /// Whether a task may act now: it is the one that is meant, and what opens for writes has a lease. `opens`: the database may take writes by what it
    /// is about to do, whatever the task is called.
    #[must_use]
    pub fn may(&self, task: &Task, opens: bool, now: Tick) -> bool {
        let is_meant = self.task.as_ref() == Some(task) || !holds(Key::Serial);
        is_meant && (!opens || self.may_open(now))
    }

    /// What it can attest: that the database dies with the supervisor, whose group it runs in, or will be started in (L8), and that it does so in
    /// time (L10).
    #[must_use]
    pub fn class(&self) -> Class {
        if self.doubt.is_some() && holds(Key::Drift) {
            return Class::Bare;
        }
        let under = match self.facts.database {
            Database::Writes | Database::Standby { .. } => self.facts.lives_under,
            Database::Down | Database::Unknown => self.supervisor,
        };
        match under {
            Some(supervisor) if self.supervisor == under => Class::Armed { supervisor },
            _ => Class::Bare,
        }
    }

    /// What is on its disk.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The lease that it holds.
    #[must_use]
    pub const fn holder(&self) -> &Holder {
        &self.holder
    }

    //--- How it goes on

    /// A token is about to be acted on: it goes to disk first, and what was under way for another one is over (A2). What its order `goal` would begin
    /// anyway goes on as its own: a rewind that is broken off leaves a directory that has to be copied anew, and a copy begins from nothing.
    fn take_up(&mut self, token: Token, goal: Option<&Goal>, out: &mut Vec<Effect>) {
        if token == self.disk.highest {
            return;
        }
        self.disk.highest = token;
        if holds(Key::Persist) {
            out.push(Effect::Save(self.disk.clone()));
        }
        match self.task.take() {
            Some(task) if goal.is_some_and(|goal| goal.is_served_by(&task)) => {
                let task = Task { token, ..task };
                out.push(Effect::HandOver(task.clone()));
                self.task = Some(task);
            }
            // It may be on its way: nothing but the end of its process is sure to stop it.
            Some(Task { work: Work::Promote | Work::Start, .. }) if holds(Key::Serial) => self.kill(out),
            Some(_) if holds(Key::Serial) => self.abort(out),
            _ => {}
        }
        self.peers = None;
    }

    fn lead(&mut self, grant: Grant, now: Tick, out: &mut Vec<Effect>) {
        if self.holder.grant().is_some_and(|held| held.token == grant.token) && self.goal == Goal::Lead {
            return;
        }
        self.disk.grant = Some(grant.clone());
        self.disk.fenced_by = None;
        out.push(Effect::Save(self.disk.clone()));
        self.excused_until = self.holder.soft().unwrap_or(now + grant.margin);
        self.holder.take_up(grant, now);
        self.goal = Goal::Lead;
    }

    fn aim(&mut self, goal: Goal, out: &mut Vec<Effect>) {
        if self.goal == goal {
            return;
        }
        // That a copy is allowed is no reason to break off what is under way; that it is not any more, is.
        if self.task.as_ref().is_some_and(|task| goal.is_served_by(task)) {
            (self.goal, self.trouble) = (goal, None);
            return;
        }
        if self.task.take().is_some() && holds(Key::Serial) {
            self.abort(out);
        }
        // The lease ends here, but for a clean stop: that one is to end what was begun.
        if !matches!(goal, Goal::Stop(_)) {
            if self.facts.database == Database::Writes || self.armed.is_some() {
                self.kill(out);
            }
            self.holder.give_up();
        }
        if matches!(goal, Goal::Follow { .. }) {
            self.disk.grant = None;
            self.disk.fenced_by = None;
            out.push(Effect::Save(self.disk.clone()));
        }
        (self.goal, self.trouble) = (goal, None);
    }

    fn kill(&mut self, out: &mut Vec<Effect>) {
        (self.task, self.armed, self.facts, self.is_unseen) = (None, None, Facts::default(), true);
        out.push(Effect::Kill);
    }

    /// Whatever the task has done, the facts are older.
    fn abort(&mut self, out: &mut Vec<Effect>) {
        (self.task, self.facts) = (None, Facts::default());
        out.push(Effect::Abort);
    }

    fn ask_peers(&mut self, token: Token, sequence: u64, now: Tick, out: &mut Vec<Effect>) {
        let Some(grant) = self.holder.grant().filter(|grant| grant.on_control_loss == OnControlLoss::HoldIfAllAck) else { return };
        let remaining = self.holder.remaining(now);
        if grant.peers.is_empty() || remaining.is_zero() || remaining > grant.ttl * 2 / 3 {
            return;
        }
        self.peers = Some(PeerRound { sequence, missing: grant.peers.union(&self.voters).cloned().collect() });
        out.push(Effect::AskPeers { token, sequence });
    }

    /// Whether it can attest what its grant says of it.
    fn is_as_granted(&self) -> bool {
        self.holder.grant().is_some_and(|grant| grant.class == self.class())
    }

    fn may_open(&self, now: Tick) -> bool {
        let has_lease = self.holder.is_live(now) || !holds(Key::Please);
        let is_armed =
            self.class() == Class::Bare || self.armed.is_some_and(|until| now < until) || !holds(Key::Parm) || !holds(Key::Please);
        has_lease && self.is_as_granted() && is_armed
    }

    /// When the supervisor kills by itself: between the soft deadline, at which this agent does, and the hard one (A6).
    fn deadline(&self) -> Option<Tick> {
        let (soft, hard) = (self.holder.soft()?, self.holder.hard()?);
        Some(soft + hard.since(soft) / 2)
    }

    fn begin(&mut self, token: Token, work: Work, out: &mut Vec<Effect>) {
        if self.task.is_none() {
            let task = Task { token, work };
            self.task = Some(task.clone());
            out.push(Effect::Begin(task));
        }
    }

    /// The next thing that brings the goal nearer.
    fn next(&mut self, now: Tick, out: &mut Vec<Effect>) {
        match self.goal.clone() {
            Goal::Rest => self.rest(out),
            Goal::Fence(token) => self.fence(token, out),
            Goal::Stop(token) => self.stop(token, out),
            Goal::Seal(token) => self.seal(token, out),
            Goal::Drain { token, position, fetch_from } => self.drain(token, position, fetch_from, out),
            Goal::Lead => self.open(now, out),
            Goal::Follow { token, upstream, reclone } => self.follow(token, upstream, reclone, now, out),
        }
    }

    /// Nothing that writes without a lease goes on (A3).
    fn rest(&mut self, out: &mut Vec<Effect>) {
        // A group that was never adopted is nobody's to stop.
        if self.facts.database == Database::Writes && self.disk.highest != Token::default() && holds(Key::Boot) {
            self.kill(out);
        }
    }

    fn fence(&mut self, token: Token, out: &mut Vec<Effect>) {
        if !self.is_marked_by(token) {
            return self.begin(token, Work::Mark, out);
        }
        match self.facts.database {
            // What runs and does not answer may be anything.
            Database::Unknown if self.facts.lives_under.is_none() => return,
            Database::Writes | Database::Unknown => return self.kill(out),
            Database::Down | Database::Standby { .. } => {}
        }
        if self.task.is_none() {
            self.note_fence(token, out);
            out.push(Effect::Tell(Answer { token, said: Said::Fenced }));
        }
    }

    /// Whether the mark is there. A manager's may be of an older token, which does not keep what that one was followed by from coming to its end: so it
    /// counts when the manager has taken one of this token, and refuses everything below.
    fn is_marked_by(&self, token: Token) -> bool {
        self.facts.is_marked && (!self.is_managed || self.marked_by >= Some(token))
    }

    /// A fence is on disk before it is answered (A7).
    fn note_fence(&mut self, token: Token, out: &mut Vec<Effect>) {
        if self.disk.fenced_by != Some(token) {
            self.disk.fenced_by = Some(token);
            out.push(Effect::Save(self.disk.clone()));
        }
    }

    /// Whether a manager is to be told again that the database must not write: it may, without a lease, and was looked at since it was told last.
    fn is_uncovered(&self, now: Tick) -> bool {
        let may_write = matches!(self.facts.database, Database::Writes | Database::Unknown);
        let has_time = self.holder.is_live(now) || now < self.excused_until;
        self.is_managed && may_write && !self.is_unseen && !has_time
    }

    fn stop(&mut self, token: Token, out: &mut Vec<Effect>) {
        if !self.is_marked_by(token) {
            return self.begin(token, Work::Mark, out);
        }
        match (&self.facts.database, self.facts.stopped) {
            // What a manager has fenced may go on to run.
            (Database::Standby { receives_from: None }, Some(_)) if self.task.is_none() => self.tell_stopped(token, out),
            (Database::Writes | Database::Standby { .. }, _) => self.begin(token, Work::Stop, out),
            // Nothing runs, but the supervisor keeps the deadline of the lease, and would kill the standby that is started here next.
            (Database::Down, Some(_)) if self.task.is_none() && self.armed.is_some() => {
                self.holder.give_up();
                self.kill(out);
            }
            (Database::Down, Some(_)) if self.task.is_none() => self.tell_stopped(token, out),
            (Database::Down, None) if self.task.is_none() => out.push(Effect::Tell(Answer { token, said: Said::Unclean })),
            _ => {}
        }
    }

    fn tell_stopped(&mut self, token: Token, out: &mut Vec<Effect>) {
        let Some(stopped) = self.facts.stopped else { return };
        self.holder.give_up();
        self.note_fence(token, out);
        out.push(Effect::Tell(Answer { token, said: Said::Stopped(stopped) }));
    }

    fn seal(&mut self, token: Token, out: &mut Vec<Effect>) {
        match &self.facts.database {
            Database::Writes => self.kill(out),
            Database::Standby { receives_from: Some(_) } if holds(Key::Seal) => self.begin(token, Work::Seal, out),
            // Where it ends is known when it runs.
            Database::Down if self.facts.copy.is_none() => self.begin(token, Work::Seal, out),
            Database::Standby { .. } | Database::Down => self.tell_copy(token, out),
            Database::Unknown => {}
        }
    }

    fn tell_copy(&self, token: Token, out: &mut Vec<Effect>) {
        if let Some(copy) = self.facts.copy.clone().filter(|_| self.task.is_none()) {
            out.push(Effect::Tell(Answer { token, said: Said::Sealed(copy) }));
        }
    }

    fn drain(&mut self, token: Token, position: u64, fetch_from: Option<Label>, out: &mut Vec<Effect>) {
        let Some(copy) = self.facts.copy.as_ref().filter(|_| matches!(self.facts.database, Database::Standby { receives_from: None }))
        else {
            // It was not sealed, began to follow again, or ended.
            return if matches!(self.facts.database, Database::Standby { .. } | Database::Down) {
                self.begin(token, Work::Seal, out)
            };
        };
        if copy.position >= position && copy.replayed >= position {
            out.push(Effect::Tell(Answer { token, said: Said::Drained { position: copy.replayed } }));
        } else {
            self.begin(token, Work::Drain { position, fetch_from }, out);
        }
    }

    fn open(&mut self, now: Tick, out: &mut Vec<Effect>) {
        let Some(token) = self.holder.grant().map(|grant| grant.token) else { return };
        if self.is_uncovered(now) {
            return self.kill(out);
        }
        if self.facts.database == Database::Writes {
            if self.supervisor.is_some() && self.holder.soft().is_none() && self.armed.is_none_or(|until| now >= until) && holds(Key::Boot)
            {
                // Somebody else started it: without a lease nothing writes.
                return self.kill(out);
            }
            self.arm(out);
            match self.facts.opening {
                Some(opening) if opening.token == token => {
                    let said = Said::Opened { timeline: opening.timeline, at: opening.at };
                    out.push(Effect::Tell(Answer { token, said }));
                }
                _ if self.holder.is_live(now) => self.begin(token, Work::Sign, out),
                _ => {}
            }
            return;
        }
        if !self.is_as_granted() || !self.holder.is_live(now) && holds(Key::Please) {
            return;
        }
        if holds(Key::Parm) && self.arm(out) {
            return;
        }
        match self.facts.database {
            Database::Standby { .. } => self.begin(token, Work::Promote, out),
            Database::Down => self.begin(token, Work::Start, out),
            Database::Writes | Database::Unknown => {}
        }
    }

    /// Gives the supervisor the deadline of the lease; `true`: it does not have it yet.
    fn arm(&mut self, out: &mut Vec<Effect>) -> bool {
        let Some(deadline) = self.deadline().filter(|_| self.supervisor.is_some()) else { return false };
        if self.armed == Some(deadline) {
            return false;
        }
        out.push(Effect::Arm(deadline));
        self.armed.is_none()
    }

    fn follow(&mut self, token: Token, upstream: Label, reclone: bool, now: Tick, out: &mut Vec<Effect>) {
        match &self.facts.database {
            // Somebody promoted it, or started it as it was: it has no right to write, and people are to hear of it.
            Database::Writes => {
                self.usurped = Some(now);
                self.kill(out);
            }
            Database::Standby { receives_from: Some(from) } if *from == upstream && self.facts.stream.is_up() => {
                // What was allowed was for the directory that was there.
                self.goal = Goal::Follow { token, upstream: upstream.clone(), reclone: false };
                out.push(Effect::Tell(Answer { token, said: Said::Follows { upstream } }));
            }
            Database::Standby { .. } | Database::Down => self.begin(token, Work::Follow { upstream, reclone }, out),
            Database::Unknown => {}
        }
    }
}

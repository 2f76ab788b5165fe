//! The world: what happens when.

use std::collections::BTreeMap;

use super::{
    database::{Member, Run, SYSTEM},
    faults::Faults,
    net::{Chance, Lines, REGIONS, Region},
    proof::Proof,
};
use crate::{
    cluster::{Actor, Change, Entry, Node, NodeId, NodeRole, Outcome, Outline, PutPlan, Role, State},
    failover::{
        agent::{Agent, Disk, Task},
        conduct::{Action, Conductor, Figures, Patience},
        group::Group,
        keys::{Key, holds},
        lease::{Class, Grant, Refused, Reply, Request, Verdict},
        order::{Answer, Order, Status, Verb},
        step::Step,
        token::Token,
    },
    model::{
        group::{Durability, OnControlLoss, Policy, policy},
        ids::Label,
        mix::SplitMix64,
        time::{Tick, Timestamp},
    },
    recovery::exposure::Bracket,
    testing::clock::Clock,
};

/// 2027-01-15T08:00:00Z.
const START: Timestamp = Timestamp(1_800_000_000_000);

pub(super) fn group_name() -> Label {
    Label::new("orders")
}

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// Whether the third region has a database.
    pub(super) three_members: bool,
    /// Writes are acknowledged when another member has them.
    pub(super) quorum: bool,
    pub(super) control: OnControlLoss,
    /// Where a supervisor holds the database.
    pub(super) supervised: [bool; 3],
    /// People answer for primaries that may write on: then two may write, which is the accepted risk, but in quorum mode nothing acknowledged is
    /// lost all the same.
    pub(super) wrong_assertions: bool,
    /// How the first region's clock runs, in millionths beside true time, and everybody sees how fast the others' clocks run; `None`: all run
    /// within the bound, up to its edges, and nobody looks, because a lease must bear that by itself.
    pub(super) drift: Option<i64>,
    pub(super) faults: Faults,
    /// The first fault comes then, in true microseconds.
    pub(super) faults_from: u64,
    /// Faults come until then, in true microseconds; what follows is for the world to settle.
    pub(super) faults_until: u64,
    /// The end of a run.
    pub(super) until: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Mail {
    Order(Order),
    Answer(Answer),
    Status(Box<Status>),
    Renewal(Request),
    Reply(Reply),
    Ask(Token, u64),
    Ack(Token, u64),
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    AgentTurn(Region),
    LeaderTurn(Region),
    Catch(Region),
    Elect,
    Replicate,
    Write,
    Fault,
    Deliver(Region, Region, Box<Mail>),
    Lands(Region, (u64, u64), Task),
    Deadline(Region, u64, Tick),
    RoundEnds(Region, u64, u64),
    Commit(Region, u64, Box<Entry>),
}

/// The daemon of a region.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    /// How much of the log it has applied.
    pub(super) applied: usize,
    /// It believes that it leads, in this term.
    pub(super) leads: Option<(u64, Conductor)>,
    has_round: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Supervisor {
    pub(super) incarnation: u64,
    pub(super) deadline: Option<Tick>,
}

/// The host of a region: agent, supervisor, database, disk.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) is_up: bool,
    pub(super) clock: Clock,
    pub(super) agent: Option<Agent>,
    pub(super) is_paused: bool,
    pub(super) waits: Vec<(Region, Mail)>,
    pub(super) disk: Disk,
    pub(super) supervisor: Option<Supervisor>,
    pub(super) incarnation: u64,
    pub(super) database: Option<Member>,
    /// Tasks of an earlier one are gone: (kills, tasks ended by the agent or with it).
    pub(super) tasks: (u64, u64),
    /// Those of an agent that died since; what it had asked the database to open may open.
    pub(super) orphans: Option<u64>,
    /// Where the present timeline of the database began, if it began here.
    pub(super) began: u64,
    /// By which grant the database was opened last.
    pub(super) opened_by: Token,
    pub(super) told: u64,
}

pub(super) struct World {
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    n_events: u64,
    pub(super) chance: Chance,
    pub(super) setup: Setup,
    pub(super) lines: Lines,
    pub(super) daemons: [Daemon; 3],
    pub(super) hosts: [Host; 3],
    pub(super) state: State,
    /// The group and its policy after each entry.
    after: Vec<(Group, Policy)>,
    pub(super) term: u64,
    pub(super) leader: Option<Region>,
    /// Entries of leaders that were superseded: some of them are in the next one's log.
    pending: Vec<Entry>,
    pub(super) proof: Proof,
    n_writes: u32,
    /// The rule `commit`, taken away: what is renewed by before it is committed.
    rumoured: Option<Grant>,
    /// What happens, in words; `None`: nobody wants to know.
    pub(super) trace: Option<Vec<String>>,
}

struct NoFigures;

impl Figures for NoFigures {
    fn loss(&self, _: &Label, _: u64) -> Bracket {
        Bracket { low: std::time::Duration::ZERO, high: Some(std::time::Duration::from_secs(1)) }
    }

    fn verified(&self, _: &Label, _: Token) -> Option<Result<(), String>> {
        Some(Ok(()))
    }

    fn is_routed(&self, _: &Label, _: Token) -> bool {
        true
    }
}

pub(super) fn patience() -> Patience {
    let ms = std::time::Duration::from_millis;
    Patience {
        again: ms(500),
        refused: ms(5000),
        silence: ms(3000),
        stop: ms(6000),
        seal: ms(1500),
        drain: ms(5000),
        promote: ms(6000),
        give_back: ms(4000),
    }
}

impl World {
    pub(super) fn new(seed: u64, setup: Setup, is_traced: bool) -> Self {
        let mut chance = Chance(SplitMix64(seed));
        let hosts = REGIONS.map(|region| {
            let has_database = region.0 < 2 || setup.three_members;
            let is_supervised = setup.supervised[region.0] && has_database;
            let clock = Clock { base: chance.below(1_000_000_000_000), ppm: i64::try_from(chance.below(20_001)).expect("small") - 10_000 };
            let clock = setup.drift.map_or(clock, |ppm| Clock { ppm: if region.0 == 0 { ppm } else { clock.ppm / 10 }, ..clock });
            let supervisor = is_supervised.then_some(Supervisor { incarnation: 1, deadline: None });
            Host {
                is_up: true,
                clock,
                agent: has_database
                    .then(|| Agent::new(region.label(), Disk::default(), supervisor.map(|it| (it.incarnation, None)), clock.at(0))),
                is_paused: false,
                waits: Vec::new(),
                disk: Disk::default(),
                supervisor,
                incarnation: 1,
                database: has_database.then(|| Member::new(Region(0), region)),
                tasks: (0, 0),
                orphans: None,
                began: 0,
                opened_by: Token::default(),
                told: 0,
            }
        });
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            n_events: 0,
            chance,
            setup,
            lines: Lines::default(),
            daemons: REGIONS.map(|_| Daemon { applied: 0, leads: None, has_round: false }),
            hosts,
            state: State::default(),
            after: Vec::new(),
            term: 0,
            leader: None,
            pending: Vec::new(),
            proof: Proof::default(),
            n_writes: 0,
            rumoured: None,
            trace: is_traced.then(Vec::new),
        };
        world.found();
        for region in REGIONS {
            world.plan(1 + region.0 as u64 * 7, Event::AgentTurn(region));
            world.plan(2 + region.0 as u64 * 11, Event::Catch(region));
            world.plan(3 + region.0 as u64 * 13, Event::LeaderTurn(region));
        }
        world.elect(Region(0));
        world.plan(500_000, Event::Elect);
        world.plan(100_000, Event::Replicate);
        world.plan(3_000_000, Event::Write);
        world.plan(setup.faults_from, Event::Fault);
        world
    }

    //--- The log

    fn found(&mut self) {
        self.append(&entry(self.now, Change::Found { cluster: Label::new("drill") }));
        for region in REGIONS {
            let node = Node {
                id: NodeId(region.0 as u64 + 1),
                name: region.label(),
                region: region.label(),
                role: NodeRole::Voter,
                version: "0".to_owned(),
                feature_level: 1,
                plan_revision: None,
                address: "192.0.2.1:1".to_owned(),
            };
            self.append(&entry(self.now, Change::RecordNode(node)));
        }
        let plan = self.plan_entry(1, 10);
        self.append(&plan);
        let adopt =
            Step::Adopt { token: Token::default(), primary: Region(0).label(), system: SYSTEM, timeline: 1, class: self.class(Region(0)) };
        self.append(&step(self.now, adopt));
        let token = self.group().token;
        // It has been served for a while: the database knows by which grant.
        self.hosts[0].opened_by = token;
        for host in &mut self.hosts {
            if let Some(database) = &mut host.database {
                database.opening = Some(crate::failover::agent::Opening { token, timeline: 1, at: 0 });
                database.lives_under = host.supervisor.map(|it| it.incarnation);
            }
        }
        if let Some(supervisor) = &mut self.hosts[0].supervisor {
            let at = self.hosts[0].clock.at(8_000_000);
            supervisor.deadline = Some(at);
            self.plan(8_000_000, Event::Deadline(Region(0), 1, at));
        }
        let grant = self.group().grant.clone().expect("invariant: it was adopted");
        self.hosts[0].disk = Disk { highest: token, grant: Some(grant), ..Disk::default() };
        self.hosts[1].disk.highest = token;
        self.hosts[2].disk.highest = token;
        for region in REGIONS {
            self.start_agent(region);
        }
    }

    pub(super) fn plan_entry(&self, revision: u64, ttl: u64) -> Entry {
        let regions: &[&str] = if self.setup.three_members { &["a", "b", "c"] } else { &["a", "b"] };
        let seconds = std::time::Duration::from_secs;
        let policy = Policy {
            ttl: seconds(ttl),
            margin: seconds(2),
            on_control_loss: self.setup.control,
            durability: if self.setup.quorum { Durability::RemoteQuorum } else { Durability::Async },
            cool_down: seconds(0),
            names_ttl: seconds(if self.setup.three_members { 3 } else { 0 }),
            ..policy("a", regions)
        };
        let outline = Outline {
            regions: REGIONS.iter().map(|region| region.label()).collect(),
            groups: [(group_name(), policy)].into_iter().collect(),
            ..Outline::default()
        };
        let plan = PutPlan {
            revision,
            expected_revision: None,
            digest: format!("{revision:064}"),
            text: format!("revision: {revision}\n"),
            zones: BTreeMap::new(),
            outline,
        };
        entry(self.now, Change::PutPlan(Box::new(plan)))
    }

    /// Commits an entry: every node applies it sooner or later.
    pub(super) fn append(&mut self, entry: &Entry) -> Outcome {
        let index = self.after.len() as u64 + 1;
        let before = self.state.group(&group_name()).cloned().unwrap_or_default();
        let applied = self.state.apply(index, entry).expect("invariant: entries can be read");
        let group = self.state.group(&group_name()).cloned().unwrap_or_default();
        let policy = self.state.plan().and_then(|it| it.plan.outline.groups.get(&group_name()).cloned());
        let policy = policy.unwrap_or_else(policy_of_nobody);
        if let Change::Group { step, .. } = &entry.change {
            let outcome = match &applied.outcome {
                Outcome::Accepted { .. } => "ok".to_owned(),
                Outcome::Rejected(refusal) => format!("REFUSED {refusal}"),
            };
            self.note(|| format!("log {index}: {step} -> {outcome}"));
        }
        if group != before {
            self.proof.committed(&before, &group);
        }
        self.after.push((group, policy));
        applied.outcome
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.told();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now} {}", text()));
        }
    }

    /// True time for people.
    fn told(&self) -> String {
        format!("{}.{:03}s", self.now / 1_000_000, self.now / 1000 % 1000)
    }

    /// The group as it is committed.
    pub(super) fn group(&self) -> &Group {
        &self.after.last().expect("invariant: the log is not empty").0
    }

    pub(super) fn seen_by(&self, region: Region) -> &(Group, Policy) {
        let applied = self.daemons[region.0].applied;
        &self.after[applied.clamp(1, self.after.len()) - 1]
    }

    /// What a leader judges renewals by.
    fn rules(&self, region: Region) -> Verdict {
        let group = &self.seen_by(region).0;
        let rumoured = self.rumoured.clone().filter(|grant| grant.token > group.token);
        rumoured.map_or_else(|| group.rules(), Verdict::Granted)
    }

    fn class(&self, region: Region) -> Class {
        self.hosts[region.0].agent.as_ref().map_or(Class::Bare, Agent::class)
    }

    //--- Time

    pub(super) fn plan(&mut self, after: u64, event: Event) {
        self.n_events += 1;
        self.queue.insert((self.now + after, self.n_events), event);
    }

    /// Runs to the end, or to the first thing that must not be.
    pub(super) fn run(mut self) -> (Self, Result<(), String>) {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > self.setup.until {
                break;
            }
            self.now = at;
            self.happen(event);
            self.prove();
            if let Some(broken) = self.proof.broken.clone() {
                let at = self.told();
                return (self, Err(format!("{broken} at {at}")));
            }
        }
        let settled = self.settled();
        (self, settled)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::AgentTurn(region) => {
                self.agent_turn(region);
                let pause = self.chance.between(100_000, 300_000);
                self.plan(pause, Event::AgentTurn(region));
            }
            Event::LeaderTurn(region) => {
                self.leader_turn(region);
                let pause = self.chance.between(100_000, 250_000);
                self.plan(pause, Event::LeaderTurn(region));
            }
            Event::Catch(region) => {
                self.catch_up(region);
                let pause = self.chance.between(50_000, 300_000);
                self.plan(pause, Event::Catch(region));
            }
            Event::Elect => {
                self.elect_if_needed();
                let pause = self.chance.between(300_000, 1_500_000);
                self.plan(pause, Event::Elect);
            }
            Event::Replicate => {
                self.replicate();
                let pause = self.chance.between(30_000, 200_000);
                self.plan(pause, Event::Replicate);
            }
            Event::Write => {
                self.write();
                let pause = self.chance.between(100_000, 800_000);
                self.plan(pause, Event::Write);
            }
            Event::Fault => {
                if self.now < self.setup.faults_until {
                    self.fault();
                    let pause = self.chance.between(300_000, self.setup.faults.pace);
                    self.plan(pause, Event::Fault);
                } else {
                    self.mend();
                }
            }
            Event::Deliver(from, to, mail) => self.deliver(from, to, *mail),
            Event::Lands(region, tasks, task) => self.lands(region, tasks, &task),
            Event::Deadline(region, incarnation, at) => self.deadline(region, incarnation, at),
            Event::RoundEnds(region, term, round) => self.round_ends(region, term, round),
            Event::Commit(region, term, entry) => self.commit(region, term, entry),
        }
    }

    //--- Lines

    pub(super) fn reach(&self, from: Region, to: Region) -> bool {
        self.hosts[from.0].is_up && self.hosts[to.0].is_up && self.lines.is_open(from, to)
    }

    pub(super) fn both(&self, one: Region, other: Region) -> bool {
        self.reach(one, other) && self.reach(other, one)
    }

    pub(super) fn has_majority(&self, region: Region) -> bool {
        self.hosts[region.0].is_up && REGIONS.iter().any(|other| *other != region && self.both(region, *other))
    }

    pub(super) fn send(&mut self, from: Region, to: Region, mail: Mail) {
        if !self.reach(from, to) {
            return;
        }
        let times = if self.chance.percent(self.setup.faults.doubled) { 2 } else { 1 };
        for _ in 0..times {
            let faults = self.setup.faults;
            let leads = matches!(&mail, Mail::Order(Order { verb: Verb::Lead(_), .. }));
            let late = self.chance.percent(if leads { faults.late_leads } else { faults.late });
            let delay = if late { self.chance.between(500_000, self.setup.faults.late_max) } else { self.chance.between(5_000, 120_000) };
            self.plan(delay, Event::Deliver(from, to, Box::new(mail.clone())));
        }
    }

    /// To whoever believes that it leads; one of them, if there are several.
    pub(super) fn send_to_leader(&mut self, from: Region, mail: Mail) {
        let leads = |region: &Region| self.daemons[region.0].leads.is_some() && self.reach(from, *region);
        let leaders: Vec<Region> = REGIONS.into_iter().filter(leads).collect();
        if !leaders.is_empty() {
            let to = self.chance.pick(&leaders);
            self.send(from, to, mail);
        }
    }

    /// What is on its way arrives, though nothing new gets through any more.
    fn deliver(&mut self, from: Region, to: Region, mail: Mail) {
        if !self.hosts[to.0].is_up {
            return;
        }
        let now = self.hosts[to.0].clock.at(self.now);
        match mail {
            Mail::Order(_) | Mail::Reply(_) | Mail::Ask(..) | Mail::Ack(..) => {
                if self.hosts[to.0].is_paused {
                    self.hosts[to.0].waits.push((from, mail));
                } else {
                    self.hear(from, to, mail);
                }
            }
            Mail::Answer(answer) => {
                if let Some((_, conductor)) = &mut self.daemons[to.0].leads {
                    conductor.answered(&group_name(), &from.label(), answer, now);
                }
            }
            Mail::Status(status) => {
                if let Some((_, conductor)) = &mut self.daemons[to.0].leads {
                    conductor.told(&group_name(), &from.label(), *status, now);
                }
            }
            Mail::Renewal(request) => {
                let rules = self.rules(to);
                let reply = rules.reply(&request);
                let Some((_, conductor)) = &mut self.daemons[to.0].leads else { return };
                if let Err(Refused::Outranked(_)) = conductor.asked(&group_name(), request, &rules, now) {
                    self.send(to, from, Mail::Reply(reply));
                }
            }
        }
    }

    //--- Leaders

    fn elect_if_needed(&mut self) {
        if let Some(leader) = self.leader
            && self.has_majority(leader)
        {
            return;
        }
        let able: Vec<Region> = REGIONS.into_iter().filter(|region| self.has_majority(*region)).collect();
        if !able.is_empty() {
            let new = self.chance.pick(&able);
            self.elect(new);
        }
    }

    pub(super) fn elect(&mut self, region: Region) {
        self.term += 1;
        self.leader = Some(region);
        for entry in std::mem::take(&mut self.pending) {
            if self.chance.percent(50) {
                self.append(&entry);
            }
        }
        self.append(&entry(self.now, Change::Expire));
        let now = self.hosts[region.0].clock.at(self.now);
        self.daemons[region.0] =
            Daemon { applied: self.after.len(), leads: Some((self.term, Conductor::new(patience(), now))), has_round: false };
        self.note(|| format!("{region:?} leads"));
    }

    fn catch_up(&mut self, region: Region) {
        let Some(leader) = self.leader else { return };
        if region != leader && !self.reach(leader, region) {
            return;
        }
        let all = self.after.len();
        let term = self.term;
        let daemon = &mut self.daemons[region.0];
        daemon.applied = all;
        if daemon.leads.as_ref().is_some_and(|(of, _)| *of != term) {
            daemon.leads = None;
        }
    }

    fn leader_turn(&mut self, region: Region) {
        if !self.hosts[region.0].is_up {
            return;
        }
        let (group, policy) = self.seen_by(region).clone();
        let now = self.hosts[region.0].clock.at(self.now);
        let Some((term, conductor)) = &mut self.daemons[region.0].leads else { return };
        let term = *term;
        let actions = conductor.conduct(&group_name(), &group, &policy, &NoFigures, now);
        let mut round = None;
        if conductor.wants_round() && !self.daemons[region.0].has_round {
            round = self.daemons[region.0].leads.as_mut().map(|(_, conductor)| conductor.round_began());
        }
        if let Some(round) = round
            && term == self.term
            && self.has_majority(region)
        {
            self.daemons[region.0].has_round = true;
            let back = self.chance.between(10_000, 250_000);
            self.plan(back, Event::RoundEnds(region, term, round));
        }
        for action in actions {
            match action {
                Action::Propose(proposed) => self.propose(region, term, step(self.now, proposed)),
                Action::Send(to, order) => self.send(region, Region::of(&to), Mail::Order(order)),
            }
        }
    }

    pub(super) fn propose(&mut self, region: Region, term: u64, entry: Entry) {
        if let (Change::Group { step: Step::Promote { .. }, .. }, false) = (&entry.change, holds(Key::Commit)) {
            self.act_on_a_proposal(region);
        }
        let delay = self.chance.between(10_000, 250_000);
        self.plan(delay, Event::Commit(region, term, Box::new(entry)));
    }

    /// The rule `commit`, taken away: the candidate is told of a grant that is not there yet.
    fn act_on_a_proposal(&mut self, region: Region) {
        let (group, _) = self.seen_by(region).clone();
        let chosen = group.operation.as_ref().and_then(|it| it.chosen.clone());
        if let (Some(chosen), Some(grant)) = (chosen, group.grant) {
            let token = Token { epoch: self.after.len() as u64 + 1, ..group.token };
            let class = self.class(Region::of(&chosen.choice.region));
            let grant = Grant { token, region: chosen.choice.region.clone(), class, ..grant };
            self.rumoured = Some(grant.clone());
            self.send(region, Region::of(&chosen.choice.region), Mail::Order(Order { token, verb: Verb::Lead(grant) }));
        }
    }

    fn commit(&mut self, region: Region, term: u64, entry: Box<Entry>) {
        if term == self.term && self.has_majority(region) {
            let outcome = self.append(&entry);
            self.daemons[region.0].applied = self.after.len();
            let now = self.hosts[region.0].clock.at(self.now);
            if let (Some((_, conductor)), Change::Group { step, .. }, Outcome::Rejected(_)) =
                (&mut self.daemons[region.0].leads, &entry.change, outcome)
            {
                conductor.refused(&group_name(), step, now);
            }
        } else if term == self.term {
            if self.chance.percent(50) {
                self.pending.push(*entry);
            } else {
                self.plan(500_000, Event::Commit(region, term, entry));
            }
        }
    }

    fn round_ends(&mut self, region: Region, term: u64, round: u64) {
        self.daemons[region.0].has_round = false;
        let (rules, now) = (self.rules(region), self.hosts[region.0].clock.at(self.now));
        let Some((of, conductor)) = &mut self.daemons[region.0].leads else { return };
        if *of != term || !self.hosts[region.0].is_up {
            return;
        }
        let replies = conductor.round_ended(round, |_| Some(&rules), now);
        for (_, to, reply) in replies {
            let reply = if self.setup.drift.is_some() { reply } else { Reply { stamps: None, drifts: None, ..reply } };
            self.send(region, Region::of(&to), Mail::Reply(Reply { voters: self.voters_beside(), ..reply }));
        }
    }

    //--- Clients and replication

    fn write(&mut self) {
        for region in REGIONS {
            let host = &mut self.hosts[region.0];
            let Some(database) = host.database.as_mut().filter(|it| host.is_up && it.run == Run::Writes) else { continue };
            self.n_writes += 1;
            database.writes.push(self.n_writes);
            let is_alone = !holds(Key::SyncKeep) && host.opened_by > Token { generation: 0, epoch: 6 };
            if !self.setup.quorum || is_alone {
                self.acknowledge(region, self.n_writes);
            }
        }
    }

    fn replicate(&mut self) {
        for region in REGIONS {
            let Some(Run::Standby(Some(from))) = self.hosts[region.0].database.as_ref().map(|it| it.run) else { continue };
            if !self.both(region, from) {
                continue;
            }
            let Some(source) = self.hosts[from.0].database.clone().filter(|it| it.run == Run::Writes) else { continue };
            let n = usize::try_from(self.chance.below(4)).expect("small");
            if let Some(database) = &mut self.hosts[region.0].database {
                database.receive(&source, n);
                if self.setup.quorum && source.writes.starts_with(&database.writes) {
                    let have = database.writes.clone();
                    have.into_iter().for_each(|write| self.acknowledge(from, write));
                }
            }
        }
    }
}

fn policy_of_nobody() -> Policy {
    policy("a", &["a", "b"])
}

pub(super) fn entry(now: u64, change: Change) -> Entry {
    let at = Timestamp(START.0 + i64::try_from(now / 1000).expect("small"));
    Entry {
        at,
        by: Actor { name: "drill".to_owned(), role: Role::System },
        request_id: None,
        reason: "drill".to_owned(),
        moves: None,
        overrules: Vec::new(),
        change,
    }
}

pub(super) fn step(now: u64, step: Step) -> Entry {
    entry(now, Change::Group { group: group_name(), step })
}

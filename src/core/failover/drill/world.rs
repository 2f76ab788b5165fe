//! The world: what happens when.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    database::{Member, Run, SYSTEM},
    net::{Chance, Lines, REGIONS, Region},
    proof::Proof,
    setup::{LITTLE, Setup, policy_of_nobody},
    watch::{Lookout, View},
};
use crate::{
    cluster::{Actor, Change, Entry, Node, NodeId, NodeRole, Outcome, Role, State},
    failover::{
        agent::{Agent, Disk, Task},
        conduct::Conductor,
        detect::Stand,
        grounds::Attestation,
        group::Group,
        lease::{Class, Grant, Refused, Reply, Request, Verdict},
        order::{Answer, Order, Status, Verb},
        step::Step,
        token::Token,
    },
    model::{
        group::Policy,
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

#[derive(Clone, Debug)]
pub(super) enum Mail {
    Order(Order),
    Answer(Answer),
    Status(Box<Status>),
    Renewal(Request),
    Reply(Reply),
    Ask(Token, u64),
    Ack(Token, u64),
    View(View),
    Question(u64),
    Attest(u64, Attestation),
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    AgentTurn(Region),
    LeaderTurn(Region),
    Look(Region),
    Catch(Region),
    Elect,
    Replicate,
    Write,
    Fault,
    LinesComeBack,
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
    pub(super) has_round: bool,
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
    /// Tasks that ended while the agent paused: it hears of them when it goes on.
    pub(super) ended: Vec<Task>,
    pub(super) disk: Disk,
    pub(super) supervisor: Option<Supervisor>,
    pub(super) incarnation: u64,
    pub(super) database: Option<Member>,
    /// Tasks of an earlier one are gone: (kills, tasks ended by the agent or with it).
    pub(super) tasks: (u64, u64),
    /// What the task that runs is by now, if it was handed over since it began.
    pub(super) handed: Option<Task>,
    /// Those of an agent that died since; what it had asked the database to open may open.
    pub(super) orphans: Option<u64>,
    /// Where the present timeline of the database began, if it began here.
    pub(super) began: u64,
    /// By which grant the database was opened last.
    pub(super) opened_by: Token,
    pub(super) told: u64,
    /// Its database waits for nobody, by the grant that it was opened by.
    pub(super) acknowledges_alone: bool,
    /// Its database does not come up.
    pub(super) is_sick: bool,
}

/// What is agreed on about the group after an entry, and how it stands with automation then.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) group: Group,
    pub(super) policy: Policy,
    pub(super) stand: Stand,
}

pub(super) struct World {
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    n_events: u64,
    pub(super) chance: Chance,
    pub(super) setup: Setup,
    pub(super) lines: Lines,
    /// When a cut ended last that ends by itself.
    pub(super) whole_since: u64,
    /// Probes from there fail, whatever they meet.
    pub(super) blind: Option<Region>,
    /// What would be lost, as leaders are told.
    pub(super) loss: Bracket,
    pub(super) daemons: [Daemon; 3],
    pub(super) lookouts: [Lookout; 3],
    pub(super) hosts: [Host; 3],
    pub(super) state: State,
    /// What is agreed on after each entry.
    pub(super) after: Vec<Rc<Agreed>>,
    pub(super) term: u64,
    pub(super) leader: Option<Region>,
    /// Entries of leaders that were superseded: some of them are in the next one's log.
    pub(super) pending: Vec<Entry>,
    pub(super) proof: Proof,
    n_writes: u32,
    /// The rule `commit`, taken away: what is renewed by before it is committed.
    pub(super) rumoured: Option<Grant>,
    /// What happens, in words; `None`: nobody wants to know.
    pub(super) trace: Option<Vec<String>>,
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
                ended: Vec::new(),
                disk: Disk::default(),
                supervisor,
                incarnation: 1,
                database: has_database.then(|| Member::new(Region(0), region)),
                tasks: (0, 0),
                handed: None,
                orphans: None,
                began: 0,
                opened_by: Token::default(),
                told: 0,
                acknowledges_alone: !setup.quorum,
                is_sick: false,
            }
        });
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            n_events: 0,
            chance,
            setup,
            lines: Lines::default(),
            whole_since: 0,
            blind: None,
            loss: LITTLE,
            lookouts: REGIONS.map(|_| Lookout::new()),
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
            if setup.is_watched {
                world.plan(4 + region.0 as u64 * 17, Event::Look(region));
            }
        }
        // Who shares a clock with the holder does not see how that runs.
        world.elect(Region(usize::from(setup.drift.is_some())));
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
        let plan = self.setup.plan(self.now, 1, self.setup.ttl);
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

    /// Commits an entry: every node applies it sooner or later.
    pub(super) fn append(&mut self, entry: &Entry) -> Outcome {
        let index = self.after.len() as u64 + 1;
        let before = self.state.group(&group_name()).cloned().unwrap_or_default();
        let applied = self.state.apply(index, entry).expect("invariant: entries can be read");
        let group = self.state.group(&group_name()).cloned().unwrap_or_default();
        let policy = self.state.plan().and_then(|it| it.plan.outline.groups.get(&group_name()).cloned());
        let policy = policy.unwrap_or_else(policy_of_nobody);
        let stand = self.state.stand(&group_name(), entry.at).unwrap_or_default();
        if let Change::Group { step, .. } = &entry.change {
            let outcome = match &applied.outcome {
                Outcome::Accepted { .. } => "ok".to_owned(),
                Outcome::Rejected(refusal) => format!("REFUSED {refusal}"),
            };
            self.note(|| format!("log {index}: {step} -> {outcome}"));
        }
        if let Outcome::Rejected(refusal) = &applied.outcome {
            self.proof.refused(&entry.by.name, refusal);
        }
        if group != before {
            self.committed(&before, &group, &entry.by.name);
        }
        self.after.push(Rc::new(Agreed { group, policy, stand }));
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
        &self.after.last().expect("invariant: the log is not empty").group
    }

    pub(super) fn seen_by(&self, region: Region) -> &Rc<Agreed> {
        let applied = self.daemons[region.0].applied;
        &self.after[applied.clamp(1, self.after.len()) - 1]
    }

    /// What a leader judges renewals by.
    pub(super) fn rules(&self, region: Region) -> Verdict {
        let group = &self.seen_by(region).group;
        let rumoured = self.rumoured.clone().filter(|grant| grant.token > group.token);
        rumoured.map_or_else(|| group.rules(), Verdict::Granted)
    }

    pub(super) fn class(&self, region: Region) -> Class {
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
            Event::Look(region) => {
                self.look(region);
                let pause = self.chance.between(300_000, 800_000);
                self.plan(pause, Event::Look(region));
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
            Event::LinesComeBack => (self.lines, self.whole_since) = (Lines::default(), self.now),
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
                if self.setup.is_watched {
                    self.hears_agent(from, to, (*status).clone());
                }
                if let Some((_, conductor)) = &mut self.daemons[to.0].leads {
                    conductor.told(&group_name(), &from.label(), *status, now);
                }
            }
            Mail::View(view) => self.saw(from, to, view),
            Mail::Question(question) => self.asked(from, to, question),
            Mail::Attest(question, what) => self.attested(from, to, question, what),
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

    //--- Clients and replication

    fn write(&mut self) {
        self.ask_at_home();
        for region in REGIONS {
            let host = &mut self.hosts[region.0];
            let Some(database) = host.database.as_mut().filter(|it| host.is_up && it.run == Run::Writes) else { continue };
            self.n_writes += 1;
            database.writes.push(self.n_writes);
            if host.acknowledges_alone {
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
            let Some(source) = self.hosts[from.0].database.clone().filter(|it| it.run == Run::Writes) else {
                if let Some(database) = self.hosts[region.0].database.as_mut().filter(|_| self.setup.is_watched) {
                    database.heard = None;
                }
                continue;
            };
            let n = usize::try_from(self.chance.below(4)).expect("small");
            if let Some(database) = &mut self.hosts[region.0].database {
                database.heard = Some(self.now);
                database.receive(&source, n);
                if self.setup.quorum && source.writes.starts_with(&database.writes) {
                    let have = database.writes.clone();
                    have.into_iter().for_each(|write| self.acknowledge(from, write));
                }
            }
        }
    }
}

/// True time for people and for what is agreed on.
pub(super) fn seen_at(now: u64) -> Timestamp {
    Timestamp(START.0 + i64::try_from(now / 1000).expect("small"))
}

pub(super) fn entry(now: u64, change: Change) -> Entry {
    entry_by("drill", now, change)
}

fn entry_by(name: &str, now: u64, change: Change) -> Entry {
    Entry {
        at: seen_at(now),
        by: Actor { name: name.to_owned(), role: Role::System },
        request_id: None,
        reason: "drill".to_owned(),
        moves: None,
        overrules: Vec::new(),
        change,
    }
}

pub(super) fn step(now: u64, step: Step) -> Entry {
    step_by("drill", now, step)
}

/// A step that somebody else than the conductor or the drill's people proposes.
pub(super) fn step_by(name: &str, now: u64, step: Step) -> Entry {
    entry_by(name, now, Change::Group { group: group_name(), step })
}

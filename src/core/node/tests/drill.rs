//! A node in a world of scripted targets, on virtual clocks.
//!
//! Proves at every step what must hold in every scenario: a table made of changes equals one that is compiled whole, nothing is due before
//! the announced deadline, nothing that is due stays undone, and a status can be worded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use super::plan_text::{value, world};
use crate::{
    answer::{ClientSubnet, Query, answer},
    failover::{
        holding::{Statement as StatedRole, Word},
        token::Token,
    },
    health::{
        overlay::{Override, OverrideKind, Scope},
        vantage::{CheckKey, Judgement, Report, Sight, Statement, keys},
    },
    model::{
        check::{Check, Failure, FailureCategory, Host, Observation, Outcome, Timings},
        ids::{Label, ServiceIdx},
        record::RecordType,
        time::{Now, Tick, Timestamp},
        topology::Target as Aim,
        units::{Share, Weight},
        verdict::Health,
    },
    node::{Agreed, Attempt, Effect, Event, Node, Peers, Readiness, Served, Settings, report::State, saved::SavedNode},
    table::{RoleView, ServiceView, Table},
    testing::script::{category, duration},
};

/// How long a scripted target takes to answer.
const LATENCY: Duration = Duration::from_millis(20);

/// The wall clock at the start of all scripts: 2027-01-15T08:00:00Z.
const START: Timestamp = Timestamp(1_800_000_000_000);

/// More turns than this without the clock moving are a spin.
const TURNS_MAX: usize = 10_000;

/// What a scripted target does with probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Reports this after [`LATENCY`].
    Answers(Outcome),
    /// Accepts and says nothing: the prober reports a timeout when the time is up.
    Hangs,
    /// The probe never reports: the prober lost it.
    Lost,
}

/// A node, its targets and its clocks.
pub(super) struct Drill {
    /// Header lines, as they are in force.
    plan: Vec<String>,
    /// Header lines, as they are after the next reload.
    edited: Vec<String>,
    revision: u64,
    pub(super) node: Node,
    pub(super) now: Now,
    /// What the wall clock is ahead of the ticks, in milliseconds, beside [`START`].
    stepped: i64,
    targets: BTreeMap<IpAddr, Target>,
    results: BTreeMap<(Tick, Attempt), Outcome>,
    overrides: Vec<Override>,
    /// How often peers were to get reports.
    n_reports: usize,
    /// Counters of scripted peers, by name.
    peers: BTreeMap<String, u64>,
    /// What was seen.
    pub(super) text: String,
}

impl Drill {
    /// A node without state at the start of time.
    pub(super) fn new(plan: &str) -> Self {
        let lines: Vec<String> = plan.lines().map(str::to_owned).collect();
        let now = Now { tick: Tick(1), wall: START };
        let node = Node::new(settings(), world(1, plan), digest(1), None, now);
        let mut drill = Self {
            edited: lines.clone(),
            plan: lines,
            revision: 1,
            node,
            now,
            stepped: 0,
            targets: BTreeMap::new(),
            results: BTreeMap::new(),
            overrides: Vec::new(),
            n_reports: 0,
            peers: BTreeMap::new(),
            text: String::new(),
        };
        drill.advance();
        drill
    }

    fn note(&mut self, line: &str) {
        let at = self.now.tick.0;
        let time = format!("{}.{:03}s", at / 1_000_000, at / 1000 % 1000);
        writeln!(self.text, "{time:>10}  {line}").unwrap();
    }

    fn set_tick(&mut self, tick: Tick) {
        self.now = Now { tick, wall: Timestamp(START.0 + i64::try_from(tick.0 / 1000).unwrap() + self.stepped) };
    }

    //--- Turning

    /// Hands an event in and lets the node act on it.
    fn handle(&mut self, event: Event) {
        let mut effects = Vec::new();
        if let Err(rejected) = self.node.handle(self.now, event, &mut effects) {
            self.note(&format!("rejected: {rejected}"));
        }
        self.show(effects);
        self.advance();
    }

    fn advance(&mut self) {
        let mut effects = Vec::new();
        let starts = self.node.advance(self.now, usize::MAX, &mut effects);
        for start in starts {
            let check = self.node.book().check(start.check).expect("a check of the plan");
            let timeout = check.probe.cadence.timeout;
            let Some(Host::Ip(address)) = check.address.as_ref().map(|address| address.host.clone()) else {
                self.results.insert((self.now.tick + LATENCY, start.attempt), Outcome::Passed);
                continue;
            };
            match self.targets.get(&address).cloned().unwrap_or(Target::Answers(Outcome::Passed)) {
                Target::Answers(outcome) => drop(self.results.insert((self.now.tick + LATENCY, start.attempt), outcome)),
                Target::Hangs => {
                    let outcome = Outcome::Failed(Failure::new(FailureCategory::Timeout, "no answer"));
                    self.results.insert((self.now.tick + timeout, start.attempt), outcome);
                }
                Target::Lost => {}
            }
        }
        self.show(effects);
        self.prove();
    }

    fn show(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Publish(table) => {
                    let stale = if table.stale_since.is_some() { ", stale" } else { "" };
                    self.note(&format!("table {}{stale}", table.generation));
                }
                Effect::Tell(happening) => self.note(&happening.text),
                Effect::Report => self.n_reports += 1,
                Effect::Confirm { .. } => self.note("asks others to confirm"),
            }
        }
    }

    /// What holds after every turn.
    fn prove(&self) {
        let Some(table) = self.node.table() else { return };
        // The daemon may ask at any moment; nothing in it may panic, and the picture agrees with itself.
        let mut copy = self.node.clone();
        let world = copy.world().clone();
        let n = world.topology.services.len();
        let mut states: Vec<_> = (0..n).map(|position| copy.states(self.now, ServiceIdx::at(position)).into_iter()).collect();
        let whole = Table::compile(1, world.clone(), |endpoint| {
            states[world.topology.endpoints[endpoint.get()].service.get()].next().expect("as many states as endpoints")
        });
        for (given, wanted) in table.views.iter().zip(&whole.views) {
            assert_eq!(timeless(given), timeless(wanted), "a table made of changes differs from a whole one\n{}", self.text);
        }
    }

    /// Plays until `end`.
    pub(super) fn run_until(&mut self, end: Tick) {
        let (mut turns, mut last) = (0, self.now.tick);
        loop {
            let result = self.results.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.node.next_deadline(self.now, true);
            let Some(next) = [result, deadline].into_iter().flatten().min().filter(|next| *next <= end) else { break };
            self.prove_nothing_due_before(deadline);
            self.set_tick(next.max(self.now.tick));
            turns = if self.now.tick == last { turns + 1 } else { 0 };
            last = self.now.tick;
            assert!(turns < TURNS_MAX, "the node spins at {:?}\n{}", self.now, self.text);
            match self.results.pop_first() {
                Some(((at, attempt), outcome)) if at <= self.now.tick => {
                    let observation = Observation { outcome, timings: Timings { total: LATENCY, ..Timings::default() } };
                    let mut effects = Vec::new();
                    // A result that comes too late is refused, which is no news.
                    let _ = self.node.handle(self.now, Event::ProbeFinished { attempt, observation }, &mut effects);
                    self.show(effects);
                }
                later => self.results.extend(later),
            }
            self.advance();
        }
        // The wall clock is read in milliseconds, so what ends at this very instant may be due a moment later.
        self.set_tick(end.max(self.now.tick));
        self.advance();
    }

    /// Between now and the deadline the node has nothing to do.
    fn prove_nothing_due_before(&self, deadline: Option<Tick>) {
        let Some(before) = deadline.map(|at| at.before(Duration::from_millis(2))).filter(|before| *before > self.now.tick) else { return };
        let wall = self.now.wall + before.since(self.now.tick);
        let (mut copy, mut effects) = (self.node.clone(), Vec::new());
        let starts = copy.advance(Now { tick: before, wall }, usize::MAX, &mut effects);
        assert!(starts.is_empty() && effects.is_empty(), "due before the deadline: {starts:?} {effects:?}\n{}", self.text);
    }

    /// Lets all the time until `tick` pass in one turn, as a suspended machine does.
    pub(super) fn leap(&mut self, tick: Tick) {
        self.results.clear();
        self.set_tick(tick);
        self.advance();
    }

    /// The plan's lines for endpoints.
    pub(super) fn endpoint_lines(&self) -> Vec<String> {
        self.edited.iter().filter(|line| line.starts_with("endpoint")).cloned().collect()
    }

    //--- Steps

    /// Does what one line of a script says.
    pub(super) fn step(&mut self, line: &str) {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "at" {
            self.run_until(Tick(0) + duration(words[1]));
            words.drain(..2);
        }
        let rest = words.get(1..).unwrap_or_default();
        match words.first().copied() {
            None => {}
            Some("run") => self.run_until(self.now.tick + duration(rest[0])),
            Some("target") => drop(self.targets.insert(rest[0].parse().unwrap(), behaviour(&rest[1..]))),
            Some("region") => self.region(rest),
            Some("all") => self.set_targets(|_| true, &behaviour(rest)),
            Some("override") => self.order(line, rest),
            Some("lift") => {
                self.overrides.retain(|it| it.id.as_str() != rest[0]);
                self.handle(Event::OverridesChanged(self.overrides.clone()));
            }
            Some("ask") => self.ask(rest),
            Some("shares") => self.shares(rest),
            Some("status") => self.status(),
            Some("why") => self.why(&rest.join(" "), true),
            Some("reason") => self.why(&rest.join(" "), false),
            Some("ready") => match self.node.readiness(self.now) {
                Readiness::Ready => self.note("ready"),
                Readiness::NotReady(why) => self.note(&format!("not ready: {why}")),
            },
            Some("beat") => self.handle(Event::BeatReceived { name: rest[0].to_owned(), ok: rest[1] == "ok", at: None }),
            Some("clock") => {
                let (sign, step) = if let Some(step) = rest[0].strip_prefix('-') { (-1, step) } else { (1, &rest[0][1..]) };
                self.stepped += sign * i64::try_from(duration(step).as_millis()).unwrap();
                self.set_tick(self.now.tick);
                self.advance();
            }
            Some("reject") => self.handle(Event::FileRejected { kind: "plan", text: rest.join(" ") }),
            Some("accept") => self.handle(Event::FileAccepted { kind: "plan" }),
            Some("join") => self.join(rest),
            Some("peer") => self.peer(rest),
            Some("references") => self.handle(Event::ReferencesLooked { reached: u16::from(rest[0] == "ok"), all: 1 }),
            Some("confirm") => {
                let check = self.key_of(rest[0]);
                self.handle(Event::ConfirmAsked { check });
            }
            Some("says") => self.says(rest),
            Some("agreed") => {
                let agreed = Agreed { region: Label::new(rest[0]), is_leaving: rest.get(1) == Some(&"leaving") };
                self.handle(Event::PrimariesChanged([(Label::new("orders"), agreed)].into()));
            }
            Some("edit") => self.edit(line.split_once("edit ").unwrap().1),
            Some("reload") => self.reload(),
            Some("restart") => self.restart(),
            Some(word) => panic!("`{word}` is not a step"),
        }
    }

    fn region(&mut self, words: &[&str]) {
        let topology = self.node.world().topology.clone();
        let region = topology.region(words[0]).expect("a region of the plan");
        let addresses: BTreeSet<IpAddr> = topology
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.region == region)
            .filter_map(|endpoint| address(&endpoint.target))
            .collect();
        self.set_targets(|target| addresses.contains(&target), &behaviour(&words[1..]));
    }

    fn set_targets(&mut self, chosen: impl Fn(IpAddr) -> bool, behaviour: &Target) {
        let endpoints = self.node.world().topology.endpoints.iter();
        let addresses: Vec<IpAddr> = endpoints.filter_map(|endpoint| address(&endpoint.target)).filter(|it| chosen(*it)).collect();
        self.targets.extend(addresses.into_iter().map(|address| (address, behaviour.clone())));
    }

    /// `override ID KIND SCOPE by WHO [until DURATION] because WHY`.
    fn order(&mut self, line: &str, words: &[&str]) {
        let kind = match words[1] {
            "drain" => OverrideKind::Drain,
            "maintenance" => OverrideKind::Maintenance,
            "up" => OverrideKind::ForcedUp,
            "down" => OverrideKind::ForcedDown,
            "hold" => OverrideKind::Hold,
            word if word.starts_with("weight=") => OverrideKind::Weight(Weight(word[7..].parse().unwrap())),
            word if word.starts_with("admission=") => OverrideKind::Admission(Share::percent(word[10..].parse().unwrap())),
            word => panic!("`{word}` is not an order"),
        };
        let scope = match words[2].split_once(':').unwrap_or((words[2], "")) {
            ("everything", _) => Scope::Everything,
            ("group", name) => Scope::Group(Label::new(name)),
            ("region", name) => Scope::Region(Label::new(name)),
            ("service", name) => Scope::Service(Label::new(name)),
            ("endpoint", name) => Scope::Endpoint(name.to_owned()),
            ("pool", name) => {
                let (service, region) = name.split_once('/').unwrap();
                Scope::Pool { service: Label::new(service), region: Label::new(region) }
            }
            (word, _) => panic!("`{word}` is not a scope"),
        };
        let after = |key: &str| words.iter().position(|word| *word == key).map(|position| words[position + 1]);
        self.overrides.push(Override {
            id: Label::new(words[0]),
            kind,
            scope,
            who: after("by").unwrap().to_owned(),
            why: line.split_once("because ").map_or("drill", |(_, why)| why).to_owned(),
            at: self.now.wall,
            until: after("until").map(|in_| self.now.wall + duration(in_)),
        });
        self.handle(Event::OverridesChanged(self.overrides.clone()));
    }

    //--- Peers

    /// `join REGION…`: the regions of all peers.
    fn join(&mut self, regions: &[&str]) {
        let peers = Peers {
            incarnation: self.revision + 1,
            regions: regions.iter().map(|region| Label::new(region)).collect(),
            probers_per_region: 2,
            unproven_hold: Duration::from_secs(60),
        };
        self.node.join(peers, self.now);
        self.advance();
    }

    /// `peer REGION up|down ADDRESS…`: a node there says so of these and nothing else, once.
    fn peer(&mut self, words: &[&str]) {
        let health = if words[1] == "up" { Health::Up } else { Health::Down };
        let failure = (health == Health::Down).then(|| Failure::new(FailureCategory::Connect, "as a peer says").into());
        let sequence = self.peers.entry(words[0].to_owned()).or_default();
        *sequence += 1;
        let sequence = *sequence;
        let judgement = Judgement { health, since: Some(self.now.wall), returned_at: None, failure };
        let said = |address: &&str| Statement { check: self.key_of(address), sequence, judgement: judgement.clone() };
        let report = Report {
            observer: Label::new(&format!("{}-1", words[0])),
            region: Label::new(words[0]),
            incarnation: 1,
            after: sequence - 1,
            sequence,
            sight: Sight::Sighted,
            age: Duration::ZERO,
            statements: words[2..].iter().map(said).collect(),
        };
        self.handle(Event::ReportHeard { report, round_trip: Duration::from_millis(160) });
    }

    /// `says REGION holds EPOCH DURATION [AGE]`, `says REGION follows EPOCH [LAG]`, `says REGION rests EPOCH`: what its agent states of group orders.
    fn says(&mut self, words: &[&str]) {
        let number = self.peers.entry(format!("agent {}", words[0])).or_default();
        *number += 1;
        let word = match words[1] {
            "holds" => Word::Holds { remaining: duration(words[3]) },
            "follows" => Word::Follows { lag: words.get(3).map(|lag| duration(lag)) },
            _ => Word::Rests,
        };
        let statement = StatedRole {
            group: Label::new("orders"),
            region: Label::new(words[0]),
            sequence: (1, *number),
            token: Token { generation: 1, epoch: words[2].parse().unwrap() },
            word,
        };
        let age = words.get(4).map_or(Duration::ZERO, |age| duration(age));
        let heard = self.node.hear_statement(self.now, &statement, age);
        self.note(&format!("heard: {heard:?}"));
        self.advance();
    }

    fn key_of(&self, address: &str) -> CheckKey {
        let is_it = |check: &Check| check.address.as_ref().is_some_and(|it| it.host.to_string() == address);
        let checks = &self.node.world().topology.checks;
        keys(checks)[checks.iter().position(is_it).unwrap_or_else(|| panic!("nothing probes {address}"))]
    }

    fn edit(&mut self, text: &str) {
        let (old, new) = text.split_once("=>").expect("`edit OLD => NEW`");
        let position = self.edited.iter().position(|line| line.trim() == old.trim()).unwrap_or_else(|| panic!("no line `{old}`"));
        let new = new.split(';').map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
        self.edited.splice(position..=position, new);
    }

    fn reload(&mut self) {
        self.revision += 1;
        self.plan.clone_from(&self.edited);
        let world = world(self.revision, &self.plan.join("\n"));
        self.handle(Event::WorldLoaded { world, digest: digest(self.revision) });
    }

    /// Another process, from what this one leaves on disk.
    fn restart(&mut self) {
        let saved: Option<SavedNode> =
            self.node.save(self.now).map(|saved| serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap());
        self.results.clear();
        let seen = self.node.holdings().seen();
        self.node = Node::new(settings(), world(self.revision, &self.plan.join("\n")), digest(self.revision), saved, self.now);
        if let Some(table) = self.node.table() {
            let text = format!("started with table {}{}", table.generation, if table.stale_since.is_some() { ", stale" } else { "" });
            self.note(&text);
        }
        self.node.remember(seen);
        self.advance();
    }

    //--- Looking

    /// The answer of a question: `A from 10.0.1.0/24 [NAME]`.
    pub(super) fn answer_to(&self, record_type: &str, from: &str, name: &str) -> crate::answer::Answer {
        let Some(table) = self.node.table() else { return crate::answer::Answer::not_ready() };
        answer(table, &query(record_type, from, name), self.now.tick)
    }

    fn ask(&mut self, words: &[&str]) {
        let name = words.get(3).copied().unwrap_or("api.example.test");
        let answer = self.answer_to(words[0], words[2], name);
        let topology = &self.node.world().topology;
        let region = answer.steered.and_then(|(_, region)| region).map_or_else(String::new, |region| {
            let name = &topology.regions[region.get()].name;
            format!("{name}: ")
        });
        let error = answer.extended_error.as_ref().map_or_else(String::new, |error| format!("; {} {}", error.code, error.text));
        let line = format!("{} {} <- {}: {region}{}{error}", name, words[0], words[2], answer.summary());
        self.note(&line);
    }

    /// How many of 1024 /24 networks each region gets: `A from 10.0.0.0/14 [NAME]`; `… resolvers`: of the resolvers in them.
    fn shares(&mut self, words: &[&str]) {
        let by_resolver = words.get(3) == Some(&"resolvers");
        let name = words.get(3).copied().filter(|_| !by_resolver).unwrap_or("api.example.test");
        let IpAddr::V4(base) = words[2].split_once('/').unwrap().0.parse().unwrap() else { panic!("an IPv4 network") };
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for i in 0..1024_u32 {
            let network = Ipv4Addr::from_bits(base.to_bits() + (i << 8));
            let from = if by_resolver { network.to_string() } else { format!("{network}/24") };
            let answer = self.answer_to(words[0], &from, name);
            let region = answer.steered.and_then(|(_, region)| region);
            let region = region.map_or("none", |region| self.node.world().topology.regions[region.get()].name.as_str());
            *counts.entry(region.to_owned()).or_default() += 1;
        }
        let shares: Vec<String> = counts.iter().map(|(region, count)| format!("{region} {}%", (count * 100 + 512) / 1024)).collect();
        self.note(&format!("of 1024 networks from {}: {}", words[2], shares.join(", ")));
    }

    fn status(&mut self) {
        let status = self.node.status(self.now, &Served::default());
        assert_eq!(status.state == State::Ok, status.headline.is_empty(), "all is well, or something is said: {status:?}");
        self.note(&format!("status {}, table {}, plan revision {}", status.state.word(), status.generation, status.revision));
        let mut text = String::new();
        for line in &status.headline {
            writeln!(text, "            {line}").unwrap();
        }
        for region in &status.regions {
            let since = region.since.map_or_else(|| "-".to_owned(), |since| format!("{}", since.0.saturating_sub(START.0) / 1000));
            let cause = region.cause.as_ref().map_or_else(String::new, |cause| format!(" ({cause})"));
            let intended = if region.intended.is_empty() { String::new() } else { format!(" [{}]", region.intended.join("; ")) };
            writeln!(
                text,
                "            region {} {} since {since}, {}/{} up, {} failures, wanted {}{cause}{intended}",
                region.name, region.observed, region.endpoints_up, region.endpoints_total, region.failures, region.share_wanted
            )
            .unwrap();
        }
        for service in &status.services {
            let all_down = service.all_down.as_ref().map_or_else(String::new, |rule| format!(", all_down {rule}"));
            writeln!(text, "            service {} {}, ttl {}{all_down}", service.name, service.state.word(), service.ttl).unwrap();
            for endpoint in &service.endpoints {
                let intended = endpoint.intended.as_ref().map_or_else(String::new, |it| format!(" [{it}]"));
                let note = endpoint.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
                let served = if endpoint.served { "served" } else { "not served" };
                writeln!(text, "              {} {}{intended}, {served}{note}", endpoint.name, endpoint.observed).unwrap();
            }
        }
        for notice in &status.notices {
            writeln!(text, "            {:?} {}: {}", notice.severity, notice.kind, notice.text).unwrap();
        }
        self.text.push_str(&text);
    }

    fn why(&mut self, object: &str, with_history: bool) {
        match self.node.why(self.now, object) {
            Err(error) => self.note(&format!("why {object}: {error}")),
            Ok(why) => {
                self.note(&format!("why {}", why.object));
                let reason: String = why.reason.render().lines().map(|line| format!("            {line}\n")).collect();
                self.text.push_str(&reason);
                for happening in why.history.iter().filter(|_| with_history) {
                    writeln!(self.text, "            at {} {}", happening.at.0.saturating_sub(START.0) / 1000, happening.text).unwrap();
                }
            }
        }
    }
}

/// `10.0.1.0/24`: by client subnet; `10.0.1.5`: by the resolver's own address; `10.0.1.5+8`: the same with that much entropy.
pub(super) fn query(record_type: &str, from: &str, name: &str) -> Query {
    let (from, entropy) = from.split_once('+').map_or((from, 0), |(from, entropy)| (from, entropy.parse().unwrap()));
    let (source, client_subnet) = match from.split_once('/') {
        Some((address, prefix)) => {
            let address: IpAddr = address.parse().unwrap();
            (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 250)), Some(ClientSubnet { address, source_prefix: prefix.parse().unwrap() }))
        }
        None => (from.parse().unwrap(), None),
    };
    let record_type: RecordType = record_type.parse().unwrap();
    Query { name: name.parse().unwrap(), record_type, source, client_subnet, entropy }
}

/// `ok`, `fail CATEGORY`, `hang`, `lost`.
fn behaviour(words: &[&str]) -> Target {
    match words {
        ["ok"] => Target::Answers(Outcome::Passed),
        ["hang"] => Target::Hangs,
        ["lost"] => Target::Lost,
        ["fail", word] => Target::Answers(Outcome::Failed(Failure::new(category(word), "scripted"))),
        _ => panic!("{words:?} is not a behaviour"),
    }
}

const fn address(target: &Aim) -> Option<IpAddr> {
    match target {
        Aim::Address(address) => Some(*address),
        Aim::Name(_) => None,
    }
}

fn settings() -> Settings {
    Settings { node: Label::new("node-1"), region: Label::new("us"), stale_limit: Duration::from_secs(3600), seed: 7 }
}

fn digest(revision: u64) -> String {
    format!("{revision:064x}").chars().rev().collect()
}

/// A view without the times to the next change: those of overrides shrink while a table stands.
fn timeless(view: &Arc<ServiceView>) -> ServiceView {
    let mut view = (**view).clone();
    view.soonest_return = Duration::ZERO;
    // Written into a table when it is published.
    view.role = RoleView::default();
    for member in view.pools.iter_mut().flat_map(|pool| &mut pool.members) {
        member.next_change = Duration::ZERO;
        // Another detail of the same failure is no reason for another table.
        member.note = member.note.take().map(|_| "noted".into());
    }
    view
}

/// Runs the script of a drill and gives what was seen, each step above what came of it.
pub(super) fn play(script: &str) -> String {
    let (plan, steps) = script.split_once("\nstart\n").unwrap_or_else(|| panic!("a script has a line `start`"));
    let mut drill = Drill::new(plan);
    for line in steps.lines().map(|line| line.split('#').next().unwrap_or("").trim()).filter(|line| !line.is_empty()) {
        writeln!(drill.text, "> {line}").unwrap();
        drill.step(line);
    }
    drill.text
}

#[test]
fn values_are_found_by_key() {
    assert_eq!(value(&["service", "ttl=5s..60s"], "ttl"), Some("5s..60s"));
}

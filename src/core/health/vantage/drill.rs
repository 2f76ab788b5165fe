//! Several nodes, each with a book and its vantage, over links with delay that can be cut, on a virtual clock.
//!
//! Proves at every step that what was settled step by step is what weighing everything anew gives, that nothing is due before the announced
//! deadline, and that no verdict is proven without more than half of all regions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use crate::{
    health::{
        book::{self, Attempt, Book, Changes},
        drill::{lines, observation, outcome, parse_check},
    },
    model::{
        check::Check,
        ids::{CheckIdx, Label},
        time::{Now, Tick},
        verdict::Health,
    },
    testing::{clock::now_at, script::duration},
};

use super::{CheckKey, Effect, Event, PROBERS_PER_REGION, PULSE_EVERY, Provenance, Report, SavedProof, Settings, UNPROVEN_HOLD, Vantage};

/// One way between two regions, and inside one.
const WAY: Duration = Duration::from_millis(80);
const WAY_INSIDE: Duration = Duration::from_millis(1);

/// How long a probe takes.
const LATENCY: Duration = Duration::from_millis(20);

/// How often a node looks at its references.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the script says of a check.
#[derive(Clone)]
struct Declared {
    name: String,
    region: String,
    check: Check,
}

/// What is under way.
enum Message {
    Report(Report),
    Confirm(CheckKey),
}

/// One node.
pub(super) struct Station {
    pub(super) region: String,
    pub(super) book: Book,
    pub(super) vantage: Vantage,
    incarnation: u64,
    /// Per peer: up to where it was told. A stream that broke begins anew.
    told: BTreeMap<String, u64>,
    results: BTreeMap<(Tick, Attempt), bool>,
    next_pulse: Tick,
    next_look: Tick,
    stopped: Option<Vec<SavedProof>>,
}

/// All nodes and what is between them.
pub(super) struct Mesh {
    pub(super) now: Now,
    regions: Vec<Label>,
    hold: Duration,
    declared: Vec<Declared>,
    pub(super) stations: BTreeMap<String, Station>,
    messages: BTreeMap<(Tick, u64), (String, Message)>,
    n_messages: u64,
    /// One way each: what leaves the first region does not arrive in the second. `*` is everything that lies outside.
    cuts: BTreeSet<(String, String)>,
    dead: BTreeSet<String>,
    dead_references: bool,
    /// Every report that was ever sent, for replays.
    sent: Vec<(String, Report)>,
    pub(super) text: String,
    /// Asked by whom and when, for the cap.
    pub(super) confirms: Vec<(Tick, String)>,
}

impl Mesh {
    pub(super) fn new() -> Self {
        Self {
            now: now_at(Tick(0)),
            regions: Vec::new(),
            hold: UNPROVEN_HOLD,
            declared: Vec::new(),
            stations: BTreeMap::new(),
            messages: BTreeMap::new(),
            n_messages: 0,
            cuts: BTreeSet::new(),
            dead: BTreeSet::new(),
            dead_references: false,
            sent: Vec::new(),
            text: String::new(),
            confirms: Vec::new(),
        }
    }

    fn note(&mut self, line: &str) {
        let at = self.now.tick.0;
        let time = format!("{}.{:03}s", at / 1_000_000, at / 1000 % 1000);
        writeln!(self.text, "{time:>10}  {line}").unwrap();
    }

    fn checks(&self) -> Vec<Check> {
        self.declared.iter().map(|it| it.check.clone()).collect()
    }

    fn start(&mut self, name: &str, region: &str, incarnation: u64, saved: Vec<SavedProof>) {
        let settings = Settings {
            node: name.into(),
            region: region.into(),
            incarnation,
            regions: self.regions.clone(),
            probers_per_region: PROBERS_PER_REGION,
            unproven_hold: self.hold,
        };
        let (checks, declared) = (self.checks(), &self.declared);
        let seed = name.bytes().map(u64::from).sum();
        let mut vantage = Vantage::new(settings, &checks, |check| declared[check.get()].region == region, self.now);
        vantage.restore(saved, self.now);
        let station = Station {
            region: region.to_owned(),
            book: Book::new(&checks, seed, self.now),
            vantage,
            incarnation,
            told: BTreeMap::new(),
            results: BTreeMap::new(),
            next_pulse: self.now.tick,
            next_look: self.now.tick,
            stopped: None,
        };
        self.stations.insert(name.to_owned(), station);
        for other in self.stations.values_mut() {
            other.told.remove(name);
        }
    }

    //--- Time

    fn next(&self) -> Option<Tick> {
        let station = |it: &Station| {
            let result = it.results.first_key_value().map(|((at, _), _)| *at);
            [it.book.next_deadline(true), it.vantage.next_deadline(), result, Some(it.next_pulse), Some(it.next_look)]
                .into_iter()
                .flatten()
                .min()
        };
        let stations = self.stations.values().filter(|it| it.stopped.is_none()).filter_map(station).min();
        self.messages.first_key_value().map(|((at, _), _)| *at).into_iter().chain(stations).min()
    }

    pub(super) fn run_until(&mut self, end: Tick) {
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = now_at(next.max(self.now.tick));
            while let Some(entry) = self.messages.first_entry().filter(|entry| entry.key().0 <= next) {
                let (to, message) = entry.remove();
                self.arrive(&to, message);
            }
            let names: Vec<String> = self.stations.keys().cloned().collect();
            names.iter().for_each(|name| self.turn(name));
        }
        self.now = now_at(end.max(self.now.tick));
    }

    /// Lets one node do all that is due.
    fn turn(&mut self, name: &str) {
        let now = self.now;
        if self.stations.get(name).is_none_or(|it| it.stopped.is_some()) {
            return;
        }
        let Some(mut station) = self.stations.remove(name) else { return };
        let mut effects = Vec::new();
        let mut changes = Changes::default();
        while let Some(entry) = station.results.first_entry().filter(|entry| entry.key().0 <= now.tick) {
            let ((_, attempt), passed) = entry.remove_entry();
            let Some(check) = station.book.check_of(attempt) else { continue };
            let found = observation(outcome(if passed { &["ok"] } else { &["fail", "connect"] }));
            station.book.handle(now, book::Event::ProbeFinished { attempt, observation: found }, &mut changes).unwrap();
            station.vantage.observed(now, &station.book, check, &mut effects);
        }
        if station.next_look <= now.tick {
            station.next_look = now.tick + LOOK_EVERY;
            let reached = u16::from(!self.dead_references && !self.is_cut(&station.region, "*"));
            // Refused by a node without peers.
            let _ = station.vantage.handle(now, Event::Looked { reached, all: 1 }, &mut effects);
        }
        station.vantage.advance(now, &mut effects);
        self.obey(name, &mut station, effects);
        for start in station.book.due(now, usize::MAX, &mut changes) {
            let target = &self.declared[start.check.get()];
            let passed = !self.dead.contains(&target.name) && !self.is_cut(&station.region, &target.region);
            station.results.insert((now.tick + LATENCY, start.attempt), passed);
        }
        let mut effects = Vec::new();
        for check in changes.touched.keys() {
            station.vantage.observed(now, &station.book, *check, &mut effects);
        }
        self.obey(name, &mut station, effects);
        if station.next_pulse <= now.tick {
            station.next_pulse = now.tick + PULSE_EVERY;
            station.vantage.pulse();
            self.send_reports(name, &mut station);
        }
        assert!(station.vantage.next_deadline().is_none_or(|at| at > now.tick), "{name} leaves something undone");
        prove(&mut station.vantage, now);
        self.stations.insert(name.to_owned(), station);
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        let cut = |from: &str, to: &str| self.cuts.contains(&(from.to_owned(), to.to_owned()));
        from != to && (cut(from, to) || (to != "*" && (cut(from, "*") || cut("*", to))))
    }

    fn arrive(&mut self, to: &str, message: Message) {
        let now = self.now;
        let Some(mut station) = self.stations.remove(to) else { return };
        if station.stopped.is_none() {
            let mut effects = Vec::new();
            let event = match message {
                Message::Report(report) => {
                    let round_trip = if report.region.as_str() == station.region { WAY_INSIDE } else { WAY } * 2;
                    Event::Heard { report, round_trip }
                }
                Message::Confirm(check) => Event::ConfirmAsked { check },
            };
            let _ = station.vantage.handle(now, event, &mut effects);
            self.obey(to, &mut station, effects);
        }
        self.stations.insert(to.to_owned(), station);
    }

    fn post(&mut self, from: &Station, to: &str, message: Message) -> bool {
        let region = self.stations[to].region.clone();
        // A stream needs both ways.
        if self.is_cut(&from.region, &region) || self.is_cut(&region, &from.region) {
            return false;
        }
        let way = if from.region == region { WAY_INSIDE } else { WAY };
        self.n_messages += 1;
        self.messages.insert((self.now.tick + way, self.n_messages), (to.to_owned(), message));
        true
    }

    fn send_reports(&mut self, _name: &str, station: &mut Station) {
        let peers: Vec<String> = self.stations.keys().cloned().collect();
        for peer in peers {
            let report = station.vantage.report(station.told.get(&peer).copied().unwrap_or(0));
            self.sent.push((peer.clone(), report.clone()));
            let upto = report.sequence;
            if self.post(station, &peer, Message::Report(report)) {
                station.told.insert(peer, upto);
            } else {
                station.told.remove(&peer);
            }
        }
    }

    fn obey(&mut self, name: &str, station: &mut Station, effects: Vec<Effect>) {
        if effects.contains(&Effect::Stated) && !station.vantage.is_single() {
            self.send_reports(name, station);
        }
        let (mut taken, mut left) = (0, 0);
        for effect in effects {
            match effect {
                Effect::Touched { check, turn: Some(turn), .. } => {
                    let check = self.declared[check.get()].name.clone();
                    self.note(&format!("{name}: {check} {turn}"));
                }
                Effect::Touched { .. } | Effect::Stated => {}
                Effect::SightChanged(sight) => self.note(&format!("{name} is {sight}")),
                Effect::Confirm { check } => {
                    self.confirms.push((self.now.tick, name.to_owned()));
                    let others = self.stations.iter().filter(|(_, other)| other.region != station.region);
                    let peers: Vec<String> = others.map(|(peer, _)| peer.clone()).collect();
                    for peer in peers {
                        self.post(station, &peer, Message::Confirm(check));
                    }
                    let check = station.vantage.check(check).map(|check| self.declared[check.get()].name.clone()).unwrap();
                    self.note(&format!("{name} asks to confirm {check}"));
                }
                Effect::ProbeNow { check } => drop(station.book.probe_now(self.now, check)),
                Effect::Probe { check, wanted } => {
                    *if wanted { &mut taken } else { &mut left } += 1;
                    station.book.set_probing(self.now, check, wanted);
                }
            }
        }
        if taken + left > 0 {
            let n = (0..station.book.len()).filter(|&check| station.vantage.is_prober(CheckIdx::at(check))).count();
            self.note(&format!("{name} probes {n} of {} checks (takes {taken}, leaves {left})", station.book.len()));
        }
    }

    //--- Scripts

    fn position(&self, name: &str) -> CheckIdx {
        CheckIdx::at(self.declared.iter().position(|it| it.name == name).unwrap_or_else(|| panic!("no check `{name}`")))
    }

    /// `cut us` is the uplink of a region; `cut us eu` is both ways between two; `cut us > eu` is one of them.
    fn ways(words: &[&str]) -> Vec<(String, String)> {
        let way = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        match *words {
            [region] => vec![way(region, "*"), way("*", region)],
            [from, ">", to] => vec![way(from, to)],
            [one, other] => vec![way(one, other), way(other, one)],
            _ => panic!("{words:?} is not a cut"),
        }
    }

    pub(super) fn step(&mut self, words: &[&str]) {
        match *words {
            ["regions", ref names @ ..] => self.regions = names.iter().map(|name| Label::new(name)).collect(),
            ["hold", hold] => self.hold = duration(hold),
            ["check", name, region, ref rest @ ..] => {
                let names: Vec<&str> = self.declared.iter().map(|it| it.name.as_str()).collect();
                let address = format!("address=192.0.2.{}", self.declared.len() + 1);
                let check = match rest {
                    ["calculated", ..] => parse_check(&[&[name], rest].concat(), &names),
                    rest => parse_check(&[&[name, "tcp", &address, "interval=10s", "fast=1s", "down=5s", "fall=2"], rest].concat(), &names),
                };
                self.declared.push(Declared { name: name.to_owned(), region: region.to_owned(), check });
            }
            ["node", region, ref names @ ..] => names.iter().for_each(|name| self.start(name, region, 1, Vec::new())),
            ["at", time, ref rest @ ..] => {
                self.run_until(Tick(0) + duration(time));
                if !rest.is_empty() {
                    writeln!(self.text, "> {}", words.join(" ")).unwrap();
                    self.step(rest);
                }
            }
            ["cut", ref ways @ ..] => self.cuts.extend(Self::ways(ways)),
            ["heal", ref ways @ ..] => {
                let healed = Self::ways(ways);
                self.cuts.retain(|cut| !healed.contains(cut));
            }
            ["dies", name] => drop(self.dead.insert(name.to_owned())),
            ["returns", name] => drop(self.dead.remove(name)),
            ["references", "die"] => self.dead_references = true,
            ["references", "return"] => self.dead_references = false,
            ["stop", name] => {
                let (now, station) = (self.now, self.stations.get_mut(name).expect("a node"));
                station.stopped = Some(station.vantage.save(now));
            }
            ["start", name] => {
                let station = self.stations.get(name).expect("a node");
                let saved = serde_json::to_string(&station.stopped).unwrap();
                let (region, incarnation) = (station.region.clone(), station.incarnation + 1);
                let saved: Option<Vec<SavedProof>> = serde_json::from_str(&saved).unwrap();
                self.start(name, &region, incarnation, saved.expect("it was stopped"));
            }
            ["replay", to] => self.replay(to),
            ["look"] => self.look(),
            ["why", name, check] => self.why(name, check),
            ["shares"] => self.shares(),
            ["quiet"] | ["end"] => {}
            _ => panic!("{words:?} is not a step"),
        }
    }

    /// Sends everything that was ever sent to a node again, the newest first, and each twice.
    fn replay(&mut self, to: &str) {
        let reports: Vec<Report> = self.sent.iter().rev().filter(|(peer, _)| peer == to).map(|(_, report)| report.clone()).collect();
        let now = self.now;
        let mut station = self.stations.remove(to).expect("a node");
        let (mut n_taken, mut effects) = (0, Vec::new());
        for report in reports.iter().chain(&reports) {
            let event = Event::Heard { report: report.clone(), round_trip: Duration::ZERO };
            n_taken += usize::from(station.vantage.handle(now, event, &mut effects).is_ok());
        }
        // What was sent and did not arrive yet is no replay.
        let text = format!("{to}: {n_taken} of {} replayed reports say anything new, {} effects", 2 * reports.len(), effects.len());
        self.obey(to, &mut station, effects);
        self.stations.insert(to.to_owned(), station);
        self.note(&text);
    }

    fn look(&mut self) {
        let mut text = String::new();
        for (name, station) in self.stations.iter().filter(|(_, it)| it.stopped.is_none()) {
            writeln!(text, "            {name}: {}", station.vantage.tell()).unwrap();
            for (position, declared) in self.declared.iter().enumerate() {
                let check = CheckIdx::at(position);
                let verdict = station.vantage.verdict(&station.book, check, self.now.tick);
                let provenance = station.vantage.provenance(check, self.now.tick);
                writeln!(text, "              {} {}, {provenance}", declared.name, verdict.health).unwrap();
            }
        }
        self.text.push_str(&text);
    }

    fn why(&mut self, name: &str, check: &str) {
        let check = self.position(check);
        let reason = self.stations[name].vantage.explain(check, self.now.tick);
        let text = reason.map_or_else(|| "no peers\n".to_owned(), |reason| reason.render());
        text.lines().for_each(|line| writeln!(self.text, "            {line}").unwrap());
    }

    /// Who probes how much, and how many probers each check has per region.
    fn shares(&mut self) {
        let running = || self.stations.iter().filter(|(_, it)| it.stopped.is_none());
        let n_of = |it: &Station| (0..self.declared.len()).filter(|&check| it.vantage.is_prober(CheckIdx::at(check))).count();
        let loads: Vec<String> = running().map(|(name, it)| format!("{name} {}", n_of(it))).collect();
        let regions: BTreeSet<&String> = running().map(|(_, it)| &it.region).collect();
        for region in regions {
            let probers =
                |check: usize| running().filter(|(_, it)| it.region == *region && it.vantage.is_prober(CheckIdx::at(check))).count();
            assert!((0..self.declared.len()).all(|check| (1..=2).contains(&probers(check))), "each check has its probers in {region}");
        }
        let line = format!("of {} checks: {}", self.declared.len(), loads.join(", "));
        self.note(&line);
    }
}

/// What must hold at every step.
fn prove(vantage: &mut Vantage, now: Now) {
    for check in (0..vantage.slots.len()).map(CheckIdx::at) {
        if let Provenance::Proven(votes) = vantage.provenance(check, now.tick) {
            let n = votes.regions_for + votes.against + votes.silent;
            assert!(usize::from(n) == vantage.n_regions && votes.regions_for * 2 > n, "{votes:?} of {} regions", vantage.n_regions);
            assert_ne!(vantage.slots[check.get()].standing.judgement.health, Health::Unknown);
        }
    }
    let standings = |vantage: &Vantage| -> Vec<_> { vantage.slots.iter().map(|slot| (slot.standing.clone(), slot.last.clone())).collect() };
    let (before, holds) = (standings(vantage), vantage.holds.clone());
    vantage.dirty.extend((0..vantage.slots.len()).map(CheckIdx::at));
    let mut effects = Vec::new();
    vantage.settle(now, &mut effects);
    assert_eq!((standings(vantage), &vantage.holds), (before, &holds), "something was left unsettled");
    assert_eq!(effects, []);
}

/// Runs the script of a drill.
pub(super) fn play(script: &str) -> Mesh {
    let mut mesh = Mesh::new();
    lines(script).for_each(|words| mesh.step(&words));
    mesh
}

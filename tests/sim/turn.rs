//! One turn of one node: what waits goes in, what is due is done, and what comes out goes on its way. As the daemon's loop does it.

use std::time::Duration;

use portolan_core::{
    health::vantage::{Judgement, PULSE_EVERY, Report, Sight, Statement, keys},
    model::{
        check::{Failure, FailureCategory, Host, Observation, Outcome, Timings},
        ids::{CheckIdx, Label},
        time::Now,
        verdict::Health,
    },
    node::{Effect, Event as Fact, StartProbe},
};

use crate::{
    happened::Happened,
    mesh::{Batch, Mesh},
    plan::site,
    queue::Event,
    station::{Input, Process},
    truth::Behaviour,
    world::World,
};

/// Probes that a daemon lets run at once: more than any plan here has.
const ROOM: usize = 64;

/// A daemon takes a turn at least this often.
const TURN_MAX: Duration = Duration::from_secs(1);

/// A machine answers within this, beside the way.
const SERVICE_TIME: Duration = Duration::from_millis(5);

/// Reports that are kept for replays, per machine.
const HISTORY_MAX: usize = 64;

impl World {
    /// Lets a node take in what waits, and do what is due.
    pub(crate) fn turn(&mut self, id: usize, inputs: Vec<Input>) {
        if self.stations[id].process.is_none() {
            return;
        }
        if !self.stations[id].is_awake() {
            inputs.into_iter().filter(|it| !matches!(it, Input::Wake)).for_each(|it| self.stations[id].keep(it));
            return;
        }
        let Some(mut process) = self.stations[id].process.take() else { return };
        let now = self.stations[id].now(self.now);
        let before = process.node.table().cloned();
        let (mut effects, mut is_pulse) = (Vec::new(), false);
        if let Some(slept) = Fact::slept(process.turned + TURN_MAX, now.tick) {
            let _ = process.node.handle(now, slept, &mut effects);
        }
        process.turned = now.tick;
        for input in inputs {
            is_pulse |= matches!(input, Input::Pulse);
            self.take(id, &mut process, now, input, &mut effects);
        }
        let starts = process.node.advance(now, ROOM, &mut effects);
        self.n_turns += 1;
        for start in starts {
            self.probe(id, &process, start);
        }
        let mut is_news = false;
        for effect in effects {
            match effect {
                Effect::Publish(_) => {}
                Effect::Tell(happening) => self.say(id, || happening.text),
                Effect::Report => is_news = true,
                Effect::Confirm { check } => {
                    let region = self.stations[id].region;
                    for to in process.mesh.neighbours(now.tick) {
                        self.post(id, to, Mesh::question(check, region, now.tick));
                    }
                }
            }
        }
        if is_pulse || is_news {
            self.speak(id, &mut process, now, is_pulse);
        }
        let deadline = process.node.next_deadline(now, true);
        let is_published = process.node.table().map(|it| it.generation) != before.as_ref().map(|it| it.generation);
        self.stations[id].process = Some(process);
        self.schedule_wake(id, deadline);
        self.look_at_applied();
        if is_published {
            self.n_tables += 1;
            let explained = if self.planted.explains_old() { before.clone() } else { None };
            self.look(&Happened::Published { id, before: before.as_ref(), explained: explained.as_ref() });
        }
    }

    fn take(&mut self, id: usize, process: &mut Process, now: Now, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Wake => {}
            Input::Event(event) => {
                // Refused: what comes too late, or what a plan does not have any more.
                let _ = process.node.handle(now, event, effects);
            }
            Input::Pulse => drop(process.node.pulse()),
            Input::Agreed(news) => self.take_news(id, process, now, news, effects),
            Input::Arrived { from, batch } => {
                let jitter = self.random.millis(0, 1000);
                let round_trip = process.mesh.arrived(from, &batch, now.tick, jitter);
                let (mut is_news, mut seen) = (batch.is_news(), Vec::new());
                for (observer, report) in batch.reports {
                    self.hear(id, process, now, (observer, from), report, round_trip, &mut seen);
                }
                let region = self.stations[id].region;
                for (check, asking) in batch.confirm {
                    if asking != region {
                        let _ = process.node.handle(now, Fact::ConfirmAsked { check }, &mut seen);
                    }
                    let is_from_voter = self.voters.contains(&from);
                    for to in process.mesh.neighbours(now.tick) {
                        // Voters are all connected: what comes from one goes to observers only.
                        if process.mesh.is_voter() && to != from && !(is_from_voter && self.voters.contains(&to)) {
                            self.post(id, to, Mesh::question(check, asking, now.tick));
                        }
                    }
                }
                is_news &= process.mesh.is_voter();
                effects.extend(seen);
                if is_news {
                    self.speak(id, process, now, false);
                }
            }
        }
    }

    /// One report arrives. A replay must change nothing at all.
    #[expect(clippy::too_many_arguments, reason = "all of a message and all of a place")]
    fn hear(
        &mut self,
        id: usize,
        process: &mut Process,
        now: Now,
        (observer, from): (usize, usize),
        report: Report,
        round_trip: Duration,
        effects: &mut Vec<Effect>,
    ) {
        if observer == id {
            return;
        }
        let is_replay = process.mesh.is_replay(observer, &report);
        process.mesh.remember(observer, &report, from, round_trip, now.tick);
        let history = &mut self.history[id];
        if !is_replay && history.len() < HISTORY_MAX {
            history.push((observer, report.clone()));
        }
        // Under flood those who are silent are forgotten, and what is not remembered is no repeat.
        if !is_replay || process.is_flooded {
            let _ = process.node.handle(now, Fact::ReportHeard { report, round_trip }, effects);
            return;
        }
        let report = if self.planted.renumbers() { renumbered(report) } else { report };
        let (before, mut seen) = (verdicts(process, now), Vec::new());
        let told = report.to_string();
        let outcome = process.node.handle(now, Fact::ReportHeard { report, round_trip }, &mut seen);
        let changed = !seen.is_empty() || verdicts(process, now) != before;
        self.look(&Happened::Replayed { id, report: &told, is_refused: outcome.is_err(), changed });
        effects.extend(seen);
    }

    /// Sends everybody what there is to say. Lying relays are planted here.
    fn speak(&mut self, id: usize, process: &mut Process, now: Now, is_pulse: bool) {
        self.affirm(id, process);
        let hold = self.stations[id].relay_hold;
        for to in process.mesh.neighbours(now.tick) {
            let batch = process.mesh.batch_for(to, &process.node, now.tick, is_pulse);
            if batch.reports.is_empty() && !is_pulse {
                continue;
            }
            if hold.is_zero() {
                self.post(id, to, batch);
                continue;
            }
            let (own, relayed) = batch.split_relayed(id);
            self.post(id, to, own);
            let number = self.stations[id].number;
            self.schedule(self.now + hold, Event::HandOn { id, number, to, batch: relayed, hold });
        }
    }

    pub(crate) fn hand_on(&mut self, id: usize, to: usize, batch: Batch, hold: Duration) {
        let batch = if self.planted.rejuvenates() { batch.rejuvenated() } else { batch.aged(hold) };
        self.post(id, to, batch);
    }

    /// Puts a message on its way.
    fn post(&mut self, from: usize, to: usize, batch: Batch) {
        if !self.network.has_link(from) || !self.network.has_link(to) {
            return;
        }
        let (here, there) = (self.stations[from].region, self.stations[to].region);
        let n_copies = 1 + usize::from(self.network.doubled > 0 && self.random.permille(self.network.doubled));
        for _ in 0..n_copies {
            if let Some(delay) = self.network.delay(&mut self.random, here, there) {
                self.schedule(self.now + delay, Event::Arrive { from, to, batch: batch.clone() });
            }
        }
    }

    /// Starts a probe: what it will find is so already.
    fn probe(&mut self, id: usize, process: &Process, start: StartProbe) {
        let check = process.node.book().check(start.check).expect("invariant: a check of the plan");
        let timeout = check.probe.cadence.timeout;
        let Some(Host::Ip(address)) = check.address.as_ref().map(|address| address.host.clone()) else { return };
        let (target, region) = (site(address), self.stations[id].region);
        let is_open = self.network.has_link(id) && self.network.is_open_both_ways(region, target.0);
        let way = |world: &mut Self, from, to| world.network.delay(&mut world.random, from, to).unwrap_or(SERVICE_TIME);
        let latency = way(self, region, target.0) + SERVICE_TIME + way(self, target.0, region);
        let failed = |category, text: &str| Outcome::Failed(Failure::new(category, text));
        let is_late = !is_open || latency >= timeout || (region != target.0 && self.network.loses_probe(&mut self.random));
        let (after, outcome) = match self.truth.behaviour(target) {
            _ if self.planted.flickers() && self.now.0 / 4_000_000 % 2 == 1 => (latency, failed(FailureCategory::Connect, "flickers")),
            _ if self.planted.passes_all() => (latency, Outcome::Passed),
            _ if self.planted.fails_all() && self.now.0 > 10_000_000 => (latency, failed(FailureCategory::Resolve, "no resolver")),
            _ if is_late => (timeout, failed(FailureCategory::ConnectTimeout, "no connection in time")),
            Behaviour::Works => (latency, Outcome::Passed),
            Behaviour::Refuses => (latency, failed(FailureCategory::Connect, "refused")),
            Behaviour::Hangs => (timeout, failed(FailureCategory::Timeout, "no answer in time")),
            Behaviour::Errs => (latency, failed(FailureCategory::Status, "status 503")),
        };
        if is_late {
            self.truth.note_unlucky(self.now + timeout, region, target);
        }
        let number = self.stations[id].number;
        self.schedule(self.now + after, Event::Result { id, number, attempt: start.attempt, outcome, latency: after });
    }

    /// A result of a probe as the node takes it in.
    pub(crate) fn found(&self, id: usize, attempt: portolan_core::node::Attempt, outcome: Outcome, total: Duration) -> Input {
        let outcome = match outcome {
            Outcome::Passed if self.suspended[id] > 0 => Outcome::Failed(Failure::new(FailureCategory::Closed, "closed")),
            outcome => outcome,
        };
        let observation = Observation { outcome, timings: Timings { total, ..Timings::default() } };
        Input::Event(Fact::ProbeFinished { attempt, observation })
    }

    /// Remembers what a node says now, as far as its word counts.
    fn affirm(&mut self, id: usize, process: &Process) {
        let report = process.node.vantage().report(0);
        if !report.sight.counts() {
            return;
        }
        for Statement { check, judgement, .. } in report.statements {
            let said = self.said.entry((check, id)).or_default();
            match judgement.health {
                Health::Up => said.0 = Some(self.now),
                Health::Down => said.1 = Some(self.now),
                Health::Unknown => {}
            }
        }
    }

    /// Sends a machine again what it was sent before: each twice, in any order.
    pub(crate) fn replay(&mut self, id: usize) {
        if !self.stations[id].is_awake() {
            return;
        }
        let Some(mut process) = self.stations[id].process.take() else { return };
        let now = self.stations[id].now(self.now);
        let mut effects = Vec::new();
        for _ in 0..2 * self.history[id].len() {
            let position = self.random.below(self.history[id].len());
            let (observer, report) = self.history[id][position].clone();
            if process.mesh.is_replay(observer, &report) {
                self.hear(id, &mut process, now, (observer, observer), report, Duration::ZERO, &mut effects);
            }
        }
        self.stations[id].process = Some(process);
    }

    /// Tells a machine of observers that do not exist: many more than it remembers.
    pub(crate) fn flood(&mut self, id: usize) {
        let Some(process) = self.stations[id].process.as_mut() else { return };
        process.is_flooded = true;
        let keys = keys(&process.node.world().topology.checks);
        let failure = Some(Failure::new(FailureCategory::Connect, "invented").into());
        let judgement = Judgement { health: Health::Down, since: None, returned_at: None, failure };
        let inputs = (0..1500).map(|number| {
            let statements = keys.iter().map(|key| Statement { check: *key, sequence: 1, judgement: judgement.clone() });
            let report = Report {
                observer: Label::new(&format!("ghost-{number}")),
                region: Label::new("nowhere"),
                incarnation: 1,
                after: 0,
                sequence: 1,
                sight: Sight::Sighted,
                age: Duration::ZERO,
                statements: statements.collect(),
            };
            Input::Event(Fact::ReportHeard { report, round_trip: Duration::ZERO })
        });
        let inputs = inputs.collect();
        self.turn(id, inputs);
    }

    /// Its next sign of life.
    pub(crate) fn pulse(&mut self, id: usize) {
        let jitter = self.random.millis(0, 1000);
        let station = &mut self.stations[id];
        let number = station.number;
        if let Some(process) = station.process.as_mut().filter(|_| station.asleep == 0) {
            process.mesh.attach(station.clock.now(self.now).tick, jitter);
            if process.is_flooded {
                process.mesh.begin_again();
            }
        }
        self.schedule(self.now + PULSE_EVERY, Event::Pulse { id, number });
        // A timer that fell due often while its process slept fires once.
        if self.stations[id].is_awake() {
            self.turn(id, vec![Input::Pulse]);
        }
    }
}

/// As a relay sends it that counts by itself.
fn renumbered(report: Report) -> Report {
    Report { sequence: report.sequence + 1_000_000, ..report }
}

/// What steering uses of each check, and who stands behind it.
fn verdicts(process: &Process, now: Now) -> Vec<(Health, portolan_core::health::vantage::Provenance)> {
    let (book, vantage) = (process.node.book(), process.node.vantage());
    let checks = (0..book.len()).map(CheckIdx::at);
    checks.map(|check| (vantage.health(book, check), vantage.provenance(check, now.tick))).collect()
}

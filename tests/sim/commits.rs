//! How the log reaches nodes, and what they make of it.

use std::time::Duration;

use portolan_core::{
    cluster::{Change, Entry, FEATURE_LEVEL, Part, State},
    health::overlay::Override,
    model::time::Now,
    node::{Effect, Event as Fact},
};

use crate::{
    episodes::QUIET,
    happened::Happened,
    log::{Command, registered, stamped},
    queue::Event,
    station::{Input, Process},
    world::{Broken, World},
};

/// Behind by so many entries, a node gets a snapshot.
const LAG_MAX: u64 = 6;

impl World {
    /// The first entries of the log.
    pub(crate) fn found_cluster(&mut self) {
        let at = self.stations[0].now(self.now).wall;
        let plan = self.shapes[&1].put();
        let mut changes = vec![Change::Found { cluster: "shop".into() }, Change::PutPlan(Box::new(plan))];
        for &id in &self.voters {
            let it = &self.stations[id];
            changes.push(registered(id, &it.name, it.region, 1));
        }
        for change in changes {
            self.commit(&stamped(change, at, None, ""), None);
        }
    }

    /// A person sends a command, to whomever; it is committed a moment later.
    pub(crate) fn order(&mut self, command: Command, request: String) {
        let proposer = self.random.below(self.stations.len());
        let at = self.stations[proposer].now(self.now).wall;
        let Command { number, change, reason } = command;
        self.say_all(|| format!("asked of {proposer}, request {request}: {change}"));
        let entry = stamped(change, at, Some(request), &reason);
        let later = self.random.millis(30, 400);
        self.schedule(self.now + later, Event::Propose(Box::new(entry), Some(number)));
    }

    /// Somebody edits the plan.
    pub(crate) fn edit(&mut self) {
        let (&revision, latest) = self.shapes.last_key_value().expect("invariant: there is a plan");
        let next = latest.clone().edited(&mut self.random);
        let put = Change::PutPlan(Box::new(next.put()));
        self.worlds.insert(revision + 1, next.world());
        self.settled_after = self.settled_after.max(next.settled_after());
        self.shapes.insert(revision + 1, next);
        let at = self.stations[0].now(self.now).wall;
        self.say_all(|| format!("plan revision {}", revision + 1));
        self.commit(&stamped(put, at, None, ""), None);
    }

    /// The leader takes away what has ended, by its clock.
    pub(crate) fn expire_orders(&mut self) {
        // Nothing is asked of the log when everything is to come to rest.
        if self.settles.since(self.now) < Duration::from_secs(6) {
            return;
        }
        let at = self.stations[self.voters[0]].now(self.now).wall;
        if self.log.state.next_end().is_some_and(|end| at.since(end) > Duration::from_secs(1)) {
            self.commit(&stamped(Change::Expire, at, None, ""), None);
        }
    }

    pub(crate) fn commit(&mut self, entry: &Entry, number: Option<u64>) {
        match self.log.commit(entry, number) {
            Ok(applied) => self.say_all(|| format!("entry: {}, {}", entry.change, applied.outcome)),
            Err(text) => self.broken = Some(Broken { invariant: "acknowledged_is_kept", at: self.now, text }),
        }
        for id in 0..self.stations.len() {
            let later = self.random.millis(20, 2000);
            let number = self.stations[id].number;
            self.schedule(self.now + later, Event::Entries { id, number });
        }
    }

    /// Hands a node what it does not have yet, if the log's majority reaches it.
    pub(crate) fn deliver(&mut self, id: usize) {
        let leader = self.stations[self.voters[0]].region;
        let is_reached = self.network.has_link(id) && self.network.is_open_both_ways(leader, self.stations[id].region);
        let station = &self.stations[id];
        let end = self.log.end();
        let Some(process) = station.process.as_ref().filter(|it| it.applied < end) else {
            return;
        };
        let number = station.number;
        if !is_reached || station.asleep > 0 {
            self.schedule(self.now + Duration::from_secs(1), Event::Entries { id, number });
            return;
        }
        let behind = end - process.applied;
        let upto = end - self.random.below(usize::try_from(behind.min(3)).expect("invariant: few").max(1)) as u64;
        self.turn(id, vec![Input::Committed(upto)]);
        if upto < end {
            let later = self.random.millis(20, 1000);
            self.schedule(self.now + later, Event::Entries { id, number });
        }
    }

    /// A node applies entries up to `index`, or takes a snapshot.
    pub(crate) fn commit_to(&mut self, id: usize, process: &mut Process, now: Now, index: u64, effects: &mut Vec<Effect>) {
        let (from, octets) = self.log.snapshot.clone();
        let known = process.applied;
        let lags = known + LAG_MAX < from || (known < from && self.random.permille(200));
        let mut is_changed = false;
        if lags && from <= index {
            process.state = State::restore(&octets, FEATURE_LEVEL).expect("invariant: what a snapshot writes is read");
            process.applied = from;
            is_changed = true;
        }
        while process.applied < index {
            let next = process.applied + 1;
            process.applied = next;
            if self.planted.skips(id, next) {
                continue;
            }
            let (entry, octets) = &self.log.entries[usize::try_from(next - 1).expect("invariant: few")];
            let through_octets = self.random.permille(200);
            let applied = if through_octets { process.state.apply_octets(next, octets) } else { process.state.apply(next, entry) };
            match applied {
                Ok(applied) => is_changed |= applied.touched.contains(&Part::Overrides) || applied.touched.contains(&Part::Plan),
                Err(halt) => {
                    self.broken = Some(Broken { invariant: "one_state", at: self.now, text: format!("node {id} halts: {halt}") });
                    return;
                }
            }
        }
        if is_changed {
            self.follow_state(id, process, now, effects);
        }
        self.applied.push((id, process.applied));
    }

    /// Orders are in force at once; another plan is loaded in the node's own time.
    fn follow_state(&mut self, id: usize, process: &mut Process, now: Now, effects: &mut Vec<Effect>) {
        let orders = process.state.overrides();
        if orders != process.given {
            process.given.clone_from(&orders);
            let _ = process.node.handle(now, Fact::OverridesChanged(self.as_given(orders)), effects);
        }
        let revision = process.state.plan().map_or(1, |it| it.plan.revision);
        if revision != self.stations[id].revision {
            // Some nodes follow the file that they were started with, until somebody looks.
            let later = if self.random.permille(250) { self.random.millis(20_000, 90_000) } else { self.random.millis(0, 9000) };
            self.schedule_load(id, revision, later);
        }
    }

    /// A plan is loaded so much later.
    pub(crate) fn schedule_load(&mut self, id: usize, revision: u64, later: Duration) {
        let number = self.stations[id].number;
        self.schedule(self.now + later, Event::Load { id, number, revision });
    }

    /// Orders as a node gets them; a bug is planted here.
    fn as_given(&self, orders: Vec<Override>) -> Vec<Override> {
        let forget = |it: Override| if self.planted.forgets_ends() { Override { until: None, ..it } } else { it };
        orders.into_iter().map(forget).collect()
    }

    /// At the start of a process.
    pub(crate) fn give_orders(&mut self, id: usize, orders: Vec<Override>) {
        let given = self.as_given(orders.clone());
        let now = self.stations[id].now(self.now);
        if let Some(process) = &mut self.stations[id].process {
            process.given = orders;
            let _ = process.node.handle(now, Fact::OverridesChanged(given), &mut Vec::new());
        }
    }

    pub(crate) fn load(&mut self, id: usize, revision: u64) {
        if self.stations[id].revision >= revision {
            return;
        }
        // Not when everything is to come to rest: then it waits until that is over.
        let second = Duration::from_secs(1);
        let (begin, end) = (self.settles - self.settled_after - second * 5, self.settles + QUIET + second);
        if (begin..end).contains(&self.now) {
            self.schedule_load(id, revision, end.since(self.now));
            return;
        }
        self.stations[id].revision = revision;
        self.reloaded[id] = Some(self.now);
        let (world, digest) = (self.worlds[&revision].clone(), self.shapes[&revision].digest());
        self.say(id, || format!("loads plan revision {revision}"));
        self.turn(id, vec![Input::Event(Fact::WorldLoaded { world, digest })]);
    }

    /// Tells of entries that nodes applied in the turn that is over.
    pub(crate) fn look_at_applied(&mut self) {
        for (id, index) in std::mem::take(&mut self.applied) {
            self.look(&Happened::Applied { id, index });
        }
    }
}

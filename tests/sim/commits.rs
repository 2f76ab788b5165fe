//! What nodes make of what is agreed: orders, and another plan.

use std::time::Duration;

use portolan_core::{
    cluster::Change,
    health::overlay::Override,
    model::time::Now,
    node::{Effect, Event as Fact},
};

use crate::{
    episodes::QUIET,
    happened::Happened,
    log::{Command, stamped},
    queue::Event,
    station::{Input, Process},
    world::World,
};

impl World {
    /// A person sends a command, to whomever.
    pub(crate) fn order(&mut self, command: Command, request: String) {
        let proposer = self.random.below(self.stations.len());
        let at = self.stations[proposer].now(self.now).wall;
        let Command { number, change, reason } = command;
        self.say_all(|| format!("asked of {proposer}, request {request}: {change}"));
        let entry = stamped(change, at, Some(request), &reason);
        self.submit(proposer, entry, Some(number));
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
        let proposer = self.random.below(self.stations.len());
        self.submit(proposer, stamped(put, at, None, ""), None);
    }

    /// Orders are in force at once; another plan is loaded in the node's own time.
    pub(crate) fn follow_state(&mut self, id: usize, process: &mut Process, now: Now, effects: &mut Vec<Effect>) {
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

//! Agreement without consensus: one ideal log, and how it reaches nodes.
//!
//! [`crate::world::World`] asks of an agreement what stands here; the simulation over real consensus has another one of the same form.

use std::time::Duration;

use portolan_core::{
    cluster::{Change, Entry, FEATURE_LEVEL, Part, State},
    model::time::Now,
    node::Effect,
};

use crate::{
    clock::Moment,
    invariants::Invariant,
    log::{SNAPSHOT_EVERY, registered, stamped},
    queue,
    random::Random,
    station::{Fate, Input, Process},
    world::{Broken, World},
};

/// What this simulation is called, and how a run of it is replayed.
pub(crate) const NAME: &str = "ideal log";
pub(crate) const REPLAY: &str = "cargo test -p portolan-core --test sim ideal_log";

/// How long nodes run before anything goes wrong, in milliseconds.
pub(crate) const WARM: (usize, usize) = (2500, 8000);

/// What agreement needs to come to rest, beside everything else that does meanwhile.
pub(crate) const SETTLES_LATER: Duration = Duration::ZERO;

/// A soak is dense: a simulated hour costs little.
pub(crate) const SOAKS_SPARSELY: bool = false;

/// In how many of 1000 episodes a majority is lost for good, and how long such a one is: an ideal log loses nothing.
pub(crate) const SCENES: usize = 0;
pub(crate) const SCENE_LENGTH: Duration = Duration::ZERO;

/// Nothing is agreed any more for so long before everything is to come to rest.
const SILENT_BEFORE: Duration = Duration::from_secs(6);

/// Behind by so many entries, a node gets a snapshot.
const LAG_MAX: u64 = 6;

/// What happens next to the log.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// It reaches a node, if it can.
    Entries { id: usize, number: u64 },
    /// An entry is committed; `Some`: for the command with this number.
    Propose(Box<Entry>, Option<u64>),
}

/// What a node hears of it: up to which index.
pub(crate) type News = u64;

/// What there is to tell invariants of it, beside what nodes apply: nothing.
#[derive(Clone, Debug)]
pub(crate) enum Fact {}

/// The entries as nodes get them.
#[derive(Debug)]
pub(crate) struct Agreement {
    /// With their octets; the first has index 1.
    entries: Vec<(Entry, Vec<u8>)>,
    snapshot: (u64, Vec<u8>),
    /// Of each machine's disk: the replicated state as octets, and up to which entry it is.
    left: Vec<Option<(u64, Vec<u8>)>>,
}

impl Agreement {
    pub(crate) fn new(_: &mut Random, n: usize) -> Self {
        Self { entries: Vec::new(), snapshot: (0, State::default().snapshot()), left: vec![None; n] }
    }
}

/// What must hold of it alone: nothing, it is ideal.
pub(crate) fn invariants() -> Vec<Box<dyn Invariant>> {
    Vec::new()
}

impl World {
    /// The first entries of the log.
    pub(crate) fn found_cluster(&mut self) {
        let at = self.stations[0].now(self.now).wall;
        let plan = self.shapes[&1].put();
        let mut changes = vec![Change::Found { cluster: "shop".into() }, Change::PutPlan(Box::new(plan))];
        for &id in &self.voters {
            let it = &self.stations[id];
            changes.push(Change::RecordNode(registered(id as u64 + 1, &it.name, it.region, 1)));
        }
        for change in changes {
            self.commit(&stamped(change, at, None, ""), None);
        }
    }

    pub(crate) fn agree(&mut self, event: Event) {
        match event {
            Event::Entries { id, number } if self.is_of(id, number) => self.deliver(id),
            Event::Entries { .. } => {}
            Event::Propose(entry, number) => self.commit(&entry, number),
        }
    }

    /// A node hands an entry in; it is committed a moment later.
    pub(crate) fn submit(&mut self, _: usize, entry: Entry, number: Option<u64>) {
        let later = self.random.millis(30, 400);
        self.schedule(self.now + later, queue::Event::Agree(Event::Propose(Box::new(entry), number)));
    }

    /// The leader takes away what has ended, by its clock.
    pub(crate) fn expire_orders(&mut self) {
        if self.settles.since(self.now) < SILENT_BEFORE {
            return;
        }
        let at = self.stations[self.voters[0]].now(self.now).wall;
        if self.log.state.next_end().is_some_and(|end| at.since(end) > Duration::from_secs(1)) {
            self.commit(&stamped(Change::Expire, at, None, ""), None);
        }
    }

    /// What people want of those who agree: nothing, an ideal log has no members.
    pub(crate) fn plan_members(&mut self, _: Moment, _: Moment) {}

    /// What the replicated state is at the start of a process, and up to which entry.
    pub(crate) fn state_left(&self, id: usize) -> (u64, State) {
        match &self.agreement.left[id] {
            Some((index, octets)) => (*index, State::restore(octets, FEATURE_LEVEL).expect("invariant: as it was written")),
            None => (0, State::default()),
        }
    }

    /// A process starts.
    pub(crate) fn begin_to_agree(&mut self, id: usize) {
        let (later, number) = (self.random.millis(0, 1500), self.stations[id].number);
        self.schedule(self.now + later, queue::Event::Agree(Event::Entries { id, number }));
    }

    /// A process is gone.
    pub(crate) fn cease_to_agree(&mut self, id: usize, process: &Process, fate: Fate) {
        self.agreement.left[id] = (fate != Fate::Emptied).then(|| (process.applied, process.state.snapshot()));
    }

    /// A process dies until the fault ends.
    pub(crate) fn crash(&mut self, id: usize, fate: Fate) {
        self.put_down(id, fate);
    }

    fn commit(&mut self, entry: &Entry, number: Option<u64>) {
        let octets = entry.encode().expect("invariant: people here are brief");
        match self.log.commit(entry, &octets, number) {
            Ok(applied) => self.say_all(|| format!("entry: {}, {}", entry.change, applied.outcome)),
            Err(text) => self.broken = Some(Broken { invariant: "acknowledged_is_kept", at: self.now, text }),
        }
        self.agreement.entries.push((entry.clone(), octets));
        if self.log.end().is_multiple_of(SNAPSHOT_EVERY) {
            self.agreement.snapshot = (self.log.end(), self.log.state.snapshot());
        }
        for id in 0..self.stations.len() {
            let later = self.random.millis(20, 2000);
            let number = self.stations[id].number;
            self.schedule(self.now + later, queue::Event::Agree(Event::Entries { id, number }));
        }
    }

    /// Hands a node what it does not have yet, if the log's majority reaches it.
    fn deliver(&mut self, id: usize) {
        let leader = self.stations[self.voters[0]].region;
        let is_reached = self.network.has_link(id) && self.network.is_open_both_ways(leader, self.stations[id].region);
        let station = &self.stations[id];
        let end = self.log.end();
        let Some(process) = station.process.as_ref().filter(|it| it.applied < end) else {
            return;
        };
        let number = station.number;
        if !is_reached || station.asleep > 0 {
            self.schedule(self.now + Duration::from_secs(1), queue::Event::Agree(Event::Entries { id, number }));
            return;
        }
        let behind = end - process.applied;
        let upto = end - self.random.below(usize::try_from(behind.min(3)).expect("invariant: few").max(1)) as u64;
        self.turn(id, vec![Input::Agreed(upto)]);
        if upto < end {
            let later = self.random.millis(20, 1000);
            self.schedule(self.now + later, queue::Event::Agree(Event::Entries { id, number }));
        }
    }

    /// A node applies entries up to `index`, or takes a snapshot.
    pub(crate) fn take_news(&mut self, id: usize, process: &mut Process, now: Now, index: News, effects: &mut Vec<Effect>) {
        let (from, octets) = self.agreement.snapshot.clone();
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
            let through_octets = self.random.permille(200);
            let (entry, octets) = &self.agreement.entries[usize::try_from(next - 1).expect("invariant: few")];
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
}

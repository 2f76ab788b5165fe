//! A machine and the process on it: what a daemon keeps, what a crash takes.

use std::time::Duration;

use portolan_core::{
    cluster::State,
    health::overlay::Override,
    model::{
        ids::Label,
        time::{Now, Tick},
    },
    node::{Node, Peers, Settings, saved::SavedNode},
};

use crate::{
    agreement,
    clock::{Clock, Moment},
    mesh::{Batch, Mesh},
    plan::PLACES,
    world::World,
};

/// More messages than a kernel keeps for a process that sleeps.
const BACKLOG_MAX: usize = 4096;

/// What a process is told.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Wake,
    Event(portolan_core::node::Event),
    Arrived {
        from: usize,
        batch: Batch,
    },
    Pulse,
    /// What is agreed.
    Agreed(agreement::News),
}

/// What outlives a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    /// What the node left, the newest last; few.
    pub(crate) saved: Vec<(Moment, SavedNode)>,
}

/// What becomes of the disk of a machine that stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    /// The last that was written is lost.
    Older,
    Emptied,
}

/// A running daemon.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) mesh: Mesh,
    pub(crate) state: State,
    /// The last entry of the log that it has.
    pub(crate) applied: u64,
    /// The orders that the node was given last.
    pub(crate) given: Vec<Override>,
    pub(crate) started: Moment,
    /// When it took its last turn.
    pub(crate) turned: Tick,
    /// Whether it goes on from what a former process left.
    pub(crate) is_restored: bool,
    /// Whether it was told of more observers than it remembers.
    pub(crate) is_flooded: bool,
}

/// A machine.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    pub(crate) name: Label,
    pub(crate) region: usize,
    pub(crate) clock: Clock,
    /// Boxed, because it is taken out for each turn.
    pub(crate) process: Option<Box<Process>>,
    /// How many processes there were; events for an earlier one are void.
    pub(crate) number: u64,
    pub(crate) incarnation: u64,
    /// How many faults keep it from running.
    pub(crate) asleep: usize,
    pub(crate) fell_asleep: Moment,
    /// When it last ran again.
    pub(crate) woke: Option<Moment>,
    pub(crate) backlog: Vec<Input>,
    pub(crate) disk: Disk,
    /// For how long it holds what it hands on.
    pub(crate) relay_hold: Duration,
    /// The next wake that is scheduled.
    pub(crate) wake: Option<Moment>,
    /// The revision of the plan that it runs.
    pub(crate) revision: u64,
}

impl Station {
    pub(crate) fn is_awake(&self) -> bool {
        self.asleep == 0 && self.process.is_some()
    }

    /// Both clocks.
    pub(crate) fn now(&self, at: Moment) -> Now {
        self.clock.now(at)
    }

    pub(crate) fn keep(&mut self, input: Input) {
        if self.backlog.len() < BACKLOG_MAX {
            self.backlog.push(input);
        }
    }
}

impl World {
    /// Starts a daemon on a machine, from what its disk holds.
    pub(crate) fn start(&mut self, id: usize) {
        let now = self.stations[id].now(self.now);
        let voters = self.voters_for(id);
        let regions = self.vantage_regions_of(id);
        let (applied, state) = self.state_left(id);
        let station = &mut self.stations[id];
        station.number += 1;
        if !self.planted.keeps_incarnation() || station.incarnation == 0 {
            station.incarnation += 1;
        }
        // Through the form on disk, which is a part of what is proved.
        let octets = station.disk.saved.last().map(|(_, saved)| serde_json::to_vec(saved).expect("invariant: it has a form"));
        let saved: Option<SavedNode> = octets.map(|octets| serde_json::from_slice(&octets).expect("invariant: what was written is read"));
        let settings = Settings {
            node: station.name.clone(),
            region: Label::new(PLACES[station.region].0),
            stale_limit: Duration::from_secs(3600),
            seed: id as u64,
        };
        let shape = &self.shapes[&station.revision];
        let (world, digest) = (self.worlds[&station.revision].clone(), shape.digest());
        let is_restored = saved.is_some();
        let mut node = Node::new(settings, world, digest, saved, now);
        let incarnation = station.incarnation;
        let peers = Peers { incarnation, regions, probers_per_region: 2, unproven_hold: self.unproven_hold };
        node.join(peers, now);
        let mesh = Mesh::new(id, incarnation, voters, now.tick);
        let given = state.overrides();
        let (revision, running) = (state.plan().map_or(1, |it| it.plan.revision), station.revision);
        let started = self.now;
        let process = Process { node, mesh, state, applied, given: Vec::new(), started, turned: now.tick, is_restored, is_flooded: false };
        station.process = Some(Box::new(process));
        self.say(id, || format!("starts, incarnation {incarnation}"));
        self.give_orders(id, given);
        self.schedule_start(id);
        self.begin_to_agree(id);
        if revision > running {
            let later = self.random.millis(0, 9000);
            self.schedule_load(id, revision, later);
        }
        self.turn(id, vec![Input::Wake]);
    }

    /// Stops the daemon of a machine without warning.
    pub(crate) fn stop(&mut self, id: usize, fate: Fate) {
        let Some(process) = self.stations[id].process.take() else { return };
        self.cease_to_agree(id, &process, fate);
        let station = &mut self.stations[id];
        station.backlog.clear();
        station.wake = None;
        match fate {
            Fate::Kept => {}
            Fate::Older => drop(station.disk.saved.pop()),
            Fate::Emptied => station.disk = Disk::default(),
        }
        self.say(id, || format!("stops, disk {fate:?}"));
    }

    /// Writes what is worth keeping, as the daemon does from time to time.
    pub(crate) fn save(&mut self, id: usize) {
        let now = self.now;
        let station = &mut self.stations[id];
        let at = station.clock.now(now);
        let Some(saved) = station.process.as_ref().filter(|_| station.asleep == 0).and_then(|it| it.node.save(at)) else { return };
        station.disk.saved.push((now, saved));
        if station.disk.saved.len() > 3 {
            station.disk.saved.remove(0);
        }
    }
}

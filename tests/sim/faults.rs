//! What goes wrong: drawn beforehand, begun and ended by the world.

use std::time::Duration;

use crate::{
    clock::Moment,
    plan::Site,
    queue::Event,
    random::Random,
    station::{Fate, Input},
    truth::Behaviour,
    world::World,
};

/// One fault.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An endpoint behaves so.
    Endpoint(Site, Behaviour),
    /// All endpoints of a region refuse, and its machines stop.
    RegionLost(usize),
    /// Nothing goes these ways.
    Cut(Vec<(usize, usize)>),
    /// A machine has no link.
    Link(usize),
    /// So many of 1000 messages are lost.
    Loss(usize),
    /// So many of 1000 messages come twice.
    Doubled(usize),
    /// So many milliseconds more per way.
    Slower(usize),
    /// Messages take up to so many milliseconds longer, and overtake each other.
    Jumbled(usize),
    /// The references answer nobody.
    ReferencesDie,
    /// A process is stopped and continued: what arrives meanwhile waits.
    Pause(usize),
    /// A machine is suspended: what arrives meanwhile is lost.
    Suspend(usize),
    /// A process dies, and is started again when the fault ends.
    Crash(usize, Fate),
    /// A wall clock is set, for good.
    ClockSet(usize, i64),
    /// A voter takes long to hand on what it is told.
    SlowRelay(usize, Duration),
    /// A machine is sent again what it was sent before, in any order.
    Replay(usize),
    /// A node with a certificate invents more observers than are remembered, of a region that nobody knows.
    Flood(usize),
}

impl World {
    /// Draws one fault.
    pub(crate) fn draw_fault(&mut self) -> Fault {
        let n = self.n_regions;
        let region = self.random.below(n);
        let other = (region + self.random.between(1, n - 1)) % n;
        let machine = self.random.below(self.stations.len());
        let random = &mut self.random;
        match random.below(36) {
            0..=5 => {
                let behaviours = [Behaviour::Refuses, Behaviour::Refuses, Behaviour::Hangs, Behaviour::Errs];
                Fault::Endpoint((region, random.below(2)), *random.pick(&behaviours))
            }
            6..=7 => Fault::RegionLost(region),
            8..=11 => Fault::Cut(self.network.uplink(region, true, true)),
            12 => Fault::Cut(self.network.uplink(region, true, false)),
            13 => Fault::Cut(self.network.uplink(region, false, true)),
            14..=15 => Fault::Cut(vec![(region, other), (other, region)]),
            16..=17 => Fault::Cut(vec![(region, other)]),
            // All peers are out of reach, the references are not: alone.
            18 => Fault::Cut((0..n).filter(|it| *it != region).flat_map(|it| [(region, it), (it, region)]).collect()),
            19 => Fault::Link(machine),
            20..=21 => Fault::Loss(random.between(50, 300)),
            22 => Fault::Doubled(random.between(50, 500)),
            23 => Fault::Slower(random.between(50, 600)),
            24 => Fault::ReferencesDie,
            25..=26 => Fault::Pause(machine),
            27 => Fault::Suspend(machine),
            28..=29 => Fault::Crash(machine, *random.pick(&[Fate::Kept, Fate::Kept, Fate::Older, Fate::Emptied])),
            30 => Fault::ClockSet(machine, *random.pick(&[-90_000, -1500, 1500, 90_000])),
            31 => Fault::SlowRelay(machine, random.millis(500, 8000)),
            32 => Fault::Replay(machine),
            33..=34 => Fault::Jumbled(random.between(200, 1500)),
            _ if random.permille(150) => Fault::Flood(machine),
            _ => Fault::Replay(machine),
        }
    }

    pub(crate) fn begin(&mut self, position: usize) {
        self.note_truth();
        let fault = self.faults[position].clone();
        self.say_all(|| format!("begins: {fault:?}"));
        match fault {
            Fault::Endpoint(site, behaviour) => self.truth.set_behaviour(self.now, site, behaviour),
            Fault::RegionLost(region) => {
                (0..2).for_each(|host| self.truth.set_behaviour(self.now, (region, host), Behaviour::Refuses));
                self.machines_of(region).for_each(|id| self.put_down(id, Fate::Kept));
            }
            Fault::Cut(ways) => self.network.cut(&ways),
            Fault::Link(machine) => {
                self.network.cut_link(machine);
                self.links_changed[machine] = Some(self.now);
            }
            Fault::Loss(n) => self.network.loss += n,
            Fault::Doubled(n) => self.network.doubled += n,
            Fault::Slower(ms) => {
                self.network.slower += ms;
                self.slowest = self.slowest.max(self.network.delay_max());
            }
            Fault::Jumbled(ms) => {
                self.network.jumbled += ms;
                self.slowest = self.slowest.max(self.network.delay_max());
            }
            Fault::ReferencesDie => self.network.references_dead += 1,
            Fault::Pause(machine) => self.put_to_sleep(machine),
            Fault::Suspend(machine) => {
                self.put_to_sleep(machine);
                self.suspended[machine] += 1;
            }
            Fault::Crash(machine, fate) => self.crash(machine, fate),
            Fault::ClockSet(machine, by) => {
                self.stations[machine].clock.ahead += by;
                self.clock_set[machine] = Some(self.now);
                self.turn(machine, vec![Input::Wake]);
            }
            Fault::SlowRelay(machine, hold) => self.stations[machine].relay_hold = hold,
            Fault::Replay(machine) => self.replay(machine),
            Fault::Flood(machine) => self.flood(machine),
        }
        self.note_truth();
    }

    pub(crate) fn end(&mut self, position: usize) {
        self.note_truth();
        let fault = self.faults[position].clone();
        self.say_all(|| format!("ends: {fault:?}"));
        match fault {
            Fault::Endpoint(site, _) => self.truth.set_behaviour(self.now, site, Behaviour::Works),
            Fault::RegionLost(region) => {
                (0..2).for_each(|host| self.truth.set_behaviour(self.now, (region, host), Behaviour::Works));
                let machines: Vec<usize> = self.machines_of(region).collect();
                machines.into_iter().for_each(|id| self.put_up(id));
            }
            Fault::Cut(ways) => self.network.mend(&ways),
            Fault::Link(machine) => {
                self.network.mend_link(machine);
                self.links_changed[machine] = Some(self.now);
            }
            Fault::Loss(n) => self.network.loss -= n,
            Fault::Doubled(n) => self.network.doubled -= n,
            Fault::Slower(ms) => self.network.slower -= ms,
            Fault::Jumbled(ms) => self.network.jumbled -= ms,
            Fault::ReferencesDie => self.network.references_dead -= 1,
            Fault::Pause(machine) => self.wake_up(machine),
            Fault::Suspend(machine) => {
                self.suspended[machine] -= 1;
                self.wake_up(machine);
            }
            Fault::Crash(machine, _) => self.put_up(machine),
            Fault::SlowRelay(machine, _) => self.stations[machine].relay_hold = Duration::ZERO,
            Fault::ClockSet(..) | Fault::Replay(_) | Fault::Flood(_) => {}
        }
        self.note_truth();
    }

    pub(crate) fn put_down(&mut self, id: usize, fate: Fate) {
        self.down[id] += 1;
        self.stop(id, fate);
    }

    pub(crate) fn put_up(&mut self, id: usize) {
        self.down[id] -= 1;
        if self.down[id] == 0 && self.stations[id].process.is_none() {
            self.start(id);
        }
    }

    fn put_to_sleep(&mut self, id: usize) {
        let station = &mut self.stations[id];
        if station.asleep == 0 {
            station.fell_asleep = self.now;
        }
        station.asleep += 1;
        self.truth.note_sleep(self.now, station.region);
    }

    fn wake_up(&mut self, id: usize) {
        let now = self.now;
        let station = &mut self.stations[id];
        station.asleep -= 1;
        if station.asleep > 0 {
            return;
        }
        station.woke = Some(now);
        self.truth.note_sleep(now, station.region);
        self.naps.push((now, now.since(station.fell_asleep)));
        if station.process.is_some() {
            // Everything that waits is taken in before anything expires, as the daemon does.
            let inputs = std::mem::take(&mut station.backlog);
            self.turn(id, inputs);
        }
    }

    /// When a fault of this sort ends, drawn; `None`: in the next episode, because what is broken may stay so.
    pub(crate) fn lasts(random: &mut Random, fault: &Fault) -> Option<Duration> {
        match fault {
            Fault::Endpoint(..) if random.permille(400) => None,
            Fault::Endpoint(..) => Some(random.millis(300, 15_000)),
            Fault::Pause(_) | Fault::Suspend(_) => Some(random.millis(200, 12_000)),
            Fault::Crash(..) => Some(random.millis(200, 15_000)),
            _ => Some(random.millis(1000, 25_000)),
        }
    }

    /// Draws what goes wrong until `heal`, when everything that can ends.
    pub(crate) fn plan_faults(&mut self, heal: Moment) {
        let length = heal.since(self.now);
        let n = self.random.between(1, 5);
        let whole = usize::try_from(length.as_millis()).expect("invariant: short");
        for _ in 0..n {
            let fault = self.draw_fault();
            // Two orders about one site would end each other.
            let clashes = |known: &Fault, it: &Fault| match (known, it) {
                (Fault::Endpoint(a, _), Fault::Endpoint(b, _)) => a == b,
                (Fault::Endpoint(a, _), Fault::RegionLost(b)) | (Fault::RegionLost(b), Fault::Endpoint(a, _)) => a.0 == *b,
                (Fault::RegionLost(a), Fault::RegionLost(b)) => a == b,
                (Fault::SlowRelay(a, _), Fault::SlowRelay(b, _)) => a == b,
                _ => false,
            };
            if self.faults[self.first_fault..].iter().any(|known| clashes(known, &fault)) {
                continue;
            }
            let at = self.now + self.random.millis(0, whole);
            let end = Self::lasts(&mut self.random, &fault).map(|lasts| (at + lasts).min(heal));
            let position = self.faults.len();
            self.faults.push(fault);
            self.schedule(at, Event::Begin(position));
            match end {
                Some(end) => self.schedule(end, Event::End(position)),
                None => self.lasting.push(position),
            }
        }
    }
}

//! The whole world of a run: machines, what is between them, what goes wrong, and one queue of what happens next.
//!
//! ```text
//! seed --> plan, machines, clocks, ways --> [ faults, commands | all mended | settled | quiet ] x episodes --> broken invariant, or none
//!              the queue: (moment, number) --> one event --> turn of a node --> more events;  invariants look on
//! ```
//!
//! A run is a function of its seed: no clock, no thread, no hash order.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use portolan_core::{
    health::vantage::{CheckKey, FRESH_FOR, PULSE_EVERY, Report},
    model::{ids::Label, time::Tick},
    node::Event as Fact,
    table::World as Loaded,
};

use crate::{
    agreement::{self, Agreement},
    clock::{Clock, Moment},
    faults::Fault,
    happened::Happened,
    invariants::{self, Invariant},
    log::Log,
    network::Network,
    plan::{PLACES, Shape},
    planted::Planted,
    queue::{Event, Queue},
    random::Random,
    station::{Disk, Input, Station},
    truth::Truth,
};

/// How often a node looks at its references, and how long it waits for them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many references there are.
const REFERENCES: u16 = 3;

/// How often a daemon writes what is worth keeping.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// Lines of the trace that a failure shows.
const TRACE_MAX: usize = 200;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) invariant: &'static str,
    pub(crate) at: Moment,
    pub(crate) text: String,
}

/// What a run is, besides its seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) planted: Planted,
    /// The one invariant that looks on; `None`: all do.
    pub(crate) only: Option<&'static str>,
    pub(crate) n_episodes: usize,
    /// Whether the last lines of what happens are kept.
    pub(crate) is_traced: bool,
    /// Three regions of three machines, and long pauses between episodes.
    pub(crate) is_sparse: bool,
}

impl Setting {
    /// The world as it should be.
    pub(crate) const fn plain(n_episodes: usize) -> Self {
        Self { planted: Planted::Nothing, only: None, n_episodes, is_traced: false, is_sparse: false }
    }

    /// A long life: as agreement soaks.
    pub(crate) const fn soak(n_episodes: usize) -> Self {
        Self { is_sparse: agreement::SOAKS_SPARSELY, ..Self::plain(n_episodes) }
    }

    /// The same with a trace.
    pub(crate) const fn traced(self) -> Self {
        Self { is_traced: true, ..self }
    }
}

/// Everything.
pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) random: Random,
    queue: Queue,
    pub(crate) planted: Planted,
    pub(crate) n_regions: usize,
    pub(crate) voters: Vec<usize>,
    pub(crate) stations: Vec<Station>,
    pub(crate) network: Network,
    pub(crate) truth: Truth,
    /// Plans by revision.
    pub(crate) shapes: BTreeMap<u64, Shape>,
    pub(crate) worlds: BTreeMap<u64, Arc<Loaded>>,
    /// The longest of all plans that there were; see [`Shape::settled_after`].
    pub(crate) settled_after: Duration,
    pub(crate) log: Log,
    pub(crate) agreement: Agreement,
    pub(crate) unproven_hold: Duration,
    pub(crate) faults: Vec<Fault>,
    /// The first one of this episode.
    pub(crate) first_fault: usize,
    /// Those that go on until the next episode.
    pub(crate) lasting: Vec<usize>,
    /// How many faults keep a machine down, suspended.
    pub(crate) down: Vec<usize>,
    pub(crate) suspended: Vec<usize>,
    pub(crate) clock_set: Vec<Option<Moment>>,
    /// When a machine last lost or got back its link.
    pub(crate) links_changed: Vec<Option<Moment>>,
    /// When a node last loaded a plan.
    pub(crate) reloaded: Vec<Option<Moment>>,
    /// Sleeps that ended: when, and how long they were.
    pub(crate) naps: Vec<(Moment, Duration)>,
    /// The longest that a message took between regions.
    pub(crate) slowest: Duration,
    /// When each node last said so of a check, and saw: (up, down).
    pub(crate) said: BTreeMap<(CheckKey, usize), (Option<Moment>, Option<Moment>)>,
    pub(crate) history: Vec<Vec<(usize, Report)>>,
    /// Up to which entry nodes came in the turn that runs.
    pub(crate) applied: Vec<(usize, u64)>,
    /// When everything must have come to rest, in this episode.
    pub(crate) settles: Moment,
    /// Whether faults are over and everything has come to rest.
    pub(crate) is_settled: bool,
    pub(crate) n_commands: u64,
    /// Those that are to come.
    pub(crate) n_episodes: usize,
    pub(crate) is_sparse: bool,
    invariants: Vec<Box<dyn Invariant>>,
    pub(crate) broken: Option<Broken>,
    trace: Option<VecDeque<String>>,
    /// Turns, tables; and turns since the clock moved.
    pub(crate) n_turns: u64,
    pub(crate) n_tables: u64,
    pub(crate) n_at_once: u64,
}

impl World {
    /// The world of a seed, before anything happened.
    pub(crate) fn new(seed: u64, setting: Setting) -> Self {
        let Setting { planted, only, n_episodes, is_traced, is_sparse } = setting;
        let mut random = Random::new(seed);
        let n_regions = if is_sparse { 3 } else { planted.n_regions().unwrap_or_else(|| *random.pick(&[3, 3, 3, 3, 4, 5])) };
        let sizes: Vec<usize> =
            (0..n_regions).map(|_| *random.pick(if n_regions == 3 { &[1, 1, 2, 2, 3] } else { &[1, 1, 1, 2] })).collect();
        let sizes = if is_sparse { vec![3; 3] } else { sizes };
        let regions: Vec<usize> = sizes.iter().enumerate().flat_map(|(region, n)| vec![region; *n]).collect();
        let n_voters = if n_regions == 5 { 5 } else { 3 };
        let voters = (0..n_voters).filter_map(|region| regions.iter().position(|it| *it == region)).collect();
        let shape = Shape::draw(&mut random, n_regions);
        let skew = *random.pick(&[0, 1500, 30_000]);
        let mut counts = vec![0; n_regions];
        let stations = regions.iter().map(|&region| {
            counts[region] += 1;
            Station {
                name: Label::new(&format!("{}-{}", PLACES[region].0, counts[region])),
                region,
                clock: Clock {
                    base: random.next() % 1_000_000_000,
                    ppm: 500 - i64::try_from(random.below(1001)).expect("invariant: small"),
                    ahead: skew / 2 - i64::try_from(random.below(usize::try_from(skew).expect("invariant: small") + 1)).expect("small"),
                },
                process: None,
                number: 0,
                incarnation: 0,
                asleep: 0,
                fell_asleep: Moment(0),
                woke: None,
                backlog: Vec::new(),
                disk: Disk::default(),
                relay_hold: Duration::ZERO,
                wake: None,
                revision: 1,
            }
        });
        let stations: Vec<Station> = stations.collect();
        let n = stations.len();
        let network = Network::draw(&mut random, n_regions, n);
        let agreement = Agreement::new(&mut random, n);
        let unproven_hold = Duration::from_secs(*random.pick(&[5, 10, 60]));
        let mut world = Self {
            now: Moment(0),
            queue: Queue::default(),
            planted,
            n_regions,
            voters,
            slowest: network.delay_max(),
            network,
            truth: Truth::new(n_regions, (0..n_regions).flat_map(|region| [(region, 0), (region, 1)])),
            settled_after: shape.settled_after(),
            worlds: BTreeMap::from([(1, shape.world())]),
            shapes: BTreeMap::from([(1, shape)]),
            log: Log::default(),
            agreement,
            unproven_hold,
            faults: Vec::new(),
            first_fault: 0,
            lasting: Vec::new(),
            down: vec![0; n],
            suspended: vec![0; n],
            clock_set: vec![None; n],
            links_changed: vec![None; n],
            reloaded: vec![None; n],
            naps: Vec::new(),
            said: BTreeMap::new(),
            history: vec![Vec::new(); n],
            applied: Vec::new(),
            settles: Moment(0),
            is_settled: false,
            n_commands: 0,
            n_episodes,
            is_sparse,
            invariants: invariants::all()
                .into_iter()
                .chain(agreement::invariants())
                .filter(|it| only.is_none_or(|only| it.name() == only))
                .collect(),
            broken: None,
            trace: is_traced.then(VecDeque::new),
            n_turns: 0,
            n_tables: 0,
            n_at_once: 0,
            stations,
            random,
        };
        (0..n).for_each(|id| world.start(id));
        world.found_cluster();
        world.schedule(Moment(1_000_000), Event::Second);
        let warm = world.random.millis(agreement::WARM.0, agreement::WARM.1);
        world.now = Moment(0);
        world.plan_episode(warm);
        world
    }

    /// Runs until the last episode is over, or an invariant breaks.
    pub(crate) fn run(&mut self) {
        while self.broken.is_none() {
            let Some((at, event)) = self.queue.pop() else { break };
            self.n_at_once = if at > self.now { 0 } else { self.n_at_once + 1 };
            self.now = at;
            if matches!(event, Event::Over) {
                self.look(&Happened::Over);
                self.is_settled = false;
                if self.n_episodes == 0 {
                    break;
                }
                self.next_episode();
                continue;
            }
            self.happen(event);
        }
    }

    pub(crate) fn schedule(&mut self, at: Moment, event: Event) {
        self.queue.push(at, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake { id } if self.stations[id].wake == Some(self.now) => {
                self.stations[id].wake = None;
                self.turn(id, vec![Input::Wake]);
            }
            Event::Result { id, number, attempt, outcome, latency } if self.is_of(id, number) => {
                let input = self.found(id, attempt, outcome, latency);
                self.turn(id, vec![input]);
            }
            Event::Arrive { from, to, batch } if self.suspended[to] == 0 && self.network.has_link(to) => {
                self.turn(to, vec![Input::Arrived { from, batch }]);
            }
            Event::Pulse { id, number } if self.is_of(id, number) => self.pulse(id),
            Event::Look { id, number } if self.is_of(id, number) => {
                self.schedule(self.now + LOOK_EVERY, Event::Look { id, number });
                let region = self.stations[id].region;
                let sees = self.network.references_dead == 0
                    && self.network.has_link(id)
                    && self.network.is_open_both_ways(region, self.network.outside());
                let (after, reached) = if sees { (Duration::from_millis(60), REFERENCES) } else { (LOOK_EVERY, 0) };
                let reached = if self.planted.sees_always() { REFERENCES } else { reached };
                self.schedule(self.now + after, Event::Looked { id, number, reached });
            }
            Event::Looked { id, number, reached } if self.is_of(id, number) => {
                self.turn(id, vec![Input::Event(Fact::ReferencesLooked { reached, all: REFERENCES })]);
            }
            Event::Save { id, number } if self.is_of(id, number) => {
                self.save(id);
                self.schedule(self.now + SAVE_EVERY, Event::Save { id, number });
            }
            Event::HandOn { id, number, to, batch, hold } if self.is_of(id, number) => self.hand_on(id, to, batch, hold),
            Event::Load { id, number, revision } if self.is_of(id, number) => self.load(id, revision),
            Event::Order { command, request } => self.order(*command, request),
            Event::Agree(event) => self.agree(event),
            Event::Edit => self.edit(),
            Event::Begin(position) => self.begin(position),
            Event::End(position) => self.end(position),
            Event::Second => {
                self.note_truth();
                self.expire_orders();
                self.look(&Happened::Second);
                self.naps.retain(|(at, _)| self.now.since(*at) < Duration::from_secs(60));
                self.schedule(self.now + Duration::from_secs(1), Event::Second);
            }
            Event::Settled => {
                self.is_settled = true;
                self.look(&Happened::Settled);
            }
            // Of a process that is gone, or too late; the end of an episode is seen to by the loop.
            _ => {}
        }
    }

    /// What a daemon does from its start on: with phases of its own, so that nodes are not in step.
    pub(crate) fn schedule_start(&mut self, id: usize) {
        let number = self.stations[id].number;
        self.stations[id].wake = None;
        let mut after = |most: usize| self.now + self.random.millis(0, most);
        let (pulse, look, save) = (after(500), after(300), after(5000));
        self.schedule(pulse.max(self.now + PULSE_EVERY / 10), Event::Pulse { id, number });
        self.schedule(look, Event::Look { id, number });
        self.schedule(save, Event::Save { id, number });
    }

    /// Sees to it that a node has its turn at its deadline.
    pub(crate) fn schedule_wake(&mut self, id: usize, deadline: Option<Tick>) {
        let Some(deadline) = deadline else { return };
        let deadline = if self.planted.spins() { Tick(0) } else { deadline };
        // What ends by the wall clock ends within its millisecond.
        let at = self.stations[id].clock.when(deadline).max(self.now + Duration::from_micros(100));
        if self.stations[id].wake.is_none_or(|known| at < known) {
            self.stations[id].wake = Some(at);
            self.schedule(at, Event::Wake { id });
        }
    }

    //--- Who is where

    /// Whether a process is still the one with this number.
    pub(crate) fn is_of(&self, id: usize, number: u64) -> bool {
        self.stations[id].number == number && self.stations[id].process.is_some()
    }

    pub(crate) fn machines_of(&self, region: usize) -> impl Iterator<Item = usize> + use<> {
        let regions: Vec<usize> = self.stations.iter().map(|it| it.region).collect();
        (0..regions.len()).filter(move |id| regions[*id] == region)
    }

    /// The voters as an observer tries them: its own region's first.
    pub(crate) fn voters_for(&self, id: usize) -> Vec<usize> {
        let region = self.stations[id].region;
        let mut voters = self.voters.clone();
        let n = voters.len();
        voters.rotate_left(id % n);
        voters.sort_by_key(|voter| self.stations[*voter].region != region);
        voters
    }

    /// The distinct regions of the peers.
    pub(crate) fn vantage_regions(&self) -> Vec<usize> {
        self.voters.iter().map(|voter| self.stations[*voter].region).collect()
    }

    /// As the node is told; a bug is planted here.
    pub(crate) fn vantage_regions_of(&self, id: usize) -> Vec<Label> {
        let all = self.vantage_regions();
        let kept = self.planted.regions_counted().unwrap_or(all.len());
        let own = self.stations[id].region;
        let (mut own, others): (Vec<usize>, Vec<usize>) = all.into_iter().partition(|region| *region == own);
        own.extend(others);
        own.truncate(kept);
        own.into_iter().map(|region| Label::new(PLACES[region].0)).collect()
    }

    /// Takes down what is so until now.
    pub(crate) fn note_truth(&mut self) {
        let (network, stations) = (&self.network, &self.stations);
        let is_cut_off = |region: usize| stations.iter().enumerate().any(|(id, it)| it.region == region && !network.has_link(id));
        let cannot_see = |from: usize, to: usize| !network.is_open_both_ways(from, to) || is_cut_off(from);
        self.truth.note(self.now, network, cannot_see);
    }

    /// How much older than it seems a word may be: each relay guesses the way by half a round trip, and who slept takes what waited for new.
    pub(crate) fn blur(&self) -> Duration {
        let recent = self.naps.iter().filter(|(at, _)| self.now.since(*at) < FRESH_FOR * 3);
        let nap = recent.map(|(_, length)| *length).max().unwrap_or_default();
        self.slowest * 3 + nap + Duration::from_millis(200)
    }

    /// For how long a node has not slept; for ever when it never did.
    pub(crate) fn slept_since(&self, id: usize) -> Duration {
        self.stations[id].woke.map_or(Duration::MAX, |woke| self.now.since(woke))
    }

    /// For how long a machine has had its link.
    pub(crate) fn linked_since(&self, id: usize) -> Duration {
        self.links_changed[id].map_or(Duration::MAX, |at| self.now.since(at))
    }

    /// For how long a machine has had no link; zero while it has one.
    pub(crate) fn cut_off_for(&self, id: usize) -> Duration {
        if self.network.has_link(id) { Duration::ZERO } else { self.links_changed[id].map_or(Duration::ZERO, |at| self.now.since(at)) }
    }

    /// For how long a node has run its plan.
    pub(crate) fn reloaded_since(&self, id: usize) -> Duration {
        self.reloaded[id].map_or(Duration::MAX, |at| self.now.since(at))
    }

    //--- Looking on

    pub(crate) fn look(&mut self, happened: &Happened<'_>) {
        if self.broken.is_some() {
            return;
        }
        let mut invariants = std::mem::take(&mut self.invariants);
        for it in &mut invariants {
            if let Err(text) = it.check(self, happened) {
                self.broken = Some(Broken { invariant: it.name(), at: self.now, text });
                break;
            }
        }
        self.invariants = invariants;
    }

    pub(crate) fn say(&mut self, id: usize, line: impl FnOnce() -> String) {
        if self.trace.is_some() {
            let line = format!("{}: {}", self.stations[id].name, line());
            self.say_all(|| line);
        }
    }

    pub(crate) fn say_all(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push_back(format!("{now:>10}  {}", line()));
            if trace.len() > TRACE_MAX {
                trace.pop_front();
            }
        }
    }

    /// The last lines of the trace.
    pub(crate) fn told(&self) -> String {
        self.trace.iter().flatten().map(|line| format!("{line}\n")).collect()
    }
}

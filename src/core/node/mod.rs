//! The local machine: facts in, effects out.
//!
//! ```text
//! Event --handle--> book, vantage, overlay, world --dirty services--> advance --> Effect::Publish(table), Effect::Tell(what happened)
//!                                                               |
//!                                             probes to start <-'--> next_deadline
//! ```
//!
//! The daemon hands in every event that is waiting, then calls [`Node::advance`] once: however many verdicts changed, one table comes out,
//! and it shares everything that did not change with the one before.
//!
//! Absent on purpose: clocks, sockets, files. Several nodes fit into one test.

mod counts;
mod databases;
mod headline;
mod index;
mod others;
mod ramps;
pub mod recall;
pub mod report;
mod role_tell;
mod roles;
mod rotation;
pub mod saved;
mod shortage;
mod states;
mod status;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod why;

pub use databases::{Agreed, Databases, Primary, Seen};
pub use others::Peers;
pub use status::Served;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;

pub use crate::health::book::{Attempt, StartProbe};
use crate::{
    failover::holding::Holdings,
    health::{
        book::{self, Book, Changes},
        endpoint::Touch,
        overlay::{Overlay, Override},
        vantage::{self, CheckKey, Report, SavedProof, Vantage},
    },
    model::{
        check::{Observation, Outcome},
        ids::{EndpointIdx, Label, RegionIdx, ServiceIdx},
        time::{Now, Tick, Timestamp},
        topology::Region,
    },
    table::{EndpointState, ServiceView, Table, Tier, World},
};
use index::CheckIndex;
use ramps::Ramps;
use report::{Happening, Notice, Severity};
use roles::Roles;
use rotation::Rotation;
use saved::SavedNode;
use shortage::Shortage;
use tally::Tally;

/// Without a table on disk, the first one is made when every check was judged, or after this: one check that never ends must not keep all
/// names dark. Covers the spread of the first round, a hanging probe and its confirmations with default settings.
pub const FIRST_TABLE_MAX: Duration = Duration::from_secs(15);

/// The most happenings that are kept for `why`.
pub const HAPPENINGS_MAX: usize = 2048;

/// The key of the notice about refused overrides.
const OVERRIDES: &str = "overrides";

/// A wall clock that gains less than this in one turn is slewed, not set.
const CLOCK_SET_MIN: Duration = Duration::from_secs(1);

/// What does not change while the node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The node's name.
    pub node: Label,
    /// The region that it stands in.
    pub region: Label,
    /// A table from disk that is older than this is served, but the node is not ready with it.
    pub stale_limit: Duration,
    /// Moves spread and jitter of probes, so that nodes do not probe in step.
    pub seed: u64,
}

/// A fact.
#[derive(Clone, Debug)]
pub enum Event {
    /// A probe ended.
    ProbeFinished {
        /// As in [`StartProbe`].
        attempt: Attempt,
        /// What it found.
        observation: Observation,
    },
    /// Somebody pushed a heartbeat.
    BeatReceived {
        /// As in the plan.
        name: String,
        /// `false`: the sender says that it is not well.
        ok: bool,
        /// When, as another node says; `None`: it was pushed here, now.
        at: Option<Timestamp>,
    },
    /// Another plan, or another geo database, is in force.
    WorldLoaded {
        /// Plan and geo map together.
        world: Arc<World>,
        /// The plan's digest in hexadecimal.
        digest: String,
    },
    /// A file was refused; what was in force stays.
    FileRejected {
        /// `plan` or `geo`: a later acceptance of the same sort takes the notice away.
        kind: &'static str,
        /// What was wrong, in one sentence.
        text: String,
    },
    /// A file was accepted.
    FileAccepted {
        /// As in [`Event::FileRejected`].
        kind: &'static str,
    },
    /// The process noticed something that people should know, or that it is over.
    Noted {
        /// What; a later note of the same kind takes its place.
        kind: &'static str,
        /// How bad, and what in one sentence; `None`: it is over.
        notice: Option<(Severity, String)>,
    },
    /// The overrides are these now.
    OverridesChanged(Vec<Override>),
    /// The primaries of data groups are these now.
    PrimariesChanged(BTreeMap<Label, Agreed>),
    /// A report of another node arrived; see [`vantage::Event::Heard`].
    ReportHeard {
        /// What it says.
        report: Report,
        /// The stream's last round trip.
        round_trip: Duration,
    },
    /// This node looked at its references; see [`vantage::Event::Looked`].
    ReferencesLooked {
        /// How many it reached.
        reached: u16,
        /// Of how many.
        all: u16,
    },
    /// Another node asks to probe a check at once.
    ConfirmAsked {
        /// Which check.
        check: CheckKey,
    },
    /// This process did not run for so long, to now; see [`Event::slept`]. To be told before what waited meanwhile.
    Slept(Duration),
}

/// Why an event changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// Of a probe or a heartbeat.
    #[error(transparent)]
    Book(#[from] book::Rejected),
    /// Of another node.
    #[error(transparent)]
    Vantage(#[from] vantage::Rejected),
}

/// A request to the world.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answer from this table from now on.
    Publish(Arc<Table>),
    /// Something changed that people want to know: one line for the log.
    Tell(Happening),
    /// This node says something new: send every peer a report of [`Node::vantage`] at once. Only with peers.
    Report,
    /// Ask the other regions' nodes to probe a check at once. Only with peers.
    Confirm {
        /// Which check.
        check: CheckKey,
    },
}

/// Whether the node may be sent queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It answers from a table that is fresh enough.
    Ready,
    /// It does not; the reason is for people.
    NotReady(String),
}

/// The local machine.
#[derive(Clone, Debug)]
pub struct Node {
    settings: Settings,
    world: Arc<World>,
    digest: String,
    book: Book,
    vantage: Vantage,
    /// What the vantage found and was not acted on yet.
    seen: Vec<vantage::Effect>,
    /// What was proven before the start, until there are peers.
    proofs: Vec<SavedProof>,
    overlay: Overlay,
    /// Of each data group: the region of its primary. Only that member's database is probed.
    primaries: BTreeMap<Label, Agreed>,
    table: Option<Arc<Table>>,
    started: Now,
    /// `Some`: the verdicts come from a former process, and not all of them have been judged anew.
    stale_since: Option<Timestamp>,
    changes: Changes,
    dirty: BTreeSet<ServiceIdx>,
    rotation: Rotation,
    checks: CheckIndex,
    /// Services in slow start: when their shares change next.
    ramps: Ramps,
    /// Who holds which role, as agents state it.
    holdings: Holdings,
    roles: Roles,
    next_expiry: Option<Timestamp>,
    /// The overrides in force, as people were told.
    told: Vec<Arc<Override>>,
    /// Both clocks at the last turn, to notice that the wall clock was set.
    turned: Now,
    tally: Tally,
    shortage: Shortage,
    notices: BTreeMap<&'static str, Notice>,
    happenings: VecDeque<Happening>,
    /// How many happenings there were, those included that are forgotten.
    n_told: u64,
    /// Per check: of when the counts, outcomes and times of its probes are, in a node that was [recalled](recall); empty: of now.
    as_of: Vec<Timestamp>,
}

impl Node {
    /// A node that knows nothing but its world, and goes on from `saved` where it can.
    #[must_use]
    pub fn new(settings: Settings, world: Arc<World>, digest: String, saved: Option<SavedNode>, now: Now) -> Self {
        let book = Book::new(&world.topology.checks, settings.seed, now);
        let checks = CheckIndex::new(&world.topology);
        let roles = Roles::new(&world.topology);
        let mut node = Self {
            tally: Tally::new(world.topology.regions.len()),
            rotation: Rotation::new(&world),
            vantage: others::alone(&settings.node, &settings.region, now),
            seen: Vec::new(),
            proofs: Vec::new(),
            settings,
            world,
            digest,
            book,
            overlay: Overlay::default(),
            primaries: BTreeMap::new(),
            table: None,
            started: now,
            stale_since: None,
            changes: Changes::default(),
            dirty: BTreeSet::new(),
            checks,
            ramps: Ramps::default(),
            holdings: Holdings::default(),
            roles,
            next_expiry: None,
            told: Vec::new(),
            turned: now,
            shortage: Shortage::default(),
            notices: BTreeMap::new(),
            happenings: VecDeque::new(),
            n_told: 0,
            as_of: Vec::new(),
        };
        node.share_probes(now);
        if let Some(saved) = saved {
            node.restore(saved, now);
        }
        node
    }

    /// Takes one event in. Nothing is published before [`Self::advance`].
    ///
    /// # Errors
    /// [`Rejected`], harmless: nothing was changed.
    pub fn handle(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) -> Result<(), Rejected> {
        match event {
            Event::ProbeFinished { attempt, observation } => {
                let was_made = !self.shortage.note(&observation, now.tick);
                // What could not be made here says nothing, to nobody: a statement of it grows old.
                let check = self.book.check_of(attempt).filter(|_| was_made);
                let failed = check.filter(|_| matches!(observation.outcome, Outcome::Failed(_)));
                self.book.handle(now, book::Event::ProbeFinished { attempt, observation }, &mut self.changes)?;
                if let Some(check) = check {
                    self.vantage.observed(now, &self.book, check, &mut self.seen);
                }
                if let Some(check) = failed {
                    self.tally.failed(self.checks.regions(check), now.tick);
                }
            }
            Event::BeatReceived { name, ok, at } => {
                self.book.handle(now, book::Event::Beat { name, ok, at }, &mut self.changes)?;
            }
            Event::WorldLoaded { world, digest } => self.load(now, world, digest, effects),
            Event::FileRejected { kind, text } => {
                self.tell(now, format!("{kind} file refused, the one before stays in force: {text}"), effects);
                let notice = Notice { severity: Severity::Warning, kind: format!("{kind}_rejected"), text };
                self.notices.insert(kind, notice);
            }
            Event::FileAccepted { kind } => {
                self.notices.remove(kind);
            }
            Event::Noted { kind, notice } => self.note(now, kind, notice, effects),
            Event::OverridesChanged(overrides) => self.set_overrides(now, overrides, effects),
            Event::PrimariesChanged(primaries) => self.set_primaries(now, primaries),
            Event::ReportHeard { report, round_trip } => {
                self.vantage.handle(now, vantage::Event::Heard { report, round_trip }, &mut self.seen)?;
            }
            Event::ReferencesLooked { reached, all } => {
                self.vantage.handle(now, vantage::Event::Looked { reached, all }, &mut self.seen)?;
            }
            Event::Slept(asleep) => self.wake(now, asleep, effects),
            Event::ConfirmAsked { check } => self.vantage.handle(now, vantage::Event::ConfirmAsked { check }, &mut self.seen)?,
        }
        self.absorb_seen(now, effects);
        Ok(())
    }

    /// Does all that is due at `now`: gives up lost probes, starts at most `room` new ones, lets time-bound things change, and publishes
    /// one table if anything that answers depend on has changed.
    pub fn advance(&mut self, now: Now, room: usize, effects: &mut Vec<Effect>) -> Vec<StartProbe> {
        // Asked before anything settles the overlay, which looks for the next end. A clock that was set may put an order in force again, and
        // a slow start out of it: nothing announced holds any more.
        let orders_changed = was_set(self.turned, now) || self.next_expiry.is_some_and(|at| at <= now.wall);
        self.vantage.advance(now, &mut self.seen);
        self.absorb_seen(now, effects);
        let starts = self.book.due(now, room, &mut self.changes);
        self.observe_touched(now);
        self.absorb_seen(now, effects);
        self.absorb_changes(now, effects);
        if orders_changed {
            self.settle_overlay(now);
            self.tell_overrides(now, effects);
            self.all_dirty();
        }
        self.turned = now;
        self.dirty.extend(self.ramps.due(now.wall));
        self.look_at_roles(now.tick);
        self.publish(now, effects);
        starts
    }

    /// When [`Self::advance`] has something to do next. `may_start: false` leaves out probes that wait for room.
    #[must_use]
    pub fn next_deadline(&self, now: Now, may_start: bool) -> Option<Tick> {
        let wall = self.ramps.next().into_iter().chain(self.next_expiry).min().map(|at| now.tick + at.since(now.wall));
        let waiting = self.table.is_none() || self.stale_since.is_some();
        let first = waiting.then(|| self.started.tick + FIRST_TABLE_MAX);
        [self.book.next_deadline(may_start), self.vantage.next_deadline(), self.roles.next(), wall, first].into_iter().flatten().min()
    }

    /// The table in force; `None` before the first one.
    #[must_use]
    pub fn table(&self) -> Option<&Arc<Table>> {
        self.table.as_ref()
    }

    /// The world in force.
    #[must_use]
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// What the checks say.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Endpoints that may be answered, per region, in the plan's order.
    pub fn endpoints_up(&self) -> impl Iterator<Item = (&Region, u32)> {
        self.world.topology.regions.iter().enumerate().map(|(position, region)| (region, self.tally.up(RegionIdx::at(position))))
    }

    /// Whether queries may be sent here. Never depends on peers or quorum.
    #[must_use]
    pub fn readiness(&self, now: Now) -> Readiness {
        match (&self.table, self.stale_since) {
            (None, _) => Readiness::NotReady(format!("no table yet: {} checks are not judged in the first round", self.book.n_unjudged())),
            (Some(_), Some(since)) if now.wall.since(since) > self.settings.stale_limit => {
                Readiness::NotReady(format!("the table is of {since}, older than stale_limit, and the first round is not over"))
            }
            (Some(_), _) => Readiness::Ready,
        }
    }

    //--- Changes

    fn load(&mut self, now: Now, world: Arc<World>, digest: String, effects: &mut Vec<Effect>) {
        self.absorb_judgements(now, effects);
        let before = std::mem::replace(&mut self.world, world);
        let frozen = self.overlay.save_frozen(&before.topology);
        self.digest = digest;
        // Turns of calculated checks that follow from the new list are told; tables are all made anew below.
        let changes = self.book.reload(&self.world.topology.checks, now);
        self.checks = CheckIndex::new(&self.world.topology);
        self.changes.turns.extend(changes.turns);
        self.reload_vantage(now);
        self.rotation = Rotation::restored(&self.world, &self.rotation.save(&before));
        // Those that ended, too: while this clock was ahead they may have ended here only.
        let overrides = self.overlay.all().map(|it| (**it).clone()).collect();
        self.replace_overlay(overrides, &frozen);
        self.settle_overlay(now);
        self.absorb_seen(now, effects);
        self.ramps.clear();
        self.reload_roles();
        self.tally = self.tally.moved(&before.topology, &self.world.topology);
        self.dirty.clear();
        // A world is made of all files together, so each of them was good.
        self.notices.retain(|kind, notice| *kind == OVERRIDES || notice.kind == *kind);
        let text = format!("plan revision {} in force, digest {}", self.world.topology.revision, short(&self.digest));
        self.tell(now, text, effects);
        if self.table.is_some() {
            self.publish_whole(now, effects);
        }
    }

    fn note(&mut self, now: Now, kind: &'static str, notice: Option<(Severity, String)>, effects: &mut Vec<Effect>) {
        let before = self.notices.get(kind).map(|notice| notice.text.clone());
        match notice {
            Some((severity, text)) if before.as_ref() != Some(&text) => {
                self.tell(now, format!("{kind}: {text}"), effects);
                self.notices.insert(kind, Notice { severity, kind: kind.to_owned(), text });
            }
            Some(_) => {}
            None => {
                if self.notices.remove(kind).is_some() {
                    self.tell(now, format!("{kind}: over"), effects);
                }
            }
        }
    }

    fn set_overrides(&mut self, now: Now, overrides: Vec<Override>, effects: &mut Vec<Effect>) {
        let frozen = self.overlay.save_frozen(&self.world.topology);
        self.replace_overlay(overrides, &frozen);
        self.settle_overlay(now);
        self.tell_overrides(now, effects);
        self.all_dirty();
    }

    /// Tells which orders are new and which have ended.
    fn tell_overrides(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let in_force: Vec<Arc<Override>> = self.overlay.in_force(now.wall).cloned().collect();
        let before = std::mem::replace(&mut self.told, in_force.clone());
        for ended in before.iter().filter(|it| !in_force.contains(it)) {
            self.tell(now, format!("override ended: {ended}"), effects);
        }
        for new in in_force.iter().filter(|it| !before.contains(it)) {
            self.tell(now, format!("override in force: {new}"), effects);
        }
    }

    fn all_dirty(&mut self) {
        self.dirty.extend((0..self.world.topology.services.len()).map(ServiceIdx::at));
    }

    fn replace_overlay(&mut self, overrides: Vec<Override>, frozen: &[crate::health::overlay::SavedFrozen]) {
        match Overlay::new(&self.world.topology, overrides, frozen) {
            Ok(overlay) => {
                self.overlay = overlay;
                self.notices.remove(OVERRIDES);
            }
            Err(error) => {
                let notice = Notice { severity: Severity::Warning, kind: "overrides_rejected".to_owned(), text: error.to_string() };
                self.notices.insert(OVERRIDES, notice);
            }
        }
    }

    fn settle_overlay(&mut self, now: Now) {
        let (world, book, vantage) = (&self.world, &self.book, &self.vantage);
        let observed = |endpoint: EndpointIdx| vantage.verdict(book, world.topology.endpoints[endpoint.get()].check, now.tick);
        self.overlay.settle(&world.topology, now.wall, observed);
        self.next_expiry = self.overlay.next_expiry(now.wall);
    }

    fn absorb_changes(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.changes.is_empty() {
            return;
        }
        self.absorb_judgements(now, effects);
        self.settle_overlay(now);
    }

    /// Turns what the book collected into dirty services and happenings.
    fn absorb_judgements(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Changes { touched, turns } = std::mem::take(&mut self.changes);
        for (&check, touch) in &touched {
            // A time to live alone is no news, but answers carry it.
            debug_assert!(matches!(touch, Touch::NextChange | Touch::Verdict));
            self.dirty.extend(self.checks.services(check));
        }
        for turn in turns {
            let name = self.checks.name(&self.world.topology, turn.check);
            // Among peers this is one voice of many.
            let whose = if self.vantage.is_single() { "" } else { "seen from here: " };
            self.tell(now, format!("{name} {whose}{}", turn.transition), effects);
        }
    }

    //--- Publishing

    fn publish(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let judged = self.book.n_unjudged() == 0 || now.tick.since(self.started.tick) >= FIRST_TABLE_MAX;
        let Some(table) = self.table.clone() else {
            if judged {
                self.publish_whole(now, effects);
            }
            return;
        };
        let freshened = self.stale_since.is_some() && judged;
        if freshened {
            self.stale_since = None;
        }
        if self.dirty.is_empty() && !freshened {
            return;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let mut next = table.with_changes(dirty.iter().copied(), self.states_in_order(now));
        next.stale_since = self.stale_since;
        for &service in &dirty {
            self.compiled(now, service, Some(table.view(service)), next.view(service), effects);
        }
        self.settle_roles(now, &mut next, &dirty, effects);
        self.swap(next, effects);
        self.time_roles(now.tick, &dirty);
    }

    fn publish_whole(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let world = self.world.clone();
        let services: BTreeSet<ServiceIdx> = (0..world.topology.services.len()).map(ServiceIdx::at).collect();
        let generation = self.table.as_ref().map_or(1, |table| table.generation + 1);
        let mut next = Table::compile(generation, world, self.states_in_order(now));
        let judged = self.book.n_unjudged() == 0 || now.tick.since(self.started.tick) >= FIRST_TABLE_MAX;
        if judged {
            self.stale_since = None;
        }
        next.stale_since = self.stale_since;
        self.dirty.clear();
        self.tally.clear_up();
        for &service in &services {
            self.compiled(now, service, None, next.view(service), effects);
        }
        self.settle_roles(now, &mut next, &services, effects);
        self.swap(next, effects);
        self.time_roles(now.tick, &services);
    }

    /// The state of each endpoint, to be asked for service by service and there in order, as tables do. One service at a time is worked out.
    fn states_in_order(&mut self, now: Now) -> impl FnMut(EndpointIdx) -> EndpointState {
        let mut rest = Vec::new().into_iter();
        move |endpoint| {
            if let Some(state) = rest.next() {
                return state;
            }
            let service = self.world.topology.endpoints[endpoint.get()].service;
            rest = self.states(now, service).into_iter();
            rest.next().expect("invariant: the service of an endpoint has an endpoint")
        }
    }

    /// Counts a fresh view, and tells what is news of it.
    fn compiled(&mut self, now: Now, service: ServiceIdx, before: Option<&ServiceView>, after: &ServiceView, effects: &mut Vec<Effect>) {
        let mut texts = Vec::new();
        // Who follows a primary says nothing of a region's health.
        let is_judged = self.world.topology.services[service.get()].follows.is_none();
        let turns = if is_judged { self.tally.recount(before, after) } else { Vec::new() };
        for (region, is_up) in turns {
            let region = &self.world.topology.regions[region.get()].name;
            // The first table is no news of every region.
            if before.is_some() {
                texts.push(format!(
                    "region {region} has {} in rotation {}",
                    if is_up { "an endpoint" } else { "no endpoint" },
                    if is_up { "again" } else { "any more" }
                ));
            }
        }
        let it = &self.world.topology.services[service.get()];
        let news = match (before.map(ServiceView::best), after.best()) {
            (Some(was), is) if was == is => None,
            (_, Some(Tier::Out)) => Some(format!("has no usable endpoint: all_down {} decides", status::all_down_word(it.all_down))),
            (Some(_), Some(Tier::Drained)) => Some("has only drained endpoints left: they still answer".to_owned()),
            (Some(_), Some(Tier::Unjudged)) => Some("has only endpoints left that are not judged yet: they answer".to_owned()),
            (Some(_), Some(Tier::Up)) => Some("has an endpoint in rotation again".to_owned()),
            (None, _) | (Some(_), None) => None,
        };
        texts.extend(news.map(|news| format!("service {} {news}", it.name)));
        for text in texts {
            self.tell(now, text, effects);
        }
    }

    fn swap(&mut self, next: Table, effects: &mut Vec<Effect>) {
        let next = Arc::new(next);
        self.table = Some(next.clone());
        effects.push(Effect::Publish(next));
    }

    fn tell(&mut self, now: Now, text: String, effects: &mut Vec<Effect>) {
        let happening = Happening { at: now.wall, text };
        if self.happenings.len() == HAPPENINGS_MAX {
            self.happenings.pop_front();
        }
        self.n_told += 1;
        self.happenings.push_back(happening.clone());
        effects.push(Effect::Tell(happening));
    }
}

/// Whether the wall clock was set between two turns: it went back, or it went further than the time that passed.
fn was_set(before: Now, now: Now) -> bool {
    now.wall < before.wall || now.wall.since(before.wall) > now.tick.since(before.tick).saturating_add(CLOCK_SET_MIN)
}

/// The first twelve digits of a digest: enough to compare by eye.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

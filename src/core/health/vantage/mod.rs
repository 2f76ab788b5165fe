//! The judgement of many vantage points: from what single nodes say of a check to what steering uses, and who stands behind it.
//!
//! ```text
//! own book  --Judged--> own statements --report--> mesh --> other nodes
//! other nodes --Heard--> observers (last writer wins; fresh, sighted) --voices--> regions (probers vote) --> proven by more than half
//! references --Looked--> sight (sighted, alone, blind)                                                        |
//!                                                          own region's view, hold, what it was before ---> standing --> steering
//! first failure --FirstFailed--> Confirm --> mesh --> other nodes --ConfirmAsked--> ProbeNow
//! ```
//!
//! Vantage regions are the distinct regions of the peers. Without peers there is one observer, and its book's word is the verdict as it is.
//!
//! Invariants: no verdict is proven without more than half of all vantage regions; what a blind observer says moves nothing, neither while it
//! is blind nor after, until it has looked again; the order and the repetition of reports do not matter; a repeat that says nothing new
//! touches no check; everything that is remembered has a bound.
//!
//! Absent on purpose: clocks, streams, and who is connected to whom: the mesh hands reports in with the round trip that it measured, and
//! asks for reports to send. Also a vote about what to do: steering is each node's own, promotion asks for more than this.

mod confirm;
mod hear;
mod key;
mod noted;
mod observer;
mod opinion;
mod own;
mod probers;
mod provenance;
mod relay;
mod reload;
mod report;
mod saved;
mod settle;
mod sight;
mod slot;
mod speak;
mod steer;
mod tell;

#[cfg(test)]
mod drill;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use confirm::{CONFIRM_PAUSE, CONFIRM_WAIT_MAX, CONFIRMS_PER_SECOND_MAX};
pub use hear::{OBSERVERS_MAX, OBSERVERS_PER_PEER_MAX, Rejected};
pub use key::{CheckKey, keys};
pub use noted::{NotedOthers, NotedStanding};
pub use observer::{FRESH_FOR, PULSE_EVERY};
pub use provenance::{Provenance, Turn, Votes};
pub use relay::Heard;
pub use report::{CHECKS_PER_OBSERVER_MAX, Judgement, Malformed, NAME_OCTETS_MAX, Report, Statement};
pub use saved::SavedProof;
pub use sight::{REFERENCES_MAX, Sight};

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    health::{book::calculated::Formulas, endpoint::Touch},
    model::{
        check::Check,
        ids::{CheckIdx, Label},
        time::{Now, Tick},
    },
};

use confirm::Confirmations;
use observer::Observer;
use own::Own;
use slot::{Outlook, Slot};

/// `probers_per_region` where the plan says nothing.
pub const PROBERS_PER_REGION: u16 = 2;

/// `unproven_hold` where the plan says nothing: longer than a restart of a voter or an election, shorter than people wait.
pub const UNPROVEN_HOLD: Duration = Duration::from_secs(60);

/// Who this node is among others, and the plan's rules for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The node's name, unique among all nodes.
    pub node: Label,
    /// The region that it observes from.
    pub region: Label,
    /// Higher at each start of this node. Kept by the caller.
    pub incarnation: u64,
    /// The regions of the peers, witness included, in any order, with or without repetition. Empty: no peers, this node judges alone.
    pub regions: Vec<Label>,
    /// How many nodes of a region probe each check, 1 or more.
    pub probers_per_region: u16,
    /// How long a verdict still counts that is not proven any more. Zero: not at all.
    pub unproven_hold: Duration,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A report arrived, from its observer or relayed.
    Heard {
        /// What it says.
        report: Report,
        /// The stream's last round trip; half of it is added to the report's age.
        round_trip: Duration,
    },
    /// A probe of this node ended. Also told when it changed nothing: it may end a doubt.
    Judged {
        /// Of which check.
        check: CheckIdx,
        /// What the book says; unknown while no observation of this process agrees.
        judgement: Judgement,
        /// Whether this probe failed.
        failed: bool,
    },
    /// This node looked at its references.
    Looked {
        /// How many it reached.
        reached: u16,
        /// Of how many, at most [`REFERENCES_MAX`]. Zero: there are none, and only other regions tell whether this node sees.
        all: u16,
    },
    /// A probe of this node failed after one that passed.
    FirstFailed {
        /// Of which check.
        check: CheckIdx,
    },
    /// Another node asks to probe a check at once.
    ConfirmAsked {
        /// Which check.
        check: CheckKey,
    },
    /// This process did not run until now: suspended, stopped, or starved. To be told before what waited meanwhile.
    Slept {
        /// For how long, to now.
        asleep: Duration,
    },
}

/// A request to the world, or news for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The verdict that steering uses changed: tables with this check are to be made anew.
    Touched {
        /// Which check.
        check: CheckIdx,
        /// How much of its verdict.
        touch: Touch,
        /// `Some`: its health, too.
        turn: Option<Turn>,
    },
    /// This node says something new: peers are to get reports at once. One round of reports answers several of these.
    Stated,
    /// This node sees another way than before.
    SightChanged(Sight),
    /// Ask the other regions' probers to probe a check at once.
    Confirm {
        /// Which check.
        check: CheckKey,
    },
    /// This node is to probe a check at once; see [`Book::probe_now`](crate::health::book::Book::probe_now).
    ProbeNow {
        /// Which check.
        check: CheckIdx,
    },
    /// This node is a prober of a check from now on, or no longer; see [`Book::set_probing`](crate::health::book::Book::set_probing).
    Probe {
        /// Which check.
        check: CheckIdx,
        /// `true`: it probes.
        wanted: bool,
    },
}

/// One observer, as positions: this node is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ObserverId(u32);

impl ObserverId {
    const SELF: Self = Self(0);
}

/// What all vantage points say of all checks.
#[derive(Clone, Debug)]
pub struct Vantage {
    settings: Settings,
    /// The vantage regions in order of name, then this node's own where it is none of them.
    columns: Vec<Label>,
    n_regions: usize,
    slots: Vec<Slot>,
    by_key: BTreeMap<CheckKey, CheckIdx>,
    formulas: Formulas,
    observers: BTreeMap<ObserverId, Observer>,
    ids: BTreeMap<Label, ObserverId>,
    next_id: u32,
    own: Own,
    /// (reached, all) of the latest look; `None`: none yet.
    references: Option<(u16, u16)>,
    sight: Sight,
    /// It was sighted, and lost the other regions.
    is_apart: bool,
    /// It heard them again after that: just now, and at the next settlement it is known when.
    is_reunited_now: bool,
    /// When it last did; `None`: this process was never apart.
    reunited: Option<Tick>,
    /// Home checks that this node says are up.
    n_up_at_home: usize,
    /// When each fresh observer ceases to be.
    expiries: BTreeSet<(Tick, ObserverId)>,
    /// When each held verdict ceases to count.
    holds: BTreeSet<(Tick, CheckIdx)>,
    confirmations: Confirmations,
    /// Up to when everything expired that does. Time passes in [`Vantage::advance`] only.
    expired_to: Tick,
    /// When it last woke from a sleep; what expired in it does so then, because nobody could say or hear anything meanwhile.
    woke: Tick,
    /// To be settled before the call returns.
    dirty: BTreeSet<CheckIdx>,
    /// See [`Vantage::n_changes`].
    n_changes: u64,
}

impl Vantage {
    /// Nothing heard, nothing said. `is_home` says which checks an endpoint of this node's region stands on. This node probes everything
    /// until it hears of neighbours.
    #[must_use]
    pub fn new(settings: Settings, checks: &[Check], is_home: impl Fn(CheckIdx) -> bool, now: Now) -> Self {
        let regions: BTreeSet<Label> = settings.regions.iter().cloned().collect();
        let n_regions = regions.len();
        let mut columns: Vec<Label> = regions.into_iter().collect();
        if !columns.contains(&settings.region) {
            columns.push(settings.region.clone());
        }
        let own = Observer::own(settings.node.clone(), settings.region.clone(), settings.incarnation);
        let mut vantage = Self {
            ids: BTreeMap::from([(settings.node.clone(), ObserverId::SELF)]),
            settings,
            columns,
            n_regions,
            slots: Vec::new(),
            by_key: BTreeMap::new(),
            formulas: Formulas::default(),
            observers: BTreeMap::from([(ObserverId::SELF, own)]),
            next_id: 1,
            own: Own::default(),
            references: None,
            sight: Sight::Blind,
            is_apart: false,
            is_reunited_now: false,
            reunited: None,
            n_up_at_home: 0,
            expiries: BTreeSet::new(),
            holds: BTreeSet::new(),
            confirmations: Confirmations::default(),
            expired_to: now.tick,
            woke: now.tick,
            dirty: BTreeSet::new(),
            n_changes: 0,
        };
        vantage.own.pulse();
        // What follows from nothing is no news.
        vantage.reload(checks, is_home, now, &mut Vec::new());
        vantage
    }

    /// Takes one event in. Nothing expires before [`Self::advance`], so that a process which slept hears first what others said meanwhile.
    ///
    /// `now` must not go back. A repeat that says nothing new costs O(log observers).
    /// # Errors
    /// [`Rejected`]: nothing was changed.
    pub fn handle(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) -> Result<(), Rejected> {
        if self.is_single() {
            return Err(Rejected::Single);
        }
        match event {
            Event::Heard { report, round_trip } => self.hear(now, report, round_trip, effects)?,
            Event::Judged { check, judgement, failed } => self.judge_own(check, judgement, failed, effects)?,
            Event::Looked { reached, all } => self.look(reached, all, effects)?,
            Event::FirstFailed { check } => self.ask(now.tick, check, effects)?,
            Event::ConfirmAsked { check } => self.heed(now.tick, check, effects)?,
            Event::Slept { asleep } => self.wake(now.tick, asleep, effects),
        }
        self.settle(now, effects);
        Ok(())
    }

    /// Lets everything expire that does until `now`, each at its own instant and in order, however late this is called.
    pub fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        loop {
            let first = |it: Option<Tick>| it.filter(|at| *at <= now.tick);
            let expiry = first(self.expiries.first().map(|(at, _)| *at));
            let hold = first(self.holds.first().map(|(at, _)| *at));
            let Some(at) = expiry.into_iter().chain(hold).min() else { break };
            let at = now.back_to(at.max(self.woke));
            self.expired_to = at.tick;
            while let Some(&(until, id)) = self.expiries.first()
                && until <= at.tick
            {
                self.expiries.pop_first();
                self.expire(id, effects);
            }
            while let Some(&(until, check)) = self.holds.first()
                && until <= at.tick
            {
                self.holds.pop_first();
                self.slots[check.get()].hold_until = None;
                self.dirty.insert(check);
            }
            self.settle(at, effects);
        }
        self.expired_to = now.tick;
        while let Some(check) = self.confirmations.due(now.tick) {
            effects.push(Effect::Confirm { check: self.slots[check.get()].key });
        }
    }

    /// When [`Self::advance`] has something to do next: freshness or a hold that expires, or a request to confirm whose turn comes.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let hold = self.holds.first().map(|(at, _)| *at);
        [expiry, hold, self.confirmations.next()].into_iter().flatten().min()
    }

    //----------- What it says ---

    /// Whether this node has no peers and judges alone.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        self.n_regions == 0
    }

    /// Whether this node probes a check. Without peers it probes all; else heartbeats always, and never the kinds that nobody probes.
    #[must_use]
    pub fn is_prober(&self, check: CheckIdx) -> bool {
        self.is_single() || self.slots.get(check.get()).is_some_and(|slot| slot.is_prober)
    }

    /// Grows when something changes that [`Self::explain`] words, the passing of time aside.
    #[must_use]
    pub const fn n_changes(&self) -> u64 {
        self.n_changes
    }

    /// What this node sees.
    #[must_use]
    pub const fn sight(&self) -> Sight {
        self.sight
    }

    /// What nodes call the check; `None` for a position that does not exist.
    #[must_use]
    pub fn key(&self, check: CheckIdx) -> Option<CheckKey> {
        self.slots.get(check.get()).map(|slot| slot.key)
    }

    /// Where the check stands in the plan in force; `None`: it is not in it.
    #[must_use]
    pub fn check(&self, key: CheckKey) -> Option<CheckIdx> {
        self.by_key.get(&key).copied()
    }

    /// The vantage regions, in order of name.
    #[must_use]
    pub fn regions(&self) -> &[Label] {
        &self.columns[..self.n_regions]
    }

    /// The vantage regions that are heard now, this node's own included, however they see.
    pub fn regions_heard(&self) -> impl Iterator<Item = &Label> {
        self.regions().iter().filter(|region| self.observers.values().any(|it| it.is_fresh && it.region == **region))
    }

    /// How many observers are known, this node included.
    #[must_use]
    pub fn n_observers(&self) -> usize {
        self.observers.len()
    }

    fn outlook(&self) -> Outlook {
        Outlook {
            n_regions: self.n_regions,
            home: self.columns.iter().position(|region| *region == self.settings.region).unwrap_or(0),
            is_blind: !self.sight.counts(),
            sees_home: self.n_up_at_home > 0,
            expired_to: self.expired_to,
            hold: self.settings.unproven_hold,
            reunited: self.reunited,
        }
    }

    fn slot(&self, check: CheckIdx) -> Result<&Slot, Rejected> {
        self.slots.get(check.get()).ok_or(Rejected::UnknownCheck)
    }
}

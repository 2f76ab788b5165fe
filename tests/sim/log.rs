//! The log as it has to be: everybody gets the same entries in the same order, each in its own time. And what people ask of it.
//!
//! ```text
//! person --command--> proposer (its clock, its request id) --> log --later--> State of each node --> orders, plan --> node
//!    '--no answer: the same again, perhaps to another proposer ---^        '--or a snapshot of it
//! ```

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use portolan_core::{
    cluster::{Actor, Applied, Change, End, Entry, Node, NodeId, NodeRole, Outcome, Role, State, audit::Hash},
    health::overlay::{OverrideKind, Scope},
    model::{
        ids::Label,
        time::Timestamp,
        units::{Share, Weight},
    },
};

use crate::{plan::PLACES, random::Random};

/// After so many entries there is a snapshot, and what a state has then is compared whole.
pub(crate) const SNAPSHOT_EVERY: u64 = 6;

/// What an acknowledged order must be in every later state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) kind: OverrideKind,
    pub(crate) scope: Scope,
    pub(crate) until: Timestamp,
    /// Its reason, by which it is recognised.
    pub(crate) why: String,
}

/// The log, and the state that follows from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) state: State,
    /// The head of the audit chain after each entry; the first has index 1.
    pub(crate) heads: Vec<Hash>,
    /// Of the state's octets after some entries.
    pub(crate) digests: BTreeMap<u64, u64>,
    /// After each entry: the orders that were acknowledged and not taken back. Kept by a model of its own.
    pub(crate) orders: Vec<Arc<BTreeMap<Label, Order>>>,
    /// What became of each command when it was first committed.
    outcomes: BTreeMap<u64, Outcome>,
    /// Every order that ever was.
    pub(crate) ever: Vec<Order>,
}

/// What a person wants, with its number.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) number: u64,
    pub(crate) change: Change,
    pub(crate) reason: String,
}

/// Of a state's octets.
pub(crate) fn digest(octets: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}

impl Log {
    /// The index of the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.heads.len() as u64
    }

    /// The orders that are acknowledged at this index.
    pub(crate) fn orders_at(&self, index: u64) -> Arc<BTreeMap<Label, Order>> {
        let position = usize::try_from(index).expect("invariant: few").checked_sub(1);
        position.map_or_else(Arc::default, |position| self.orders[position].clone())
    }

    /// Commits an entry. `number` is the command's: a repeat has the effect of the first, whatever ids it bears.
    pub(crate) fn commit(&mut self, entry: &Entry, octets: &[u8], number: Option<u64>) -> Result<Applied, String> {
        let index = self.end() + 1;
        let applied = self.state.apply_octets(index, octets).map_err(|halt| format!("the log stops at entry {index}: {halt}"))?;
        self.heads.push(self.state.audit().head().hash);
        if index.is_multiple_of(SNAPSHOT_EVERY) {
            self.digests.insert(index, digest(&self.state.snapshot()));
        }
        let mut orders = (*self.orders_at(index - 1)).clone();
        let known = number.and_then(|number| self.outcomes.get(&number).cloned());
        if let Some(known) = &known
            && *known != applied.outcome
        {
            let text = format!("command {number:?} was {known} and, sent again, is {} at entry {index}", applied.outcome);
            self.orders.push(Arc::new(orders));
            return Err(text);
        }
        if known.is_none()
            && let Outcome::Accepted { .. } = &applied.outcome
        {
            self.follow(&mut orders, index, entry);
        }
        if let Some(number) = number {
            self.outcomes.insert(number, applied.outcome.clone());
        }
        self.orders.push(Arc::new(orders));
        Ok(applied)
    }

    /// What an accepted entry means for orders, in the fewest words.
    fn follow(&mut self, orders: &mut BTreeMap<Label, Order>, index: u64, entry: &Entry) {
        match &entry.change {
            Change::PutOverride { id, kind, scope, end } => {
                let id = id.clone().unwrap_or_else(|| Label::new(&format!("o-{index}")));
                let order = Order { kind: *kind, scope: scope.clone(), until: end.resolve(entry.at), why: entry.reason.clone() };
                self.ever.push(order.clone());
                orders.insert(id, order);
            }
            Change::RemoveOverride { id } => drop(orders.remove(id)),
            Change::Expire => orders.retain(|_, order| order.until > entry.at),
            _ => {}
        }
    }
}

/// An entry as a proposer stamps it.
pub(crate) fn stamped(change: Change, at: Timestamp, request_id: Option<String>, reason: &str) -> Entry {
    let by = match change {
        Change::Expire | Change::Found { .. } | Change::RecordNode(_) => Actor { name: "cluster".to_owned(), role: Role::System },
        _ => Actor { name: "ana".to_owned(), role: Role::Operator },
    };
    let reason = reason.to_owned();
    Entry { at, by, request_id, reason, moves: Some(Share::percent(10)), overrules: Vec::new(), change }
}

/// A voter as it is recorded.
pub(crate) fn registered(id: u64, name: &Label, region: usize, revision: u64) -> Node {
    Node {
        id: NodeId(id),
        name: name.clone(),
        region: Label::new(PLACES[region].0),
        role: NodeRole::Voter,
        version: "0.1.0".to_owned(),
        feature_level: 1,
        plan_revision: Some(revision),
        address: "192.0.2.200:8444".to_owned(),
    }
}

/// What a person may want. `endpoints` are names of the plan in force.
pub(crate) fn wish(random: &mut Random, number: u64, n_regions: usize, endpoints: &[String], log: &Log) -> Command {
    let region = Label::new(PLACES[random.below(n_regions)].0);
    let scope = match random.below(4) {
        0 => Scope::Region(region),
        1 => Scope::Pool { service: Label::new("api"), region },
        2 => Scope::Service(Label::new("api")),
        _ => Scope::Endpoint(random.pick(endpoints).clone()),
    };
    let end = End::AfterMs(random.between(2000, 30_000) as u64);
    let put = |random: &mut Random, scope| {
        let kinds = [
            OverrideKind::Drain,
            OverrideKind::Drain,
            OverrideKind::Maintenance,
            OverrideKind::ForcedUp,
            OverrideKind::ForcedDown,
            OverrideKind::Weight(Weight(7)),
            OverrideKind::Hold,
        ];
        let id = random.permille(400).then(|| Label::new(random.pick::<&str>(&["kernel", "storm"])));
        Change::PutOverride { id, kind: *random.pick(&kinds), scope, end }
    };
    let change = match random.below(8) {
        0 => match log.orders_at(log.end()).keys().next() {
            Some(id) => Change::RemoveOverride { id: id.clone() },
            None => put(random, scope),
        },
        1 => Change::Acknowledge { object: "storm".to_owned(), end },
        2 => Change::Freeze { id: None, scope: Scope::Everything, end: End::AfterMs(random.between(500, 4000) as u64), automation: false },
        _ => put(random, scope),
    };
    Command { number, change, reason: format!("reason {number}.") }
}

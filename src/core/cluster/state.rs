//! The state that every node holds alike, and what others may read of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    audit::Chain,
    change::{FEATURE_LEVEL, PutPlan},
    entry::Actor,
    members::{Node, NodeId, Registered},
    outline::{Outline, meet},
    refusal::Halt,
    requests::Requests,
};
use crate::{
    failover::{
        evacuation::Evacuation,
        group::{Closed, Group, Operation},
    },
    health::overlay::{Override, OverrideKind, Scope},
    model::{group::Policy, ids::Label, time::Timestamp},
    recovery::traffic_return::TrafficReturn,
};

/// Everything that is agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(super) cluster: Option<Label>,
    pub(super) feature_level: u32,
    pub(super) generation: u64,
    /// Nodes of lost sides.
    pub(super) refused: BTreeSet<NodeId>,
    pub(super) plan: Option<Arc<PlanInForce>>,
    pub(super) orders: BTreeMap<Label, Override>,
    pub(super) freezes: BTreeMap<Label, Freeze>,
    pub(super) acknowledgements: BTreeMap<String, Acknowledgement>,
    pub(super) nodes: BTreeMap<NodeId, Registered>,
    pub(super) groups: BTreeMap<Label, Group>,
    /// By id; open ones and the last ones that ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) evacuations: BTreeMap<u64, Evacuation>,
    /// By id; open ones and the last ones that ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) returns: BTreeMap<u64, TrafficReturn>,
    pub(super) requests: Requests,
    pub(super) audit: Chain,
    /// This node's own: the highest feature level that it supports.
    #[serde(skip)]
    pub(super) supported: u32,
    /// This node's own: why it stopped.
    #[serde(skip)]
    pub(super) halted: Option<Halt>,
}

/// The plan in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanInForce {
    /// The plan with its zone files.
    pub plan: PutPlan,
    /// Who put it in force.
    pub by: Actor,
    /// When, by the entry's time.
    pub at: Timestamp,
    /// By which entry of the log.
    pub index: u64,
}

/// A time in which people change nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Its name; those of the plan are called `plan-1` and on, and cannot be taken back.
    pub id: Label,
    /// Where.
    pub scope: Scope,
    /// Begin.
    pub from: Timestamp,
    /// End, outside.
    pub until: Timestamp,
    /// Whether automatic failover rests too.
    pub automation: bool,
    /// Who ordered it.
    pub who: String,
    /// The reason given.
    pub why: String,
}

/// Somebody has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub who: String,
    /// The reason given.
    pub why: String,
    /// Since when, by the entry's time.
    pub at: Timestamp,
    /// When pages come again.
    pub until: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        Self::supporting(FEATURE_LEVEL)
    }
}

impl State {
    /// The state before the first entry, on a node that supports this feature level: [`FEATURE_LEVEL`], or another one where mixed versions
    /// are simulated.
    #[must_use]
    pub fn supporting(feature_level: u32) -> Self {
        Self {
            cluster: None,
            feature_level: 1,
            generation: 0,
            refused: BTreeSet::new(),
            plan: None,
            orders: BTreeMap::new(),
            freezes: BTreeMap::new(),
            acknowledgements: BTreeMap::new(),
            nodes: BTreeMap::new(),
            groups: BTreeMap::new(),
            evacuations: BTreeMap::new(),
            returns: BTreeMap::new(),
            requests: Requests::default(),
            audit: Chain::default(),
            supported: feature_level,
            halted: None,
        }
    }

    /// The cluster's id; `None` before it was founded.
    #[must_use]
    pub const fn cluster(&self) -> Option<&Label> {
        self.cluster.as_ref()
    }

    /// The feature level agreed on. Nothing above it is to be proposed.
    #[must_use]
    pub const fn feature_level(&self) -> u32 {
        self.feature_level
    }

    /// The recovery generation: how often a lost majority was left behind. The higher part of every fencing token.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the node was on a lost side: its disk may never join again.
    #[must_use]
    pub fn is_refused(&self, node: NodeId) -> bool {
        self.refused.contains(&node)
    }

    /// How many nodes are refused for ever.
    #[must_use]
    pub fn n_refused(&self) -> usize {
        self.refused.len()
    }

    /// Why this node applies nothing more; `None`: it does.
    #[must_use]
    pub const fn halted(&self) -> Option<&Halt> {
        self.halted.as_ref()
    }

    /// The plan in force; `None`: none was given yet.
    #[must_use]
    pub const fn plan(&self) -> Option<&Arc<PlanInForce>> {
        self.plan.as_ref()
    }

    /// What is agreed of the plan in force; `None`: none was given yet.
    #[must_use]
    pub fn outline(&self) -> Option<&Outline> {
        self.plan.as_ref().map(|it| &it.plan.outline)
    }

    /// Every order, ended ones included until the leader removes them: as [`crate::node::Event::OverridesChanged`] takes them. Each node
    /// judges the ends by its own clock.
    #[must_use]
    pub fn overrides(&self) -> Vec<Override> {
        self.orders.values().cloned().collect()
    }

    /// The order of this name, ended or not.
    #[must_use]
    pub fn order(&self, id: &str) -> Option<&Override> {
        self.orders.get(&Label::new(id))
    }

    /// The holds that concern `scope` at `now`: automation starts nothing there.
    pub fn holds(&self, scope: &Scope, now: Timestamp) -> impl Iterator<Item = &Override> {
        let is_hold = move |it: &&Override| it.kind == OverrideKind::Hold && it.is_in_force(now);
        self.orders.values().filter(is_hold).filter(|it| meet(&it.scope, scope))
    }

    /// Whether an order drains the region at `now`.
    #[must_use]
    pub fn is_drained(&self, region: &Label, now: Timestamp) -> bool {
        let drains = |it: &Override| it.kind == OverrideKind::Drain && it.is_in_force(now);
        self.orders.values().any(|it| drains(it) && matches!(&it.scope, Scope::Region(drained) if drained == region))
    }

    /// The freezes in force at `now`, those of the plan first.
    #[must_use]
    pub fn freezes(&self, now: Timestamp) -> Vec<Freeze> {
        let planned = self.plan.iter().flat_map(|it| {
            it.plan.outline.freezes.iter().enumerate().map(move |(i, window)| Freeze {
                id: Label::new(&format!("plan-{}", i + 1)),
                scope: Scope::Everything,
                from: window.from,
                until: window.until,
                automation: window.automation,
                who: format!("plan revision {}", it.plan.revision),
                why: window.reason.clone(),
            })
        });
        planned.chain(self.freezes.values().cloned()).filter(|freeze| freeze.from <= now && now < freeze.until).collect()
    }

    /// The freezes in force at `now` that concern `scope`. Those with `automation` stop automatic failover too.
    #[must_use]
    pub fn freezes_of(&self, scope: &Scope, now: Timestamp) -> Vec<Freeze> {
        self.freezes(now).into_iter().filter(|freeze| meet(&freeze.scope, scope)).collect()
    }

    /// Who has seen `object`; `None`: nobody, or too long ago.
    #[must_use]
    pub fn acknowledgement(&self, object: &str, now: Timestamp) -> Option<&Acknowledgement> {
        self.acknowledgements.get(object).filter(|it| now < it.until)
    }

    /// The acknowledgements that have not ended at `now`, by object.
    pub fn acknowledgements(&self, now: Timestamp) -> impl Iterator<Item = (&str, &Acknowledgement)> {
        self.acknowledgements.iter().filter(move |(_, it)| now < it.until).map(|(object, it)| (object.as_str(), it))
    }

    /// The registry, by id.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Registered> {
        self.nodes.values()
    }

    /// Regions in which somebody votes and the group has no member.
    #[must_use]
    pub fn voters_beside(&self, policy: &Policy) -> BTreeSet<Label> {
        let regions = self.voters().map(|node| &node.region);
        regions.filter(|region| !policy.members.contains_key(*region)).cloned().collect()
    }

    /// Those of the registry that vote, by id.
    pub fn voters(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(|known| &known.node).filter(|node| node.role.votes())
    }

    /// A node of the registry.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Registered> {
        self.nodes.get(&id)
    }

    /// The data groups that were adopted once, by name; those that left the plan, too.
    #[must_use]
    pub const fn groups(&self) -> &BTreeMap<Label, Group> {
        &self.groups
    }

    /// A data group; `None`: never adopted.
    #[must_use]
    pub fn group(&self, name: &Label) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Evacuations, open ones and the last ones that ended, the newest first.
    pub fn evacuations(&self) -> impl Iterator<Item = &Evacuation> {
        self.evacuations.values().rev()
    }

    /// An evacuation; `None`: there was none of this id, or it is forgotten.
    #[must_use]
    pub fn evacuation(&self, id: u64) -> Option<&Evacuation> {
        self.evacuations.get(&id)
    }

    /// Whether what became of a request is remembered at `now`: it is answered from there, whatever is so by then.
    #[must_use]
    pub fn knows_request(&self, id: &str, now: Timestamp) -> bool {
        self.requests.knows(id, now)
    }

    /// The operation of this id, open or remembered, with its group and how it ended; `None`: it is neither.
    #[must_use]
    pub fn operation(&self, id: u64) -> Option<(&Label, &Operation, Option<&Closed>)> {
        self.groups.iter().find_map(|(name, group)| {
            let open = group.operation.as_ref().filter(|operation| operation.id == id).map(|operation| (name, operation, None));
            let ended = || group.ended().find(|closed| closed.operation.id == id);
            open.or_else(|| ended().map(|closed| (name, &closed.operation, Some(closed))))
        })
    }

    /// The newest part of the audit chain.
    #[must_use]
    pub const fn audit(&self) -> &Chain {
        &self.audit
    }

    /// When the next order, freeze or acknowledgement ends, or did: the leader then proposes [`super::Change::Expire`]. `None`: nothing
    /// will.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        let orders = self.orders.values().filter_map(|it| it.until);
        let others = self.freezes.values().map(|it| it.until).chain(self.acknowledgements.values().map(|it| it.until));
        orders.chain(others).min()
    }
}

//! The registry of nodes, the feature level that they share, and the recovery generation.
//!
//! The registry says who there is and what each runs; who votes is Raft's own membership. A node's id is random and made with its disk: an
//! emptied disk under an old name is another node.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{
    apply::{Judge, Step},
    limits::{ADDRESS_MAX, NODES_MAX, REFUSED_NODES_MAX, VERSION_MAX, count, line, name, room},
    refusal::{Refusal, Rule},
};
use crate::model::{ids::Label, time::Timestamp};

/// A node's id in Raft: random, made with the disk, never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

/// Sixteen hexadecimal digits.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// Votes, and does all that an observer does.
    Voter,
    /// Follows, probes, serves.
    Observer,
    /// Votes and probes; serves nothing.
    Witness,
}

impl NodeRole {
    /// Whether it votes.
    #[must_use]
    pub const fn votes(self) -> bool {
        matches!(self, Self::Voter | Self::Witness)
    }
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Voter => "voter",
            Self::Observer => "observer",
            Self::Witness => "witness",
        })
    }
}

/// A node as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// As in its config. Unique among those that vote, and among observers.
    pub name: Label,
    /// Where it stands; a witness's region need not be one of the plan.
    pub region: Label,
    /// What it is for.
    pub role: NodeRole,
    /// Of the program, for people.
    pub version: String,
    /// The highest that it supports.
    pub feature_level: u32,
    /// The revision of the plan that it runs; `None`: none yet.
    pub plan_revision: Option<u64>,
    /// Where peers reach it, `host:port`.
    pub address: String,
}

/// A node in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// As it described itself last.
    pub node: Node,
    /// When that changed last, by the entry's time.
    pub at: Timestamp,
}

impl Node {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        name("the name of the node", self.name.as_str())?;
        name("the region of the node", self.region.as_str())?;
        line("the version of the node", &self.version, VERSION_MAX)?;
        line("the address of the node", &self.address, ADDRESS_MAX)
    }
}

impl Judge<'_> {
    /// An observer that came back with another disk takes the place of the one before it; a voter's place must be given up by hand, so
    /// that two nodes under one name never both count.
    pub(super) fn record_node(&self, node: &Node) -> Result<Step, Refusal> {
        let state = self.state;
        node.check()?;
        if state.refused.contains(&node.id) {
            let text = format!("node {} `{}` was on the side that generation {} left behind", node.id, node.name, state.generation);
            return Err(Refusal::new(Rule::NodeLost, text, "empty its disk, so that it joins as a new node"));
        }
        if node.feature_level < state.feature_level {
            let text = format!(
                "node {} `{}` supports feature level {}, and the cluster is at {}",
                node.id, node.name, node.feature_level, state.feature_level
            );
            return Err(Refusal::new(Rule::FeatureLevel, text, "install a newer version there"));
        }
        if state.nodes.get(&node.id).is_some_and(|known| known.node == *node) {
            return Ok(Step::Nothing);
        }
        let others = || state.nodes.values().map(|known| &known.node).filter(|known| known.id != node.id && known.name == node.name);
        let replaces: Vec<NodeId> = others().filter(|known| !known.role.votes() && !node.role.votes()).map(|known| known.id).collect();
        if let Some(known) = others().find(|known| known.role.votes() && node.role.votes()) {
            let text = format!("`{}` is the name of {} {} already", node.name, known.role, known.id);
            return Err(Refusal::new(
                Rule::NodeNameTaken,
                text,
                format!("remove node {} from the cluster first, or rename this one", known.id),
            ));
        }
        if replaces.is_empty() && !state.nodes.contains_key(&node.id) {
            room("nodes", state.nodes.len(), NODES_MAX, "forget nodes that are gone: portolan peers remove")?;
        }
        Ok(Step::RecordNode { node: Registered { node: node.clone(), at: self.entry.at }, replaces })
    }

    pub(super) fn forget_node(&self, id: NodeId) -> Result<Step, Refusal> {
        if self.state.nodes.contains_key(&id) {
            return Ok(Step::ForgetNode(id));
        }
        Err(Refusal::new(Rule::UnknownName, format!("no node has the id {id}"), "see portolan peers list"))
    }

    pub(super) fn raise_feature_level(&self, level: u32) -> Result<Step, Refusal> {
        let state = self.state;
        let refused = |text: String, remedy: &str| Err(Refusal::new(Rule::FeatureLevel, text, remedy));
        if level <= state.feature_level {
            return refused(format!("the feature level is {} already", state.feature_level), "nothing is to be done");
        }
        if state.nodes.is_empty() {
            return refused(format!("no node is registered, so none supports level {level}"), "wait until the nodes have reported");
        }
        let behind: Vec<String> = state
            .nodes
            .values()
            .filter(|known| known.node.feature_level < level)
            .map(|known| format!("`{}` (level {})", known.node.name, known.node.feature_level))
            .take(5)
            .collect();
        if behind.is_empty() {
            return Ok(Step::RaiseFeatureLevel(level));
        }
        refused(
            format!("not all nodes support level {level}: {}", behind.join(", ")),
            "install the newer version there, or forget nodes that are gone",
        )
    }

    pub(super) fn raise_generation(&self, generation: u64, lost: &BTreeSet<NodeId>) -> Result<Step, Refusal> {
        let state = self.state;
        if generation != state.generation.saturating_add(1) {
            let text = format!("generation {generation} does not follow {}", state.generation);
            return Err(Refusal::new(Rule::Generation, text, "look at the state as it is now, and start again"));
        }
        let voters: Vec<NodeId> = state.nodes.values().filter(|known| known.node.role.votes()).map(|known| known.node.id).collect();
        if lost.is_empty() || (!voters.is_empty() && voters.iter().all(|voter| lost.contains(voter))) {
            let what = if lost.is_empty() { "no node is named as lost" } else { "every voter is named as lost, so none would remain" };
            return Err(Refusal::new(Rule::Invalid, what, "name the nodes of the lost side, and no survivor"));
        }
        count("lost nodes", lost.len(), NODES_MAX)?;
        let refused: BTreeSet<NodeId> = state.refused.union(lost).copied().collect();
        if refused.len() > REFUSED_NODES_MAX {
            let text = format!("{} node ids would be refused for ever, and no more than {REFUSED_NODES_MAX} are kept", refused.len());
            return Err(Refusal::new(Rule::Full, text, "start a new cluster and adopt"));
        }
        Ok(Step::RaiseGeneration { generation, refused, index: self.index, at: self.entry.at })
    }
}

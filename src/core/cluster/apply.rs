//! One entry in, one outcome out.
//!
//! ```text
//! entry --> halt? --> repeat? --> envelope --> judge (reads the state) --Step--> commit (changes it) --> outcome remembered --> audit
//!             |          |                        '--Refusal: the state stays, the refusal is the outcome ---^
//!             '- nothing '- the recorded outcome, without effect
//! ```
//!
//! The judge has the state by shared reference, so what is refused cannot have changed anything: the compiler says so.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    audit::{AuditEntry, Hash},
    change::Change,
    entry::{Entry, Overrule},
    limits::{ACTOR_MAX, AUDIT_TEXT_MAX, REASON_MAX, cut, name},
    members::{NodeId, Registered},
    refusal::{Halt, Refusal, Rule},
    state::{Acknowledgement, Freeze, PlanInForce, State},
};
use crate::{
    failover::{evacuation::Evacuation, group::Group},
    health::overlay::Override,
    model::{ids::Label, time::Timestamp},
    recovery::traffic_return::TrafficReturn,
};

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is so now, or was already.
    Accepted {
        /// The name of the order or freeze that was given; `None` for other changes.
        object: Option<Label>,
    },
    /// Nothing was changed.
    Rejected(Refusal),
}

/// What `apply` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// For the one who asked.
    pub outcome: Outcome,
    /// The request was known: this is its recorded outcome, and nothing was done.
    pub repeated: bool,
    /// What is different now; empty: nothing.
    pub touched: BTreeSet<Part>,
    /// The new link of the audit chain; `None` for a repeat.
    pub audit: Option<AuditEntry>,
}

/// A part of the state, for those who follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The cluster's id.
    Cluster,
    /// The plan in force.
    Plan,
    /// Orders: hand [`State::overrides`] to the node.
    Overrides,
    /// Freezes of people.
    Freezes,
    /// Acknowledgements.
    Acknowledgements,
    /// The registry, and which nodes are refused for ever.
    Nodes,
    /// The feature level.
    FeatureLevel,
    /// The recovery generation.
    Generation,
    /// Data groups: grants and operations.
    Groups,
    /// Evacuations.
    Evacuations,
    /// Returns of traffic.
    Returns,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { object: None } => write!(f, "accepted"),
            Self::Accepted { object: Some(object) } => write!(f, "accepted as {object}"),
            Self::Rejected(refusal) => write!(f, "rejected: {refusal}"),
        }
    }
}

/// What an accepted entry does to the state.
#[derive(Debug)]
pub(super) enum Step {
    Nothing,
    Found(Label),
    PutPlan(PlanInForce),
    PutOrder(Override),
    RemoveOrder(Label),
    Freeze(Freeze),
    Unfreeze(Label),
    Acknowledge(String, Acknowledgement),
    RecordNode {
        node: Registered,
        replaces: Vec<NodeId>,
    },
    ForgetNode(NodeId),
    RaiseFeatureLevel(u32),
    RaiseGeneration {
        generation: u64,
        refused: BTreeSet<NodeId>,
        index: u64,
        at: Timestamp,
    },
    /// The group as it is from now on.
    Group(Label, Box<Group>),
    /// The group of an evacuation, which is begun.
    Move {
        evacuation: u64,
        name: Label,
        group: Box<Group>,
    },
    /// An evacuation begins with its drain.
    Evacuate(Box<Evacuation>, Override),
    /// The evacuation as it is from now on, and an order that is taken back.
    Evacuation(Box<Evacuation>, Option<Label>),
    /// The return as it is from now on, and its order; `None`: it has none any more.
    Return(Box<TrafficReturn>, Option<Override>),
    /// Everything that ended by this time leaves.
    Expire(Timestamp),
}

impl Step {
    fn object(&self) -> Option<Label> {
        match self {
            Self::PutOrder(order) => Some(order.id.clone()),
            Self::Freeze(freeze) => Some(freeze.id.clone()),
            Self::Evacuate(evacuation, _) => Some(Label::new(&format!("evac-{}", evacuation.id))),
            Self::Return(it, _) => Some(Label::new(&format!("return-{}", it.id))),
            _ => None,
        }
    }
}

/// Looks at one entry before anything is changed.
pub(super) struct Judge<'a> {
    pub(super) state: &'a State,
    pub(super) index: u64,
    pub(super) entry: &'a Entry,
    /// Overruled rules that would have refused it.
    pub(super) used: Vec<&'a Overrule>,
}

impl State {
    /// Applies the entry with this index of the log. Deterministic: it depends on the state and the entry only. Cost: linear in the state
    /// at most, for orders and plans; a few map lookups for everything else.
    ///
    /// # Errors
    /// [`Halt`], from then on always the same one: the entry has no effect, and no later one has. The state is as after the last entry that
    /// was applied, and may be saved.
    pub fn apply(&mut self, index: u64, entry: &Entry) -> Result<Applied, Halt> {
        self.check_order(index)?;
        let needed = entry.change.feature_level();
        if needed > self.supported {
            return Err(self.halt(Halt::UpgradeRequired { kind: entry.change.kind(), feature_level: needed }));
        }
        let verdict = match self.requests.recall(entry) {
            Ok(Some(outcome)) => {
                return Ok(Applied { outcome: outcome.clone(), repeated: true, touched: BTreeSet::new(), audit: None });
            }
            Ok(None) => self.judge(index, entry),
            Err(refusal) => Err(Refused { refusal, may_record: false }),
        };
        let (outcome, told, touched, may_record) = match verdict {
            Ok((Step::RaiseFeatureLevel(level), _)) if level > self.supported => {
                return Err(self.halt(Halt::UpgradeRequired { kind: entry.change.kind(), feature_level: level }));
            }
            Ok((step, overruled)) => {
                let outcome = Outcome::Accepted { object: step.object() };
                let mut touched = self.commit(step);
                touched.extend(self.follow_evacuations(&touched, entry.at));
                touched.extend(self.follow_returns(&touched, entry.at));
                let mut told = if touched.is_empty() { "accepted, nothing to change".to_owned() } else { outcome.to_string() };
                told.push_str(&overruled);
                (outcome, told, touched, true)
            }
            Err(Refused { refusal, may_record }) => {
                let told = format!("rejected {}: {}", refusal.rule, refusal.text);
                (Outcome::Rejected(refusal), told, BTreeSet::new(), may_record)
            }
        };
        if may_record {
            self.requests.record(entry, &outcome);
        }
        let audit = self.audit.push(AuditEntry {
            index,
            at: entry.at,
            who: cut(&entry.by.name, ACTOR_MAX),
            role: entry.by.role,
            what: cut(&entry.change.to_string(), AUDIT_TEXT_MAX),
            why: cut(&entry.reason, REASON_MAX),
            outcome: cut(&told, AUDIT_TEXT_MAX),
            prev: Hash::default(),
            hash: Hash::default(),
        });
        Ok(Applied { outcome, repeated: false, touched, audit: Some(audit) })
    }

    /// Applies the entry as it stands in the log.
    ///
    /// # Errors
    /// As [`State::apply`], and what [`Entry::decode`] cannot read.
    pub fn apply_octets(&mut self, index: u64, octets: &[u8]) -> Result<Applied, Halt> {
        self.check_order(index)?;
        match Entry::decode(octets, self.supported) {
            Ok(entry) => self.apply(index, &entry),
            Err(halt) => Err(self.halt(halt)),
        }
    }

    /// What `apply` would answer now, without doing it: for `--dry-run` and before an entry is proposed. Only `apply` decides.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn preview(&self, index: u64, entry: &Entry) -> Result<Outcome, Halt> {
        self.clone().apply(index, entry).map(|applied| applied.outcome)
    }

    fn check_order(&mut self, index: u64) -> Result<(), Halt> {
        if let Some(halt) = &self.halted {
            return Err(halt.clone());
        }
        let after = self.audit.head().index;
        if index <= after {
            return Err(self.halt(Halt::OutOfOrder { index, after }));
        }
        Ok(())
    }

    fn halt(&mut self, halt: Halt) -> Halt {
        self.halted = Some(halt.clone());
        halt
    }

    /// The step to take, and what the audit says of overruled rules.
    fn judge(&self, index: u64, entry: &Entry) -> Result<(Step, String), Refused> {
        // A request id out of its bounds is not remembered, and neither is one for which there is no room.
        let never_recorded = |refusal| Refused { refusal, may_record: false };
        entry.check().map_err(never_recorded)?;
        self.requests.check_room(entry).map_err(never_recorded)?;
        let mut judge = Judge { state: self, index, entry, used: Vec::new() };
        let step = judge.decide().map_err(|refusal| Refused { refusal, may_record: true })?;
        let overruled = judge.used.iter().map(|it| format!("; overruled {} until {}: {}", it.rule, it.end.resolve(entry.at), it.reason));
        Ok((step, overruled.collect()))
    }

    /// What is different afterwards.
    fn commit(&mut self, step: Step) -> BTreeSet<Part> {
        let part = match step {
            Step::Nothing => return BTreeSet::new(),
            Step::Found(cluster) => {
                self.cluster = Some(cluster);
                Part::Cluster
            }
            Step::PutPlan(plan) => {
                self.plan = Some(Arc::new(plan));
                Part::Plan
            }
            Step::PutOrder(order) => {
                self.orders.insert(order.id.clone(), order);
                Part::Overrides
            }
            Step::RemoveOrder(id) => {
                self.orders.remove(&id);
                Part::Overrides
            }
            Step::Freeze(freeze) => {
                self.freezes.insert(freeze.id.clone(), freeze);
                Part::Freezes
            }
            Step::Unfreeze(id) => {
                self.freezes.remove(&id);
                Part::Freezes
            }
            Step::Acknowledge(object, acknowledgement) => {
                self.acknowledgements.insert(object, acknowledgement);
                Part::Acknowledgements
            }
            Step::RecordNode { node, replaces } => {
                for old in replaces {
                    self.nodes.remove(&old);
                }
                self.nodes.insert(node.node.id, node);
                Part::Nodes
            }
            Step::ForgetNode(id) => {
                self.nodes.remove(&id);
                Part::Nodes
            }
            Step::RaiseFeatureLevel(level) => {
                self.feature_level = level;
                Part::FeatureLevel
            }
            Step::RaiseGeneration { generation, refused, index, at } => {
                self.generation = generation;
                self.nodes.retain(|id, _| !refused.contains(id));
                self.refused = refused;
                self.abandon_groups(index, at);
                return BTreeSet::from([Part::Generation, Part::Nodes, Part::Groups]);
            }
            Step::Group(name, group) => {
                self.put_group(name, *group);
                Part::Groups
            }
            Step::Move { evacuation, name, group } => {
                self.put_moving(evacuation, &name, &group);
                self.put_group(name, *group);
                return BTreeSet::from([Part::Groups, Part::Evacuations]);
            }
            Step::Evacuate(evacuation, order) => {
                self.orders.insert(order.id.clone(), order);
                self.put_evacuation(*evacuation);
                return BTreeSet::from([Part::Overrides, Part::Evacuations]);
            }
            Step::Evacuation(evacuation, order) => {
                let lifted = order.and_then(|id| self.orders.remove(&id)).map(|_| Part::Overrides);
                self.put_evacuation(*evacuation);
                return lifted.into_iter().chain([Part::Evacuations]).collect();
            }
            Step::Return(it, order) => {
                self.put_return(*it, order);
                return BTreeSet::from([Part::Overrides, Part::Returns]);
            }
            Step::Expire(now) => return self.expire(now),
        };
        BTreeSet::from([part])
    }
}

/// A refusal, and whether its request id remembers it.
struct Refused {
    refusal: Refusal,
    may_record: bool,
}

impl<'a> Judge<'a> {
    fn decide(&mut self) -> Result<Step, Refusal> {
        let change = &self.entry.change;
        if let Change::Found { cluster } = change {
            return self.found(cluster);
        }
        if self.state.cluster.is_none() {
            return Err(Refusal::new(Rule::NotFounded, "the cluster has no id yet", "start the cluster first: portolan peers bootstrap"));
        }
        if change.feature_level() > self.state.feature_level {
            let text = format!("it needs feature level {}, and the cluster is at {}", change.feature_level(), self.state.feature_level);
            return Err(Refusal::new(Rule::FeatureLevel, text, "wait until all nodes run the newer version"));
        }
        match change {
            Change::Found { cluster } => self.found(cluster),
            Change::PutPlan(plan) => self.put_plan(plan),
            Change::PutOverride { id, kind, scope, end } => self.put_order(id.as_ref(), *kind, scope, *end),
            Change::RemoveOverride { id } => self.remove_order(id),
            Change::Freeze { id, scope, end, automation } => self.freeze(id.as_ref(), scope, *end, *automation),
            Change::Unfreeze { id } => self.unfreeze(id),
            Change::Acknowledge { object, end } => self.acknowledge(object, *end),
            Change::RecordNode(node) => self.record_node(node),
            Change::ForgetNode { id } => self.forget_node(*id),
            Change::RaiseFeatureLevel { level } => self.raise_feature_level(*level),
            Change::RaiseGeneration { generation, lost } => self.raise_generation(*generation, lost),
            Change::Expire => Ok(Step::Expire(self.entry.at)),
            Change::Evacuate { region, skip, end } => self.evacuate(region, skip, *end),
            Change::NoteEvacuation { evacuation, group, because } => self.note_evacuation(*evacuation, group, because),
            Change::CancelEvacuation { evacuation, undrain } => self.cancel_evacuation(*evacuation, *undrain),
            Change::Return { region, steps, step_time } => self.begin_return(region, steps, *step_time),
            Change::AdvanceReturn { id } => self.advance_return(*id),
            Change::NoteReturn { id, because } => self.note_return(*id, because),
            Change::TakeBack { id, why } => self.take_back(*id, why),
            Change::Group { group, step } => self.group(group, step),
        }
    }

    fn found(&self, cluster: &Label) -> Result<Step, Refusal> {
        name("the id of the cluster", cluster.as_str())?;
        match &self.state.cluster {
            None => Ok(Step::Found(cluster.clone())),
            Some(known) => {
                let text = format!("this log belongs to cluster {known}");
                Err(Refusal::new(Rule::AlreadyFounded, text, "start another cluster on empty disks"))
            }
        }
    }

    /// Lets a refusal pass when the entry overrules its rule.
    pub(super) fn unless_overruled(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        let overrule = self.entry.overrules.iter().find(|it| it.rule == refusal.rule && refusal.rule.can_be_overruled());
        match overrule {
            Some(overrule) => {
                if !self.used.contains(&overrule) {
                    self.used.push(overrule);
                }
                Ok(())
            }
            None => Err(refusal),
        }
    }
}

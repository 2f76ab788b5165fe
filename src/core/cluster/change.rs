//! What can be committed, imperative, each with a number that never changes its meaning.
//!
//! Adding a kind, or a variant to anything inside one, raises [`FEATURE_LEVEL`]: [`Change::feature_level`] says which level each needs, so
//! that a leader proposes it only when all members know it. Numbers are never used again. 1 to 99 are for what is here, 100 and up for
//! grants and operations of data groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    limits::{AT_MAX_MS, OBJECT_MAX, cut},
    members::{Node, NodeId},
    outline::Outline,
    refusal::{Refusal, Rule},
};
use crate::{
    failover::step::Step,
    health::overlay::{OverrideKind, Scope},
    model::{
        ids::Label,
        time::{Human, Timestamp},
        units::Share,
    },
    recovery::traffic_return::{STEPS_MAX, steps_text},
};

/// The highest feature level that this version supports.
pub const FEATURE_LEVEL: u32 = 1;

/// A change of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Kind 1: gives the cluster its id. The first entry of every log, and only that.
    Found {
        /// Unique for ever; every message between nodes carries it.
        cluster: Label,
    },
    /// Kind 2: puts a plan in force, whole.
    PutPlan(Box<PutPlan>),
    /// Kind 3: gives an order, or replaces the one of that name.
    PutOverride {
        /// Its name; `None`: `o-` and the index of the entry.
        id: Option<Label>,
        /// What is ordered.
        kind: OverrideKind,
        /// For what.
        scope: Scope,
        /// When it ends by itself.
        end: End,
    },
    /// Kind 4: takes an order back.
    RemoveOverride {
        /// Its name.
        id: Label,
    },
    /// Kind 5: people change nothing for a while, in this scope.
    Freeze {
        /// Its name; `None`: `f-` and the index of the entry.
        id: Option<Label>,
        /// Where.
        scope: Scope,
        /// When it ends by itself.
        end: End,
        /// Whether automatic failover rests too. Health ejection never does.
        automation: bool,
    },
    /// Kind 6: takes a freeze back. Freezes of the plan end with their windows.
    Unfreeze {
        /// Its name.
        id: Label,
    },
    /// Kind 7: somebody has seen it, so pages about it are not repeated. Changes nothing else.
    Acknowledge {
        /// What: an operation, an alert, an object.
        object: String,
        /// When pages come again.
        end: End,
    },
    /// Kind 8: notes a node as it describes itself.
    RecordNode(Node),
    /// Kind 9: takes a node out of the registry. It may come back.
    ForgetNode {
        /// Which.
        id: NodeId,
    },
    /// Kind 10: from now on entries of this level may be proposed.
    RaiseFeatureLevel {
        /// Above the present one.
        level: u32,
    },
    /// Kind 11: goes on without a lost majority. The lost nodes are refused for ever.
    RaiseGeneration {
        /// The present one and one.
        generation: u64,
        /// The lost side, members and others.
        lost: BTreeSet<NodeId>,
    },
    /// Kind 12: removes orders, freezes and acknowledgements that ended before the time of the entry.
    Expire,
    /// Kind 15: drains a region, and has the data groups whose primary is there switched over, in order.
    Evacuate {
        /// Which region.
        region: Label,
        /// Groups that stay.
        skip: BTreeSet<Label>,
        /// When the drain ends by itself. The groups stay where they are led.
        end: End,
    },
    /// Kind 16: why the next group of an evacuation does not begin, as the leader sees it.
    NoteEvacuation {
        /// Its id.
        evacuation: u64,
        /// Which group.
        group: Label,
        /// Why, in one line; empty: nothing is in the way any more.
        because: String,
    },
    /// Kind 17: no further group of an evacuation is begun. Operations that were begun go on.
    CancelEvacuation {
        /// Its id.
        evacuation: u64,
        /// Whether the drain is taken back, too.
        undrain: bool,
    },
    /// Kind 18: the traffic of a drained region comes back in steps.
    Return {
        /// Which region.
        region: Label,
        /// The shares of its clients that it takes, one after the other: they grow, and the last one is everything.
        steps: Vec<Share>,
        /// How long each is watched.
        step_time: Duration,
    },
    /// Kind 19: the next step of a return begins, or its last one is over.
    AdvanceReturn {
        /// Its id.
        id: u64,
    },
    /// Kind 20: why the next step of a return does not begin, as the leader sees it.
    NoteReturn {
        /// Its id.
        id: u64,
        /// Why, in one line; empty: nothing is in the way any more.
        because: String,
    },
    /// Kind 21: the region is drained again.
    TakeBack {
        /// Its id.
        id: u64,
        /// What speaks against it, in one line.
        why: String,
    },
    /// Kinds 100 and up: a step of a data group.
    Group {
        /// Which.
        group: Label,
        /// What.
        step: Step,
    },
}

/// A plan with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutPlan {
    /// As in the text.
    pub revision: u64,
    /// The revision that the author started from, 0: no plan; `None`: whatever is in force.
    pub expected_revision: Option<u64>,
    /// Of the document's meaning, in hexadecimal: two texts with one digest differ in comments and spaces only.
    pub digest: String,
    /// The document as written.
    pub text: String,
    /// Zone files by the name that the plan calls them.
    pub zones: BTreeMap<String, String>,
    /// What the replicated state must know of it. The proposer draws it from the checked plan; every node compares when it loads the text.
    pub outline: Outline,
}

/// When something ends. A client that retries sends the same: so a length of time is not turned into a time before it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// At this time.
    At(Timestamp),
    /// So many milliseconds after the entry's time.
    AfterMs(u64),
}

impl End {
    /// The time, for an entry stamped with `at`.
    #[must_use]
    pub fn resolve(self, at: Timestamp) -> Timestamp {
        match self {
            Self::At(end) => end,
            Self::AfterMs(ms) => Timestamp(at.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))),
        }
    }

    /// The time, when it lies ahead of `at` by at most `life_max` milliseconds.
    pub(super) fn check(self, at: Timestamp, life_max: i64) -> Result<Timestamp, Refusal> {
        let end = self.resolve(at);
        let days = life_max / 86_400_000;
        if end <= at {
            return Err(Refusal::new(Rule::End, format!("it would end {self}, which is not after {at}"), "give an end in the future"));
        }
        if end.0.saturating_sub(at.0) > life_max || end.0 > AT_MAX_MS {
            let remedy = format!("give at most {days} days and renew it, or write it into the plan");
            return Err(Refusal::new(Rule::End, format!("it would end {self}, more than {days} days ahead"), remedy));
        }
        Ok(end)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(end) => write!(f, "at {end}"),
            Self::AfterMs(ms) => write!(f, "after {}", Human(Duration::from_millis(*ms))),
        }
    }
}

impl Change {
    /// The kind numbers that this version knows: what is agreed in general, and what is agreed about data groups.
    pub const KINDS: [std::ops::RangeInclusive<u32>; 4] = [1..=12, 15..=21, 100..=136, 138..=139];

    /// Its number, which never changes.
    #[must_use]
    pub fn kind(&self) -> u32 {
        match self {
            Self::Found { .. } => 1,
            Self::PutPlan(_) => 2,
            Self::PutOverride { .. } => 3,
            Self::RemoveOverride { .. } => 4,
            Self::Freeze { .. } => 5,
            Self::Unfreeze { .. } => 6,
            Self::Acknowledge { .. } => 7,
            Self::RecordNode(_) => 8,
            Self::ForgetNode { .. } => 9,
            Self::RaiseFeatureLevel { .. } => 10,
            Self::RaiseGeneration { .. } => 11,
            Self::Expire => 12,
            Self::Evacuate { .. } => 15,
            Self::NoteEvacuation { .. } => 16,
            Self::CancelEvacuation { .. } => 17,
            Self::Return { .. } => 18,
            Self::AdvanceReturn { .. } => 19,
            Self::NoteReturn { .. } => 20,
            Self::TakeBack { .. } => 21,
            Self::Group { step, .. } => step.kind(),
        }
    }

    /// The feature level that a node needs to apply it.
    #[must_use]
    pub const fn feature_level(&self) -> u32 {
        match self {
            Self::Found { .. }
            | Self::PutPlan(_)
            | Self::PutOverride { .. }
            | Self::RemoveOverride { .. }
            | Self::Freeze { .. }
            | Self::Unfreeze { .. }
            | Self::Acknowledge { .. }
            | Self::RecordNode(_)
            | Self::ForgetNode { .. }
            | Self::RaiseFeatureLevel { .. }
            | Self::RaiseGeneration { .. }
            | Self::Expire
            | Self::Evacuate { .. }
            | Self::NoteEvacuation { .. }
            | Self::CancelEvacuation { .. }
            | Self::Return { .. }
            | Self::AdvanceReturn { .. }
            | Self::NoteReturn { .. }
            | Self::TakeBack { .. }
            | Self::Group { .. } => 1,
        }
    }

    /// Whether it is refused without a reason: what people order is never without one.
    #[must_use]
    pub fn needs_reason(&self) -> bool {
        match self {
            Self::PutOverride { .. }
            | Self::RemoveOverride { .. }
            | Self::Freeze { .. }
            | Self::Unfreeze { .. }
            | Self::Acknowledge { .. }
            | Self::RaiseGeneration { .. }
            | Self::Evacuate { .. }
            | Self::CancelEvacuation { .. }
            | Self::Return { .. } => true,
            Self::Found { .. }
            | Self::PutPlan(_)
            | Self::RecordNode(_)
            | Self::ForgetNode { .. }
            | Self::RaiseFeatureLevel { .. }
            | Self::Expire
            | Self::NoteEvacuation { .. }
            // Of the leader, too; people are asked for one where they ask.
            | Self::AdvanceReturn { .. }
            | Self::NoteReturn { .. }
            | Self::TakeBack { .. } => false,
            Self::Group { step, .. } => step.needs_reason(),
        }
    }
}

/// One line for the audit. Names are cut, because a refused change may carry any text.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &str| cut(text, OBJECT_MAX);
        let named = |id: &Option<Label>| id.as_ref().map_or_else(String::new, |id| format!(" `{}`", short(id.as_str())));
        match self {
            Self::Found { cluster } => write!(f, "found cluster {}", short(cluster.as_str())),
            Self::PutPlan(plan) => {
                write!(f, "put plan revision {}, digest {}, {} zone files", plan.revision, cut(&plan.digest, 64), plan.zones.len())
            }
            Self::PutOverride { id, kind, scope, end } => {
                write!(f, "put order{}: {kind} of {}, ends {end}", named(id), short(&scope.to_string()))
            }
            Self::RemoveOverride { id } => write!(f, "remove order `{}`", short(id.as_str())),
            Self::Freeze { id, scope, end, automation } => {
                let who = if *automation { "people and automation" } else { "people" };
                write!(f, "freeze{}: {who} in {}, ends {end}", named(id), short(&scope.to_string()))
            }
            Self::Unfreeze { id } => write!(f, "unfreeze `{}`", short(id.as_str())),
            Self::Acknowledge { object, end } => write!(f, "acknowledge {}, ends {end}", short(object)),
            Self::RecordNode(node) => write!(
                f,
                "record node {} `{}`: {} in {}, version {}",
                node.id,
                short(node.name.as_str()),
                node.role,
                short(node.region.as_str()),
                cut(&node.version, 64)
            ),
            Self::ForgetNode { id } => write!(f, "forget node {id}"),
            Self::RaiseFeatureLevel { level } => write!(f, "raise the feature level to {level}"),
            Self::RaiseGeneration { generation, lost } => {
                let named: Vec<String> = lost.iter().take(10).map(ToString::to_string).collect();
                let more = if lost.len() > named.len() { format!(" and {} more", lost.len() - named.len()) } else { String::new() };
                write!(f, "raise the recovery generation to {generation}, lost for ever: {}{more}", named.join(", "))
            }
            Self::Expire => write!(f, "remove what has ended"),
            Self::Evacuate { region, skip, end } => {
                let named: Vec<String> = skip.iter().take(10).map(|group| short(group.as_str())).collect();
                let but = if named.is_empty() { String::new() } else { format!(" but {} groups: {}", skip.len(), named.join(", ")) };
                write!(f, "evacuate {}{but}, drained until it ends {end}", short(region.as_str()))
            }
            Self::NoteEvacuation { evacuation, group, because } if because.is_empty() => {
                write!(f, "evac-{evacuation}: nothing is in the way of group:{} any more", short(group.as_str()))
            }
            Self::NoteEvacuation { evacuation, group, because } => {
                write!(f, "evac-{evacuation}: group:{} waits, {}", short(group.as_str()), short(because))
            }
            Self::CancelEvacuation { evacuation, undrain } => {
                write!(f, "cancel evac-{evacuation}{}", if *undrain { ", and take its drain back" } else { "" })
            }
            Self::Return { region, steps, step_time } => {
                let steps = steps_text(steps.get(..STEPS_MAX).unwrap_or(steps), *step_time);
                write!(f, "return the traffic of {}: {steps}", short(region.as_str()))
            }
            Self::AdvanceReturn { id } => write!(f, "advance return-{id}"),
            Self::NoteReturn { id, because } if because.is_empty() => write!(f, "return-{id}: nothing is in its way any more"),
            Self::NoteReturn { id, because } => write!(f, "return-{id} waits, {}", short(because)),
            Self::TakeBack { id, why } => write!(f, "take return-{id} back: {}", short(why)),
            Self::Group { group, step } => write!(f, "group {}: {}", short(group.as_str()), short(&step.to_string())),
        }
    }
}

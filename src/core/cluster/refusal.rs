//! Why an entry is refused, and why a node stops to apply.
//!
//! A refusal is an outcome: every node comes to the same one, records it, and goes on. A halt is this node's own: it meets what it cannot
//! read, so it applies nothing more, keeps answering, and says so.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A rule that refuses entries. Its word is stable: scripts, pages and the command line name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Rule {
    /// The cluster has no id yet.
    NotFounded,
    /// The cluster has an id.
    AlreadyFounded,
    /// A value is malformed or out of its range.
    Invalid,
    /// No reason was given.
    ReasonRequired,
    /// A list has no room.
    Full,
    /// A request id came again with other content.
    RequestReused,
    /// No room for another request id inside a day.
    RequestsFull,
    /// The change needs a feature level that the cluster has not agreed on, or a member lacks it.
    FeatureLevel,
    /// A revision of the plan that is lower, or equal with other content.
    PlanRevision,
    /// The plan in force is not the one that was expected.
    RevisionMismatch,
    /// Nothing has that name.
    UnknownName,
    /// The end lies in the past, or too far ahead.
    End,
    /// A service would keep fewer regions than its `min_healthy_regions`.
    MinHealthyRegions,
    /// More of the traffic would move than `max_share_moved_per_step`, or nobody knows how much.
    MaxShareMoved,
    /// A freeze is in force.
    Frozen,
    /// The region still holds most voters.
    RegionInUse,
    /// The node was on the side that was lost.
    NodeLost,
    /// Another member has the node's name.
    NodeNameTaken,
    /// The recovery generation is not the next one.
    Generation,
    /// The group has no primary that is agreed on.
    NotAdopted,
    /// The group has one.
    AlreadyAdopted,
    /// Another operation of the group is open.
    OperationOpen,
    /// The operation is not open.
    NoOperation,
    /// Another drill of the group is under way.
    DrillOpen,
    /// The drill is not under way.
    NoDrill,
    /// Something happened to the group since the proposer looked.
    ExpectedEpoch,
    /// The operation is not where this step belongs.
    WrongPhase,
    /// The step that a person wants skipped keeps two primaries apart, or what was acknowledged.
    NeverSkipped,
    /// Another grant was committed.
    PointOfNoReturn,
    /// The cluster may not decide this by itself.
    NotAutomatic,
    /// An operation ended not long ago.
    CoolDown,
    /// Another region's primary was replaced not long ago: two causes at once may be one that nobody has understood.
    StormBrake,
    /// A hold is in force.
    OnHold,
    /// The evidence does not allow a promotion.
    Evidence,
    /// Nothing proves that the old primary is stopped.
    FenceUnproven,
    /// More would be lost than may be, or nobody knows how much.
    RpoGate,
    /// The copies that are sealed say otherwise.
    ChoiceDiffers,
    /// A group that the plan drops or changes is in use.
    GroupInUse,
}

impl Rule {
    /// As people and scripts write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotFounded => "NOT_FOUNDED",
            Self::AlreadyFounded => "ALREADY_FOUNDED",
            Self::Invalid => "INVALID",
            Self::ReasonRequired => "REASON_REQUIRED",
            Self::Full => "FULL",
            Self::RequestReused => "REQUEST_REUSED",
            Self::RequestsFull => "REQUESTS_FULL",
            Self::FeatureLevel => "FEATURE_LEVEL",
            Self::PlanRevision => "PLAN_REVISION",
            Self::RevisionMismatch => "REVISION_MISMATCH",
            Self::UnknownName => "UNKNOWN_NAME",
            Self::End => "END",
            Self::MinHealthyRegions => "MIN_HEALTHY_REGIONS",
            Self::MaxShareMoved => "MAX_SHARE_MOVED",
            Self::Frozen => "FROZEN",
            Self::RegionInUse => "REGION_IN_USE",
            Self::NodeLost => "NODE_LOST",
            Self::NodeNameTaken => "NODE_NAME_TAKEN",
            Self::Generation => "GENERATION",
            Self::NotAdopted => "NOT_ADOPTED",
            Self::AlreadyAdopted => "ALREADY_ADOPTED",
            Self::OperationOpen => "OPERATION_OPEN",
            Self::NoOperation => "NO_OPERATION",
            Self::DrillOpen => "DRILL_OPEN",
            Self::NoDrill => "NO_DRILL",
            Self::ExpectedEpoch => "EXPECTED_EPOCH",
            Self::WrongPhase => "WRONG_PHASE",
            Self::NeverSkipped => "NEVER_SKIPPED",
            Self::PointOfNoReturn => "POINT_OF_NO_RETURN",
            Self::NotAutomatic => "NOT_AUTOMATIC",
            Self::CoolDown => "COOL_DOWN",
            Self::StormBrake => "STORM_BRAKE",
            Self::OnHold => "ON_HOLD",
            Self::Evidence => "EVIDENCE",
            Self::FenceUnproven => "FENCE_UNPROVEN",
            Self::RpoGate => "RPO_GATE",
            Self::ChoiceDiffers => "CHOICE_DIFFERS",
            Self::GroupInUse => "GROUP_IN_USE",
        }
    }

    /// Whether an entry may overrule it with a reason and an end: guardrails and freezes, never what keeps the state sound.
    #[must_use]
    pub const fn can_be_overruled(self) -> bool {
        matches!(self, Self::MinHealthyRegions | Self::MaxShareMoved | Self::Frozen)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A "no" with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{text} [{rule}]; {remedy}")]
pub struct Refusal {
    /// Which rule.
    pub rule: Rule,
    /// What was attempted and why it is refused, in one line.
    pub text: String,
    /// What to do instead, in one line.
    pub remedy: String,
}

impl Refusal {
    pub(super) fn new(rule: Rule, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { rule, text: text.into(), remedy: remedy.into() }
    }
}

/// Why this node applies nothing more. It keeps answering DNS from its last table.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Halt {
    /// A newer version wrote it.
    #[error(
        "the log or snapshot holds kind {kind} of feature level {feature_level}, which this version does not know: it stops applying; \
         install the version that the other nodes run"
    )]
    UpgradeRequired {
        /// The kind number that was met.
        kind: u32,
        /// The feature level that it needs.
        feature_level: u32,
    },
    /// It is not what this version would have written: a damaged disk, or a defect.
    #[error("the log or snapshot cannot be read ({0}): this node stops applying; replace it with an empty disk, so that it joins anew")]
    Corrupt(String),
    /// The log was handed in twice or backwards: a defect.
    #[error("entry {index} was handed in after entry {after}: this node stops applying; restart it, and report the defect")]
    OutOfOrder {
        /// Of the entry.
        index: u64,
        /// Of the last one that was applied.
        after: u64,
    },
}

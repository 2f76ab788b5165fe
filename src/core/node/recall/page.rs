//! The form of a page.

use serde::{Deserialize, Serialize};

use crate::{
    failover::token::Token,
    health::{
        endpoint::noted::NotedState,
        overlay::{Override, SavedFrozen},
        vantage::{NotedOthers, NotedStanding},
    },
    model::{
        ids::Label,
        time::Timestamp,
        units::{Share, Weight},
    },
    table::Tier,
};

/// The version of the form below; another one is not read.
pub const FORM: u32 = 1;

/// What was noted at one moment: everything, or what changed since the page before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// When it was true.
    pub(super) at: Timestamp,
    /// `Some`: it says everything, and forgets all before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) head: Option<Head>,
    /// Number of the table, and since when it is stale.
    pub(super) table: (u64, Option<Timestamp>),
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) checks: Vec<(u32, NotedState)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) others: Option<NotedOthers>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) standings: Vec<(u32, NotedStanding)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) members: Vec<(u32, NotedMember)>,
    /// By service: who holds the role that its names follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<(u32, NotedRole)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) orders: Option<NotedOrders>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) happenings: Vec<(Timestamp, String)>,
}

impl Page {
    /// When it was true.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether it says everything, so that what is recalled may begin with it.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.head.is_some()
    }
}

/// Whose pages these are, and of what world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// [`FORM`].
    pub(super) form: u32,
    pub(super) node: Label,
    pub(super) region: Label,
    /// Of the plan, as the node knew it.
    pub(super) digest: String,
    /// Over the names behind all positions: the same plan read by another version may be laid out otherwise.
    pub(super) shape: String,
}

/// An endpoint as the table had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotedMember {
    pub(super) tier: Tier,
    pub(super) weight: Weight,
    /// Of its pool, equal for all of them.
    pub(super) pool_weight: Weight,
    pub(super) admitted: Share,
    pub(super) next_change_micros: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<Box<str>>,
}

/// Who held the role that a service's names follow, as the table had it. Times are from when the page was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotedRole {
    pub(super) token: Token,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<u16>,
    /// How long ago it was stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) said_micros: Option<u64>,
    /// For how long it is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lasts_micros: Option<u64>,
    /// An operation was about to move it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_leaving: bool,
}

/// What people ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotedOrders {
    pub(super) overrides: Vec<Override>,
    pub(super) frozen: Vec<SavedFrozen>,
}

//! What is replicated, in openraft's terms.

use std::fmt;

use portolan_core::cluster::Outcome;
use serde::{Deserialize, Serialize};

use super::runtime::Runtime;

openraft::declare_raft_types!(
    /// The types of this cluster.
    pub Types:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Member,
        AsyncRuntime = Runtime,
);

/// An entry of the replicated machine as its octets, which are JSON text ([`portolan_core::cluster::Entry::encode`]). They are not decoded
/// before they are applied, so that a node which is too old for one keeps and passes on what it cannot read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Command(pub String);

/// For openraft's logs, so without the content.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a command of {} octets", self.0.len())
    }
}

/// What became of one log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It was a command.
    Applied {
        /// Its index in the log.
        index: u64,
        /// What the replicated machine says.
        outcome: Outcome,
        /// The request was known, and this is its recorded outcome.
        repeated: bool,
    },
    /// It was an entry of Raft itself: a new leader, another membership.
    Blank,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied { outcome, .. } => outcome.fmt(f),
            Self::Blank => f.write_str("nothing to apply"),
        }
    }
}

/// A member as the membership in the log knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// As in its config.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Where its peer listener is, `host:port`.
    pub address: String,
    /// It votes and probes only, and hands leadership on.
    pub is_witness: bool,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) at {}", self.name, self.region, self.address)
    }
}

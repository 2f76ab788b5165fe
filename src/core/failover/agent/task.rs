//! What an agent has done to its database: something that takes time, one at a time.

use crate::{failover::token::Token, model::ids::Label};

/// Something that takes time and touches the database. One at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// For which decision or grant.
    pub token: Token,
    /// What.
    pub work: Work,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Write the mark that lets every later start be one of a standby.
    Mark,
    /// Stop the database cleanly.
    Stop,
    /// Receive nothing more, and wait until nothing is received.
    Seal,
    /// Replay up to a position.
    Drain {
        /// Up to where.
        position: u64,
        /// From whom the rest is fetched first; `None`: it is there.
        fetch_from: Option<Label>,
    },
    /// Start it for writes: the mark goes first.
    Start,
    /// Make the standby a primary.
    Promote,
    /// Write the token into the database, and read it back.
    Sign,
    /// Follow another member; put aside what goes beyond the common line.
    Follow {
        /// Whom.
        upstream: Label,
        /// A directory that may not be started any more may be replaced by a new copy.
        reclone: bool,
    },
}

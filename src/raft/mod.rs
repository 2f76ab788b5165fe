//! Consensus between the voters: what must be agreed, and nothing else.
//!
//! ```text
//! propose(entry) -> Consensus -> openraft -> LogStore (vote, log; synced) --'
//!                                   |  Transport -> peers                   |
//!                                   '--> Machine -> core::cluster::State -> Standing (watched)
//! ```
//!
//! openraft's types end at [`Consensus`]. Everything that is durable is on one [`Disk`].
//!
//! Invariants: an id in Raft is made with the disk and never used again; a vote and an entry are on disk before they are spoken of; a node that
//! meets what it cannot read takes no part any more.
//!
//! Absent on purpose: sockets (a [`Transport`] is given), deciding (`portolan_core::cluster`), and health, which consensus never carries.
//! Source: Ongaro's dissertation (pre-vote 9.6, check-quorum 6.2, transfer 3.10).

mod consensus;
mod disk;
mod follow;
mod force;
mod identity;
mod log;
mod machine;
mod network;
mod runtime;
mod types;

pub use consensus::{Changes, Consensus, Leadership, Members, ProposeError, Timing};
pub use disk::{Calls, Disk, DiskError};
pub use follow::{Fed, Follower, Step};
pub use force::go_on_alone;
pub use identity::Identity;
pub use log::LogStore;
pub use machine::{Machine, Octets, Readers, Standing};
pub use network::{Call, Lane, Transport, Undelivered};
pub use runtime::{Chance, Runtime, give_chance};
pub use types::{Command, Member, Reply, Types};

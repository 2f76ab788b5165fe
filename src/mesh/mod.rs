//! Between the nodes of a cluster: what they see, the calls of the consensus, and the replicated state for those who do not vote.
//!
//! ```text
//!  peers --dial--> Dialer: one connection per peer and lane --.
//!  peers --mutual TLS--> listener --> PeerApi ----------------+--> Host (the daemon): greet, raft, propose, follow
//!                                        '-- observe --> stream --> Event: up, report, need, confirm, beat, holding, down --> control task
//!  control task --> Mesh: send to one link, spread to all --> links (bounded queues) --> stream --> peers
//! ```
//!
//! Voters have a link to each other voter; an observer has one to a voter, which relays: what an observer says goes to everybody, what
//! another voter says goes to observers. A link is one gRPC stream, and both sides speak as soon as they know each other.
//!
//! Invariants: nothing is taken from a caller before it is known who it is and that it belongs here; every queue has a bound, and who does not
//! take what it is sent is cut off rather than waited for; whatever was sent once may be sent again.
//!
//! Absent on purpose: deciding what reports mean (`portolan_core::health::vantage`), and what a call of the consensus is (`raft`): bodies pass
//! through unread.

mod codec;
mod dial;
mod holdings;
mod identity;
mod links;
mod listener;
mod parcel;
mod patience;
mod service;
mod stream;
mod way;
mod wire;

pub use dial::Address;
pub use identity::{PROTOCOL, Passport};
pub use links::{LinkId, Mesh, Route};
pub use listener::{MeshError, MeshSetup, PeerListener};
pub use parcel::Parcel;
pub use patience::Patience;
pub use stream::{Event, Far, FarRole};

use std::pin::Pin;

use bytes::Bytes;
use portolan_core::model::ids::Label;
use tokio_stream::Stream;

/// What `proto/portolan/peer/v1` compiles to.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::use_self,
    reason = "generated code: it carries no style of ours"
)]
pub(crate) mod proto {
    tonic::include_proto!("portolan.peer.v1");
}

/// Which connection a call takes: a heartbeat must not wait behind a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Entries, votes, commands.
    Log,
    /// Heartbeats.
    Heartbeat,
    /// Snapshots of the log.
    Snapshot,
    /// What nodes see, and the state that is followed.
    Observe,
}

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody there, or no answer in time; whether the peer acted on it is unknown.
    #[error("{0}")]
    Unreachable(String),
    /// The peer refuses; it did nothing.
    #[error("refused: {0}")]
    Refused(String),
    /// The peer goes on as a later recovery generation, which this node was left out of for good.
    #[error("refused: {0}")]
    LeftBehind(String),
}

/// What a node says of itself to whom asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Who it is.
    pub passport: Passport,
    /// It was never part of a cluster.
    pub is_empty: bool,
    /// It keeps its disk over a restart.
    pub is_persistent: bool,
    /// Digest of its address book, as it was configured.
    pub peers: Vec<u8>,
    /// Who leads, as it knows; `None`: nobody.
    pub leader: Option<u64>,
    /// It votes and probes only.
    pub is_witness: bool,
    /// The highest feature level that it supports.
    pub feature_level: u32,
    /// Its wall clock, milliseconds since 1970.
    pub wall_ms: i64,
    /// Who is a member of the consensus, as it knows; of a node that takes no part: who votes. None: it does not know.
    pub members: Vec<u64>,
    /// Whom it gave its word that nobody else founds the cluster; `None`: nobody.
    pub word: Option<u64>,
}

/// What became of a command that was handed to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It was committed; the reply of the replicated machine, as the consensus writes it.
    Done(Bytes),
    /// Another one leads; `None`: nobody.
    NotLeader(Option<u64>),
    /// It was not taken, and will not be.
    Refused(String),
    /// It may have been committed, or may still be: ask again with the same request id.
    Unknown,
}

/// What a follower of the replicated state hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The whole state; what was known before is void.
    Snapshot {
        /// The next entry to be applied to it.
        next: u64,
        /// As the replicated machine writes it.
        octets: Bytes,
    },
    /// The next entry.
    Entry {
        /// Its index in the log.
        index: u64,
        /// As it was committed.
        octets: Bytes,
    },
    /// Nothing new.
    Progress {
        /// The next entry that there will be.
        next: u64,
        /// Who leads, as the sender knows.
        leader: Option<u64>,
    },
    /// The sender takes no part in the consensus, and has no state to follow; who votes, as it knows. The stream ends with it.
    Elsewhere(Vec<Voter>),
}

/// A node that votes, as another one tells of it. Whether it is who it is said to be, its certificate shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Whom to reach, and where.
    pub at: Address,
    /// Where it stands.
    pub region: Label,
}

/// A stream of what happens to the replicated state.
pub type FollowStream = Pin<Box<dyn Stream<Item = Followed> + Send>>;

/// What the mesh asks of the node that it belongs to. The daemon implements it.
#[tonic::async_trait]
pub trait Host: Send + Sync + 'static {
    /// Who this node is, now.
    fn passport(&self) -> Passport;

    /// Why not to talk to the node with this id; `None`: nothing speaks against it.
    fn refuses(&self, id: u64) -> Option<String>;

    /// What it says of itself to whom asks. `founder`: who asks is about to found the cluster, and wants this node's word first.
    fn greeting(&self, founder: Option<&Passport>) -> Greeting;

    /// A call of the consensus, from a node of this cluster, or of one that this node may join.
    ///
    /// # Errors
    /// A sentence; nothing was done.
    async fn raft(&self, from: &Passport, call: u32, body: Bytes) -> Result<Vec<u8>, String>;

    /// A command that another node hands over.
    async fn propose(&self, entry: Bytes) -> Proposed;

    /// An order about who leads or votes, from a member.
    ///
    /// # Errors
    /// A sentence; nothing was done, or as much as it says.
    async fn order(&self, order: Bytes) -> Result<Vec<u8>, String>;

    /// A question of a member, about what this node sees.
    ///
    /// # Errors
    /// A sentence: it cannot be answered.
    async fn ask(&self, question: Bytes) -> Result<Vec<u8>, String>;

    /// What happens to the replicated state from entry `next` on; 0: from nothing. `None`: this node is starting or stopping.
    fn follow(&self, from: &Passport, next: u64) -> Option<FollowStream>;
}

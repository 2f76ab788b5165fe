//! Raft's calls as octets over a transport that somebody else provides: gRPC between daemons, a virtual network in simulations.
//!
//! Every call has a limit on its time. Pre-vote and leader transfer are real calls: openraft's defaults would grant the one and fail the other.
//! Bodies are JSON, whose fields may grow; a body that cannot be read is refused, and the receiver's state is untouched.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use openraft::{
    RaftNetworkFactory, RaftNetworkV2,
    alias::{SnapshotMetaOf, SnapshotOf, VoteOf},
    error::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
        VoteResponse,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{
    machine::Octets,
    types::{Member, Types},
};

/// What is asked of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Log entries, and heartbeats.
    Append,
    /// A whole state.
    Snapshot,
    /// A vote.
    Vote,
    /// Whether it would vote: asked before a term is spent.
    PreVote,
    /// To become leader.
    TransferLeader,
}

impl Call {
    const ALL: [Self; 5] = [Self::Append, Self::Snapshot, Self::Vote, Self::PreVote, Self::TransferLeader];

    /// Its number between nodes, which never changes.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Append => 1,
            Self::Snapshot => 2,
            Self::Vote => 3,
            Self::PreVote => 4,
            Self::TransferLeader => 5,
        }
    }

    /// The call with this [`number`](Self::number).
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.number() == number)
    }
}

/// For so many heartbeats entries may be on their way: as long as an election takes by default. openraft allows one, for both, and a follower whose
/// disk or way takes longer than that would never be counted, although it has all entries and the leader hears from it.
const ENTRIES_PATIENCE: u32 = 6;

/// Which connection a call takes: a heartbeat must not wait behind a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Entries, votes and transfers.
    Log,
    /// Heartbeats.
    Heartbeat,
    /// Snapshots.
    Snapshot,
}

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Undelivered {
    /// Nobody there, or no answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// The peer refuses: another cluster, another node under this address, a version that it does not know, a body that it cannot read.
    #[error("refused: {0}")]
    Refused(String),
}

/// Carries calls to peers.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Delivers `body` to the node with the Raft id `to`, which is expected at `member`'s address, and gives its answer within `limit`.
    ///
    /// # Errors
    /// [`Undelivered`]; whether the peer acted on the call is then unknown.
    async fn call(&self, to: u64, member: &Member, lane: Lane, call: Call, body: Vec<u8>, limit: Duration) -> Result<Vec<u8>, Undelivered>;
}

/// Makes clients for openraft.
#[derive(Clone, Debug)]
pub(super) struct Clients(pub(super) Arc<dyn Transport>);

/// One peer, on one lane.
#[derive(Debug)]
pub(super) struct PeerClient {
    transport: Arc<dyn Transport>,
    to: u64,
    member: Member,
    lane: Lane,
}

/// The body of [`Call::Snapshot`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SnapshotCall {
    pub(super) vote: VoteOf<Types>,
    pub(super) meta: SnapshotMetaOf<Types>,
    pub(super) state: Octets,
}

impl Clients {
    fn client(&self, to: u64, member: &Member, lane: Lane) -> PeerClient {
        PeerClient { transport: Arc::clone(&self.0), to, member: member.clone(), lane }
    }
}

impl RaftNetworkFactory<Types> for Clients {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, node: &Member) -> PeerClient {
        self.client(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> PeerClient {
        self.client(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> PeerClient {
        self.client(target, node, Lane::Snapshot)
    }
}

impl PeerClient {
    /// All failures are "unreachable" for openraft, which then waits before it tries again: also a refusal does not go away at once.
    async fn ask<A: DeserializeOwned>(&self, call: Call, body: &impl Serialize, limit: Duration) -> Result<A, Unreachable<Types>> {
        let body = serde_json::to_vec(body).map_err(|e| Unreachable::new(&e))?;
        let asked = self.transport.call(self.to, &self.member, self.lane, call, body, limit);
        // The transport keeps the limit too; a transport that does not must not hold up elections.
        let answer = match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer.map_err(|e| Unreachable::new(&e))?,
            Err(elapsed) => return Err(Unreachable::new(&elapsed)),
        };
        serde_json::from_slice(&answer).map_err(|e| Unreachable::new(&e))
    }
}

impl RaftNetworkV2<Types> for PeerClient {
    type SnapshotData = Octets;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let patience = if self.lane == Lane::Log { ENTRIES_PATIENCE } else { 1 };
        Ok(self.ask(Call::Append, &rpc, option.hard_ttl() * patience).await?)
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Ok(self.ask(Call::Vote, &rpc, option.hard_ttl()).await?)
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Ok(self.ask(Call::PreVote, &rpc, option.hard_ttl()).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Octets>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let body = SnapshotCall { vote, meta: snapshot.meta, state: snapshot.snapshot };
        tokio::select! {
            biased;
            answer = self.ask(Call::Snapshot, &body, option.hard_ttl()) => Ok(answer?),
            closed = cancel => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        Ok(self.ask(Call::TransferLeader, &request, option.hard_ttl()).await?)
    }
}

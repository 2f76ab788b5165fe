//! One member of the cluster: the boundary behind which openraft is hidden.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use openraft::{
    Config, ConfigError, Raft, SnapshotPolicy,
    alias::WatchReceiverOf,
    async_runtime::{Instant as _, watch::WatchReceiver as _},
    error::{ClientWriteError, RaftError},
    metrics::RaftServerMetrics,
    raft::{AppendEntriesRequest, ReadPolicy, TransferLeaderRequest, VoteRequest},
};
use portolan_core::cluster::{Entry, FEATURE_LEVEL, Halt, Refusal};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::sync::watch;

use super::{
    disk::Disk,
    follow::Follower,
    log::LogStore,
    machine::{Machine, Readers, Standing},
    network::{Call, Clients, SnapshotCall, Transport, Undelivered},
    types::{Command, Member, Reply, Types},
};

/// Log entries between snapshots. The state is small and entries are people's orders, so a day seldom sees as many.
const ENTRIES_PER_SNAPSHOT: u64 = 1000;

/// Entries kept behind a snapshot, so that a node that was away for a moment needs no snapshot.
const ENTRIES_KEPT: u64 = 500;

/// The times of elections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// Silence of the leader after which the first voter stands. At least six heartbeats, and ten times the longest round trip.
    pub election: Duration,
    /// This voter's place among all, from zero. Voters stand one after the other, so that they do not split the vote.
    pub place: u32,
}

impl Timing {
    /// For regions apart: heartbeat 500 ms, election from 3 s.
    #[must_use]
    pub const fn between_regions(place: u32) -> Self {
        Self { heartbeat: Duration::from_millis(500), election: Duration::from_secs(3), place }
    }

    fn config(&self, cluster: &str) -> Result<Config, ConfigError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        // Windows of silence, each half as long as the time between two of them so that no two voters draw the same: [E + kG, E + kG + G/2].
        let gap = millis(self.election) / 3;
        let silence = millis(self.election) + u64::from(self.place) * gap;
        // openraft stands when its lease, which is the longer of the two times below, and then a time drawn between them are over.
        let (first, last) = (silence / 2 - gap / 4, silence / 2 + gap / 4);
        let config = Config {
            cluster_name: cluster.to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: first,
            election_timeout_max: last,
            // Without it a voter that was cut off comes back with a higher term and unseats a healthy leader.
            enable_pre_vote: Some(true),
            // A leader that hears no majority falls silent, so that others who hear it can elect a better one.
            quorum_loss_probe_interval: Some(2 * last),
            install_snapshot_timeout: millis(self.election) * 4,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(ENTRIES_PER_SNAPSHOT),
            max_in_snapshot_log_to_keep: ENTRIES_KEPT,
            ..Config::default()
        };
        config.validate()
    }
}

/// Why a command was not taken.
#[derive(Debug, Error)]
pub enum ProposeError {
    /// Another member leads: ask there.
    #[error("{} leads, not this node", .0.as_ref().map_or_else(|| "nobody".to_owned(), |(_, member)| member.to_string()))]
    NotLeader(Option<(u64, Member)>),
    /// It may have been committed, or may still be: ask again with the same request id.
    #[error("no majority confirmed it in time; it may still be committed: ask again with the same request id")]
    Unknown,
    /// It is too long.
    #[error("{0}")]
    Refused(Refusal),
    /// It cannot be read by this version.
    #[error("{0}")]
    Halted(Halt),
    /// This node takes no part any more.
    #[error("this node takes no part in the cluster any more: {0}")]
    Stopped(String),
}

/// Who leads, as this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader; `None`: nobody, as far as known here.
    pub leader: Option<(u64, Member)>,
    /// This node leads.
    pub is_leader: bool,
    /// Of the latest election known here.
    pub term: u64,
    /// On the leader: since when no majority has confirmed that it leads; `None`: not the leader, or not confirmed yet.
    pub unconfirmed: Option<Duration>,
}

/// Who is a member, as one node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Those that vote; while membership changes, those that did or will.
    pub voters: BTreeMap<u64, Member>,
    /// Those that follow the log without a vote.
    pub learners: BTreeMap<u64, Member>,
    /// A change is under way.
    pub is_changing: bool,
    /// On the leader: since when each other member did not answer. One that never did is not in it.
    pub silent: BTreeMap<u64, Duration>,
    /// On the leader: up to which entry each member has the log on disk. One that has nothing, or is not known to, is not in it.
    pub matched: BTreeMap<u64, u64>,
}

/// Wakes when leadership or membership may have changed.
pub struct Changes(WatchReceiverOf<Types, RaftServerMetrics<Types>>);

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changes")
    }
}

impl Changes {
    /// Waits for a change. Dropping the future loses none.
    ///
    /// # Errors
    /// When there will be none any more.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        Ok(self.0.changed().await?)
    }
}

/// A member of the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    id: u64,
    raft: Raft<Types, Machine>,
    readers: Readers,
}

impl fmt::Debug for Consensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consensus").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Consensus {
    /// Takes part with what the disk holds. A node that was never part of a cluster waits to be added, or for [`Self::initialize`].
    ///
    /// # Errors
    /// When the times make no sense, or the disk cannot be read.
    pub async fn start(id: u64, cluster: &str, timing: Timing, disk: Disk, transport: Arc<dyn Transport>) -> anyhow::Result<Self> {
        let config = Arc::new(timing.config(cluster)?);
        let (machine, readers) = Machine::open(disk.clone()).await?;
        let raft = Raft::new(id, config, Clients(transport), LogStore::new(disk), machine).await?;
        Ok(Self { id, raft, readers })
    }

    /// This node's id in Raft.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The replicated state as this node has it; it may lag.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.readers.standing.clone()
    }

    /// What is applied from entry `next` on, for a node that does not vote; 0: from nothing.
    #[must_use]
    pub fn follow(&self, next: u64) -> Follower {
        Follower::new(&self.readers, next)
    }

    /// Whether this node is part of a log: it was initialized, or a leader wrote to it.
    ///
    /// # Errors
    /// When this node takes no part any more.
    pub async fn is_initialized(&self) -> anyhow::Result<bool> {
        Ok(self.raft.is_initialized().await?)
    }

    /// Who is a member, as this node knows.
    #[must_use]
    pub fn members(&self) -> Members {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let all = membership.nodes().map(|(id, member)| (*id, member.clone()));
        let (voters, learners) = all.partition(|(id, _)| voters.contains(id));
        let silent = metrics.heartbeat.iter().flatten();
        let silent = silent.filter_map(|(id, at)| Some((*id, at.as_ref()?.elapsed()))).collect();
        let matched = metrics.replication.iter().flatten();
        let matched = matched.filter_map(|(id, log_id)| Some((*id, log_id.as_ref()?.index))).collect();
        Members { voters, learners, is_changing: membership.get_joint_config().len() > 1, silent, matched }
    }

    /// Wakes whenever leadership or membership may have changed.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.raft.server_metrics())
    }

    /// Stands for election at once, where nobody else can: a cluster of one node need not wait.
    ///
    /// # Errors
    /// When this node takes no part any more.
    pub async fn elect(&self) -> anyhow::Result<()> {
        Ok(self.raft.trigger().elect(true).await?)
    }

    /// Makes a cluster of these voters, once, on one of them, all of which must be empty.
    ///
    /// # Errors
    /// When this node is part of a cluster already, or is none of `members`.
    pub async fn initialize(&self, members: BTreeMap<u64, Member>) -> anyhow::Result<()> {
        Ok(self.raft.initialize(members).await?)
    }

    /// Commits a command. It returns when a majority has it on disk and this node has applied it.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose(&self, entry: &Entry) -> Result<Reply, ProposeError> {
        let octets = entry.encode().map_err(ProposeError::Refused)?;
        self.propose_octets(octets).await
    }

    /// As [`Self::propose`], for what another node forwards. It is read first: what is committed and cannot be read would stop every node.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose_octets(&self, octets: Vec<u8>) -> Result<Reply, ProposeError> {
        Entry::decode(&octets, FEATURE_LEVEL).map_err(ProposeError::Halted)?;
        let text = String::from_utf8(octets).map_err(|error| ProposeError::Halted(Halt::Corrupt(error.to_string())))?;
        match self.raft.client_write(Command(text)).await {
            Ok(done) => Ok(done.data),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(ProposeError::NotLeader(to.leader_id.zip(to.leader_node)))
            }
            Err(RaftError::APIError(_)) => Err(ProposeError::Unknown),
            Err(RaftError::Fatal(fatal)) => Err(ProposeError::Stopped(fatal.to_string())),
        }
    }

    /// Answers a call of a peer.
    ///
    /// # Errors
    /// A body that cannot be read, or that this node takes no part any more; its state is untouched.
    pub async fn receive(&self, call: Call, body: &[u8]) -> Result<Vec<u8>, Undelivered> {
        let raft = &self.raft;
        match call {
            Call::Append => answered(raft.append_entries(read::<AppendEntriesRequest<Types>>(body)?).await),
            Call::Vote => answered(raft.vote(read::<VoteRequest<Types>>(body)?).await),
            Call::PreVote => answered(raft.pre_vote(read::<VoteRequest<Types>>(body)?).await),
            Call::TransferLeader => answered(raft.handle_transfer_leader(read::<TransferLeaderRequest<Types>>(body)?).await),
            Call::Snapshot => {
                let SnapshotCall { vote, meta, state } = read(body)?;
                let snapshot = openraft::alias::SnapshotOf::<Types, _> { meta, snapshot: state };
                answered(raft.install_full_snapshot(vote, snapshot).await)
            }
        }
    }

    /// Who leads, as this node knows.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let member = |id: u64| metrics.membership_config.membership().get_node(&id).cloned().unwrap_or_default();
        // openraft names the leader by the vote alone, and one that starts again by its own. Who led and was removed hears of no later one, and
        // would lead in its own eyes for ever.
        let is_leader = metrics.state.is_leader() && metrics.membership_config.membership().voter_ids().any(|id| id == self.id);
        let leader = metrics.current_leader.filter(|id| is_leader || *id != self.id);
        Leadership {
            leader: leader.map(|id| (id, member(id))),
            is_leader,
            term: metrics.current_term,
            unconfirmed: metrics.last_quorum_acked.filter(|_| is_leader).map(|at| at.elapsed()),
        }
    }

    /// Who leads, only while the leader shows that it does. `silent`: for how long no leader wrote to this node (`None`: none ever did); who is
    /// silent for `silence_max` leads nobody any more.
    #[must_use]
    pub fn leads(&self, silent: Option<Duration>, silence_max: Duration) -> Option<u64> {
        let leadership = self.leadership();
        let (leader, _) = leadership.leader?;
        let silent = match leadership.is_leader {
            // The only voter has nobody to confirm it, and needs none.
            true if self.members().voters.len() <= 1 => Duration::ZERO,
            // Who starts again goes on by the vote on its disk, before anybody confirmed it.
            true => leadership.unconfirmed?,
            false => silent?,
        };
        (silent < silence_max).then_some(leader)
    }

    /// Asks a majority whether this node leads, and waits until it has applied an entry of its own term and everything that was committed when
    /// it was asked.
    ///
    /// # Errors
    /// It does not lead, nobody confirms that it does, or it takes no part any more.
    pub async fn confirm(&self) -> anyhow::Result<()> {
        self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await?;
        Ok(())
    }

    /// Waits until leadership, as this node knows it, is as `wanted`.
    ///
    /// # Errors
    /// When this node takes no part any more.
    pub async fn leadership_is(&self, mut wanted: impl FnMut(&Leadership) -> bool) -> anyhow::Result<Leadership> {
        let mut metrics = self.raft.metrics();
        loop {
            let leadership = self.leadership();
            if wanted(&leadership) {
                return Ok(leadership);
            }
            metrics.changed().await?;
        }
    }

    /// Lets a node follow the log without a vote, and waits until it has caught up. The leader only.
    ///
    /// # Errors
    /// When this node does not lead, or a change of membership is under way.
    pub async fn add_learner(&self, id: u64, member: Member) -> anyhow::Result<()> {
        self.raft.add_learner(id, member, true).await?;
        Ok(())
    }

    /// Makes these the voters, through a joint membership. Who was a voter and is no more leaves the cluster. The leader only.
    ///
    /// # Errors
    /// When this node does not lead, a change of membership is under way, or one of `ids` is no learner.
    pub async fn change_voters(&self, ids: impl IntoIterator<Item = u64>) -> anyhow::Result<()> {
        let ids: BTreeSet<u64> = ids.into_iter().collect();
        self.raft.change_membership(ids, false).await?;
        Ok(())
    }

    /// Hands leadership to this voter. It happens soon, or not at all when that one is behind. To the leader itself: nothing happens, because
    /// openraft would fall silent for an election that nobody wins.
    ///
    /// # Errors
    /// When this node takes no part any more.
    pub async fn transfer_leader(&self, to: u64) -> anyhow::Result<()> {
        if to == self.id {
            return Ok(());
        }
        Ok(self.raft.trigger().transfer_leader(to).await?)
    }

    /// Takes no part any more; what is under way ends first.
    ///
    /// # Errors
    /// When openraft's task panicked.
    pub async fn shutdown(&self) -> anyhow::Result<()> {
        Ok(self.raft.shutdown().await?)
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Undelivered> {
    serde_json::from_slice(body).map_err(|error| Undelivered::Refused(format!("the body cannot be read: {error}")))
}

fn answered<T: Serialize, E: fmt::Display>(answer: Result<T, E>) -> Result<Vec<u8>, Undelivered> {
    let answer = answer.map_err(|error| Undelivered::Refused(error.to_string()))?;
    serde_json::to_vec(&answer).map_err(|error| Undelivered::Refused(error.to_string()))
}

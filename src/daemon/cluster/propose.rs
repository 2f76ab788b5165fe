//! A command's way to the leader, wherever it is.
//!
//! Every command has a request id, so that one which may or may not have been committed can be said again without a second effect.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    cluster::{Actor, Change, Entry, Outcome, Role},
    model::{ids::Label, units::Share},
};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use super::{Cluster, Shared};
use crate::{
    latest::Latest,
    mesh::{Address, CallError, Proposed},
    raft::{ProposeError, Reply},
};

/// How long a command is tried, in patiences: longer than an election between regions takes. With the shortest patience that is less than a call of
/// the API may take.
const TRIES: u32 = 8;
/// For one attempt: two round trips and a sync to disk, with room for a slow disk.
const ATTEMPT: u32 = 4;
/// How long the answer to a command waits for this node to have applied it.
const CATCH_UP: u32 = 2;
/// Between attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a command was not committed, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(in crate::daemon) enum Unproposed {
    /// It was never taken: nobody led, or nobody who does could be reached.
    #[error(
        "no leader took it in time ({0}); without a majority of voters nothing can be agreed; `--local` acts on the nodes that can be reached"
    )]
    NoLeader(String),
    /// It may have been committed, or may still be.
    #[error("it may have been committed, or may still be ({0}); say it again with the same request id")]
    Unknown(String),
    /// It cannot be committed.
    #[error("{0}")]
    Refused(String),
}

/// A command that went through the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct Committed {
    /// Its index in the log.
    pub(in crate::daemon) index: u64,
    /// What the replicated machine says.
    pub(in crate::daemon) outcome: Outcome,
    /// The request was known, and this is its recorded outcome.
    pub(in crate::daemon) repeated: bool,
}

impl Cluster {
    /// Commits a command. It returns when a majority has it on disk and the leader has applied it.
    ///
    /// # Errors
    /// [`Unproposed`].
    pub(in crate::daemon) async fn propose(&self, entry: Entry) -> Result<Committed, Unproposed> {
        self.shared.propose(entry).await
    }

    /// Commits what this node proposes by itself.
    ///
    /// # Errors
    /// [`Unproposed`]; a rejection by the replicated machine is one that was refused.
    pub(in crate::daemon) async fn propose_system(&self, change: Change, moves: Option<Share>, reason: &str) -> Result<(), Unproposed> {
        self.shared.propose_as_system(change, moves, reason).await
    }
}

impl Shared {
    /// Commits a command of the cluster itself.
    pub(super) async fn propose_own(self: &Arc<Self>, change: Change, reason: &str) -> Result<(), Unproposed> {
        self.propose_as_system(change, None, reason).await
    }

    /// A command of the cluster itself.
    pub(super) fn own_entry(&self, change: Change, moves: Option<Share>, reason: &str) -> Entry {
        Entry {
            at: self.clock.now().wall,
            by: Actor { name: format!("node {}", self.me.node), role: Role::System },
            request_id: None,
            reason: reason.to_owned(),
            moves,
            overrules: Vec::new(),
            change,
        }
    }

    async fn propose_as_system(self: &Arc<Self>, change: Change, moves: Option<Share>, reason: &str) -> Result<(), Unproposed> {
        match self.propose(self.own_entry(change, moves, reason)).await?.outcome {
            Outcome::Accepted { .. } => Ok(()),
            Outcome::Rejected(refusal) => Err(Unproposed::Refused(refusal.to_string())),
        }
    }

    pub(super) async fn propose(self: &Arc<Self>, mut entry: Entry) -> Result<Committed, Unproposed> {
        // What the cluster does by itself it does again when it was lost, and a name that nobody asks for fills the memory of requests.
        if entry.by.role != Role::System {
            entry.request_id.get_or_insert_with(|| format!("{:016x}{:016x}", self.clock.entropy(), self.clock.entropy()));
        }
        let octets = entry.encode().map_err(|refusal| Unproposed::Refused(refusal.to_string()))?;
        let may_repeat = entry.request_id.is_some();
        let until = Instant::now() + self.patience().times(TRIES);
        let mut in_doubt = false;
        loop {
            // Who asked hears within this time what became of it, and does not hang up first.
            let left = until.saturating_duration_since(Instant::now());
            let last = match self.attempt(&octets, self.patience().times(ATTEMPT).min(left)).await {
                Attempt::Done(Reply::Applied { index, outcome, repeated }) => {
                    self.catch_up(index).await;
                    return Ok(Committed { index, outcome, repeated });
                }
                Attempt::Done(Reply::Blank) => return Err(Unproposed::Unknown("the leader's answer says nothing".to_owned())),
                Attempt::Refused(why) => return Err(Unproposed::Refused(why)),
                Attempt::NotTaken(why) => why,
                Attempt::Doubtful(why) => {
                    in_doubt = true;
                    why
                }
            };
            if Instant::now() >= until || in_doubt && !may_repeat {
                return Err(if in_doubt { Unproposed::Unknown(last) } else { Unproposed::NoLeader(last) });
            }
            sleep(PAUSE).await;
        }
    }

    /// Who gave a command here finds it here, if this node is not far behind.
    async fn catch_up(&self, index: u64) {
        let mut truth = self.truth.subscribe();
        // Late, or stopping: it is committed all the same.
        let _ = timeout(self.patience().times(CATCH_UP), truth.wait_for(|truth| truth.next > index)).await;
    }

    async fn attempt(&self, octets: &[u8], limit: Duration) -> Attempt {
        if let Some(why) = self.left_behind.get() {
            return Attempt::Refused(why.clone());
        }
        let leadership = self.consensus().leadership();
        if leadership.is_leader || self.mesh.is_none() {
            return match timeout(limit, self.consensus().propose_octets(octets.to_vec())).await {
                Ok(Ok(reply)) => Attempt::Done(reply),
                Ok(Err(error @ (ProposeError::NotLeader(_) | ProposeError::Stopped(_)))) => Attempt::NotTaken(error.to_string()),
                Ok(Err(error @ ProposeError::Unknown)) => Attempt::Doubtful(error.to_string()),
                Ok(Err(error)) => Attempt::Refused(error.to_string()),
                Err(_) => Attempt::Doubtful(format!("no majority confirmed it within {limit:?}")),
            };
        }
        let (Some(mesh), Some(leader)) = (&self.mesh, self.leader()) else { return Attempt::NotTaken("nobody leads".to_owned()) };
        match mesh.propose(&leader, octets.to_vec(), limit).await {
            Ok(Proposed::Done(reply)) => match serde_json::from_slice(&reply) {
                Ok(reply) => Attempt::Done(reply),
                Err(error) => Attempt::Doubtful(format!("the answer of {} cannot be read: {error}", leader.node)),
            },
            Ok(Proposed::NotLeader(_)) => Attempt::NotTaken(format!("{} does not lead any more", leader.node)),
            Ok(Proposed::Refused(why)) => Attempt::Refused(why),
            Ok(Proposed::Unknown) => Attempt::Doubtful(format!("{} found no majority in time", leader.node)),
            Err(CallError::Refused(why) | CallError::LeftBehind(why)) => Attempt::NotTaken(format!("{} refuses: {why}", leader.node)),
            Err(CallError::Unreachable(why)) => Attempt::Doubtful(format!("{}: {why}", leader.node)),
        }
    }

    /// Where the leader is, as this node knows.
    pub(super) fn leader(&self) -> Option<Address> {
        let address = |node: &str, address: &str| Address { node: Label::new(node), address: address.to_owned() };
        if self.is_member() {
            return self.consensus().leadership().leader.map(|(_, member)| address(&member.name, &member.address));
        }
        let truth = self.truth.latest();
        let known = truth.state.node(portolan_core::cluster::NodeId(truth.leader?))?;
        Some(address(known.node.name.as_str(), &known.node.address))
    }
}

enum Attempt {
    Done(Reply),
    /// It was not committed, and will not be by this attempt.
    NotTaken(String),
    /// Nobody knows.
    Doubtful(String),
    /// It cannot be.
    Refused(String),
}

//! What the API asks of the cluster, and the plain values that it gets back.
//!
//! The daemon implements [`ClusterSource`] over consensus and mesh; [`Alone`] is the answer of a node that has neither. No protobuf in here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use portolan_core::{
    cluster::{Actor, Change, Entry, NodeId, Outcome, Overrule, PutPlan, Refusal, State},
    failover::order::Status,
    health::overlay::Override,
    model::{ids::Label, time::Timestamp, units::Share},
    recovery::{backups, class_exposure::ClassExposure, exposure::Bracket, incident::Measured, outlook::Outlook},
};

use crate::api::event_log::EventLog;

/// The cluster as the API sees it.
///
/// Calls that only read answer from memory and return soon. Calls that change something may go to the leader, and end within eight seconds,
/// before the API gives up: an outcome that is not known by then is [`ClusterError::Unknown`]. Nothing here blocks a thread of the runtime.
#[tonic::async_trait]
pub trait ClusterSource: Send + Sync + 'static {
    /// What this node holds of the agreed state, and how far behind it may be. From memory; cheap.
    fn standing(&self) -> Result<Standing, ClusterError>;

    /// Everybody: the membership of the log, and the registry's other nodes. In any order, each id once.
    async fn members(&self) -> Result<Vec<Member>, ClusterError>;

    /// Orders that are held without a majority, ended ones included. Empty on a node on its own.
    fn local_overrides(&self) -> Vec<Override>;

    /// Commits a change, or says what would become of it.
    ///
    /// The implementation stamps the time and the moved share ([`Draft::entry`]), and
    /// - with `validate_only` answers what [`State::preview`] says at the leader's state, or at this node's when there is no leader;
    /// - with [`Reach::Local`] judges it by [`State::preview`] of this node, then keeps and spreads it among the reachable nodes (a
    ///   [`Change::PutOverride`] or [`Change::RemoveOverride`]; kinds and life were checked before);
    /// - else hands it to the leader, and returns when a majority has it on disk and it was applied there.
    ///
    /// A refusal by the replicated machine is no error but [`Outcome::Rejected`]. A draft with a request id may be sent again after any error.
    ///
    /// # Errors
    /// [`ClusterError`]; after [`ClusterError::Unknown`] it may have been committed.
    async fn propose(&self, draft: Draft) -> Result<Committed, ClusterError>;

    /// Changes who leads or votes, or says whether it could (`asked.validate_only`). Returns when it is done.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Membership`] when it is refused as things stand.
    async fn change_membership(&self, order: MembershipOrder, asked: Asked) -> Result<MembershipDone, ClusterError>;

    /// Reads and checks a plan as applying it would. A plan with errors is an answer.
    ///
    /// # Errors
    /// [`ClusterError::NoCluster`] on a node on its own, whose plan is a file.
    async fn read_plan(&self, plan: PlanText) -> Result<PlanReading, ClusterError>;

    /// What agents of databases told this node last, by group and region, and how long ago. From memory; a node without agents has none.
    fn agents(&self) -> Agents {
        Agents::new()
    }

    /// How a group stands now, as this node knows: one that hears no agents knows little. `None`: there is no such group.
    async fn outlook(&self, _group: &Label) -> Option<Outlook> {
        None
    }

    /// The program of the plan that hears how operations on a group end; `None`: it names none.
    fn teller(&self, _group: &Label) -> Option<String> {
        None
    }

    /// How backups stand, class by class in the plan's order, as this node sees them. From memory; a node that does not look has none.
    async fn backups(&self) -> Vec<(backups::Standing, Vec<ClassExposure>)> {
        Vec::new()
    }

    /// What is measured of a group; what this node does not know is unknown.
    async fn figures(&self, group: &Label) -> Figures {
        let outlook = self.outlook(group).await;
        outlook.map_or_else(Figures::default, |outlook| Figures { exposure: outlook.estimate, measured: outlook.measured })
    }

    /// Which vantage regions got into the database of a member, and how long ago last: each is asked to look now, and what its probes showed before
    /// counts, too. Whoever cannot tell is not in there. Ends within three seconds; a node that probes nothing knows nothing.
    async fn reached(&self, _group: &Label, _member: &Label) -> BTreeMap<Label, Duration> {
        BTreeMap::new()
    }

    /// Returns when this node has applied something after the entry `known`, which is at once when it has already. `known` as in
    /// [`Standing::applied`].
    async fn advanced(&self, known: Option<u64>);

    /// What happened lately on this node.
    ///
    /// # Errors
    /// [`ClusterError::NoCluster`] on a node that keeps none.
    fn events(&self) -> Result<Arc<EventLog>, ClusterError>;
}

/// What agents told last, and how long ago, by group and region.
pub type Agents = BTreeMap<(Label, Label), (Duration, Status)>;

/// What is measured of a group, and what follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// What would be lost if the primary were given up now, by whoever would be chosen.
    pub exposure: Bracket,
    /// The parts of a recovery that the plan does not say.
    pub measured: Measured,
}

impl Default for Figures {
    fn default() -> Self {
        Self { exposure: Bracket::UNKNOWN, measured: Measured::default() }
    }
}

/// The agreed state as this node has it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The node that answers.
    pub node: String,
    /// Its region.
    pub region: String,
    /// The state.
    pub state: Arc<State>,
    /// The last entry in it; `None`: nothing was ever applied.
    pub applied: Option<u64>,
    /// The leader that it knows of, by name; `None`: none.
    pub leader: Option<String>,
    /// The term of that leader, or the last one known.
    pub term: u64,
    /// How long ago it last heard from the leader; zero on the leader itself.
    pub age: Duration,
    /// Voters that it reaches, itself included; `None`: it cannot tell.
    pub voters_reachable: Option<u32>,
    /// Its wall clock, by which ends are judged.
    pub now: Timestamp,
}

/// A change that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Who.
    pub by: Actor,
    /// As [`Entry::request_id`].
    pub request_id: Option<String>,
    /// As [`Entry::reason`].
    pub reason: String,
    /// As [`Entry::overrules`].
    pub overrules: Vec<Overrule>,
    /// What.
    pub change: Change,
    /// For whom.
    pub reach: Reach,
    /// Judge it only.
    pub validate_only: bool,
}

/// For whom a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everybody, by a majority.
    Cluster,
    /// The nodes that can be reached, without one.
    Local,
}

impl Draft {
    /// The entry to propose: stamped with the proposer's wall clock and the share of clients that it works out.
    #[must_use]
    pub fn entry(&self, at: Timestamp, moves: Option<Share>) -> Entry {
        Entry {
            at,
            by: self.by.clone(),
            request_id: self.request_id.clone(),
            reason: self.reason.clone(),
            moves,
            overrules: self.overrules.clone(),
            change: self.change.clone(),
        }
    }
}

/// What became of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Index in the log; `None`: nothing was written.
    pub index: Option<u64>,
    /// The time that it was stamped with.
    pub at: Timestamp,
    /// What the replicated machine said.
    pub outcome: Outcome,
    /// The request was known, and this is its recorded outcome.
    pub repeated: bool,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its Raft id.
    pub id: NodeId,
    /// As in its config.
    pub name: String,
    /// Where it stands.
    pub region: String,
    /// Where its peer listener is.
    pub address: String,
    /// What it is to the membership of the log.
    pub role: MemberRole,
    /// Whether it leads, as this node knows.
    pub is_leader: bool,
    /// Whether this node reaches it; `None`: it does not try.
    pub reachable: Option<bool>,
    /// How long ago this node heard from it; `None`: never.
    pub last_contact: Option<Duration>,
    /// How far its wall clock is ahead of this node's, in milliseconds; `None`: not known.
    pub clock_ahead_ms: Option<i64>,
    /// The last index that it has; `None`: not known here.
    pub matched: Option<u64>,
}

/// What a node is to the membership of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberRole {
    /// Votes, probes, serves.
    Voter,
    /// Votes and probes.
    Witness,
    /// Learns the log, to become a voter.
    Learner,
    /// Follows.
    Observer,
}

/// A change of who leads or votes. Ids were looked up by the caller, and are of [`ClusterSource::members`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipOrder {
    /// Hands leadership to this voter; `None`: to whoever has caught up.
    Transfer(Option<NodeId>),
    /// Makes a node a voter: learner first, then a joint change.
    Add(NodeId),
    /// Takes a node out of the membership.
    Remove(NodeId),
    /// One node in the place of another, in one joint change.
    Replace {
        /// Who leaves.
        old: NodeId,
        /// Who comes.
        new: NodeId,
    },
    /// The node that is asked makes the cluster, at once.
    Bootstrap,
    /// Goes on without these nodes, for ever. `expected_generation` is the present one, and was compared before.
    ForceQuorum {
        /// Every voter of the lost side.
        lost: BTreeSet<NodeId>,
        /// The present recovery generation.
        expected_generation: u64,
    },
}

/// Who wants a change of membership, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who.
    pub by: Actor,
    /// Why; never empty.
    pub reason: String,
    /// Judge it only.
    pub validate_only: bool,
}

/// A change of membership that was made, or could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipDone {
    /// Who leads now, by name; `None`: nobody yet.
    pub leader: Option<String>,
    /// Voters afterwards, by name.
    pub voters: Vec<String>,
    /// The recovery generation afterwards.
    pub generation: u64,
}

/// A plan as written, with its zone files by the name that it calls them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanText {
    /// The document.
    pub text: String,
    /// Zone files.
    pub zones: BTreeMap<String, String>,
}

/// A plan that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanReading {
    /// Ready to be put in force (`expected_revision` is not set yet); `None`: it has errors.
    pub plan: Option<PutPlan>,
    /// Errors and warnings, in the order of the document.
    pub problems: Vec<PlanProblem>,
}

/// Something wrong or doubtful in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanProblem {
    /// Whether the plan is refused for it.
    pub is_error: bool,
    /// `plan`, or the name of the zone file.
    pub file: String,
    /// From 1; 0: the whole document.
    pub line: u32,
    /// The key; may be empty.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right; may be empty.
    pub fix: String,
}

/// Why the cluster did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The node has no part in any cluster.
    #[error("this node runs on its own: it has no agreed state, and its plan is its file")]
    NoCluster,
    /// There is no leader, or it cannot be reached. Nothing was committed.
    #[error("nothing can be committed now: {0}")]
    NoQuorum(String),
    /// It may have been committed, or may still be.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
    /// The node applies nothing more, or its version is too old for it.
    #[error("{0}")]
    Halted(String),
    /// The entry cannot be proposed at all.
    #[error("{0}")]
    Refused(Refusal),
    /// The membership cannot be changed so, as things stand; the text says why and what to do.
    #[error("{0}")]
    Membership(String),
    /// Too much is under way.
    #[error("{0}")]
    Busy(String),
}

/// A node without consensus: every question about the cluster is refused with that reason.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

#[tonic::async_trait]
impl ClusterSource for Alone {
    fn standing(&self) -> Result<Standing, ClusterError> {
        Err(ClusterError::NoCluster)
    }

    async fn members(&self) -> Result<Vec<Member>, ClusterError> {
        Err(ClusterError::NoCluster)
    }

    fn local_overrides(&self) -> Vec<Override> {
        Vec::new()
    }

    async fn propose(&self, _: Draft) -> Result<Committed, ClusterError> {
        Err(ClusterError::NoCluster)
    }

    async fn change_membership(&self, _: MembershipOrder, _: Asked) -> Result<MembershipDone, ClusterError> {
        Err(ClusterError::NoCluster)
    }

    async fn read_plan(&self, _: PlanText) -> Result<PlanReading, ClusterError> {
        Err(ClusterError::NoCluster)
    }

    async fn advanced(&self, _: Option<u64>) {
        // Nothing is ever applied here.
        std::future::pending().await
    }

    fn events(&self) -> Result<Arc<EventLog>, ClusterError> {
        Err(ClusterError::NoCluster)
    }
}

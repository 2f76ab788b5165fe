//! Typed errors on the wire: a stable reason, a sentence, and the next step (`google.rpc.ErrorInfo`, AIP-193).

use std::{fmt, time::Duration};

use portolan_core::{
    cluster::{self, Role, Rule},
    failover::plan_id::PlanId,
    model::time::Timestamp,
    node::report::{PastError, ReportError},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    auth::{Caller, methods::Method},
    event_log::OutOfRange,
    source::{BeatError, cluster::ClusterError},
};

/// The domain of our reasons.
pub const DOMAIN: &str = "portolan";

/// Why a call was refused, in one stable word for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A field cannot be read.
    BadField,
    /// Nothing has that name.
    UnknownObject,
    /// The plan has no such heartbeat check.
    UnknownHeartbeat,
    /// There is no table yet.
    NotReady,
    /// The daemon has too much to do; later is better.
    Busy,
    /// The daemon is going down.
    Stopping,
    /// As many streams as are allowed are open.
    TooManyWatchers,
    /// A token is not good, or there should be one.
    Unproved,
    /// The caller's role is not enough.
    RoleMissing,
    /// Too many calls of one caller.
    RateLimited,
    /// Something else has the name already.
    NameTaken,
    /// No plan is in force.
    NoPlan,
    /// The plan has errors.
    PlanInvalid,
    /// The node runs on its own.
    NoCluster,
    /// Nothing can be committed now.
    NoQuorum,
    /// It may have been committed.
    UnknownOutcome,
    /// The node applies nothing more.
    Halted,
    /// The membership cannot be changed so, as things stand.
    Membership,
    /// No node has that name or id, or several have.
    UnknownNode,
    /// The token names no place that is kept here.
    TokenOutOfRange,
    /// Links of the audit chain are no longer kept.
    AuditGap,
    /// The node keeps no history.
    NoHistory,
    /// The history holds nothing of that time, or it has not come yet.
    HistoryRange,
    /// The history of that time cannot be read.
    HistoryUnreadable,
    /// One simulation is under way.
    BusySimulating,
    /// A name that is not this machine's leads to a listener that is for this machine.
    ForeignHost,
    /// The plan has no such data group, or no such operation is open.
    UnknownGroup,
    /// Nobody is the primary of the group yet.
    NotAdopted,
    /// No agent says what the database is.
    NotSeen,
    /// The group has another token than was expected.
    TokenMismatch,
    /// No such operation is open or remembered.
    UnknownOperation,
    /// No such drill is under way or remembered.
    UnknownDrill,
    /// The group would not be failed over now, so that a primary is not moved for a drill.
    GroupNotReady,
    /// The plan has nothing that tells people of the group, so that there is nothing to drill.
    NothingTells,
    /// What would be done is not what the plan id pins.
    PlanChanged,
    /// The database that a person answers for takes writes, by its own agent's word.
    StillWrites,
    /// A vantage region got into the database that a person answers for, not longer ago than a lease lasts.
    StillAccepts,
    /// Nobody can take over a group whose primary is to be moved away.
    GroupsNotReady,
    /// The primary is where the plan expects it.
    AtHome,
    /// The member that shall take over does not follow, lacks too much, or is away.
    NotProtected,
    /// The directory of a member may be started, as far as is known, so that it is not replaced.
    NotCondemned,
    /// A defect.
    Internal,
}

impl Reason {
    /// The word on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadField => "BAD_FIELD",
            Self::UnknownObject => "UNKNOWN_OBJECT",
            Self::UnknownHeartbeat => "UNKNOWN_HEARTBEAT",
            Self::NotReady => "NOT_READY",
            Self::Busy => "BUSY",
            Self::Stopping => "STOPPING",
            Self::TooManyWatchers => "TOO_MANY_WATCHERS",
            Self::Unproved => "UNPROVED",
            Self::RoleMissing => "ROLE_MISSING",
            Self::RateLimited => "RATE_LIMITED",
            Self::NameTaken => "NAME_TAKEN",
            Self::NoPlan => "NO_PLAN",
            Self::PlanInvalid => "PLAN_INVALID",
            Self::NoCluster => "NO_CLUSTER",
            Self::NoQuorum => "NO_QUORUM",
            Self::UnknownOutcome => "UNKNOWN_OUTCOME",
            Self::Halted => "HALTED",
            Self::Membership => "MEMBERSHIP",
            Self::UnknownNode => "UNKNOWN_NODE",
            Self::TokenOutOfRange => "TOKEN_OUT_OF_RANGE",
            Self::AuditGap => "AUDIT_GAP",
            Self::NoHistory => "NO_HISTORY",
            Self::HistoryRange => "HISTORY_OUT_OF_RANGE",
            Self::HistoryUnreadable => "HISTORY_UNREADABLE",
            Self::BusySimulating => "BUSY_SIMULATING",
            Self::ForeignHost => "FOREIGN_HOST",
            Self::UnknownGroup => "UNKNOWN_GROUP",
            Self::NotAdopted => "NOT_ADOPTED",
            Self::NotSeen => "NOT_SEEN",
            Self::TokenMismatch => "TOKEN_MISMATCH",
            Self::UnknownOperation => "UNKNOWN_OPERATION",
            Self::UnknownDrill => "UNKNOWN_DRILL",
            Self::GroupNotReady => "GROUP_NOT_READY",
            Self::NothingTells => "NOTHING_TELLS",
            Self::PlanChanged => "PLAN_CHANGED",
            Self::StillWrites => "STILL_WRITES",
            Self::StillAccepts => "STILL_ACCEPTS",
            Self::GroupsNotReady => "GROUPS_NOT_READY",
            Self::AtHome => "AT_HOME",
            Self::NotProtected => "NOT_PROTECTED",
            Self::NotCondemned => "NOT_CONDEMNED",
            Self::Internal => "INTERNAL",
        }
    }

    const fn code(self) -> Code {
        match self {
            Self::BadField | Self::PlanInvalid => Code::InvalidArgument,
            Self::UnknownObject | Self::UnknownHeartbeat | Self::NoPlan | Self::UnknownNode => Code::NotFound,
            Self::UnknownGroup | Self::UnknownOperation | Self::UnknownDrill => Code::NotFound,
            Self::NotReady | Self::Busy | Self::Stopping | Self::NoQuorum => Code::Unavailable,
            Self::TooManyWatchers | Self::RateLimited | Self::BusySimulating => Code::ResourceExhausted,
            Self::Unproved => Code::Unauthenticated,
            Self::RoleMissing | Self::ForeignHost => Code::PermissionDenied,
            Self::NameTaken => Code::AlreadyExists,
            Self::GroupNotReady | Self::NoCluster | Self::Halted | Self::Membership | Self::NoHistory => Code::FailedPrecondition,
            Self::NotAdopted | Self::NotSeen | Self::TokenMismatch | Self::PlanChanged | Self::StillWrites => Code::FailedPrecondition,
            Self::GroupsNotReady | Self::AtHome | Self::NotProtected | Self::NotCondemned | Self::NothingTells => Code::FailedPrecondition,
            Self::StillAccepts => Code::FailedPrecondition,
            // Not UNAVAILABLE, which clients repeat by themselves: without a request id that could act twice.
            Self::UnknownOutcome => Code::DeadlineExceeded,
            Self::TokenOutOfRange | Self::AuditGap | Self::HistoryRange => Code::OutOfRange,
            Self::HistoryUnreadable => Code::DataLoss,
            Self::Internal => Code::Internal,
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::BadField => "correct the field and call again",
            Self::UnknownObject => "`portolan status -o wide` lists regions, services and endpoints",
            Self::UnknownHeartbeat => "use the name of a check of type heartbeat in the plan in force",
            Self::NotReady => "ask again in a few seconds; /readyz says when",
            Self::Busy => "call again",
            Self::Stopping => "connect again, or to another node",
            Self::TooManyWatchers => "close a watcher, or poll GetStatus",
            Self::Unproved => "show a good token (`authorization: Bearer …`), or a client certificate by the cluster's authority",
            Self::RoleMissing => {
                "ask somebody with that role, or have `auth.roles` in the node config give it; `portolan whoami` says what you are"
            }
            Self::RateLimited => "wait as long as the details say, then go on more slowly",
            Self::NameTaken => "choose another name, take the other one back first, or set `replace`",
            Self::NoPlan => "put one in force: portolan plan apply",
            Self::PlanInvalid => "correct what the problems name; `portolan plan validate` shows them with their lines",
            Self::NoCluster => "name `peers` in the node config to form a cluster, or edit the plan file of this node",
            Self::NoQuorum => "see `portolan peers list`; drain and weight work without a majority by --local, and DNS answers go on",
            Self::UnknownOutcome => "send it again with the same request id: it has its effect once",
            Self::Halted => "install the version that the other nodes run; DNS answers go on",
            Self::Membership => "see `portolan peers list`, and try again when what it names is over",
            Self::UnknownNode => "see `portolan peers list` for names and ids",
            Self::TokenOutOfRange => "read the whole picture (GetStatus), then go on from the token `newest` of the details",
            Self::AuditGap => "begin at `oldest` of the details, and export more often",
            Self::NoHistory => "set `data_dir` in the node config, or ask a node that has one",
            Self::HistoryRange => "ask for a moment that it holds, or ask another node",
            Self::HistoryUnreadable => "ask for another time, or ask another node; the node's log says more",
            Self::BusySimulating => "wait for the one under way",
            Self::ForeignHost => "call 127.0.0.1, [::1] or localhost; set `tls` in the node config to be called by names",
            Self::UnknownGroup => "`portolan recovery status` lists groups and their operations",
            Self::NotAdopted => "start its agents, or say who it is: portolan adopt GROUP --primary REGION",
            Self::NotSeen => "start the agent of that member; `portolan recovery status` shows what agents see",
            Self::TokenMismatch => "look again, portolan recovery status, and decide anew",
            Self::UnknownOperation => "`portolan recovery status` names the open ones; the last sixteen of each group are remembered",
            Self::UnknownDrill => "`portolan drill list` names them; the last sixteen of each group are remembered",
            Self::NothingTells => "name a program that tells people: `hooks: { after: NAME }` at the group in the plan",
            Self::GroupNotReady => "mend what is in the way first: portolan recovery readiness",
            Self::PlanChanged => "look again with --dry-run, which prints the plan id of what would be done now",
            Self::StillWrites => "stop it where it stands; its agent then says so, and confirms the fence by itself",
            Self::StillAccepts => {
                "stop its database or its host, or cut it off, and say it again when nobody got in for as long as a lease lasts; a failover can begin \
                 meanwhile without --assert-fenced"
            }
            Self::GroupsNotReady => "mend what the message names, or leave those groups where they are with `skip`",
            Self::AtHome => "nothing is to be done; `portolan switchover` moves it elsewhere",
            Self::NotProtected => "wait until it follows: portolan recovery status; or move it elsewhere: portolan switchover",
            Self::NotCondemned => "look at what its agent says: portolan recovery status",
            Self::Internal => "report it with the node's log",
        }
    }

    /// The error with its details; `subject` is the field or name at fault, `candidates` names near it.
    #[must_use]
    pub fn status(self, message: impl fmt::Display, subject: &str, candidates: &[String]) -> Status {
        let (message, subject) = (cut(&message.to_string(), MESSAGE_CHARS_MAX), &*cut(subject, SUBJECT_CHARS_MAX));
        self.status_with(&message, [("subject", subject.to_owned()), ("candidates", candidates.join(","))], |details| {
            if self == Self::BadField {
                details.add_bad_request_violation(subject, &message);
            }
        })
    }

    /// The error with further metadata and details.
    fn status_with<const N: usize>(
        self,
        message: impl fmt::Display,
        metadata: [(&str, String); N],
        add: impl FnOnce(&mut ErrorDetails),
    ) -> Status {
        let remedy = ("remedy".to_owned(), self.remedy().to_owned());
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).chain([remedy]);
        let mut details = ErrorDetails::with_error_info(self.word(), DOMAIN, metadata.collect::<Metadata>());
        if self.code() == Code::FailedPrecondition {
            details.add_precondition_failure_violation(self.word(), "", message.to_string());
        }
        add(&mut details);
        Status::with_error_details(self.code(), message.to_string(), details)
    }
}

/// Errors travel in headers, which are small, and may repeat what a stranger sent. Most are a sentence; that of a plan names five problems.
const MESSAGE_CHARS_MAX: usize = 1500;
/// The longest name of a field or an object that an error repeats.
const SUBJECT_CHARS_MAX: usize = 200;

/// The text, with its end cut off when it is longer.
fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The form in which the library takes metadata; its order has no meaning.
#[expect(clippy::disallowed_types, reason = "the library asks for it, and nothing is decided by its order")]
type Metadata = std::collections::HashMap<String, String>;

/// How soon something that waits for a leader may be tried again: about one election.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A field that cannot be read.
#[must_use]
pub fn bad_field(field: &str, problem: impl fmt::Display) -> Status {
    Reason::BadField.status(format!("{field}: {problem}"), field, &[])
}

/// A report that cannot be given.
#[must_use]
pub fn report(error: &ReportError) -> Status {
    match error {
        ReportError::Unknown { object, candidates } => Reason::UnknownObject.status(error, object, candidates),
        ReportError::NotReady => Reason::NotReady.status(error, "", &[]),
        ReportError::Past(error) => past(error),
    }
}

fn past(error: &PastError) -> Status {
    let oldest = |oldest: Option<Timestamp>| oldest.map_or_else(String::new, |at| at.to_string());
    match error {
        PastError::NotKept => Reason::NoHistory.status_with(error, [], |_| ()),
        PastError::Future { now, .. } => Reason::HistoryRange.status_with(error, [("now", now.to_string())], |_| ()),
        PastError::Before { oldest: at, .. } => Reason::HistoryRange.status_with(error, [("oldest", oldest(*at))], |_| ()),
        PastError::Unreadable { .. } => Reason::HistoryUnreadable.status_with(cut(&error.to_string(), MESSAGE_CHARS_MAX), [], |_| ()),
        PastError::Busy => Reason::Busy.status_with(error, [], |_| ()),
    }
}

/// A heartbeat that was not taken.
#[must_use]
pub fn beat(error: &BeatError) -> Status {
    match error {
        BeatError::Unknown { name, candidates } => Reason::UnknownHeartbeat.status(error, name, candidates),
        BeatError::Busy => Reason::Busy.status(error, "", &[]),
    }
}

/// A "no" of the replicated machine, or of a guardrail: its rule is the reason.
#[must_use]
pub fn rule(refusal: &cluster::Refusal) -> Status {
    let cluster::Refusal { rule, text, remedy } = refusal;
    let code = match rule {
        Rule::Invalid | Rule::ReasonRequired | Rule::End => Code::InvalidArgument,
        Rule::UnknownName | Rule::NoOperation | Rule::NoDrill => Code::NotFound,
        Rule::AlreadyFounded | Rule::RequestReused | Rule::NodeNameTaken | Rule::AlreadyAdopted | Rule::OperationOpen | Rule::DrillOpen => {
            Code::AlreadyExists
        }
        Rule::Full | Rule::RequestsFull => Code::ResourceExhausted,
        Rule::RevisionMismatch | Rule::Generation | Rule::ExpectedEpoch | Rule::ChoiceDiffers => Code::Aborted,
        Rule::NotFounded
        | Rule::FeatureLevel
        | Rule::PlanRevision
        | Rule::MinHealthyRegions
        | Rule::MaxShareMoved
        | Rule::Frozen
        | Rule::RegionInUse
        | Rule::NodeLost
        | Rule::NotAdopted
        | Rule::WrongPhase
        | Rule::NeverSkipped
        | Rule::PointOfNoReturn
        | Rule::NotAutomatic
        | Rule::CoolDown
        | Rule::StormBrake
        | Rule::OnHold
        | Rule::Evidence
        | Rule::FenceUnproven
        | Rule::RpoGate
        | Rule::GroupInUse => Code::FailedPrecondition,
    };
    let mut metadata = Metadata::from([("remedy".to_owned(), remedy.clone())]);
    if rule.can_be_overruled() {
        metadata.insert("override".to_owned(), rule.word().to_ascii_lowercase());
    }
    let mut details = ErrorDetails::with_error_info(rule.word(), DOMAIN, metadata);
    if code == Code::FailedPrecondition {
        details.add_precondition_failure_violation(rule.word(), "", text);
    }
    Status::with_error_details(code, text, details)
}

/// What the cluster did not do.
#[must_use]
pub fn cluster(error: &ClusterError) -> Status {
    let reason = match error {
        ClusterError::Refused(refusal) => return rule(refusal),
        ClusterError::NoCluster => Reason::NoCluster,
        ClusterError::NoQuorum(_) => {
            return Reason::NoQuorum.status_with(error, [], |details| {
                details.set_retry_info(Some(RETRY_AFTER));
            });
        }
        ClusterError::Unknown(_) => Reason::UnknownOutcome,
        ClusterError::Halted(_) => Reason::Halted,
        ClusterError::Membership(_) => Reason::Membership,
        ClusterError::Busy(_) => Reason::Busy,
    };
    reason.status_with(error, [], |_| ())
}

/// A proof of identity is not good, or missing.
#[must_use]
pub fn unproved(problem: &str) -> Status {
    Reason::Unproved.status_with(format!("the caller is not proved: {problem}"), [], |_| ())
}

/// The role is not enough.
#[must_use]
pub fn role_missing(caller: &Caller, method: &Method) -> Status {
    if caller.role.is_none() && caller.proof == super::auth::Proof::Nothing {
        return unproved(&caller.because);
    }
    let needed = method.least.map_or("none", Role::word);
    let end = method.name.rsplit('/').next().unwrap_or(method.name);
    let message = format!("{caller} may not call {end}: it needs the role {needed}; {}", caller.because);
    let metadata = [
        ("identity", caller.name.clone()),
        ("role", caller.role.map_or("none", Role::word).to_owned()),
        ("needed", needed.to_owned()),
        ("subject", method.name.to_owned()),
    ];
    Reason::RoleMissing.status_with(message, metadata, |_| ())
}

/// Too many calls.
#[must_use]
pub fn rate_limited(who: &str, wait: Duration) -> Status {
    let message = format!("{who} calls too often; the next call is taken in {wait:?}");
    Reason::RateLimited.status_with(message, [("subject", who.to_owned())], |details| {
        details.set_retry_info(Some(wait));
    })
}

/// A token that names no place here.
#[must_use]
pub fn out_of_range(error: &OutOfRange) -> Status {
    let metadata = [("oldest", error.oldest.to_string()), ("newest", error.newest.to_string())];
    Reason::TokenOutOfRange.status_with(&error.problem, metadata, |_| ())
}

/// Links after `after` are gone; the oldest place that is kept is after `oldest`.
#[must_use]
pub fn audit_gap(after: u64, oldest: u64) -> Status {
    let message = format!("links after entry {after} are no longer kept; the kept ones begin after entry {oldest}");
    Reason::AuditGap.status_with(message, [("oldest", oldest.to_string())], |_| ())
}

/// A listener without TLS was called by a name that is not this machine's.
pub(super) fn foreign_host(host: &str) -> Status {
    let host = cut(host, SUBJECT_CHARS_MAX);
    let message = format!(
        "a listener without TLS is called by localhost or a loopback address, and this call is for `{host}`: a foreign web page may be behind it"
    );
    Reason::ForeignHost.status_with(message, [("subject", host)], |_| ())
}

/// A request without a connection, which only a defect can make.
pub(super) fn no_peer() -> Status {
    Reason::Internal.status_with("the call has no connection that it came by", [], |_| ())
}

/// What would be done is not what the caller saw: `changes`, in people's words.
#[must_use]
pub fn plan_changed(then: PlanId, now: PlanId, changes: &[&str]) -> Status {
    let message = format!("what would be done now is not plan {then}: {} changed; it would be plan {now}", changes.join(", "));
    Reason::PlanChanged.status(message, &changes.join(","), &[])
}

/// The node is going down.
#[must_use]
pub fn stopping() -> Status {
    Reason::Stopping.status("the daemon is stopping; DNS answers of other nodes continue", "", &[])
}

/// A refusal as the client reads it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// The stable word; empty when the server gave none.
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// The next step; empty when the server gave none.
    pub remedy: String,
    /// What may be overruled, as `--override` takes it; empty: nothing.
    pub overrule: String,
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        let (reason, mut metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        let mut take = |key| metadata.remove(key).unwrap_or_default();
        let (remedy, overrule) = (take("remedy"), take("override"));
        Self { code: status.code(), reason, message: status.message().to_owned(), remedy, overrule }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.message.is_empty() { self.code.description() } else { &self.message };
        f.write_str(message)?;
        if !self.reason.is_empty() {
            write!(f, " [{}]", self.reason)?;
        }
        Ok(())
    }
}

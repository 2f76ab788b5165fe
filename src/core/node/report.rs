//! What a node tells of itself: plain values for the API, the CLI and the dashboard. Made by the node, worded here, drawn at the edge.

use std::time::Duration;

use serde::Serialize;

use crate::{
    answer::Answer,
    model::{
        reason::Reason,
        time::{Timestamp, rfc3339},
        units::{Share, Ttl, Weight},
        verdict::Health,
    },
};

/// The whole picture, worst first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Name of the plan.
    pub plan: String,
    /// Revision of the plan in force.
    pub revision: u64,
    /// First twelve hexadecimal digits of the plan's digest.
    pub digest: String,
    /// Name of the node that answers.
    pub node: String,
    /// Its region.
    pub region: String,
    /// Who decides about health: `single` on a node without peers.
    pub vantage: String,
    /// When this was true.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub at: Timestamp,
    /// Number of the table that answers come from; grows with each change.
    pub generation: u64,
    /// In one word.
    pub state: State,
    /// In a sentence or two: what is wrong, since when, what follows from it. Empty when all is well.
    pub headline: Vec<String>,
    /// In the plan's order.
    pub regions: Vec<RegionStatus>,
    /// In the plan's order.
    pub services: Vec<ServiceStatus>,
    /// What an operator should know besides: overrides in force, a refused plan, a stale table, switches that are off.
    pub notices: Vec<Notice>,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Everything that was judged is up, nothing is overridden.
    Ok,
    /// Not everything has been judged yet.
    Starting,
    /// Something is down or overridden; every name still has a usable endpoint.
    Degraded,
    /// At least one name has no usable endpoint, for all clients or for those of one strict fence. A service without endpoints in the plan
    /// fails on its own line only: nothing happened to it.
    Failing,
}

impl State {
    /// The word on screens.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Starting => "STARTING",
            Self::Degraded => "DEGRADED",
            Self::Failing => "FAILING",
        }
    }
}

/// One region over all services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegionStatus {
    /// Its name.
    pub name: String,
    /// Down when no endpoint in it is up; unknown when none has been judged.
    pub observed: Health,
    /// Since when.
    #[serde(serialize_with = "rfc3339::option::serialize")]
    pub since: Option<Timestamp>,
    /// Overrides in force here, worded; empty: none.
    pub intended: Vec<String>,
    /// Endpoints that are up.
    pub endpoints_up: u32,
    /// All endpoints.
    pub endpoints_total: u32,
    /// Failed probes of its endpoints in the last five minutes.
    pub failures: u32,
    /// Weight in the plan's routing, where all services agree; else `None`.
    pub weight: Option<Weight>,
    /// Priority, likewise.
    pub priority: Option<u16>,
    /// Share of the clients of a model population that the table sends here, averaged over services.
    pub share_wanted: Share,
    /// Share of the answers of the last minute that pointed here; `None`: no answers.
    pub share_served: Option<Share>,
    /// The commonest failure of its endpoints that are down.
    pub cause: Option<String>,
    /// The cluster that runs there, as the plan labels it; `None`: it does not.
    pub cluster: Option<String>,
    /// What fails as one, likewise.
    pub failure_domain: Option<String>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Its host names.
    pub hostnames: Vec<String>,
    /// The steering preset.
    pub steering: String,
    /// How it stands.
    pub state: State,
    /// What `all_down` answers now, to all clients or to those of one strict fence; `None` while a usable endpoint remains.
    pub all_down: Option<String>,
    /// The longest time to live that answers carry now.
    pub ttl: Ttl,
    /// The latest moment until which a well-behaved resolver may hold an answer that points to an unusable region; `None`: none is out.
    #[serde(serialize_with = "rfc3339::option::serialize")]
    pub drained_by: Option<Timestamp>,
    /// Its endpoints, region by region.
    pub endpoints: Vec<EndpointStatus>,
}

/// One endpoint in three columns: observed, intended, served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// `api/us-east-1/198.51.100.10:80`.
    pub name: String,
    /// Its region.
    pub region: String,
    /// What probes say.
    pub observed: Health,
    /// Since when.
    #[serde(serialize_with = "rfc3339::option::serialize")]
    pub since: Option<Timestamp>,
    /// The override in force, worded.
    pub intended: Option<String>,
    /// Whether clients can get it now.
    pub served: bool,
    /// Why not, or in what part.
    pub note: Option<String>,
    /// The last probes, the newest last: `o` passed, `x` failed.
    pub ticks: String,
    /// The latest failure.
    pub failure: Option<String>,
    /// How long the last probe took in all.
    pub latency: Option<Duration>,
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// How bad it is.
    pub severity: Severity,
    /// Stable word, for scripts: `plan_rejected`, `table_stale`, `override`.
    pub kind: String,
    /// One sentence with the next step.
    pub text: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Will hurt later.
    Warning,
    /// Hurts now.
    Critical,
}

impl Severity {
    /// The word of it, for labels of metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The answer to `why OBJECT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// What was asked about, in full: `region us-east-1`, `service api`, `endpoint …`.
    pub object: String,
    /// When this was true.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub at: Timestamp,
    /// The reasons.
    pub reason: Reason,
    /// What happened to it lately, the newest last.
    pub history: Vec<Happening>,
    /// `Some`: this is told from the history, as of `at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
}

/// What was asked of the history, beside the answer as of the newest moment that it holds at or before then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// The node whose history it is.
    pub node: String,
    /// The time that was asked for.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub asked: Timestamp,
    /// What may be other than it was: holes in the history, another geo database.
    pub notes: Vec<String>,
}

/// A change that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// When.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub at: Timestamp,
    /// What, in one line.
    pub text: String,
}

/// A DNS answer with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The very answer that a client would get.
    pub answer: Answer,
    /// Why; its leaf is that answer.
    pub reason: Reason,
    /// Number of the table that it came from.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
}

/// Why a report cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Nothing has that name.
    #[error("nothing is named `{object}`{}; `portolan status` lists regions, services and endpoints", near(.candidates))]
    Unknown {
        /// What was asked for.
        object: String,
        /// Names that are near it.
        candidates: Vec<String>,
    },
    /// There is no table to answer from yet.
    #[error("no table yet: the first round of probes is still running; ask again in a few seconds")]
    NotReady,
    /// The past cannot be told.
    #[error(transparent)]
    Past(#[from] PastError),
}

/// Why the history does not say how things stood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PastError {
    /// There is none.
    #[error("this node keeps no history, because it has no `data_dir`")]
    NotKept,
    /// Later than now.
    #[error("{at} has not come yet; by this node's clock it is {now}")]
    Future {
        /// What was asked for.
        at: Timestamp,
        /// The node's clock.
        now: Timestamp,
    },
    /// Earlier than everything that is kept.
    #[error("the history of this node holds nothing of {at}: {}", .oldest.map_or_else(|| "nothing was noted yet".to_owned(), |oldest| format!("it begins at {oldest}")))]
    Before {
        /// What was asked for.
        at: Timestamp,
        /// The oldest moment that is kept; `None`: there is none.
        oldest: Option<Timestamp>,
    },
    /// What is kept cannot be read.
    #[error("the history of {at} cannot be read: {problem}")]
    Unreadable {
        /// What was asked for.
        at: Timestamp,
        /// What is wrong.
        problem: String,
    },
    /// As many looks into the history as are made at a time are under way.
    #[error("another look into the history is under way")]
    Busy,
}

fn near(candidates: &[String]) -> String {
    if candidates.is_empty() { String::new() } else { format!(" (did you mean {}?)", candidates.join(", ")) }
}

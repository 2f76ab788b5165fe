//! What the API asks of the node, and the plain values that it gets back.
//!
//! The daemon implements [`ControlSource`]; tests do so with canned values. No protobuf in here: a source never sees the wire.

use std::net::{IpAddr, Ipv4Addr};

pub mod cluster;

use portolan_core::{
    answer::{ClientSubnet, ExtendedError, Rcode},
    model::{
        name::Name,
        reason::Reason,
        record::{Record, RecordType},
        time::Timestamp,
        units::Ttl,
    },
    node::report::{Moment, Preview, ReportError, Status, Why},
    simulate,
};
use serde::Serialize;
use tokio::sync::watch;

/// The node as the API sees it. Calls answer from memory and return soon, but for those of the past; none of them waits for a peer.
#[tonic::async_trait]
pub trait ControlSource: Send + Sync + 'static {
    /// The picture now.
    async fn status(&self) -> Result<Status, ReportError>;

    /// The generation of the table in force. Watchers wake when it changes; a closed channel ends their streams.
    fn generation(&self) -> watch::Receiver<u64>;

    /// Why `object` is as it is: a region, service or endpoint by name, or by kind and name (`region us-east-1`). With `at`, why it was so
    /// then, from the node's history: that reads files, and takes seconds on the largest plans.
    async fn why(&self, object: &str, at: Option<Timestamp>) -> Result<Why, ReportError>;

    /// The answer that a client would get; counts nothing as served.
    async fn preview(&self, request: PreviewRequest) -> Result<PreviewReport, ReportError>;

    /// Takes in a pushed observation.
    async fn beat(&self, beat: Beat) -> Result<(), BeatError>;

    /// What would happen if regions of the plan in force failed. Seconds of one core on the largest plans; the API asks for one at a time.
    async fn simulate(&self, scenario: Simulation) -> Result<simulate::Outcome, ReportError>;

    /// The zones that are answered for.
    async fn zones(&self) -> Result<Vec<ZoneReport>, ReportError>;
}

/// Regions to fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// By name; one that the plan does not have is [`ReportError::Unknown`].
    pub fail: Vec<String>,
    /// Requests per second over all regions; `None`: not known.
    pub rps: Option<u64>,
}

/// A zone that is answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneReport {
    /// Its apex, without a final dot.
    pub name: String,
    /// Serial of its SOA record.
    pub serial: u32,
    /// Names in it that are steered.
    pub steered_names: u32,
    /// Records of its static content.
    pub static_records: u32,
}

/// A question to preview, already read and found sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewRequest {
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    pub record_type: RecordType,
    /// The resolver; `None`: not said.
    pub resolver: Option<IpAddr>,
    /// The network that the resolver asks for; `None`: it sends none.
    pub client: Option<ClientSubnet>,
    /// As of when; `None`: now.
    pub at: Option<Timestamp>,
}

impl PreviewRequest {
    /// Who is taken to ask: the resolver, else the client itself, else an address of no known place (0.0.0.0).
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.resolver.or_else(|| self.client.map(|client| client.address)).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// A preview with names in place of indices, so that it means the same to every reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewReport {
    /// The response code.
    pub rcode: Rcode,
    /// The AA bit.
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<RecordText>,
    /// The authority section.
    pub authority: Vec<RecordText>,
    /// The additional section without OPT.
    pub additional: Vec<RecordText>,
    /// The scope prefix for the client subnet of the question.
    pub scope: u8,
    /// Why the answer is not the usual one.
    pub extended_error: Option<ExtendedError>,
    /// The service that was steered; `None`: static content or a negative answer.
    pub service: Option<String>,
    /// The region that the addresses belong to; `None`: none, or several.
    pub region: Option<String>,
    /// Why; its leaf is this answer.
    pub reason: Reason,
    /// Number of the table that it came from.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// `Some`: this is told from the history, as of `at`.
    pub moment: Option<Moment>,
}

impl PreviewReport {
    /// Words a core preview; `service` and `region` are the names behind its indices.
    #[must_use]
    pub fn new(preview: &Preview, service: Option<String>, region: Option<String>) -> Self {
        let answer = &preview.answer;
        let texts = |records: &[Record]| records.iter().map(RecordText::from).collect();
        Self {
            rcode: answer.rcode,
            authoritative: answer.authoritative,
            answers: texts(&answer.answers),
            authority: texts(&answer.authority),
            additional: texts(&answer.additional),
            scope: answer.scope,
            extended_error: answer.extended_error.clone(),
            service,
            region,
            reason: preview.reason.clone(),
            generation: preview.generation,
            at: preview.at,
            moment: None,
        }
    }
}

/// A record as text: readable by clients that are older than its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordText {
    /// The name that it belongs to, with a final dot.
    pub name: String,
    /// How long it may be cached, in seconds.
    pub ttl: Ttl,
    /// `A`, `AAAA`, `TYPE65`.
    #[serde(rename = "type")]
    pub record_type: String,
    /// Its data as in a zone file.
    pub data: String,
}

impl From<&Record> for RecordText {
    fn from(record: &Record) -> Self {
        let name = if record.owner.is_root() { ".".to_owned() } else { format!("{}.", record.owner) };
        Self { name, ttl: record.ttl, record_type: record.data.record_type().to_string(), data: record.data.to_string() }
    }
}

/// As a line of a zone file.
impl std::fmt::Display for RecordText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} IN {} {}", self.name, self.ttl.secs(), self.record_type, self.data)
    }
}

/// A pushed observation of a check of type heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The check, as named in the plan.
    pub name: String,
    /// Whether all is well.
    pub ok: bool,
    /// One line of explanation, at most [`NOTE_CHARS_MAX`](super::heartbeat::NOTE_CHARS_MAX) characters; may be empty.
    pub note: String,
}

/// Why a heartbeat was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeatError {
    /// The plan in force has no such check.
    #[error("the plan has no heartbeat check named `{name}`{}", known(.candidates))]
    Unknown {
        /// What was sent.
        name: String,
        /// The heartbeat checks that the plan has.
        candidates: Vec<String>,
    },
    /// The daemon cannot take it now; sending it again is harmless.
    #[error("the heartbeat was not taken: the daemon is starting, stopping or has too many waiting; send it again")]
    Busy,
}

fn known(candidates: &[String]) -> String {
    if candidates.is_empty() { "; it has none at all".to_owned() } else { format!("; it has {}", candidates.join(", ")) }
}

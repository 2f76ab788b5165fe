//! Typed errors on the wire: a stable reason, a sentence, and the next step (`google.rpc.ErrorInfo`, AIP-193).

use std::fmt;

use portolan_core::node::report::ReportError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::source::BeatError;

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
        }
    }

    const fn code(self) -> Code {
        match self {
            Self::BadField => Code::InvalidArgument,
            Self::UnknownObject | Self::UnknownHeartbeat => Code::NotFound,
            Self::NotReady | Self::Busy | Self::Stopping => Code::Unavailable,
            Self::TooManyWatchers => Code::ResourceExhausted,
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
        }
    }

    /// The error with its details; `subject` is the field or name at fault, `candidates` names near it.
    #[must_use]
    pub fn status(self, message: impl fmt::Display, subject: &str, candidates: &[String]) -> Status {
        let metadata = [("remedy", self.remedy().to_owned()), ("subject", subject.to_owned()), ("candidates", candidates.join(","))];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
        let mut details = ErrorDetails::with_error_info(self.word(), DOMAIN, metadata);
        if self == Self::BadField {
            details.add_bad_request_violation(subject, message.to_string());
        }
        Status::with_error_details(self.code(), message.to_string(), details)
    }
}

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
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        let (reason, remedy) = match info {
            Some(mut info) => (info.reason, info.metadata.remove("remedy").unwrap_or_default()),
            None => (String::new(), String::new()),
        };
        Self { code: status.code(), reason, message: status.message().to_owned(), remedy }
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

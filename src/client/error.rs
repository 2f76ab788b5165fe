//! Why a call did not succeed, worded for the person who waits for it.

use std::{error::Error, fmt, io, time::Duration};

use tonic::Code;

use crate::api::{TlsError, convert::Unreadable, refusal::Refusal};

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No address answered. Never empty.
    #[error("{}", tried(.0))]
    Unreachable(Vec<Attempt>),
    /// The daemon answered no.
    #[error("{0}")]
    Refused(Refusal),
    /// What was asked for cannot be tried: a wrong address, plaintext to another machine, unusable TLS files.
    #[error("{0}")]
    Target(String),
    /// The answer is not understood.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
}

impl From<TlsError> for ClientError {
    fn from(error: TlsError) -> Self {
        Self::Target(format!("set up tls: {error}"))
    }
}

impl ClientError {
    /// Whether all addresses failed in a way that a starting daemon shows for a moment. A timeout has cost enough already.
    pub(super) fn is_worth_another_try(&self) -> bool {
        matches!(self, Self::Unreachable(attempts) if attempts.iter().all(|attempt| matches!(attempt.cause, Cause::Refused | Cause::Closed(_))))
    }
}

/// One address, and what happened there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// As tried; with the address behind a name where one was found.
    pub address: String,
    /// What happened.
    pub cause: Cause,
}

/// Why an address did not answer as Portolan does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The name does not resolve.
    Resolve(String),
    /// Nothing listens there.
    Refused,
    /// No answer within this time.
    Timeout(Duration),
    /// The handshake failed on either side.
    Tls(String),
    /// Something answers, but not this API.
    NotPortolan(String),
    /// The connection was closed or broke.
    Closed(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(problem) => write!(f, "name not resolved: {problem}"),
            Self::Refused => f.write_str("connection refused: nothing listens there; is `portolan serve` running?"),
            Self::Timeout(after) => write!(f, "no answer within {after:?}: the host is down, the path is cut, or a firewall drops it"),
            Self::Tls(problem) => write!(f, "TLS failed: {problem}"),
            Self::NotPortolan(problem) => write!(f, "something answers, but not the control API of Portolan: {problem}"),
            Self::Closed(problem) => write!(f, "connection lost: {problem}"),
        }
    }
}

impl Error for Cause {}

impl Cause {
    /// What a failed connection or handshake means.
    pub(super) fn of_io(error: &io::Error, tls: bool) -> Self {
        if let Some(problem) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::Tls(match problem {
                rustls::Error::InvalidMessage(_) => format!("{problem}; it seems to speak plaintext: try http:// on loopback, without tls"),
                rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForNameContext { .. }) => {
                    format!("{problem}; give an --address by a name that its certificate holds")
                }
                _ => problem.to_string(),
            });
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::UnexpectedEof if tls => Self::Tls("the other side closed during the handshake; does it speak TLS?".to_owned()),
            io::ErrorKind::TimedOut => Self::Timeout(super::connect::CONNECT_TIME_MAX),
            _ => Self::Closed(error.to_string()),
        }
    }

    /// What a socket that cannot be opened means.
    pub(super) fn of_socket(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Self::Closed("there is no such socket; is `listen.socket` set, and `portolan serve` running?".to_owned())
            }
            io::ErrorKind::PermissionDenied => Self::Closed("the socket is for root and the daemon's own user; use sudo".to_owned()),
            _ => Self::of_io(error, false),
        }
    }

    /// What a status means that the daemon did not word itself.
    pub(super) fn of_status(status: &tonic::Status) -> Self {
        let problem = innermost(status);
        match status.code() {
            Code::DeadlineExceeded => Self::Timeout(super::CALL_TIME_MAX),
            // Made by the framework on this side when the deadline that we set has passed.
            Code::Cancelled if status.message() == "Timeout expired" => Self::Timeout(super::CALL_TIME_MAX),
            // A client certificate is judged after the handshake of TLS 1.3 seems done: the alert comes with the first answer.
            _ if problem.contains("received fatal alert") => {
                Self::Tls(format!("{problem}; it wants a client certificate signed by the authority in its `tls.ca_file`"))
            }
            Code::Unimplemented | Code::NotFound => Self::NotPortolan("it speaks gRPC, but does not know `portolan.v1`".to_owned()),
            _ => Self::Closed(problem),
        }
    }
}

/// The innermost cause that a status carries: the outer ones only say that something was inside.
fn innermost(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

fn tried(attempts: &[Attempt]) -> String {
    let mut text = "the control path does not answer; tried:\n".to_owned();
    for Attempt { address, cause } in attempts {
        text.push_str(&format!("  {address}  {cause}\n"));
    }
    text.push_str("DNS answers continue from the last table; this is the control path only.");
    text
}

//! Question and answer as values, without a wire format: what every transport hands in and gets back.

use std::net::IpAddr;

use crate::model::{
    ids::{RegionIdx, ServiceIdx},
    name::Name,
    record::{Record, RecordType},
};

/// One question of class IN with all that its answer may depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    pub record_type: RecordType,
    /// Who asked: the resolver, as a rule.
    pub source: IpAddr,
    /// For whom the resolver asks (RFC 7871), if it says so.
    pub client_subnet: Option<ClientSubnet>,
    /// A fresh random number: choices of services with `spread: random` and the order of equal records depend on it, nothing else.
    pub entropy: u64,
}

/// A client network that a resolver sent along (RFC 7871 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSubnet {
    /// The network; bits past `source_prefix` are zero.
    pub address: IpAddr,
    /// How many bits of it the resolver gave. Zero: the client wants no tailored answer (section 7.1.2).
    pub source_prefix: u8,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response code.
    pub rcode: Rcode,
    /// The AA bit: `false` in referrals and refusals.
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section: SOA of a negative answer, NS of a referral.
    pub authority: Vec<Record>,
    /// The additional section without OPT: glue.
    pub additional: Vec<Record>,
    /// The scope prefix for the client subnet of the question (RFC 7871 section 7.2.1); without one in the question it is not sent.
    pub scope: u8,
    /// Why the answer is not the usual one (RFC 8914).
    pub extended_error: Option<ExtendedError>,
    /// The service and the region that the answer's addresses belong to, for counting; `None` for static content and negative answers.
    pub steered: Option<(ServiceIdx, Option<RegionIdx>)>,
}

/// Response codes that an authoritative answer can have (RFC 1035 section 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rcode {
    /// An answer, a referral, or "no such data".
    NoError,
    /// The resolver should ask another server.
    ServFail,
    /// No such name.
    NxDomain,
    /// Not a name of ours.
    Refused,
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// The INFO-CODE.
    pub code: u16,
    /// Text for people, short: it travels in every such answer.
    pub text: String,
}

impl ExtendedError {
    /// "Other Error".
    pub const OTHER: u16 = 0;
    /// "Stale Answer".
    pub const STALE_ANSWER: u16 = 3;
    /// "Forged Answer".
    pub const FORGED_ANSWER: u16 = 4;
    /// "Not Ready": the server is up, but has nothing to answer from yet.
    pub const NOT_READY: u16 = 14;
    /// "Prohibited".
    pub const PROHIBITED: u16 = 18;
    /// "Not Authoritative".
    pub const NOT_AUTHORITATIVE: u16 = 20;
    /// "Not Supported".
    pub const NOT_SUPPORTED: u16 = 21;
    /// "No Reachable Authority".
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
}

impl std::fmt::Display for Rcode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::NoError => "NOERROR",
            Self::ServFail => "SERVFAIL",
            Self::NxDomain => "NXDOMAIN",
            Self::Refused => "REFUSED",
        })
    }
}

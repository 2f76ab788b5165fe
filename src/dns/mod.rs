//! The DNS server: bytes in, bytes out, and the sockets around that.
//!
//! [`respond`](respond::respond) is one pure function from a packet to its answer. Everything that a packet can do wrong is decided there,
//! so that every transport behaves the same, and so that it can be fuzzed without a socket. What a name is answered with comes from an
//! [`AnswerSource`]; here it becomes a message that is never larger than its asker allows.
//!
//! ```text
//! udp ---.                    .--> request (the packet, taken apart; RFC 1035, 6891, 7871)
//! tcp ---+--> respond(bytes) -+--> AnswerSource::answer(&Query) -> Answer
//! hickory-server handler --'  '--> reply (records by hickory-proto, whole RRsets, TC; RFC 2181, 8914)
//! ```
//!
//! Why sockets of our own beside hickory-server: its UDP path starts an unbounded number of tasks and answers some malformed packets before
//! any handler sees them, and its TCP path has no bound on connections. [`Handler`] puts the same function behind hickory-server's trait for
//! the transports that it carries (TLS, HTTPS, QUIC).
//!
//! Invariant: a packet is answered correctly, or with an error, or not at all; nothing that arrives makes the server panic, and nothing of
//! ours logs or formats per query.
//!
//! Absent on purpose: zone transfers, NOTIFY, UPDATE (answered NOTIMP or REFUSED), TSIG, cookies, rate limiting.

mod chaos;
mod counters;
mod ecs;
pub mod fuzz;
mod handler;
mod outstanding;
mod reply;
mod request;
mod respond;
mod server;
mod tcp;
mod udp;
mod wire;

use std::time::Duration;

use portolan_core::answer::{Answer, Query};

pub use self::{
    counters::{Counters, Shard, Snapshot},
    ecs::{EcsError, Subnet},
    handler::Handler,
    outstanding::Outstanding,
    respond::{Transport, respond},
    server::{DnsError, DnsServer},
};

/// Where answers come from: the table in force, as a rule.
///
/// Called on the thread that serves the packet: it must neither block nor wait. It also notes what it answers in the [`Outstanding`] that
/// belongs to the table it answered from: after a reload another table has other positions.
pub trait AnswerSource: Send + Sync + 'static {
    /// The answer to one question of class IN.
    fn answer(&self, query: &Query) -> Answer;
}

/// How the server behaves that no plan says.
#[derive(Clone, Debug)]
pub struct DnsOptions {
    /// What a query for the name server identifier (RFC 5001) is told; `None`: nothing. More than [`NSID_LENGTH_MAX`] octets are cut off.
    pub nsid: Option<Vec<u8>>,
    /// The answer to `id.server` and `hostname.bind` in class CH (RFC 4892); `None`: REFUSED.
    pub chaos_id: Option<String>,
    /// The answer to `version.server` and `version.bind` in class CH; `None`: REFUSED.
    pub chaos_version: Option<String>,
    /// A TCP connection that sends no whole query for so long, or takes no answer, is closed (RFC 7766 section 6.2.3).
    pub tcp_idle: Duration,
    /// The most TCP connections at a time, over all addresses; further ones are closed at once. At least 1.
    pub tcp_connections_max: usize,
    /// Where the numbers for [`Query::entropy`] start. Take it from the system's randomness.
    pub seed: u64,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self { nsid: None, chaos_id: None, chaos_version: None, tcp_idle: Duration::from_secs(10), tcp_connections_max: 1024, seed: 0 }
    }
}

/// The longest name server identifier that is sent: with it, an extended error and a client subnet, the smallest message (512 octets) still
/// has room for the longest question.
pub const NSID_LENGTH_MAX: usize = 64;

//! What is probed, how often, and what counts as healthy.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ids::CheckIdx, name::Name, record::RecordType};

/// The most octets of an answer that a probe reads, headers included: enough for any health page, and an endless body costs no more.
pub const ANSWER_OCTETS_MAX: usize = 64 * 1024;

/// One thing to probe. Endpoints whose checks are equal share one, so that they are probed once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Check {
    /// Where; `None` for kinds that have no address of their own (heartbeat, calculated, Prometheus, none).
    pub address: Option<Address>,
    /// How, and how often. Shared: a plan has few of these and many addresses.
    pub probe: Arc<Probe>,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// An address, or a name that each probe resolves anew.
    pub host: Host,
    /// 1 to 65 535.
    pub port: u16,
}

/// An address, or a name for one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Host {
    /// Used as it is.
    Ip(IpAddr),
    /// Resolved by the system's resolver.
    Name(Name),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// How a check is made, and when it changes its mind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    /// The protocol and what it expects.
    pub kind: ProbeKind,
    /// Times and thresholds.
    pub cadence: Cadence,
}

/// The protocol of a probe and what it expects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Never probed, always up: for endpoints whose health someone else answers for.
    None,
    /// An HTTP/1.1 request; with `tls` HTTPS.
    Http {
        /// `Some`: over TLS.
        tls: Option<TlsCheck>,
        /// `Host` header and server name; `None` is the address as written.
        host: Option<String>,
        /// `GET` or `HEAD`.
        method: HttpMethod,
        /// With query, begins with `/`.
        path: String,
        /// Further request headers, in order.
        headers: Vec<(String, String)>,
        /// Which answers are healthy. Redirects are not followed: 302 is the status.
        expect: HttpExpect,
    },
    /// A TCP handshake.
    Tcp,
    /// A TLS handshake and the certificate's remaining life.
    Tls {
        /// Server name and trust.
        tls: TlsCheck,
        /// The certificate must be valid for at least this long. Zero: it must be valid now.
        valid_for: Duration,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// `Some`: over TLS.
        tls: Option<TlsCheck>,
        /// The service asked for; empty is the server as a whole.
        service: String,
    },
    /// A DNS query over UDP, retried over TCP when truncated.
    Dns {
        /// The name asked for.
        name: Name,
        /// The type asked for.
        record_type: RecordType,
        /// `Some`: one answer's data must be this text, as in a zone file. `None`: any answer without error.
        expect: Option<String>,
    },
    /// A PromQL query against a bound.
    Prometheus {
        /// Base URL of the server, for example `http://prometheus:9090`.
        url: String,
        /// The query; its result must be one number (a scalar or one sample).
        query: String,
        /// What is healthy.
        bound: Bound,
    },
    /// A PostgreSQL primary: it lets us in, takes writes, and the row that its agent writes every second is fresh.
    Postgres {
        /// The name of the connection string in `secrets_dir`; where it listens is the check's address.
        dsn: String,
    },
    /// A MariaDB primary, by the same.
    Mariadb {
        /// The name of the connection string in `secrets_dir`; where it listens is the check's address.
        dsn: String,
    },
    /// A Redis server that takes writes, and that its agent has written to lately.
    Redis {
        /// The name of the login in `secrets_dir`; `None`: no password is asked for.
        login: Option<String>,
    },
    /// A fake database that takes writes, and that its agent has written to lately.
    Fake,
    /// A database server that nobody here leads: it lets us in and answers, as what it is to be.
    Server {
        /// Whose protocol.
        engine: ServerEngine,
        /// The name in `secrets_dir` of the connection string, of Redis of the login; `None`: nobody is asked who they are.
        secret: Option<String>,
        /// `Some`: over TLS, where the connection string does not say it (Redis).
        tls: Option<TlsCheck>,
        /// What it is to be; `None`: either.
        role: Option<ServerRole>,
    },
    /// Somebody must say "alive" at least once per interval.
    Heartbeat {
        /// The name under which it is pushed.
        name: String,
    },
    /// At least `at_least` of other checks are up.
    Calculated {
        /// The other checks, in ascending order; never itself calculated from this one.
        of: Vec<CheckIdx>,
        /// 1 to the number of `of`.
        at_least: u16,
    },
}

impl ProbeKind {
    /// The word used in plans, metrics and logs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Http { tls: None, .. } => "http",
            Self::Http { tls: Some(_), .. } => "https",
            Self::Tcp => "tcp",
            Self::Tls { .. } => "tls",
            Self::Grpc { .. } => "grpc",
            Self::Dns { .. } => "dns",
            Self::Prometheus { .. } => "prometheus",
            Self::Postgres { .. } => "postgres",
            Self::Mariadb { .. } => "mariadb",
            Self::Redis { .. } => "redis",
            Self::Fake => "fake",
            Self::Server { engine, .. } => engine.word(),
            Self::Heartbeat { .. } => "heartbeat",
            Self::Calculated { .. } => "calculated",
        }
    }
}

/// The protocols of database servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerEngine {
    /// PostgreSQL: it is asked `select pg_is_in_recovery()`.
    Postgres,
    /// Redis: it is asked `PING`, and `ROLE` where that counts.
    Redis,
    /// MySQL or MariaDB: it is asked `select @@global.read_only`.
    Mysql,
}

impl ServerEngine {
    /// The word in plans and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Mysql => "mysql",
        }
    }
}

/// What a database server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerRole {
    /// It takes writes.
    Primary,
    /// It takes none.
    Replica,
}

impl ServerRole {
    /// The word in plans.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// Trust and name of a TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsCheck {
    /// Server name to ask for and to verify; `None`: the `Host` header's name, else the address.
    pub server_name: Option<String>,
    /// `false`: any certificate will do (chain and name are not checked; expiry still is where it is asked for).
    pub verify: bool,
    /// Authorities to trust instead of the system's, as a PEM file.
    pub ca_file: Option<String>,
}

/// Request methods that a probe may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpMethod {
    /// Reads the body as far as the expectation needs it.
    #[default]
    Get,
    /// No body.
    Head,
}

/// Which HTTP answers are healthy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpExpect {
    /// Inclusive ranges of status codes, 100 to 599.
    pub status: Vec<(u16, u16)>,
    /// `Some`: the body must match too.
    pub body: Option<BodyMatch>,
}

/// What a body must hold, within [`ANSWER_OCTETS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BodyMatch {
    /// These octets anywhere.
    Contains(String),
    /// A JSON document whose value at a pointer (RFC 6901) equals a value, compared as JSON text.
    Json {
        /// The pointer, `/status/db`.
        pointer: String,
        /// The JSON text that the value there must have.
        equals: String,
    },
}

/// A bound on a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bound {
    /// Less than.
    Below(Decimal),
    /// Greater than.
    Above(Decimal),
}

/// A number in millionths, so that it has an order and an exact equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(pub i64);

impl Decimal {
    /// As a floating-point number.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "bounds of a plan are far below 2^53 millionths")]
    pub fn value(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

/// Times and thresholds of a check, in HAProxy's terms (`inter`, `fastinter`, `downinter`, `rise`, `fall`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cadence {
    /// Between probes while nothing changes.
    pub interval: Duration,
    /// Between probes while a state is about to change.
    pub fast_interval: Duration,
    /// Between probes while down.
    pub down_interval: Duration,
    /// The whole probe may last this long, whatever the endpoint does.
    pub timeout: Duration,
    /// Failures in a row before the endpoint leaves answers, 1 or more.
    pub fall: u16,
    /// Successes in a row before it comes back, 1 or more.
    pub rise: u16,
    /// Successes in a row that clear the failure window, 1 or more.
    pub ok_run: u16,
    /// Flap damping.
    pub flap: Flap,
}

impl Cadence {
    /// The longest that a judgement of "down" takes: what ended at one moment is judged within this time.
    #[must_use]
    pub fn judged_over(&self) -> Duration {
        self.interval + (self.fast_interval + self.timeout) * u32::from(self.fall)
    }
}

/// Flap damping: each drop inside `window` doubles the successes that a return needs, up to `rise_max`. Going down is never delayed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flap {
    /// How long a drop is remembered. Zero: no damping.
    pub window: Duration,
    /// The most successes in a row that are ever asked for.
    pub rise_max: u16,
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Healthy or not, and how it failed.
    pub outcome: Outcome,
    /// How long each phase took.
    pub timings: Timings,
}

/// Healthy or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed(Failure),
}

/// How a probe failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Bounded set, for metrics and rules.
    pub category: FailureCategory,
    /// For people: what was seen, at most [`Failure::DETAIL_MAX`] characters, printable.
    pub detail: String,
}

impl Failure {
    /// The longest detail kept: an endpoint's answer may be quoted in it.
    pub const DETAIL_MAX: usize = 200;

    /// Cuts the detail to its bound and replaces what is not printable.
    #[must_use]
    pub fn new(category: FailureCategory, detail: &str) -> Self {
        let printable = detail.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self { category, detail: printable.take(Self::DETAIL_MAX).collect() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.category, self.detail)
    }
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCategory {
    /// The name did not resolve.
    Resolve,
    /// The connection was refused or reset before it stood.
    Connect,
    /// The connection did not stand within `timeout`.
    ConnectTimeout,
    /// The TLS handshake failed, or the certificate is not trusted or not valid.
    Tls,
    /// Connected, but no answer within `timeout`.
    Timeout,
    /// Connected, but closed or reset without a whole answer.
    Closed,
    /// An answer began, but did not end within `timeout`.
    Slow,
    /// The answer is not of the protocol, or larger than a probe reads.
    Protocol,
    /// A status other than the expected.
    Status,
    /// The body is not the expected one.
    Body,
    /// The certificate ends too soon.
    Expiry,
    /// A figure is outside its bound.
    Bound,
    /// No heartbeat in time.
    Silent,
    /// Too few of the checks that it is calculated from are up.
    Calculated,
    /// This node could not try, for want of descriptors, ports or memory. It says nothing of the endpoint, and does not count.
    Local,
}

impl FailureCategory {
    /// Whether whoever was probed accepted the connection, and was not merely something in front of it that closed again: it answers, wrongly or
    /// late, or hangs and may go on.
    #[must_use]
    pub const fn accepted(self) -> bool {
        matches!(self, Self::Status | Self::Body | Self::Bound | Self::Slow | Self::Timeout)
    }

    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Resolve,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Timeout,
        Self::Closed,
        Self::Slow,
        Self::Protocol,
        Self::Status,
        Self::Body,
        Self::Expiry,
        Self::Bound,
        Self::Silent,
        Self::Calculated,
        Self::Local,
    ];

    /// The one with this [`word`](Self::word).
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.word() == word)
    }

    /// Whether the endpoint could not be reached at all (connect, TLS, no answer), in contrast to a wrong or slow answer.
    #[must_use]
    pub const fn is_unreachable(self) -> bool {
        matches!(self, Self::Resolve | Self::Connect | Self::ConnectTimeout | Self::Tls | Self::Timeout | Self::Closed | Self::Silent)
    }

    /// The word used in metrics, logs and `why`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Slow => "slow",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Body => "body",
            Self::Expiry => "expiry",
            Self::Bound => "bound",
            Self::Silent => "silent",
            Self::Calculated => "calculated",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for FailureCategory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How long the phases of a probe took. `None`: not reached, or not part of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until the TCP connection stood.
    pub connect: Option<Duration>,
    /// From there until the TLS handshake was done.
    pub tls: Option<Duration>,
    /// From the request until the first octet of the answer.
    pub first_byte: Option<Duration>,
    /// The whole probe.
    pub total: Duration,
}

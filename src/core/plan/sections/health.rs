//! Health checks: every key may be left out, because they are laid over one another.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    document::{Decode, HostPort, NodeId, PlainName, Reader, Scalar, Schemas, Secret, Table, Text, Url, Word, hours, millis, seconds},
    model::{
        check::{Bound, Decimal},
        ids::Label,
        name::Name,
        record::RecordType,
    },
    section, words,
};

words! {
    /// The protocols of health checks.
    pub enum CheckType("a type of health check") {
        /// Never probed, always up.
        None = "none",
        /// An HTTP/1.1 request.
        Http = "http",
        /// The same over TLS.
        Https = "https",
        /// A TCP handshake.
        Tcp = "tcp",
        /// A TLS handshake and the certificate's remaining life.
        Tls = "tls",
        /// `grpc.health.v1.Health/Check`.
        Grpc = "grpc",
        /// A DNS query.
        Dns = "dns",
        /// A PostgreSQL server.
        Postgres = "postgres",
        /// A Redis server.
        Redis = "redis",
        /// A MySQL or MariaDB server.
        Mysql = "mysql",
        /// A PromQL query against a bound.
        Prometheus = "prometheus",
        /// Somebody must say "alive" once per interval.
        Heartbeat = "heartbeat",
        /// Enough of other checks are up.
        Calculated = "calculated",
    }
}

words! {
    /// Request methods of a probe.
    pub enum Method("a request method for probes") {
        /// Reads the body as far as the expectation needs it.
        Get = "GET",
        /// No body.
        Head = "HEAD",
    }
}

words! {
    /// What a database server is.
    pub enum DatabaseRole("a role of a database server") {
        /// It takes writes.
        Primary = "primary",
        /// It takes none.
        Replica = "replica",
    }
}

section! {
    /// How an endpoint is probed. Laid over one another, the nearer one wins: `health_check_defaults`, `traffic_routing`, the service, the service's `traffic_routing`, the endpoint.
    #[derive(Default, Eq, PartialOrd, Ord)]
    pub struct HealthChecks {
        /// The protocol; http where nothing is said.
        ["type"] kind: Option<CheckType> = None,
        /// A check of the section `checks` instead of one of its own; no other key stands beside it.
        ["use"] uses: Option<Label> = None,
        /// Between probes while nothing changes; 30s where nothing is said.
        interval: Option<Duration> where (millis(100)..=hours(1)) = None,
        /// The whole probe may last this long; at most the interval; 5s where nothing is said.
        timeout: Option<Duration> where (millis(10)..=hours(1)) = None,
        /// Between probes while a state is about to change; at most the interval; 2s where nothing is said.
        fast_interval: Option<Duration> where (millis(100)..=hours(1)) = None,
        /// Between probes while down; at most the interval; 10s where nothing is said.
        down_interval: Option<Duration> where (millis(100)..=hours(1)) = None,
        /// Failures in a row before the endpoint leaves answers; 3 where nothing is said.
        fall: Option<u16> where (1..=1000) = None,
        /// Successes in a row before it comes back; 2 where nothing is said.
        rise: Option<u16> where (1..=1000) = None,
        /// Successes in a row that clear the failure window; 10 where nothing is said.
        ok_run: Option<u16> where (1..=10_000) = None,
        /// Flap damping.
        flap: Option<Flap> = None,
        /// Host and port to probe, where it is not the endpoint itself; in `checks`, what is probed.
        address: Option<HostPort> = None,
        /// Port to probe, where it is not the endpoint's.
        port: Option<u16> where (1..=65_535) = None,
        /// http, https: what is asked for, with query; /health where nothing is said.
        path: Option<UrlPath> = None,
        /// http, https: GET or HEAD.
        method: Option<Method> = None,
        /// http, https: the Host header and, over TLS, the server name; the address where nothing is said.
        host: Option<PlainName> = None,
        /// http, https: further request headers.
        headers: Option<Table<HeaderName, HeaderValue>> = None,
        /// http, https: which answers are healthy. dns: the data that one answer must have, as in a zone file.
        expect: Option<Expect> = None,
        /// https, tls, grpc, redis: the name asked for and verified.
        server_name: Option<PlainName> = None,
        /// https, tls, grpc, redis: false accepts any certificate; expiry still counts where it is asked for.
        verify: Option<bool> = None,
        /// https, tls, grpc, redis: authorities to trust instead of the system's: the name of a PEM file in secrets_dir.
        ca: Option<Secret> = None,
        /// tls: the certificate must be valid for at least this long.
        valid_for: Option<Duration> = None,
        /// grpc, redis: over TLS. A connection string says it itself.
        tls: Option<bool> = None,
        /// grpc: the service asked for; empty is the server as a whole.
        service: Option<Text> = None,
        /// postgres, mysql: the name in secrets_dir of the connection string, whose host and port give way to the endpoint's. redis: of the login, one line with the password, or two: user, password.
        dsn: Option<Secret> = None,
        /// postgres, redis, mysql: what the server must be; either where nothing is said.
        role: Option<DatabaseRole> = None,
        /// dns: the name asked for. heartbeat: the name under which it is pushed.
        name: Option<Name> = None,
        /// dns: the type asked for; A where nothing is said.
        record_type: Option<RecordType> = None,
        /// prometheus: base URL of the server, or the name of a source of the section `signals`.
        source: Option<Source> = None,
        /// prometheus: the query; its result must be one number.
        query: Option<Text> = None,
        /// prometheus: healthy while the number is less.
        below: Option<Number> = None,
        /// prometheus: healthy while the number is greater.
        above: Option<Number> = None,
        /// calculated: the named checks that it is calculated from.
        of: Option<Vec<Label>> = None,
        /// calculated: all, any, or how many must be up; all where nothing is said.
        require: Option<Require> = None,
    }
}

section! {
    /// Flap damping: each drop inside the window doubles the successes that a return needs.
    #[derive(Eq, PartialOrd, Ord)]
    pub struct Flap {
        /// How long a drop is remembered; 0s switches damping off.
        window: Duration where (seconds(0)..=hours(24)) = crate::document::minutes(10),
        /// The most successes in a row that are ever asked for.
        rise_max: u16 where (1..=10_000) = 20,
    }
}

/// Path and query of a request: begins with `/`, printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UrlPath(pub String);

impl Word for UrlPath {
    const WHAT: &'static str = "a path";
    const EXAMPLES: &'static str = "for example /health";
    const PATTERN: &'static str = "^/[!-~]*$";

    fn read(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("does not begin with `/`".to_owned());
        }
        if text.len() > 2048 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("is not a path of printable ASCII, at most 2048 octets".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A header's name (RFC 9110 section 5.1: a token).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderName(pub String);

impl Word for HeaderName {
    const WHAT: &'static str = "a header name";
    const EXAMPLES: &'static str = "for example X-Probe";
    const PATTERN: &'static str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

    fn read(text: &str) -> Result<Self, String> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(is_token) {
            return Err("is not a header name".to_owned());
        }
        let lower = text.to_ascii_lowercase();
        if ["host", "connection", "content-length", "transfer-encoding", "upgrade"].contains(&lower.as_str()) {
            return Err("is set by the probe itself".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A header's value (RFC 9110 section 5.5, visible ASCII).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderValue(pub String);

impl Word for HeaderValue {
    const WHAT: &'static str = "a header value";
    const EXAMPLES: &'static str = "of printable ASCII";

    fn read(text: &str) -> Result<Self, String> {
        if text.len() > 2048 || !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') || text.trim() != text {
            return Err("is not a header value of printable ASCII".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Where PromQL is answered: a URL, or the name of a source of the section `signals`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A base URL.
    Url(Url),
    /// A name in `signals.sources`.
    Named(Label),
}

impl Word for Source {
    const WHAT: &'static str = "a URL, or the name of a signal source";
    const EXAMPLES: &'static str = "for example http://prometheus:9090";

    fn read(text: &str) -> Result<Self, String> {
        if text.contains("://") { Url::read(text).map(Self::Url) } else { Label::read(text).map(Self::Named) }
    }

    fn show(&self) -> String {
        match self {
            Self::Url(url) => url.show(),
            Self::Named(name) => name.show(),
        }
    }
}

/// Which answers are healthy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expect {
    /// Of an HTTP probe.
    Http(ExpectHttp),
    /// Of a DNS probe: the data of one answer.
    Data(Text),
}

impl Decode for Expect {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        match reader.document().kind(node) {
            crate::document::Kind::Plain | crate::document::Kind::Quoted => Text::decode(reader, node).map(Self::Data),
            _ => ExpectHttp::decode(reader, node).map(Self::Http),
        }
    }

    fn schema(schemas: &mut Schemas) -> Value {
        json!({ "anyOf": [ExpectHttp::schema(schemas), { "type": "string" }] })
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Http(expect) => expect.to_json(),
            Self::Data(text) => text.to_json(),
        }
    }
}

section! {
    /// Which HTTP answers are healthy. Redirects are not followed: 302 is the status.
    #[derive(Eq, PartialOrd, Ord)]
    pub struct ExpectHttp {
        /// Status codes: 200, "200-299", "200-299, 404"; 200-299 where nothing is said.
        status: StatusSet = StatusSet(vec![(200, 299)]),
        /// What the first 64 KiB of the answer must hold.
        body: Option<ExpectBody> = None,
    }
}

section! {
    /// What a body must hold: `contains`, or `json` with `equals`.
    #[derive(Eq, PartialOrd, Ord)]
    pub struct ExpectBody {
        /// This text anywhere.
        contains: Option<Text> = None,
        /// A JSON pointer (RFC 6901).
        json: Option<Text> = None,
        /// The value that must stand there.
        equals: Option<Scalar> = None,
    }
}

/// Ranges of status codes, both ends included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusSet(pub Vec<(u16, u16)>);

impl Decode for StatusSet {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        const FIX: &str = "write status codes from 100 to 599: 200, \"200-299\" or \"200-299, 404\"";
        let text = reader.scalar(node, "a status or a range of them")?;
        let code = |text: &str| (text.len() == 3).then(|| text.parse::<u16>().ok()).flatten().filter(|code| (100..=599).contains(code));
        let range = |part: &str| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (code(low.trim())?, code(high.trim())?);
            (low <= high).then_some((low, high))
        };
        let ranges: Option<Vec<_>> = text.split(',').map(|part| range(part.trim())).collect();
        if ranges.is_none() {
            reader.error(node, format!("{} is not a set of status codes", crate::document::quote(text)), FIX);
        }
        ranges.map(Self)
    }

    fn schema(_: &mut Schemas) -> Value {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^ *[1-5][0-9]{2} *(- *[1-5][0-9]{2} *)?(, *[1-5][0-9]{2} *(- *[1-5][0-9]{2} *)?)*$" }
        ] })
    }

    fn to_json(&self) -> Value {
        let show = |&(low, high): &(u16, u16)| if low == high { low.to_string() } else { format!("{low}-{high}") };
        Value::from(self.0.iter().map(show).collect::<Vec<_>>().join(", "))
    }
}

/// A number in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub Decimal);

impl Number {
    /// As an upper bound.
    #[must_use]
    pub const fn below(self) -> Bound {
        Bound::Below(self.0)
    }

    /// As a lower bound.
    #[must_use]
    pub const fn above(self) -> Bound {
        Bound::Above(self.0)
    }
}

impl Decode for Number {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        let number = f64::decode(reader, node)?;
        let decimal = crate::document::decimal(reader.document().text(node));
        if decimal.is_none() {
            reader.error(node, format!("{number} is too large"), "write a number between -9e9 and 9e9");
        }
        decimal.map(Self)
    }

    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "number" })
    }

    fn to_json(&self) -> Value {
        Value::from(self.0.value())
    }
}

/// How many of the checks that a check is calculated from must be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Require {
    /// Every one.
    All,
    /// One.
    Any,
    /// So many.
    AtLeast(u16),
}

impl Decode for Require {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        let text = reader.scalar(node, "all, any, or a number")?;
        let is_plain = reader.document().kind(node) == crate::document::Kind::Plain;
        match text {
            "all" => Some(Self::All),
            "any" => Some(Self::Any),
            _ if is_plain && text.parse::<u16>().is_ok_and(|n| n > 0 && n.to_string() == text) => text.parse().ok().map(Self::AtLeast),
            _ => {
                reader.error(
                    node,
                    format!("{} is not a requirement", crate::document::quote(text)),
                    "write all, any, or how many must be up",
                );
                None
            }
        }
    }

    fn schema(_: &mut Schemas) -> Value {
        json!({ "anyOf": [{ "enum": ["all", "any"] }, { "type": "integer", "minimum": 1, "maximum": 65535 }] })
    }

    fn to_json(&self) -> Value {
        match self {
            Self::All => Value::from("all"),
            Self::Any => Value::from("any"),
            Self::AtLeast(n) => Value::from(*n),
        }
    }
}

//! What may be written in a node config: one table per section.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;
use portolan_core::{
    document::{HostPort, PlainName, Url, Word, days, hours, millis, minutes, seconds},
    model::ids::Label,
    section, words,
};

words! {
    /// What a node does in the cluster.
    pub enum Role("a role") {
        /// Voter if this node is named in `peers`, else observer.
        Auto = "auto",
        /// Votes, and does all that an observer does.
        Voter = "voter",
        /// Probes its share and serves DNS.
        Observer = "observer",
        /// Votes and probes; serves nothing.
        Witness = "witness",
    }
}

section! {
    /// The whole node config: who this process is.
    pub struct NodeConfig {
        /// Version of this format.
        version: u32 where (1..=1) = 1,
        /// Name of this process, unique in the cluster; PORTOLAN_NODE overrides it.
        node: Option<Label> = None,
        /// The region that it runs in; PORTOLAN_REGION overrides it.
        region: Option<Label> = None,
        /// What it does in the cluster; PORTOLAN_ROLE overrides it.
        role: Role = Role::Auto,
        /// Name of the cluster; the plan's name where nothing is said.
        cluster: Option<Label> = None,
        /// Where it keeps what must outlive it.
        data_dir: FilePath = FilePath("/var/lib/portolan".to_owned()),
        /// The plan's file: the plan of a node on its own, and the seed of a cluster that has none.
        plan: Option<FilePath> = None,
        /// Submit the file when its revision is greater than the running plan's.
        plan_follow: bool = false,
        /// Where secrets lie, one file each.
        secrets_dir: FilePath = FilePath("/etc/portolan/secrets".to_owned()),
        /// Where hooks lie, one program each.
        hooks_dir: FilePath = FilePath("/etc/portolan/hooks".to_owned()),
        /// Where it listens.
        listen: Listen = Listen::default(),
        /// The address book and the first voters; none: a node on its own.
        peers: Vec<Peer> = Vec::new(),
        /// Certificates; without them the control and peer listeners take loopback addresses only.
        tls: Option<Tls> = None,
        /// Who may do what.
        auth: Auth = Auth { jwt: None, roles: Vec::new() },
        /// Where clients are.
        geo: Geo = Geo { database: None, latency: None },
        /// A node is ready while its last table is younger than this.
        stale_limit: Duration where (minutes(1)..=days(30)) = hours(1),
        /// Timing of the consensus.
        raft: Raft = Raft { heartbeat: millis(500), election_timeout: seconds(3) },
        /// Logs and traces.
        telemetry: Telemetry = Telemetry { log: LogFormat::Text, otlp_endpoint: None },
        /// Link-local and metadata networks that may be targets all the same.
        allow_targets: Vec<IpNet> = Vec::new(),
    }
}

section! {
    /// Where the process listens. Port 0 takes a free one.
    pub struct Listen {
        /// DNS over UDP and TCP.
        dns: Vec<SocketAddr> = every_address(5353),
        /// gRPC, its JSON mirror, the dashboard.
        control: Option<SocketAddr> = Some(loopback(8443)),
        /// Consensus and observations; left out: none.
        peer: Option<SocketAddr> = None,
        /// Probes of the process itself and metrics only.
        http: Option<SocketAddr> = Some(loopback(8080)),
        /// The break-glass socket; file permissions decide who.
        socket: Option<FilePath> = None,
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self { dns: every_address(5353), control: Some(loopback(8443)), peer: None, http: Some(loopback(8080)), socket: None }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn every_address(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from(([0, 0, 0, 0], port)), SocketAddr::from(([0_u16; 8], port))]
}

section! {
    /// Another node.
    pub struct Peer {
        /// Its name.
        node: Label,
        /// Where it runs.
        region: Label,
        /// Where its peer listener is reached.
        address: HostPort,
    }
}

section! {
    /// Certificates, re-read when they change.
    pub struct Tls {
        /// Authorities that sign the certificates of peers and clients, PEM.
        ca_file: FilePath,
        /// This node's certificate chain, PEM.
        cert_file: FilePath,
        /// Its private key, PEM.
        key_file: FilePath,
    }
}

section! {
    /// Who may do what.
    pub struct Auth {
        /// Tokens of people.
        jwt: Option<Jwt> = None,
        /// Who has which role.
        roles: Vec<Binding> = Vec::new(),
    }
}

section! {
    /// Tokens of people.
    pub struct Jwt {
        /// Who issues them.
        issuer: Url,
        /// Whom they are for.
        audience: PlainName,
        /// The issuer's keys, a file; re-read when it changes.
        jwks_file: FilePath,
        /// The claim that holds the groups.
        role_claim: PlainName = PlainName("groups".to_owned()),
    }
}

words! {
    /// Roles of the control interface.
    pub enum ControlRole("a role") {
        /// Reads.
        Viewer = "viewer",
        /// Drains, holds, switches over.
        Operator = "operator",
        /// Approves what may lose data.
        Approver = "approver",
        /// Changes the plan and the membership.
        Admin = "admin",
    }
}

section! {
    /// One role for one group or identity: `group` or `spiffe`.
    pub struct Binding {
        /// The role.
        role: ControlRole,
        /// A group in the token's claim.
        group: Option<PlainName> = None,
        /// The identity in a client certificate.
        spiffe: Option<Url> = None,
    }
}

section! {
    /// Where clients are.
    pub struct Geo {
        /// A database in MaxMind's format, reloaded when it changes; the plan's networks beat it.
        database: Option<FilePath> = None,
        /// A table of round-trip times from networks and countries to regions.
        latency: Option<FilePath> = None,
    }
}

section! {
    /// Timing of the consensus.
    pub struct Raft {
        /// Between signs of life of the leader.
        heartbeat: Duration where (millis(10)..=seconds(30)) = millis(500),
        /// Without a sign of life for so long, another one stands for election.
        election_timeout: Duration where (millis(100)..=minutes(5)) = seconds(3),
    }
}

words! {
    /// How log lines look.
    pub enum LogFormat("a log format") {
        /// For people.
        Text = "text",
        /// For programs.
        Json = "json",
    }
}

section! {
    /// Logs and traces.
    pub struct Telemetry {
        /// How log lines look.
        log: LogFormat = LogFormat::Text,
        /// Where traces go; left out: nowhere.
        otlp_endpoint: Option<Url> = None,
    }
}

/// The path of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub String);

impl FilePath {
    /// As a path.
    #[must_use]
    pub fn as_path(&self) -> &std::path::Path {
        std::path::Path::new(&self.0)
    }
}

impl Word for FilePath {
    const WHAT: &'static str = "a path";
    const EXAMPLES: &'static str = "for example /etc/portolan/plan.yaml";

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 4096 || text.chars().any(char::is_control) {
            return Err("is not a path".to_owned());
        }
        if text.contains("://") {
            return Err("is a URL, not a path".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

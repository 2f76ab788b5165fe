//! What a daemon is started with, whoever made it: the node config, the demo, a test.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use portolan_core::{cluster::NodeRole, model::ids::Label};

use crate::{
    api::{AuthOptions, TlsFiles},
    config::node::sections,
    net::detour::Detours,
};

/// Everything that differs between two daemons.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The node's name.
    pub node: String,
    /// The region that it stands in.
    pub region: String,
    /// Where state is kept between runs; `None`: nowhere, and every start begins with a round of probes.
    pub data_dir: Option<PathBuf>,
    /// The plan file.
    pub plan: PathBuf,
    /// Where the secrets are that the plan names; `None`: there are none, and what needs one cannot be probed from here.
    pub secrets_dir: Option<PathBuf>,
    /// Where the programs are that the plan names; `None`: there are none.
    pub hooks_dir: Option<PathBuf>,
    /// Where it listens.
    pub listen: Listen,
    /// Who may do what on the control listener.
    pub auth: AuthOptions,
    /// Certificates of the control listener; `None`: plain text, on loopback only.
    pub tls: Option<TlsFiles>,
    /// A geo database in MaxMind's format; `None`: the built-in coarse table.
    pub geo_database: Option<PathBuf>,
    /// A table of round-trip times; `None`: `latency` steers by distance.
    pub latency_table: Option<PathBuf>,
    /// A table from disk that is older than this is served, but the node is not ready with it.
    pub stale_limit: Duration,
    /// Link-local and metadata networks that may be probed and answered all the same.
    pub allowed_targets: Vec<IpNet>,
    /// The cluster that the node belongs to; `None`: a node on its own, which agrees with itself.
    pub cluster: Option<Clustering>,
}

/// The node among others.
#[derive(Clone, Debug)]
pub struct Clustering {
    /// How the cluster is called; `None`: as the first plan says. A node with an empty disk joins no cluster of another name.
    pub name: Option<String>,
    /// What the node is to be.
    pub role: NodeRole,
    /// Where it listens for peers. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address book, this node included if it is to vote.
    pub book: Vec<PeerEntry>,
    /// Where peers, references and endpoints are dialed in place of their addresses. Empty but in demos, tests and benches.
    pub detours: Detours,
    /// Between signs of life of the leader.
    pub heartbeat: Duration,
    /// Without a sign of life for so long, another one stands for election.
    pub election: Duration,
    /// How long a voter must be lost before another node takes its place.
    pub replace_after: Duration,
    /// The plan file is put in force for the cluster when its revision is greater.
    pub plan_follow: bool,
}

/// One line of the address book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEntry {
    /// The node's name.
    pub node: Label,
    /// Where it stands.
    pub region: Label,
    /// Where its peer listener is reached, `host:port`.
    pub address: String,
}

/// Where a daemon listens. Port 0 takes a free one.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// DNS over UDP and TCP; at least one.
    pub dns: Vec<SocketAddr>,
    /// The control API; `None`: none.
    pub control: Option<SocketAddr>,
    /// Health and metrics of this process; `None`: none.
    pub http: Option<SocketAddr>,
    /// The break-glass socket; `None`: none.
    pub socket: Option<PathBuf>,
}

/// A listener that would be open to strangers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "listen.{listener} is {address}, and `tls` is not set: without certificates this listener takes loopback addresses only; \
     set `tls`, or listen on 127.0.0.1 or [::1]"
)]
pub struct ListenError {
    /// Its key in the node config.
    pub listener: &'static str,
    /// What was asked for.
    pub address: SocketAddr,
}

impl Listen {
    /// Refuses what would be open to strangers without certificates.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn check(&self, has_tls: bool) -> Result<(), ListenError> {
        match self.control {
            Some(address) if !has_tls && !address.ip().is_loopback() => Err(ListenError { listener: "control", address }),
            _ => Ok(()),
        }
    }
}

/// The files of a config's `tls`.
pub(super) fn tls_files(tls: &sections::Tls) -> TlsFiles {
    let path = |file: &sections::FilePath| file.as_path().to_owned();
    TlsFiles { ca_file: path(&tls.ca_file), cert_file: path(&tls.cert_file), key_file: path(&tls.key_file) }
}

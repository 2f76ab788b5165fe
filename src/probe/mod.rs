//! Probes: one look at one endpoint, bounded in time and in octets whatever the endpoint does.
//!
//! ```text
//! run(check) -> open (resolve, connect, TLS) -> ask and read, through Metered -> Observation
//!                         all of it inside cadence.timeout; Watch notes how far it came
//! ```
//!
//! How a probe failed is told by *where* it was when it failed, which `watch::Watch` keeps: a timeout before the connection stood is
//! `connect_timeout`, with not one octet of an answer `timeout`, after the first `slow`.
//!
//! Invariants: a probe lasts at most `cadence.timeout`; it reads at most [`ANSWER_OCTETS_MAX`] octets of an answer (of MariaDB's, whose library
//! makes its own connection, packets of at most 1 MiB); when it ends, its sockets and tasks are gone. One probe makes one connection (DNS over UDP that is truncated: a second one).
//!
//! Absent on purpose: thresholds, cadence, retries (`portolan_core::health`); following redirects; compression.
//!
//! [`ANSWER_OCTETS_MAX`]: portolan_core::model::check::ANSWER_OCTETS_MAX

mod dns;
mod fake;
mod grpc;
mod http;
mod mariadb;
mod metered;
mod open;
mod postgres;
mod prometheus;
mod redis;
pub mod scheduler;
mod tls;
mod watch;

use std::{fmt, sync::Arc, time::Duration};

use portolan_core::{
    failover::token::Token,
    model::{
        check::{Address, Check, Failure, FailureCategory, Host, Observation, Outcome, ProbeKind, ServerEngine, ServerRole},
        time::Timestamp,
    },
};

use self::watch::Watch;
use crate::net::{clock::WallClock, detour::Detours, resolve::Resolver, tls::TlsClients};

/// How long a probe waits at most for the other side to say goodbye, once the verdict is certain: one round trip around the world, with room.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// What all probes share. Cheap to clone.
#[derive(Clone)]
pub struct ProbeEnv {
    clock: Arc<dyn WallClock>,
    tls: Arc<TlsClients>,
    resolver: Resolver,
    detours: Detours,
    secrets: Secrets,
}

/// Reads the secret of a name. The error is a sentence, and holds nothing of it.
pub type Secrets = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

impl ProbeEnv {
    /// Certificates are judged by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn WallClock>) -> Self {
        let tls = Arc::new(TlsClients::new(Arc::clone(&clock)));
        let secrets: Secrets = Arc::new(|name| Err(format!("secret `{name}`: this process has no secrets")));
        Self { tls, clock, resolver: Resolver::default(), detours: Detours::default(), secrets }
    }

    /// The same, with what databases ask for.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// A secret, by the name that the plan calls it.
    ///
    /// # Errors
    /// One line: this process has none of that name.
    pub fn secret(&self, name: &str) -> Result<String, String> {
        (self.secrets)(name)
    }

    /// The same, connecting over these detours. A failure names the address that the check has.
    #[must_use]
    pub fn by(self, detours: Detours) -> Self {
        Self { detours, ..self }
    }
}

impl fmt::Debug for ProbeEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeEnv").finish_non_exhaustive()
    }
}

/// Whether a check is made by connecting somewhere. `false` for heartbeats, calculated checks and `none`, which the core judges alone, and
/// for a check without the address that its kind needs.
#[must_use]
pub fn is_probed(check: &Check) -> bool {
    match check.probe.kind {
        ProbeKind::None | ProbeKind::Heartbeat { .. } | ProbeKind::Calculated { .. } => false,
        ProbeKind::Prometheus { .. } => true,
        ProbeKind::Http { .. }
        | ProbeKind::Tcp
        | ProbeKind::Tls { .. }
        | ProbeKind::Grpc { .. }
        | ProbeKind::Dns { .. }
        | ProbeKind::Postgres { .. }
        | ProbeKind::Mariadb { .. }
        | ProbeKind::Redis { .. }
        | ProbeKind::Server { .. }
        | ProbeKind::Fake => check.address.is_some(),
    }
}

/// Makes one probe. It lasts at most `cadence.timeout`; dropping the future ends it at once and leaves nothing behind.
///
/// `None` when there is nothing to connect to, see [`is_probed`]. Needs a tokio runtime with time and network.
pub async fn run(check: &Check, env: &ProbeEnv) -> Option<Observation> {
    if !is_probed(check) {
        return None;
    }
    let watch = Watch::start();
    let timeout = check.probe.cadence.timeout;
    let verdict = match tokio::time::timeout(timeout, look(check, env, &watch)).await {
        Ok(verdict) => verdict,
        Err(_elapsed) => watch.verdict().unwrap_or_else(|| Err(watch.timed_out(timeout))),
    };
    let outcome = verdict.map_or_else(Outcome::Failed, |()| Outcome::Passed);
    Some(Observation { outcome, timings: watch.timings() })
}

/// Asks a PostgreSQL server `sql`, in a transaction that writes nothing, within `timeout`: the first row of the answer, column by column as text.
/// `dsn` names the secret with user, password and database.
///
/// # Errors
/// How it failed; a query that is wrong is one of them.
pub async fn inquire(address: &Address, dsn: &str, sql: &str, timeout: Duration, env: &ProbeEnv) -> Result<Vec<Option<String>>, Failure> {
    let watch = Watch::start();
    let asked = tokio::time::timeout(timeout, postgres::inquire(address, dsn, sql, env, &watch)).await;
    asked.unwrap_or_else(|_| Err(watch.timed_out(timeout)))
}

/// Asks a MariaDB server, as [`inquire`] asks PostgreSQL.
///
/// # Errors
/// How it failed; a query that is wrong is one of them.
pub async fn inquire_mariadb(
    address: &Address,
    dsn: &str,
    sql: &str,
    timeout: Duration,
    env: &ProbeEnv,
) -> Result<Vec<Option<String>>, Failure> {
    let watch = Watch::start();
    let asked = tokio::time::timeout(timeout, mariadb::inquire(address, dsn, sql, env, &watch)).await;
    asked.unwrap_or_else(|_| Err(watch.timed_out(timeout)))
}

/// Asks a fake database that takes writes for the token in it, within `timeout`; `None`: none is.
///
/// # Errors
/// How it failed; that it is a standby is one of them.
pub async fn fake_token(address: &Address, timeout: Duration, env: &ProbeEnv) -> Result<Option<Token>, Failure> {
    let watch = Watch::start();
    let asked = tokio::time::timeout(timeout, fake::token(address, env, &watch)).await;
    asked.unwrap_or_else(|_| Err(watch.timed_out(timeout)))
}

/// Asks a Redis server that takes writes for the token in it, within `timeout`; `None`: none is. `login` names the secret with user and password.
///
/// # Errors
/// How it failed; that it is a replica is one of them.
pub async fn redis_token(address: &Address, login: Option<&str>, timeout: Duration, env: &ProbeEnv) -> Result<Option<Token>, Failure> {
    let watch = Watch::start();
    let asked = tokio::time::timeout(timeout, redis::token(address, login, env, &watch)).await;
    asked.unwrap_or_else(|_| Err(watch.timed_out(timeout)))
}

/// Asks a Prometheus server for one number, within `timeout`. `secret` names what is sent as `Authorization`.
///
/// # Errors
/// How it failed; no data is one of them.
pub async fn figure(url: &str, query: &str, secret: Option<&str>, timeout: Duration, env: &ProbeEnv) -> Result<f64, Failure> {
    let watch = Watch::start();
    let secret = secret.map(|name| (env.secrets)(name).map_err(|why| Failure::new(FailureCategory::Local, &why))).transpose()?;
    let headers: Vec<_> = secret.into_iter().map(|secret| ("Authorization".to_owned(), secret)).collect();
    let asked = tokio::time::timeout(timeout, prometheus::figure(url, query, &headers, timeout, env, &watch)).await;
    asked.unwrap_or_else(|_| Err(watch.timed_out(timeout)))
}

/// The probe itself, without its limit on time.
async fn look(check: &Check, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    match (&check.probe.kind, &check.address) {
        (ProbeKind::Http { tls, host, method, path, headers, expect }, Some(address)) => {
            let ask = http::Ask { address, tls: tls.as_ref(), host: host.as_deref(), method: *method, path, headers };
            http::probe(&ask, expect, env, watch).await
        }
        (ProbeKind::Tcp, Some(address)) => open::connect(address, env, watch).await.map(drop),
        (ProbeKind::Tls { tls, valid_for }, Some(address)) => tls::probe(address, tls, *valid_for, env, watch).await,
        (ProbeKind::Grpc { tls, service }, Some(address)) => grpc::probe(address, tls.as_ref(), service, env, watch).await,
        (ProbeKind::Dns { name, record_type, expect }, Some(address)) => {
            dns::probe(address, name, *record_type, expect.as_deref(), env, watch).await
        }
        (ProbeKind::Postgres { dsn }, Some(address)) => postgres::probe(address, dsn, env, watch).await,
        (ProbeKind::Mariadb { dsn }, Some(address)) => mariadb::probe(address, dsn, env, watch).await,
        (ProbeKind::Redis { login }, Some(address)) => redis::probe(address, login.as_deref(), env, watch).await,
        (ProbeKind::Server { engine, secret, tls, role }, Some(address)) => {
            let secret = secret.as_deref();
            match engine {
                ServerEngine::Postgres => postgres::server(address, secret.unwrap_or_default(), *role, env, watch).await,
                ServerEngine::Mysql => mariadb::server(address, secret.unwrap_or_default(), *role, env, watch).await,
                ServerEngine::Redis => redis::server(address, secret, tls.as_ref(), *role, env, watch).await,
            }
        }
        (ProbeKind::Fake, Some(address)) => fake::probe(address, env, watch).await,
        (ProbeKind::Prometheus { url, query, bound }, _) => {
            prometheus::probe(url, query, *bound, check.probe.cadence.timeout, env, watch).await
        }
        _ => unreachable!("invariant: `run` asks `is_probed` first"),
    }
}

/// Feeds octets to everything here that reads an endpoint's answer and is not a library's stream: DNS messages, certificates, JSON bodies,
/// Prometheus results. For fuzzing: it must return, whatever the octets are.
pub fn fuzz_answers(octets: &[u8]) {
    dns::digest(octets, "192.0.2.1");
    let _ = tls::judge(octets, Duration::ZERO, Timestamp(0));
    let _ = http::judge_json(octets, "/data/result", "[]");
    let _ = prometheus::number(octets);
}

/// Whether a server is what it is to be. `found`: what it is.
fn as_expected(found: ServerRole, role: Option<ServerRole>) -> Result<(), Failure> {
    if role.is_none_or(|role| role == found) {
        return Ok(());
    }
    Err(Failure::new(FailureCategory::Status, &format!("it is a {}", found.word())))
}

/// The name in a certificate for `address`, and what an HTTP request calls it without its port.
fn bare_host(address: &Address) -> String {
    match &address.host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.to_string(),
    }
}

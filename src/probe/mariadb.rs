//! Probes of a MySQL or MariaDB server. Of a group's primary: connect, authenticate, ask whether it takes writes and whether its agent's heartbeat is fresh.
//!
//! As with PostgreSQL, nothing less will do. The client library makes its own connection, so how far it came is not noted in as many steps.

use std::net::IpAddr;

use portolan_core::model::{
    check::{Address, Failure, FailureCategory, ServerRole},
    time::Human,
};

use super::{
    ProbeEnv, as_expected, bare_host,
    open::resolve_failure,
    watch::{Mark, Watch},
};
use crate::engine::{
    mariadb::{self as engine, Account, Row, Unwell},
    postgres::ConnInfo,
};

/// One probe of a primary.
pub(super) async fn probe(address: &Address, dsn: &str, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    let (account, at) = reach(address, dsn, env, watch).await?;
    engine::primary(&account, at).await.map_err(|unwell| failure(&unwell))
}

/// One probe of a server that nobody here leads, MySQL or MariaDB: it lets us in, answers a query, and is what it is to be.
pub(super) async fn server(address: &Address, dsn: &str, role: Option<ServerRole>, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    let row = inquire(address, dsn, "select @@global.read_only + 0", env, watch).await?;
    match row.first().and_then(Option::as_deref) {
        Some("0") => as_expected(ServerRole::Primary, role),
        Some(_) => as_expected(ServerRole::Replica, role),
        None => Err(Failure::new(FailureCategory::Protocol, "it does not say whether it takes writes")),
    }
}

/// Asks a server `sql`, in a transaction that writes nothing; the first row of the answer.
pub(super) async fn inquire(address: &Address, dsn: &str, sql: &str, env: &ProbeEnv, watch: &Watch) -> Result<Row, Failure> {
    let (account, at) = reach(address, dsn, env, watch).await?;
    engine::inquire(&account, at, sql).await.map_err(|unwell| failure(&unwell))
}

async fn reach(address: &Address, dsn: &str, env: &ProbeEnv, watch: &Watch) -> Result<(Account, (IpAddr, u16)), Failure> {
    // What is wrong here says nothing of the database.
    let local = |what: &str| Failure::new(FailureCategory::Local, what);
    let text = (env.secrets)(dsn).map_err(|why| local(&why))?;
    let info = ConnInfo::parse(&text).map_err(|error| local(&format!("read secret `{dsn}` as a connection string: {error}")))?;
    let info = info.with("host", &bare_host(address)).with("port", &address.port.to_string());
    let account = Account::new(&info).map_err(|trouble| local(&format!("use secret `{dsn}`: {trouble}")))?;
    let target = env.resolver.resolve(&address.host, address.port).await.map_err(|error| resolve_failure(&error))?;
    watch.mark(Mark::Resolved);
    let target = env.detours.of(target);
    Ok((account, (target.ip(), target.port())))
}

fn failure(unwell: &Unwell) -> Failure {
    match unwell {
        Unwell::Unreached(why) => Failure::new(FailureCategory::Connect, why),
        Unwell::Untrusted(why) => Failure::new(FailureCategory::Tls, why),
        Unwell::Broken(why) => Failure::new(FailureCategory::Protocol, why),
        Unwell::Refused(why) => Failure::new(FailureCategory::Status, why),
        Unwell::Standby => Failure::new(FailureCategory::Status, "it is a standby"),
        Unwell::Silent(None) => Failure::new(FailureCategory::Silent, "no agent has ever written to it"),
        Unwell::Silent(Some(age)) => Failure::new(FailureCategory::Silent, &format!("its agent wrote to it {} ago", Human(*age))),
    }
}

//! Probes of a PostgreSQL server. Of a group's primary: connect, authenticate, ask whether it takes writes and whether its agent's heartbeat is fresh.
//!
//! This is what automatic failover counts, so nothing less will do: a server that accepts connections and hangs, one that is a standby, and one
//! whose agent cannot write to it have all failed. Of a server that nobody here leads: the same without the heartbeat.

use portolan_core::model::{
    check::{Address, Failure, FailureCategory, ServerRole},
    time::Human,
};

use super::{
    GOODBYE_MAX, ProbeEnv, as_expected, bare_host,
    metered::Metered,
    open::{self, Stream},
    watch::{Mark, Watch, plain},
};
use crate::engine::postgres::{self as engine, ConnInfo, Row, Unwell, primary};

/// One probe of a primary.
pub(super) async fn probe(address: &Address, dsn: &str, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    let (stream, info) = open(address, dsn, env, watch).await?;
    let (tell, told) = tokio::sync::oneshot::channel();
    let asking = primary(stream, &info, |answer| {
        let verdict = answer.as_ref().copied().map_err(|unwell| failure(unwell, watch));
        watch.judged(&verdict);
        // Nobody listens when the probe has ended.
        let _ = tell.send(());
    });
    tokio::pin!(asking);
    let answer = tokio::select! {
        answer = &mut asking => answer,
        // The verdict is certain; the goodbye is not waited for long.
        Ok(()) = told => tokio::time::timeout(GOODBYE_MAX, asking).await.unwrap_or(Ok(())),
    };
    watch.verdict().unwrap_or_else(|| answer.map_err(|unwell| failure(&unwell, watch)))
}

/// One probe of a server that nobody here leads: it lets us in, answers a query, and is what it is to be.
pub(super) async fn server(address: &Address, dsn: &str, role: Option<ServerRole>, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    let row = inquire(address, dsn, "select pg_is_in_recovery()", env, watch).await?;
    match row.first().and_then(Option::as_deref) {
        Some("f") => as_expected(ServerRole::Primary, role),
        Some("t") => as_expected(ServerRole::Replica, role),
        _ => Err(Failure::new(FailureCategory::Protocol, "it does not say whether it is a standby")),
    }
}

/// Asks a server `sql`, in a transaction that writes nothing; the first row of the answer.
pub(super) async fn inquire(address: &Address, dsn: &str, sql: &str, env: &ProbeEnv, watch: &Watch) -> Result<Row, Failure> {
    let (stream, info) = open(address, dsn, env, watch).await?;
    engine::inquire(stream, &info, sql).await.map_err(|unwell| failure(&unwell, watch))
}

async fn open(address: &Address, dsn: &str, env: &ProbeEnv, watch: &Watch) -> Result<(Metered<Stream>, ConnInfo), Failure> {
    // What is wrong here says nothing of the database.
    let local = |what: &str| Failure::new(FailureCategory::Local, what);
    let text = (env.secrets)(dsn).map_err(|why| local(&why))?;
    let info = ConnInfo::parse(&text).map_err(|error| local(&format!("read secret `{dsn}` as a connection string: {error}")))?;
    let info = info.with("host", &bare_host(address)).with("port", &address.port.to_string());
    let connection = open::connect(address, env, watch).await?;
    connection.expect_flights().map_err(|error| Failure::new(FailureCategory::Closed, &plain(&error)))?;
    watch.mark(Mark::Asked);
    Ok((Metered::new(Stream::Plain(connection), watch.clone()), info))
}

fn failure(unwell: &Unwell, watch: &Watch) -> Failure {
    match unwell {
        Unwell::Local(trouble) => Failure::new(FailureCategory::Local, &trouble.0),
        Unwell::Broken(error) => watch.broken("PostgreSQL", error),
        Unwell::Refused(why, _) => Failure::new(FailureCategory::Status, why),
        Unwell::Standby => Failure::new(FailureCategory::Status, "it is a standby"),
        Unwell::Silent(None) => Failure::new(FailureCategory::Silent, "no agent has ever written to it"),
        Unwell::Silent(Some(age)) => Failure::new(FailureCategory::Silent, &format!("its agent wrote to it {} ago", Human(*age))),
    }
}

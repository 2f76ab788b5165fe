//! Probes of a Redis server. Of a group's: whether it is a primary that works, it takes writes, nobody else manages it, and its agent wrote to it lately.
//!
//! Redis answers while it takes no writes (`NOREPLICAS`, a full disk, a replica), so an answer alone says nothing: the heartbeat is what counts,
//! which its agent writes as a client would. Its age is told by the server's own clock.

use portolan_core::{
    failover::token::Token,
    model::{
        check::{Address, Failure, FailureCategory, ServerRole, TlsCheck},
        time::Human,
    },
};

use super::{
    ProbeEnv, as_expected, bare_host,
    metered::Metered,
    open,
    watch::{Mark, Watch, plain},
};
use crate::{
    engine::{
        Trouble,
        postgres::HEARTBEAT_STALE,
        redis::{Client, Login, Status},
    },
    net::tls::Alpn,
};

pub(super) async fn probe(address: &Address, login: Option<&str>, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    match primary(address, login, env, watch).await?.beat_age() {
        Some(age) if age < HEARTBEAT_STALE => Ok(()),
        Some(age) => Err(Failure::new(FailureCategory::Silent, &format!("its agent wrote to it {} ago", Human(age)))),
        None => Err(Failure::new(FailureCategory::Silent, "no agent has ever written to it")),
    }
}

pub(super) async fn token(address: &Address, login: Option<&str>, env: &ProbeEnv, watch: &Watch) -> Result<Option<Token>, Failure> {
    Ok(primary(address, login, env, watch).await?.token())
}

/// One probe of a server that nobody here leads: it lets us in, answers, and is what it is to be.
pub(super) async fn server(
    address: &Address,
    login: Option<&str>,
    tls: Option<&TlsCheck>,
    role: Option<ServerRole>,
    env: &ProbeEnv,
    watch: &Watch,
) -> Result<(), Failure> {
    let login = read(login, env)?;
    let stream = open::open(address, tls, &bare_host(address), Alpn::None, env, watch).await?;
    watch.mark(Mark::Asked);
    let failed = |trouble: Trouble| Failure::new(FailureCategory::Status, &trouble.0);
    let mut client = Client::over(stream, login.as_ref()).await.map_err(failed)?;
    client.ping().await.map_err(failed)?;
    if role.is_none() {
        return Ok(());
    }
    let found = if client.is_replica().await.map_err(failed)? { ServerRole::Replica } else { ServerRole::Primary };
    as_expected(found, role)
}

/// Who one is to the server; `None`: nobody.
fn read(login: Option<&str>, env: &ProbeEnv) -> Result<Option<Login>, Failure> {
    // What is wrong here says nothing of the database.
    let local = |what: &str| Failure::new(FailureCategory::Local, what);
    let Some(name) = login else { return Ok(None) };
    let text = (env.secrets)(name).map_err(|why| local(&why))?;
    Login::parse(&text).map(Some).map_err(|trouble| local(&format!("read secret `{name}`: {trouble}")))
}

async fn primary(address: &Address, login: Option<&str>, env: &ProbeEnv, watch: &Watch) -> Result<Status, Failure> {
    let login = read(login, env)?;
    let connection = open::connect(address, env, watch).await?;
    connection.expect_flights().map_err(|error| Failure::new(FailureCategory::Closed, &plain(&error)))?;
    watch.mark(Mark::Asked);
    let refused = |trouble: Trouble| Failure::new(FailureCategory::Status, &trouble.0);
    let mut client = Client::over(Metered::new(connection, watch.clone()), login.as_ref()).await.map_err(refused)?;
    let status = client.status().await.map_err(refused)?;
    match status.unfit() {
        Some(why) => Err(Failure::new(FailureCategory::Status, why)),
        None => Ok(status),
    }
}

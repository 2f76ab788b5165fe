//! Whether a server is a primary that works, asked over a connection that stands already.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{Client, Connection, Error, NoTls, SimpleQueryMessage, error::SqlState, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    Trouble,
    connect::{roots, told},
    conninfo::{ConnInfo, Trust},
};

/// A primary whose agent has written nothing for so long is not served by it: it writes every second.
pub const HEARTBEAT_STALE: Duration = Duration::from_secs(10);

const ASK: &str = "select pg_is_in_recovery(), extract(epoch from clock_timestamp() - at) from portolan.heartbeat";

/// Why a server is none that works.
#[derive(Debug)]
pub enum Unwell {
    /// It cannot be asked from here: what is configured does not do.
    Local(Trouble),
    /// The exchange broke, or was none of this protocol.
    Broken(Error),
    /// It says no: why.
    Refused(String),
    /// It is a standby.
    Standby,
    /// It lets us in and takes writes, as far as it says, and its agent has not written for so long; `None`: never.
    Silent(Option<Duration>),
}

/// Asks the server at the other end of `stream`, and says goodbye. `info`: user, password, database and what TLS needs, and the host that its
/// certificate must name. `judged` is called with the answer before the goodbye, which may take as long as the server likes.
///
/// # Errors
/// [`Unwell`].
pub async fn primary<S>(stream: S, info: &ConnInfo, judged: impl FnOnce(&Result<(), Unwell>)) -> Result<(), Unwell>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut config, trust) = info.client().map_err(|error| Unwell::Local(Trouble(error.to_string())))?;
    config.application_name("portolan probe");
    if info.get("dbname").is_none() {
        config.dbname("postgres");
    }
    match trust {
        Trust::Plain => {
            let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(unwell)?;
            ask(client, connection, judged).await
        }
        Trust::Verified(path) => {
            let mut tls = MakeRustlsConnect::new(roots(path.as_deref()).map_err(Unwell::Local)?);
            let host = info.get("host").unwrap_or_default();
            let connector = <MakeRustlsConnect as MakeTlsConnect<S>>::make_tls_connect(&mut tls, host);
            let connector = connector.map_err(|error| Unwell::Local(Trouble(format!("`{host}` is no name for TLS: {error}"))))?;
            let (client, connection) = config.connect_raw(stream, connector).await.map_err(unwell)?;
            ask(client, connection, judged).await
        }
    }
}

/// The connection runs beside the question and ends with it: nothing is left when this is dropped.
async fn ask<S, T>(client: Client, connection: Connection<S, T>, judged: impl FnOnce(&Result<(), Unwell>)) -> Result<(), Unwell>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = std::pin::pin!(connection);
    let answer = tokio::select! {
        answer = question(&client) => answer,
        ended = &mut connection => match ended {
            Err(error) => Err(unwell(error)),
            Ok(()) => Err(Unwell::Refused("it closed the connection".to_owned())),
        },
    };
    judged(&answer);
    // Without a client the connection says goodbye and ends.
    drop(client);
    let _ = connection.await;
    answer
}

async fn question(client: &Client) -> Result<(), Unwell> {
    let messages = match client.simple_query(ASK).await {
        Ok(messages) => messages,
        Err(error) if matches!(error.code(), Some(&SqlState::UNDEFINED_TABLE)) => return Err(Unwell::Silent(None)),
        Err(error) => return Err(unwell(error)),
    };
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let Some(row) = row else { return Err(Unwell::Silent(None)) };
    if row.get(0) != Some("f") {
        return Err(Unwell::Standby);
    }
    let seconds = row.get(1).and_then(|text| text.parse::<f64>().ok());
    // A clock that was set back makes it young.
    let age = seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
    if age.is_some_and(|age| age < HEARTBEAT_STALE) { Ok(()) } else { Err(Unwell::Silent(age)) }
}

fn unwell(error: Error) -> Unwell {
    match error.code() {
        Some(_) => Unwell::Refused(told(&error).0),
        None => Unwell::Broken(error),
    }
}

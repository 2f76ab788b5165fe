//! Questions to a server over a connection that stands already: whether it is a primary that works, or whatever somebody wants to know.

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
    /// It says no: why, and by which SQLSTATE, where there is one.
    Refused(String, Option<String>),
    /// It is a standby.
    Standby,
    /// It lets us in and takes writes, as far as it says, and its agent has not written for so long; `None`: never.
    Silent(Option<Duration>),
}

/// The first row of an answer, column by column as text; `None` for null. No row: empty.
pub type Row = Vec<Option<String>>;

/// Asks whether the server at the other end of `stream` is a primary that works, and says goodbye. `info`: user, password, database and what TLS
/// needs, and the host that its certificate must name. `judged` is called with the answer before the goodbye, which may take as long as the
/// server likes.
///
/// # Errors
/// [`Unwell`].
pub async fn primary<S>(stream: S, info: &ConnInfo, judged: impl FnOnce(&Result<(), Unwell>)) -> Result<(), Unwell>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answered = |row: Result<Row, Unwell>| {
        let answer = match row {
            Ok(row) => judge(&row),
            Err(Unwell::Refused(_, Some(code))) if code == SqlState::UNDEFINED_TABLE.code() => Err(Unwell::Silent(None)),
            Err(unwell) => Err(unwell),
        };
        judged(&answer);
        answer
    };
    over(stream, info, ASK, answered).await
}

/// Asks it `sql`, in a transaction that writes nothing; otherwise as [`primary`].
///
/// # Errors
/// [`Unwell`], of which [`Unwell::Refused`] is also a query that is wrong.
pub async fn inquire<S>(stream: S, info: &ConnInfo, sql: &str) -> Result<Row, Unwell>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    over(stream, info, &format!("begin read only; {sql}; rollback"), |row| row).await
}

async fn over<S, A>(
    stream: S,
    info: &ConnInfo,
    sql: &str,
    answered: impl FnOnce(Result<Row, Unwell>) -> Result<A, Unwell>,
) -> Result<A, Unwell>
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
            ask(client, connection, sql, answered).await
        }
        Trust::Verified(path) => {
            let mut tls = MakeRustlsConnect::new(roots(path.as_deref()).map_err(Unwell::Local)?);
            let host = info.get("host").unwrap_or_default();
            let connector = <MakeRustlsConnect as MakeTlsConnect<S>>::make_tls_connect(&mut tls, host);
            let connector = connector.map_err(|error| Unwell::Local(Trouble(format!("`{host}` is no name for TLS: {error}"))))?;
            let (client, connection) = config.connect_raw(stream, connector).await.map_err(unwell)?;
            ask(client, connection, sql, answered).await
        }
    }
}

/// The connection runs beside the question and ends with it: nothing is left when this is dropped.
async fn ask<S, T, A>(
    client: Client,
    connection: Connection<S, T>,
    sql: &str,
    answered: impl FnOnce(Result<Row, Unwell>) -> Result<A, Unwell>,
) -> Result<A, Unwell>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = std::pin::pin!(connection);
    let (row, has_ended) = tokio::select! {
        row = first_row(&client, sql) => (row, false),
        ended = &mut connection => match ended {
            Err(error) => (Err(unwell(error)), true),
            Ok(()) => (Err(Unwell::Refused("it closed the connection".to_owned(), None)), true),
        },
    };
    let answer = answered(row);
    // Without a client the connection says goodbye and ends.
    drop(client);
    if !has_ended {
        let _ = connection.await;
    }
    answer
}

async fn first_row(client: &Client, sql: &str) -> Result<Row, Unwell> {
    let messages = client.simple_query(sql).await.map_err(unwell)?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(row.map_or_else(Vec::new, |row| (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()))
}

fn judge(row: &[Option<String>]) -> Result<(), Unwell> {
    let [is_standby, seconds] = row else { return Err(Unwell::Silent(None)) };
    if is_standby.as_deref() != Some("f") {
        return Err(Unwell::Standby);
    }
    let seconds = seconds.as_ref().and_then(|text| text.parse::<f64>().ok());
    // A clock that was set back makes it young.
    let age = seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
    if age.is_some_and(|age| age < HEARTBEAT_STALE) { Ok(()) } else { Err(Unwell::Silent(age)) }
}

fn unwell(error: Error) -> Unwell {
    match error.code().map(|code| code.code().to_owned()) {
        Some(code) => Unwell::Refused(told(&error).0, Some(code)),
        None => Unwell::Broken(error),
    }
}

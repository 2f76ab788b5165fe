//! Questions of whoever watches a server: whether it is a primary that works, or whatever the plan wants to know.

use std::{net::IpAddr, time::Duration};

use mysql_async::{Conn, prelude::Queryable as _};
use tokio::time::timeout;

use super::{
    super::{Trouble, postgres::HEARTBEAT_STALE},
    account::Account,
    connect::{first, open},
};

/// MariaDB's number for a table that is not there, and for a database.
const NO_TABLE: [u16; 2] = [1146, 1049];

/// For the goodbye, once the answer is there.
const GOODBYE: Duration = Duration::from_millis(500);

const ASK: &str = "select @@global.read_only, (select timestampdiff(microsecond, at, utc_timestamp(6)) from portolan.heartbeat)";

/// Why a server is none that works.
#[derive(Debug)]
pub enum Unwell {
    /// Nothing answers there.
    Unreached(String),
    /// Its certificate proves nothing.
    Untrusted(String),
    /// The exchange broke, or was none of this protocol.
    Broken(String),
    /// It says no, and why.
    Refused(String),
    /// It is a standby.
    Standby,
    /// It lets us in and takes writes, as far as it says, and its agent has not written for so long; `None`: never.
    Silent(Option<Duration>),
}

/// The first row of an answer, column by column as text; `None` for null. No row: empty.
pub type Row = Vec<Option<String>>;

impl From<mysql_async::Error> for Unwell {
    fn from(error: mysql_async::Error) -> Self {
        match &error {
            mysql_async::Error::Server(server) if NO_TABLE.contains(&server.code) => Self::Silent(None),
            mysql_async::Error::Server(_) => Self::Refused(super::connect::told(&error).0),
            _ => Self::Broken(super::connect::told(&error).0),
        }
    }
}

/// Asks whether the server is a primary that works. `at`: where its host was found to be, and at which port. Without a bound in time.
///
/// # Errors
/// [`Unwell`].
pub async fn primary(account: &Account, at: (IpAddr, u16)) -> Result<(), Unwell> {
    let mut conn = reach(account, at).await?;
    let row = conn.query_first::<(u8, Option<i64>), _>(ASK).await;
    goodbye(conn).await;
    match row? {
        Some((0, Some(age))) => {
            // A clock that was set back makes a row of the future, which is fresh.
            let age = Duration::from_micros(u64::try_from(age).unwrap_or(0));
            if age < HEARTBEAT_STALE { Ok(()) } else { Err(Unwell::Silent(Some(age))) }
        }
        Some((0, None)) => Err(Unwell::Silent(None)),
        Some(_) => Err(Unwell::Standby),
        None => Err(Unwell::Broken("no row".to_owned())),
    }
}

/// Asks `sql`, in a transaction that writes nothing; the first row of the answer. Without a bound in time.
///
/// # Errors
/// [`Unwell`].
pub async fn inquire(account: &Account, at: (IpAddr, u16), sql: &str) -> Result<Row, Unwell> {
    let mut conn = reach(account, at).await?;
    conn.query_drop("start transaction read only").await?;
    let row = first(&mut conn, sql).await;
    goodbye(conn).await;
    let row = row.map_err(|Trouble(why)| Unwell::Refused(why))?;
    Ok(row.map(|row| row.texts()).unwrap_or_default())
}

async fn reach(account: &Account, at: (IpAddr, u16)) -> Result<Conn, Unwell> {
    open(account, Some(at)).await.map_err(|error| match &error {
        mysql_async::Error::Io(mysql_async::IoError::Io(io)) if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            Unwell::Untrusted(super::connect::told(&error).0)
        }
        mysql_async::Error::Io(mysql_async::IoError::Io(_)) => Unwell::Unreached(super::connect::told(&error).0),
        _ => error.into(),
    })
}

async fn goodbye(conn: Conn) {
    // The answer is there; how the other side takes leave is nothing to anybody.
    let _ = timeout(GOODBYE, conn.disconnect()).await;
}

//! A connection for a few questions, each with a bound in time.

use std::{net::IpAddr, time::Duration};

use mysql_async::{Conn, Value, prelude::Queryable as _};
use tokio::time::timeout;

use super::{super::Trouble, account::Account};

/// To connect and authenticate.
const CONNECT: Duration = Duration::from_secs(5);

/// What is said in SQL here means the same on every server.
const SESSION: &str = "set session sql_mode = '', autocommit = 1, lock_wait_timeout = 5, innodb_lock_wait_timeout = 5";

/// Connects, within [`CONNECT`].
pub(super) async fn connect(account: &Account) -> Result<Conn, Trouble> {
    let connected = async {
        let mut conn = open(account, None).await.map_err(|error| told(&error))?;
        conn.query_drop(SESSION).await.map_err(|error| told(&error))?;
        Ok(conn)
    };
    timeout(CONNECT, connected).await.map_err(|_| Trouble("connect to the server: no answer in time".to_owned()))?
}

/// Connects, without a bound. `at`: as [`Account::options`] has it.
pub(super) async fn open(account: &Account, at: Option<(IpAddr, u16)>) -> Result<Conn, mysql_async::Error> {
    Conn::new(account.options(at)).await
}

/// An error of the client library; it puts no secrets into them.
pub(super) fn told(error: &mysql_async::Error) -> Trouble {
    let text = match error {
        mysql_async::Error::Server(error) => format!("error {}, {}", error.code, error.message),
        mysql_async::Error::Io(mysql_async::IoError::Io(error)) => error.to_string(),
        other => other.to_string(),
    };
    // One line, whatever the server says.
    Trouble(text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect())
}

/// A row of an answer, as text.
pub(super) struct Row(mysql_async::Row);

impl Row {
    /// The column at this place; `None`: it is null, or there is none.
    pub(super) fn at(&self, place: usize) -> Option<String> {
        self.0.as_ref(place).and_then(text)
    }

    /// The column of this name.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let place = self.0.columns_ref().iter().position(|column| column.name_str().eq_ignore_ascii_case(name))?;
        self.at(place)
    }

    /// A number at this place.
    pub(super) fn number<T: std::str::FromStr>(&self, place: usize) -> Result<T, Trouble> {
        let text = self.at(place);
        let number = text.as_deref().and_then(|text| text.parse().ok());
        number.ok_or_else(|| Trouble(format!("`{}` is no number that fits", text.unwrap_or_default())))
    }

    /// All columns.
    pub(super) fn texts(&self) -> Vec<Option<String>> {
        (0..self.0.len()).map(|place| self.at(place)).collect()
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(octets) => Some(String::from_utf8_lossy(octets).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

/// Asks, and reads all rows.
pub(super) async fn rows(conn: &mut Conn, sql: &str) -> Result<Vec<Row>, Trouble> {
    let rows: Vec<mysql_async::Row> = conn.query(sql).await.map_err(|error| told(&error))?;
    Ok(rows.into_iter().map(Row).collect())
}

/// Asks, and reads the first row.
pub(super) async fn first(conn: &mut Conn, sql: &str) -> Result<Option<Row>, Trouble> {
    Ok(conn.query_first::<mysql_async::Row, _>(sql).await.map_err(|error| told(&error))?.map(Row))
}

/// A statement without an answer. What it says is not shown: it may hold a password.
pub(super) async fn run(conn: &mut Conn, sql: &str) -> Result<(), Trouble> {
    conn.query_drop(sql).await.map_err(|error| told(&error))
}

/// A text as SQL writes it, with `sql_mode` as [`connect`] sets it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

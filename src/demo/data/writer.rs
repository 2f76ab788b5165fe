//! A client that writes: it asks for the write name, dials what it is told, and notes what was acknowledged. When a write fails it asks again.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portolan_core::model::time::Tick;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_postgres::NoTls;

use super::super::ask::Asker;
use crate::{
    daemon::{Clock, Detours},
    engine::fake,
};

/// For a connection, and for one write: some round trips, and a wait for a standby.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two writes, and before the name is asked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::demo) struct Acknowledged {
    /// Its number.
    pub(in crate::demo) number: u64,
    pub(in crate::demo) at: Tick,
}

/// The client, at work.
pub(in crate::demo) struct Writer {
    ledger: Arc<Mutex<Vec<Acknowledged>>>,
    task: JoinHandle<()>,
}

/// How databases are reached.
#[derive(Clone)]
pub(in crate::demo) struct Reach {
    /// All listen on one port.
    pub(super) port: u16,
    /// Of a real one; `None`: a fake knows no users.
    pub(super) password: Option<String>,
    /// Where they are dialed in place of their addresses.
    pub(super) detours: Detours,
}

impl Writer {
    /// Begins to write. `asker` asks for the write name.
    pub(in crate::demo) fn start(mut asker: Asker, client: std::net::Ipv4Addr, reach: Reach, clock: Arc<Clock>) -> Self {
        let ledger: Arc<Mutex<Vec<Acknowledged>>> = Arc::default();
        let notes = Arc::clone(&ledger);
        let task = tokio::spawn(async move {
            let (mut number, mut connection) = (0, None);
            loop {
                if connection.is_none() {
                    connection = connect(&mut asker, client, &reach).await.ok();
                }
                if let Some(open) = &mut connection {
                    number += 1;
                    match timeout(PATIENCE, open.write(number)).await {
                        Ok(Ok(())) => locked(&notes).push(Acknowledged { number, at: clock.tick() }),
                        // Nobody knows whether it is kept; the next one goes where the name leads then.
                        Ok(Err(_)) | Err(_) => connection = None,
                    }
                }
                sleep(PAUSE).await;
            }
        });
        Self { ledger, task }
    }

    /// What was acknowledged so far, in order.
    pub(in crate::demo) fn acknowledged(&self) -> Vec<Acknowledged> {
        locked(&self.ledger).clone()
    }

    /// The last one.
    pub(in crate::demo) fn last(&self) -> Option<Acknowledged> {
        locked(&self.ledger).last().copied()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked(ledger: &Mutex<Vec<Acknowledged>>) -> MutexGuard<'_, Vec<Acknowledged>> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection to a database.
pub(in crate::demo) enum Connection {
    Postgres(tokio_postgres::Client),
    Fake(fake::Client),
}

async fn connect(asker: &mut Asker, client: std::net::Ipv4Addr, reach: &Reach) -> io::Result<Connection> {
    let answer = asker.ask(&[client]).await?.pop().flatten();
    let address = answer.and_then(|heard| heard.addresses.first().copied());
    let address = address.ok_or_else(|| io::Error::other("the name leads nowhere"))?;
    let connection = reach.connect(SocketAddr::new(address, reach.port)).await?;
    connection.prepare().await?;
    Ok(connection)
}

impl Reach {
    /// Connects to the member at this address.
    pub(in crate::demo) async fn connect(&self, to: SocketAddr) -> io::Result<Connection> {
        let to = self.detours.of(to);
        let connected = async {
            let Some(password) = &self.password else {
                return fake::Client::connect(&to.to_string()).await.map(Connection::Fake).map_err(io::Error::other);
            };
            let mut config = tokio_postgres::Config::new();
            config
                .host(to.ip().to_string())
                .port(to.port())
                .user("postgres")
                .password(password)
                .dbname("postgres")
                .application_name("demo");
            let (client, connection) = config.connect(NoTls).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Ok(Connection::Postgres(client))
        };
        timeout(PATIENCE, connected).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

impl Connection {
    async fn prepare(&self) -> io::Result<()> {
        let Self::Postgres(client) = self else { return Ok(()) };
        let prepared = timeout(PATIENCE, client.batch_execute("create table if not exists orders (number bigint primary key)")).await;
        prepared.map_err(|_| io::ErrorKind::TimedOut)?.map_err(io::Error::other)
    }

    async fn write(&mut self, number: u64) -> io::Result<()> {
        match self {
            Self::Postgres(client) => {
                let number = i64::try_from(number).map_err(io::Error::other)?;
                client.execute("insert into orders values ($1)", &[&number]).await.map(|_| ()).map_err(io::Error::other)
            }
            Self::Fake(client) => client.write(&number.to_string()).await.map(|_| ()).map_err(io::Error::other),
        }
    }

    /// The numbers that it keeps.
    pub(in crate::demo) async fn kept(&mut self) -> io::Result<Vec<u64>> {
        match self {
            Self::Postgres(client) => {
                let rows = client.query("select number from orders order by number", &[]).await.map_err(io::Error::other)?;
                Ok(rows.iter().filter_map(|row| u64::try_from(row.get::<_, i64>(0)).ok()).collect())
            }
            Self::Fake(client) => Ok(client.texts().await.map_err(io::Error::other)?.iter().filter_map(|text| text.parse().ok()).collect()),
        }
    }
}

//! What all of the systems stand on: ports that are held, servers as their user, and clients that try to write until somebody takes it.

use std::{
    fs::{self, OpenOptions},
    net::SocketAddr,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use portolan_core::model::time::Timestamp;
use redis::aio::MultiplexedConnection;
use socket2::{Domain, Socket, Type};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, NoTls};

use crate::fleet::until;

/// Between two tries of a client.
const TRY: Duration = Duration::from_millis(5);

/// A try that is not answered is given up.
const ANSWER: Duration = Duration::from_millis(500);

/// Milliseconds since 1970: marks, logs and clients are all of this machine.
pub(super) fn wall() -> Timestamp {
    Timestamp(i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap())
}

/// A port that a server can have, because who holds it does not listen, and that nobody is given by chance.
pub(super) struct Port {
    pub(super) number: u16,
    _held: Socket,
}

impl Port {
    pub(super) fn hold() -> Self {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        held.set_reuse_address(true).unwrap();
        held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self { number: held.local_addr().unwrap().as_socket().unwrap().port(), _held: held }
    }
}

/// Whoever owns the databases: root runs none.
pub(super) fn owner() -> User {
    let user = if geteuid().is_root() { User::from_name("postgres") } else { User::from_uid(geteuid()) };
    user.unwrap().expect("somebody whom the databases may belong to: make setup")
}

/// Gives a file or directory to that one.
pub(super) fn give(path: &Path) {
    chown(path, Some(owner().uid.as_raw()), Some(owner().gid.as_raw())).unwrap();
}

/// A directory of that one, which others may pass through.
pub(super) fn make(path: &Path) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    give(path);
}

/// A program as that one, with its words at the end of a file.
pub(super) fn spawn(program: impl AsRef<Path>, arguments: &[&str], directory: &Path, log: &Path) -> Child {
    let program = program.as_ref();
    let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env("HOME", directory).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    if geteuid().is_root() {
        command.uid(owner().uid.as_raw()).gid(owner().gid.as_raw());
    }
    command.spawn().unwrap_or_else(|error| panic!("{} is installed: make setup: {error}", program.display()))
}

/// The same, until it has ended well.
pub(super) fn run(program: impl AsRef<Path>, arguments: &[&str], directory: &Path, log: &Path) {
    let ended = spawn(program, arguments, directory, log).wait().unwrap();
    assert!(ended.success(), "{arguments:?}: {}", fs::read_to_string(log).unwrap_or_default());
}

/// Kills a child, and waits until it is gone.
pub(super) fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Kills a process that is nobody's child here, and all that it started.
pub(super) fn kill_tree(main: i32) {
    let list = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap_or_default();
    for process in list.split_whitespace().filter_map(|child| child.parse().ok()).chain([main]) {
        // A child may end at any time.
        let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
    }
}

/// Where Debian puts the server's programs: those of the newest version.
pub(super) fn postgres_bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: make setup").flatten();
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.map(|entry| entry.path()).max_by_key(number).unwrap().join("bin")
}

/// The time of day in a line of a log, in milliseconds; `words`: how many stand before it.
pub(super) fn time_of_day(line: &str, words: usize) -> Option<u64> {
    let mut parts = line.split_whitespace().nth(words)?.get(..12)?.split([':', '.', ',']).map(|part| part.parse::<u64>().ok());
    let mut next = || parts.next().flatten();
    Some(((next()? * 60 + next()?) * 60 + next()?) * 1000 + next()?)
}

/// The moment at that time of day which is nearest to another one.
pub(super) fn near(moment: Timestamp, time_of_day: u64) -> Timestamp {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let apart = (i64::try_from(time_of_day).unwrap() - moment.0.rem_euclid(DAY_MS) + DAY_MS / 2).rem_euclid(DAY_MS) - DAY_MS / 2;
    Timestamp(moment.0 + apart)
}

/// What a PostgreSQL took by itself in the last promotion of its log: from the request until it said that it is ready, or until a client had written,
/// which may be a moment before it says so.
pub(super) async fn postgres_own(log: &Path, written: Timestamp) -> Duration {
    const ASKED: &str = "received promote request";
    let mut took = None;
    until("the server's log tells of its promotion", async || {
        let text = fs::read_to_string(log).unwrap_or_default();
        let mut lines = text.lines().rev().skip_while(|line| !line.contains(ASKED));
        let asked = lines.next().and_then(|line| time_of_day(line, 1)).map(|asked| near(written, asked));
        let after = text.rsplit(ASKED).next().unwrap_or_default();
        let ready = after.lines().find(|line| line.contains("database system is ready to accept connections"));
        let ready = ready.and_then(|line| time_of_day(line, 1)).map(|ready| near(written, ready));
        took = asked.zip(ready).map(|(asked, ready)| ready.min(written).since(asked));
        took.is_some()
    })
    .await;
    took.unwrap_or_default()
}

pub(super) async fn postgres(port: u16) -> Option<Client> {
    let config = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres connect_timeout=2 application_name=bench");
    let (client, connection) = timeout(ANSWER, tokio_postgres::connect(&config, NoTls)).await.ok()?.ok()?;
    tokio::spawn(connection);
    Some(client)
}

pub(super) async fn redis(port: u16) -> Option<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    timeout(ANSWER, client.get_multiplexed_async_connection()).await.ok()?.ok()
}

/// A client that keeps its connection to one server while it can.
enum Tries {
    Postgres(u16, Option<Client>),
    Redis(u16, Option<MultiplexedConnection>),
}

impl Tries {
    /// Whether a write was acknowledged.
    async fn write(&mut self) -> bool {
        match self {
            Self::Postgres(port, kept) => {
                if kept.as_ref().is_none_or(Client::is_closed) {
                    *kept = postgres(*port).await;
                }
                let Some(client) = kept else { return false };
                matches!(timeout(ANSWER, client.execute("insert into ledger (id) values (1)", &[])).await, Ok(Ok(1)))
            }
            Self::Redis(port, kept) => {
                if kept.is_none() {
                    *kept = redis(*port).await;
                }
                let Some(client) = kept else { return false };
                match timeout(ANSWER, redis::cmd("INCR").arg("ledger").query_async::<i64>(client)).await {
                    Ok(Ok(_)) => return true,
                    // It said no; anything else is the end of the connection.
                    Ok(Err(error)) if error.code() == Some("READONLY") => {}
                    _ => *kept = None,
                }
                false
            }
        }
    }
}

/// Which of these servers first acknowledges a write, and when.
pub(super) async fn first_write(is_redis: bool, ports: impl IntoIterator<Item = u16>) -> (u16, Timestamp) {
    let tries = ports.into_iter().map(|port| async move {
        let mut client = if is_redis { Tries::Redis(port, None) } else { Tries::Postgres(port, None) };
        while !client.write().await {
            sleep(TRY).await;
        }
        (port, wall())
    });
    let (first, _, _) = futures_util::future::select_all(tries.map(Box::pin)).await;
    first
}

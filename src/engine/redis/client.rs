//! A connection to a server for a few questions, each with a bound in time; the whole of it has one in octets.

use std::{collections::BTreeMap, time::Duration};

use portolan_core::failover::{
    engine::redis::{Info, Line, PRIMARY_WORD, REPLICA_WORD, SECTIONS, SENTINEL_CHANNEL},
    token::Token,
};
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisConnectionInfo, RedisError, aio::MultiplexedConnection};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use super::{super::Trouble, HEARTBEAT_KEY, LINE_KEY, Login};

/// To connect and to say who one is.
const CONNECT: Duration = Duration::from_secs(5);

/// For one question.
const ASK: Duration = Duration::from_secs(5);

/// What is read from one connection: a few answers to `INFO` of some KiB each.
const OCTETS_MAX: u64 = 1 << 20;

/// As much of a server's words as is passed on.
const WORDS_MAX: usize = 200;

/// Its setting: it takes no writes while fewer follow.
const FLOOR: &str = "min-replicas-to-write";

/// Its setting: whoever was silent for longer, in seconds, does not follow.
const FLOOR_LAG: &str = "min-replicas-max-lag";

/// How long clients' writes are held back when it is about to stop: longer than any lease, since it must end before they go on.
const PAUSE: Duration = Duration::from_secs(24 * 3600);

/// What one says of itself.
#[derive(Clone, Debug)]
pub struct Status {
    pub(super) info: Info,
    pub(super) line: Option<Line>,
    /// When its agent wrote to it last, by its own clock in microseconds since 1970, and the position there.
    pub(super) beat: Option<(u64, u64)>,
    /// Why it is not to be led; `None`: it may be.
    pub(super) broken: Option<String>,
}

impl Status {
    /// Why it is no primary to be counted on; `None`: it is one.
    #[must_use]
    pub fn unfit(&self) -> Option<&str> {
        if self.info.is_replica { Some("it is a replica") } else { self.broken.as_deref() }
    }

    /// Since its agent wrote to it, by its own clock; `None`: none has.
    #[must_use]
    pub fn beat_age(&self) -> Option<Duration> {
        self.beat.map(|(at, _)| Duration::from_micros(self.info.time_us.saturating_sub(at)))
    }

    /// The token of the run that is under way; `None`: it bears none.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        let last = self.line.as_ref()?.last();
        (last.id == self.info.id).then_some(last.token)
    }
}

/// Ends the task that moves a connection's octets.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection. It ends when it is dropped.
#[derive(Debug)]
pub struct Client {
    connection: MultiplexedConnection,
    _driver: Driver,
}

impl Client {
    pub(super) async fn connect(host: &str, port: u16, login: Option<&Login>) -> Result<Self, Trouble> {
        let connected = timeout(CONNECT, TcpStream::connect((host, port))).await;
        let stream =
            connected.map_err(|_| late("connect")).and_then(|stream| stream.map_err(|error| Trouble(format!("connect: {error}"))))?;
        // Without it small questions wait for the other side's delayed acknowledgement; a failure costs time only.
        let _ = stream.set_nodelay(true);
        Self::over(stream, login).await
    }

    /// Says who it is, over a connection that stands.
    ///
    /// # Errors
    /// It is not let in, or the other side is no Redis.
    pub async fn over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, login: Option<&Login>) -> Result<Self, Trouble> {
        let (read, write) = tokio::io::split(stream);
        let stream = tokio::io::join(read.take(OCTETS_MAX), write);
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(login) = login {
            info = info.set_password(&login.password);
            if let Some(user) = &login.user {
                info = info.set_username(user);
            }
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ASK));
        let made = timeout(CONNECT, MultiplexedConnection::new_with_config(&info, stream, config)).await;
        let (connection, driver) = made.map_err(|_| late("log in"))?.map_err(|error| told("log in", &error))?;
        Ok(Self { connection, _driver: Driver(tokio::spawn(driver)) })
    }

    /// Asks one thing. `what`: what it is called in an error. One command at a time: the library's transactions miscount when one is refused.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, what: &str, command: &Cmd) -> Result<T, Trouble> {
        let asked = timeout(ASK, command.query_async(&mut self.connection)).await;
        asked.map_err(|_| late(what))?.map_err(|error| told(what, &error))
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// It does not, or does not let us.
    pub async fn ping(&mut self) -> Result<(), Trouble> {
        let word: String = self.ask("ping it", &redis::cmd("PING")).await?;
        if word == "PONG" { Ok(()) } else { Err(Trouble("ping it: it answers something else".to_owned())) }
    }

    /// Whether it follows another one.
    ///
    /// # Errors
    /// It does not say.
    pub async fn is_replica(&mut self) -> Result<bool, Trouble> {
        let redis::Value::Array(said) = self.ask("ask for its role", &redis::cmd("ROLE")).await? else {
            return Err(Trouble("ask for its role: it answers something else".to_owned()));
        };
        match said.first().map(String::from_redis_value_ref) {
            Some(Ok(role)) if role == PRIMARY_WORD => Ok(false),
            Some(Ok(role)) if role == REPLICA_WORD => Ok(true),
            _ => Err(Trouble("ask for its role: it is neither a primary nor a replica".to_owned())),
        }
    }

    /// What it says of itself. Its words about its offset are the oldest of it: what was opened since then does not seem to be reached.
    ///
    /// # Errors
    /// It does not answer, or not so.
    pub async fn status(&mut self) -> Result<Status, Trouble> {
        let info: String = self.ask("ask what it is", redis::cmd("INFO").arg(&SECTIONS)).await?;
        let info = Info::parse(&info).map_err(Trouble)?;
        let refused = |why: &str| Status { info: info.clone(), line: None, beat: None, broken: Some(why.to_owned()) };
        if info.is_clustered {
            return Ok(refused("it runs in cluster mode, which fails over by itself: switch cluster-enabled off, or leave this group out"));
        }
        if info.is_sentinel {
            return Ok(refused("it is a Sentinel, no database"));
        }
        let line: Option<String> = self.ask("read its line", redis::cmd("GET").arg(LINE_KEY)).await?;
        let beat: Option<String> = self.ask("read its heartbeat", redis::cmd("GET").arg(HEARTBEAT_KEY)).await?;
        let (_, watching): (String, u64) = self.ask("ask who watches it", redis::cmd("PUBSUB").arg("NUMSUB").arg(SENTINEL_CHANNEL)).await?;
        let mut broken = (watching > 0)
            .then(|| "a Sentinel watches it, and two managers would move it against each other: SENTINEL REMOVE it first".to_owned());
        let line = match line.as_deref().map(Line::parse) {
            None => None,
            Some(Ok(line)) => Some(line),
            Some(Err(why)) => {
                broken.get_or_insert_with(|| format!("what stands in its key {LINE_KEY} is not ours: {why}"));
                None
            }
        };
        let beat = beat.and_then(|text| {
            let (at, position) = text.split_once(' ')?;
            Some((at.parse().ok()?, position.parse().ok()?))
        });
        Ok(Status { info, line, beat, broken })
    }

    /// Writes when that was, and the position.
    pub(super) async fn beat(&mut self, time_us: u64, position: u64) -> Result<(), Trouble> {
        let mut set = redis::cmd("SET");
        set.arg(HEARTBEAT_KEY).arg(format!("{time_us} {position}"));
        self.ask("write the heartbeat", &set).await
    }

    /// Receives from there.
    pub(super) async fn follow(&mut self, host: &str, port: u16, login: Option<&Login>) -> Result<(), Trouble> {
        if let Some(login) = login {
            self.set("masteruser", login.user.as_deref().unwrap_or_default()).await?;
            self.set("masterauth", &login.password).await?;
        }
        // Where it stands is asked of a replica that is cut off, too.
        self.set("replica-serve-stale-data", "yes").await?;
        self.set("replica-read-only", "yes").await?;
        let mut follow = redis::cmd("REPLICAOF");
        follow.arg(host).arg(port);
        self.ask("have it follow another one", &follow).await
    }

    /// Receives from nobody, and takes writes.
    pub(super) async fn promote(&mut self) -> Result<(), Trouble> {
        let mut promote = redis::cmd("REPLICAOF");
        promote.arg("NO").arg("ONE");
        self.ask("promote it", &promote).await
    }

    /// Writes the line, and reads it back. It goes in whoever follows.
    pub(super) async fn sign(&mut self, line: &Line) -> Result<(), Trouble> {
        self.ask::<()>("let it take writes", redis::cmd("CLIENT").arg("UNPAUSE")).await?;
        self.keep_counting().await?;
        let text = line.text();
        self.ask::<()>("write the token", redis::cmd("SET").arg(LINE_KEY).arg(&text)).await?;
        let read: Option<String> = self.ask("read the token", redis::cmd("GET").arg(LINE_KEY)).await?;
        if read.as_deref() == Some(&text) {
            Ok(())
        } else {
            Err(Trouble("the token that was written is not the one that is read".to_owned()))
        }
    }

    /// How many must follow before it takes writes, and after what silence one does not count; zero: none, and as if that were not set.
    pub(super) async fn floor(&mut self) -> Result<(u16, Duration), Trouble> {
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg(FLOOR).arg(FLOOR_LAG);
        let set: BTreeMap<String, String> = self.ask("read its settings", &get).await?;
        let number = |name: &str| -> Result<u64, Trouble> {
            let told = set.get(name).and_then(|text| text.parse().ok());
            told.ok_or_else(|| Trouble(format!("read its settings: it does not tell `{name}`")))
        };
        Ok((u16::try_from(number(FLOOR)?).unwrap_or(u16::MAX), Duration::from_secs(number(FLOOR_LAG)?)))
    }

    pub(super) async fn set_floor(&mut self, replicas: u16) -> Result<(), Trouble> {
        self.set(FLOOR, &replicas.to_string()).await
    }

    /// Its offset counts what is written only while there is a backlog, which stays from now on when there are no replicas.
    pub(super) async fn keep_counting(&mut self) -> Result<(), Trouble> {
        self.set("repl-backlog-ttl", "0").await
    }

    /// Asks for a whole copy, as an old replica does. It is not taken: the answer is none that is understood, and ends the connection.
    pub(super) async fn ask_for_copy(&mut self) {
        let _ = self.ask::<redis::Value>("ask for a copy", &redis::cmd("SYNC")).await;
    }

    /// It writes a snapshot when it stops.
    pub(super) async fn keep_when_stopped(&mut self) -> Result<(), Trouble> {
        self.set("shutdown-on-sigint", "save").await
    }

    /// Clients' writes wait from now on.
    pub(super) async fn pause(&mut self) -> Result<(), Trouble> {
        let mut pause = redis::cmd("CLIENT");
        pause.arg("PAUSE").arg(u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX)).arg("WRITE");
        self.ask("let it take no more writes", &pause).await
    }

    async fn set(&mut self, name: &str, value: &str) -> Result<(), Trouble> {
        self.ask(&format!("set {name}"), redis::cmd("CONFIG").arg("SET").arg(name).arg(value)).await
    }
}

fn late(what: &str) -> Trouble {
    Trouble(format!("{what}: no answer in time"))
}

/// What went wrong, in one short line. The server's words hold no password.
fn told(what: &str, error: &RedisError) -> Trouble {
    let words: String = error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect();
    Trouble(format!("{what}: {words}"))
}

//! What is said to a fake database and by it: one JSON value per line, each way.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use portolan_core::{failover::token::Token, model::ids::Label};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_util::codec::{Framed, LinesCodec};

use super::{super::Trouble, log::Head};

/// The longest line, in octets: records that are streamed, as a text in JSON.
const LINE_OCTETS_MAX: usize = 64 * 1024;

/// Octets of records in one line: each may have to be escaped.
pub(super) const RECORDS_OCTETS_MAX: usize = LINE_OCTETS_MAX / 4;

/// To connect, and for an answer that waits for nobody else.
const ANSWER: Duration = Duration::from_secs(3);

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// How it is.
    Status,
    /// Keep this; answered when it is kept.
    Write(String),
    /// What clients wrote, from this position on.
    Read(u64),
    /// Note that the agent is there.
    Beat,
    /// The token by which it was opened: generation and epoch.
    Sign(u64, u64),
    /// The next timeline shall be above this one.
    Reserve(u32),
    /// Take writes from now on.
    Promote,
    /// The settings have changed.
    Reload,
    /// Ship nothing to standbys any more, though their connections stand; or go on.
    Hold(bool),
    /// A standby of that region, whose log is so long, wants what comes after it.
    Stream(Label, Box<Head>),
    /// That standby has everything up to here on disk.
    Flushed(u64),
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    /// How it is.
    Status(Box<Status>),
    /// It is done; where the log ended then.
    Done(u64),
    /// Texts, and from where on there may be more.
    Texts(Vec<String>, u64),
    /// Records from a position on; none: nothing happened for a while.
    Records(u64, String),
    /// It is not done, and why.
    Refused(String),
}

/// How a fake database is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What its log says.
    pub(super) head: Head,
    pub(super) is_standby: bool,
    /// Whom it is set to receive from.
    pub(super) upstream: Option<Label>,
    /// It receives, and heard something so long ago.
    pub(super) silent_for: Option<Duration>,
    pub(super) synchronous: String,
    /// A promotion takes a timeline above this one.
    pub(super) reserved: u32,
    /// Since the last heartbeat; `None`: there was none.
    pub(super) beat_age: Option<Duration>,
}

impl Status {
    /// It takes no writes.
    #[must_use]
    pub const fn is_standby(&self) -> bool {
        self.is_standby
    }

    /// Since the last heartbeat of its agent; `None`: there was none.
    #[must_use]
    pub const fn beat_age(&self) -> Option<Duration> {
        self.beat_age
    }

    /// By which grant it was opened; `None`: by none.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.head.opening.map(|opening| opening.token)
    }

    /// Where its log ends, in octets.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.head.end
    }
}

/// A connection to one.
#[derive(Debug)]
pub struct Client<S = TcpStream> {
    lines: Framed<S, LinesCodec>,
}

impl Client {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// It does not answer in time, or not at all.
    pub async fn connect(address: &str) -> Result<Self, Trouble> {
        let stream = timeout(ANSWER, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| Trouble(format!("connect to {address}: no answer in time")))?;
        let stream = stream.map_err(|error| Trouble(format!("connect to {address}: {error}")))?;
        stream.set_nodelay(true).map_err(|error| Trouble(format!("connect to {address}: {error}")))?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Over a connection that stands.
    #[must_use]
    pub fn over(stream: S) -> Self {
        Self { lines: Framed::new(stream, LinesCodec::new_with_max_length(LINE_OCTETS_MAX)) }
    }

    /// How it is.
    ///
    /// # Errors
    /// It did not say, or not in time.
    pub async fn status(&mut self) -> Result<Status, Trouble> {
        match timeout(ANSWER, self.ask(&Ask::Status)).await.map_err(|_| late())?? {
            Told::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Has it keep a text of at most [`super::TEXT_OCTETS_MAX`] octets; returns where its log ends then. As long as standbys are waited for, this waits.
    ///
    /// # Errors
    /// It is not kept, or nobody knows whether it is.
    pub async fn write(&mut self, text: &str) -> Result<u64, Trouble> {
        done(self.ask(&Ask::Write(text.to_owned())).await?)
    }

    /// Everything that clients wrote, in its order.
    ///
    /// # Errors
    /// It did not say.
    pub async fn texts(&mut self) -> Result<Vec<String>, Trouble> {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            match timeout(ANSWER, self.ask(&Ask::Read(from))).await.map_err(|_| late())?? {
                Told::Texts(_, next) if next == from => return Ok(all),
                Told::Texts(texts, next) => {
                    all.extend(texts);
                    from = next;
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Has it ship nothing to its standbys any more, though their connections stand, or go on: a drill of replication that hangs.
    ///
    /// # Errors
    /// It did not say that it does.
    pub async fn hold(&mut self, is_held: bool) -> Result<(), Trouble> {
        self.done(&Ask::Hold(is_held)).await.map(|_| ())
    }

    /// Promotes it by hand, as nobody should.
    ///
    /// # Errors
    /// It did not say that it is.
    pub async fn promote(&mut self) -> Result<(), Trouble> {
        self.done(&Ask::Promote).await.map(|_| ())
    }

    /// Something that is done or refused, by itself.
    pub(super) async fn done(&mut self, ask: &Ask) -> Result<u64, Trouble> {
        done(timeout(ANSWER, self.ask(ask)).await.map_err(|_| late())??)
    }

    pub(super) async fn ask(&mut self, ask: &Ask) -> Result<Told, Trouble> {
        self.say(ask).await?;
        self.hear().await?.ok_or_else(|| Trouble("it closed the connection".to_owned()))
    }

    pub(super) async fn say<T: Serialize + Sync>(&mut self, what: &T) -> Result<(), Trouble> {
        let line = serde_json::to_string(what).map_err(|error| Trouble(error.to_string()))?;
        self.lines.send(line).await.map_err(|error| Trouble(error.to_string()))
    }

    /// `None`: the other end closed.
    pub(super) async fn hear<T: for<'a> Deserialize<'a>>(&mut self) -> Result<Option<T>, Trouble> {
        match self.lines.next().await {
            None => Ok(None),
            Some(Err(error)) => Err(Trouble(error.to_string())),
            Some(Ok(line)) => serde_json::from_str(&line).map(Some).map_err(|error| Trouble(format!("a line that says nothing: {error}"))),
        }
    }
}

fn done(told: Told) -> Result<u64, Trouble> {
    match told {
        Told::Done(end) => Ok(end),
        Told::Refused(why) => Err(Trouble(why)),
        other => Err(unexpected(&other)),
    }
}

fn late() -> Trouble {
    Trouble("no answer in time".to_owned())
}

fn unexpected(told: &Told) -> Trouble {
    match told {
        Told::Refused(why) => Trouble(why.clone()),
        _ => Trouble("it answered something else than was asked".to_owned()),
    }
}

//! The agent's end of the supervisor's socket.

use std::{path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use super::wire::{Reply, Request, State, Verb};

/// For everything but a kill, which waits until nothing is left.
const ANSWER: Duration = Duration::from_secs(3);

/// For a kill: what hangs in the kernel so long is told as a failure, and the kill is repeated.
const KILL: Duration = Duration::from_secs(10);

/// A longer answer is none.
const LINE_OCTETS_MAX: u64 = 64 * 1024;

/// Why the supervisor did not do something.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It is not there, or does not answer. Whether it acted is unknown.
    #[error("ask the supervisor: {0}")]
    Gone(String),
    /// It refuses; it did nothing.
    #[error("the supervisor refuses: {0}")]
    Refused(String),
}

/// A connection to the supervisor. One question at a time.
#[derive(Debug)]
pub struct Link {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    n_asked: u64,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// [`LinkError::Gone`]: nothing listens there.
    pub async fn connect(socket: &Path) -> Result<Self, LinkError> {
        let stream = UnixStream::connect(socket).await.map_err(|error| LinkError::Gone(format!("{}: {error}", socket.display())))?;
        let (read, write) = stream.into_split();
        Ok(Self { read: BufReader::new(read), write, n_asked: 0 })
    }

    /// Asks, and waits for the answer. After [`LinkError::Gone`] the connection is of no use any more.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn ask(&mut self, verb: Verb) -> Result<State, LinkError> {
        self.n_asked += 1;
        let id = self.n_asked;
        let patience = if verb == Verb::Kill { KILL } else { ANSWER };
        let reply = timeout(patience, self.exchange(Request { id, verb })).await;
        let reply = reply.map_err(|_| LinkError::Gone(format!("no answer within {}s", patience.as_secs())))?;
        match reply.map_err(|error| LinkError::Gone(error.to_string()))? {
            Reply { refused: Some(why), .. } => Err(LinkError::Refused(why)),
            Reply { state, .. } => Ok(state),
        }
    }

    async fn exchange(&mut self, request: Request) -> std::io::Result<Reply> {
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        self.write.write_all(&line).await?;
        loop {
            let mut line = String::new();
            if (&mut self.read).take(LINE_OCTETS_MAX).read_line(&mut line).await? == 0 {
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it is gone"));
            }
            let reply: Reply = serde_json::from_str(&line)?;
            // News of its own comes in between; the answer has them, too.
            if reply.id == request.id {
                return Ok(reply);
            }
        }
    }
}

//! What agent, supervisor and vessel say to each other: one JSON object per line, both ways, each line bounded.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The longest line. The longest that is sent, a command line and an environment, is far below it.
const LINE_OCTETS_MAX: usize = 64 * 1024;

/// What is run, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program, by its whole path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where it is started.
    pub directory: PathBuf,
    /// While this file is there, it starts as a standby. Without it, it is started under a deadline only (A5).
    pub mark: PathBuf,
    /// User and group that it runs as; `None`: those of the supervisor.
    pub user: Option<(u32, u32)>,
    /// By what it stops cleanly.
    pub stops_by: StopsBy,
}

/// The signal by which a database stops cleanly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopsBy {
    /// SIGINT: PostgreSQL waits for no client then, as it does by SIGTERM.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// How a database is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// Cleanly: clients are cut off, everything is written, standbys get the rest.
    Fast,
    /// At once; it recovers from its log when it is started again.
    Immediate,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Nothing but the state.
    Status,
    /// Kill everything at `kill_at`, unless another time is given before. Microseconds of the clock since boot.
    Arm {
        /// When.
        kill_at: u64,
        /// When nothing may be left; no earlier.
        over_at: u64,
    },
    /// Start the database.
    Start,
    /// Ask it to stop; the state says when it did.
    Stop(Manner),
    /// Kill everything in the vessel; answered when it is empty.
    Kill,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Comes back in the reply; above zero.
    pub(super) id: u64,
    pub(super) verb: Verb,
}

/// An answer, or with id zero: the state has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) id: u64,
    /// Why nothing was done; `None`: it was.
    pub(super) refused: Option<String>,
    pub(super) state: State,
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Of the supervisor: another one has another number.
    pub incarnation: u64,
    /// The database's main process, by its number inside the vessel; `None`: none, and the vessel is empty.
    pub process: Option<i32>,
    /// How often it was started in this vessel.
    pub starts: u64,
    /// When everything is killed; `None`: not by time.
    pub kill_at: Option<u64>,
    /// When nothing may be left, with `kill_at`.
    pub over_at: Option<u64>,
    /// How the database ended last; `None`: it has not.
    pub ended: Option<String>,
    /// The last time that the supervisor stood still longer than it may: until when, and for how long, in microseconds; `None`: it never did.
    #[serde(default)]
    pub stood_still: Option<(u64, u64)>,
}

/// A line that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the other side is gone")]
    Gone,
    #[error("a line is longer than {LINE_OCTETS_MAX} octets")]
    TooLong,
    #[error("a line is not what was expected: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("talk to the other side: {0}")]
    Io(#[from] std::io::Error),
}

/// One end of a conversation, which never waits.
#[derive(Debug)]
pub(super) struct Conversation {
    stream: UnixStream,
    heard: Vec<u8>,
}

impl Conversation {
    pub(super) fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, heard: Vec::new() })
    }

    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Everything that was said meanwhile.
    pub(super) fn hear<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, WireError> {
        let is_over = self.read()?;
        let mut said = Vec::new();
        while let Some(line) = self.line() {
            said.push(serde_json::from_slice(&line)?);
        }
        // What was said before it went is heard first.
        if said.is_empty() && is_over { Err(WireError::Gone) } else { Ok(said) }
    }

    /// The next thing that was said, and nothing after it: that may be of another kind.
    pub(super) fn hear_one<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        let is_over = self.read()?;
        match self.line() {
            Some(line) => Ok(Some(serde_json::from_slice(&line)?)),
            None if is_over => Err(WireError::Gone),
            None => Ok(None),
        }
    }

    /// Takes in what has come; `true`: nothing more will.
    fn read(&mut self) -> Result<bool, WireError> {
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(true),
                Ok(n) => self.heard.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It went with something unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(true),
                Err(error) => return Err(error.into()),
            }
            if self.heard.len() > LINE_OCTETS_MAX {
                return if self.heard.contains(&b'\n') { Ok(false) } else { Err(WireError::TooLong) };
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.heard.iter().position(|octet| *octet == b'\n')?;
        Some(self.heard.drain(..=end).collect())
    }

    /// Says one thing. Whoever does not listen, so that the socket's buffer is full, is as good as gone.
    pub(super) fn say(&mut self, what: &impl Serialize) -> Result<(), WireError> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.stream.write_all(&line)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_whatever_their_pieces_and_no_longer_than_they_may() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ours = Conversation::new(ours).unwrap();
        assert_eq!(ours.hear::<Request>().unwrap(), []);
        theirs.write_all(b"{\"id\":1,\"verb\":\"status\"}\n{\"id\":2,\"ve").unwrap();
        assert_eq!(ours.hear::<Request>().unwrap(), [Request { id: 1, verb: Verb::Status }]);
        theirs.write_all(b"rb\":{\"stop\":\"fast\"}}\n").unwrap();
        assert_eq!(ours.hear::<Request>().unwrap(), [Request { id: 2, verb: Verb::Stop(Manner::Fast) }]);
        theirs.write_all(b"{\"id\":3,\"verb\":\"kill\"}\n").unwrap();
        theirs.write_all(b"{\"id\":4,\"verb\":\"start\"}\n{\"of another kind\":1}\n").unwrap();
        assert_eq!(ours.hear_one::<Request>().unwrap(), Some(Request { id: 3, verb: Verb::Kill }));
        assert_eq!(ours.hear_one::<Request>().unwrap(), Some(Request { id: 4, verb: Verb::Start }), "what follows is not looked at");
        assert!(ours.hear_one::<State>().is_err());
        theirs.write_all(b"{\"id\":3,\"verb\":\"kill\"}\n").unwrap();
        drop(theirs);
        assert_eq!(ours.hear::<Request>().unwrap(), [Request { id: 3, verb: Verb::Kill }], "said before it went");
        assert!(matches!(ours.hear::<Request>(), Err(WireError::Gone)));

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ours = Conversation::new(ours).unwrap();
        theirs.write_all(b"{\"id\":1,\"verb\":\"promote\"}\n").unwrap();
        assert!(matches!(ours.hear::<Request>(), Err(WireError::Malformed(_))));
        theirs.set_nonblocking(true).unwrap();
        let flood = std::iter::repeat_with(|| {
            let sent = theirs.write(&[b'x'; 4096]).is_ok();
            (sent, ours.hear::<Request>())
        });
        assert!(flood.take(64).any(|(_, heard)| matches!(heard, Err(WireError::TooLong))));
    }
}

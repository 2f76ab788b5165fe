//! What the adapter saw, what it keeps of that, and what the agent's machine makes of it.

use serde::{Deserialize, Serialize};

use super::{Divergence, Floor, Info, Line, Process, ReplicationId, Upstream};
use crate::{
    failover::{
        agent::{Database, Facts, Opening},
        choose::Sealed,
        evidence::Stream,
        group::Stopped,
        order::{Role, Sight},
    },
    model::ids::Label,
};

/// One look at a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What runs.
    pub process: Process,
    /// The mark is there.
    pub is_marked: bool,
    /// Why it is not to be led; `None`: it may be.
    pub broken: Option<String>,
    /// What its directory tells.
    pub kept: Kept,
    /// Whom it would receive from if it were started as a replica now.
    pub upstream: Upstream,
    /// From itself; `None`: it does not answer.
    pub server: Option<Server>,
    /// Why it does not; `None`: it does, or was not asked.
    pub silence: Option<String>,
    /// Whether it takes writes alone; `None`: it does not say.
    pub floor: Option<Floor>,
    /// Members of the plan beside it.
    pub n_others: usize,
}

/// What a database was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ran {
    /// It took writes, and has followed nobody since.
    Primary,
    /// What it has came from a primary.
    Replica,
}

/// What is kept beside the data, because the files of Redis do not tell it while nothing runs. It lies in the same directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// What it was when it was seen last; `None`: it was never seen.
    pub ran: Option<Ran>,
    /// Which database; `None`: not known yet.
    pub system: Option<u64>,
    /// The line that it stood on; `None`: it was never signed.
    pub line: Option<Line>,
    /// Since then it takes no writes, because it is about to stop: the run and its offset.
    pub stopping: Option<(ReplicationId, u64)>,
    /// The position at which it ended before it became the primary the last time, and the run of the opening before; `None`: nobody knew.
    pub resumes: Option<(ReplicationId, u64)>,
    /// It wrote an append-only file.
    pub logs: bool,
    /// In this run it takes writes though nobody follows, and what its floor is again when as many do; `None`: its floor is what it is set to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted: Option<(ReplicationId, u16)>,
}

impl Note {
    /// What is to be kept after a look at a server that runs.
    #[must_use]
    pub fn after(&self, server: &Server) -> Self {
        let is_copy = server.is_replica && server.stream.is_up();
        // Another run writes, or what it has comes from elsewhere: where it stopped before says nothing any more.
        let is_over = is_copy || !server.is_replica && self.stopping.as_ref().is_some_and(|(id, _)| *id != server.id);
        let stopping = if is_over { None } else { self.stopping.clone() };
        let ran = if is_copy {
            Some(Ran::Replica)
        } else if server.is_replica {
            self.ran
        } else {
            Some(Ran::Primary)
        };
        let line = server.line.clone().or_else(|| self.line.clone());
        let system = line.as_ref().map(|line| line.system).or(self.system).or_else(|| server.system());
        // Another run has read its configuration again, and a replica's floor keeps nobody from writing.
        let lifted = self.lifted.clone().filter(|(id, _)| !server.is_replica && *id == server.id);
        Self { ran, system, line, stopping, lifted, logs: server.logs, ..self.clone() }
    }
}

/// Where the copy in a directory ends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    /// As it was when the snapshot was written.
    line: Line,
    position: u64,
}

/// What a directory tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What was noted.
    pub note: Note,
    /// The run and offset of its snapshot, read while nothing runs; `None`: there is none, or it does not say.
    pub snapshot: Option<(ReplicationId, u64)>,
    /// There is an append-only file, which the server reads instead of the snapshot.
    pub has_log: bool,
    /// There is a snapshot or an append-only file.
    pub has_data: bool,
    /// There is a snapshot and no append-only file, and the server is configured to read such a file only: it would come up empty.
    pub is_passed_over: bool,
}

impl Kept {
    /// Which database; `None`: nobody knows yet.
    #[must_use]
    pub fn system(&self) -> Option<u64> {
        self.note.system.or_else(|| self.snapshot.as_ref().map(|(id, _)| id.system()))
    }

    /// What it was. Before it was ever seen, the mark says.
    #[must_use]
    pub fn ran(&self, is_marked: bool) -> Ran {
        self.note.ran.unwrap_or(if is_marked { Ran::Replica } else { Ran::Primary })
    }

    /// Up to where its last snapshot goes; `None`: there is none, or its place in the line is not known.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.end().map(|end| end.position)
    }

    fn end(&self) -> Option<End> {
        let (id, offset) = self.snapshot.as_ref()?;
        let line = self.note.line.as_ref()?.at(id)?;
        let position = line.position(*offset)?;
        Some(End { line, position })
    }

    /// Its last snapshot was written after it took no more writes.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        match (&self.note.stopping, &self.snapshot) {
            (Some((noted, from)), Some((id, offset))) => noted == id && offset >= from,
            _ => false,
        }
    }

    /// Why it must not be started to be the primary; `None`: it may.
    #[must_use]
    pub fn stale(&self) -> Option<&'static str> {
        if !self.has_data {
            return Some("there is neither a snapshot nor an append-only file: replicas would take the emptiness for the data");
        }
        if self.is_passed_over {
            return Some(
                "its configuration has appendonly yes, and there is no append-only file: it would pass over its snapshot, and replicas would take \
                 the emptiness for the data; start it once by hand with appendonly no, then CONFIG SET appendonly yes",
            );
        }
        if self.note.line.is_none() || self.is_clean() || self.has_log && self.note.logs {
            return None;
        }
        Some("it did not stop cleanly and wrote no append-only file, so replicas have more than its last snapshot: fail over to one")
    }

    /// What is to be noted before it is started to be the primary: where from, after a clean end.
    #[must_use]
    pub fn opening(&self) -> Note {
        let end = self.end().filter(|_| self.is_clean());
        let resumes = end.map(|end| (end.line.last().id.clone(), end.position));
        Note { ran: Some(Ran::Primary), resumes, ..self.note.clone() }
    }

    /// What is to be noted before it is promoted.
    #[must_use]
    pub fn promoting(&self, server: &Server) -> Note {
        let own = server.line.as_ref().map(|line| line.last().id.clone());
        let resumes = own.zip(server.position()).or_else(|| self.note.resumes.clone());
        Note { ran: Some(Ran::Primary), resumes, ..self.note.clone() }
    }

    /// What it has, or may have, beyond the primary's line; `None`: nothing that its files would keep.
    #[must_use]
    pub fn tail(&self, primary: &Line) -> Option<Option<Divergence>> {
        if !self.has_data {
            return None;
        }
        let was_primary = self.note.ran == Some(Ran::Primary);
        match self.end() {
            Some(end) => match end.line.parted(end.position, primary) {
                Some(parted) => Some(Some(parted)),
                // What it wrote since its snapshot is in the append-only file.
                None => (was_primary && self.has_log && !self.is_clean()).then_some(None),
            },
            None => was_primary.then_some(None),
        }
    }
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// It takes no writes of clients.
    pub is_replica: bool,
    /// The run whose offset it counts.
    pub id: ReplicationId,
    /// The run before, and up to where both are the same.
    pub earlier: Option<(ReplicationId, u64)>,
    /// In that count.
    pub offset: u64,
    /// What it has is all that the offset says: a primary has a backlog, a replica has not lost its place.
    pub counts: bool,
    /// It takes in a whole copy.
    pub is_loading: bool,
    /// Whom it receives from.
    pub upstream: Upstream,
    /// A replica: what it hears from there now.
    pub stream: Stream,
    /// It writes an append-only file.
    pub logs: bool,
    /// The line in it; `None`: none.
    pub line: Option<Line>,
    /// The position in its last heartbeat.
    pub beat: Option<u64>,
}

impl Server {
    /// Which database; `None`: it is a replica that has not received anything yet, whose id is one of its own.
    fn system(&self) -> Option<u64> {
        let is_of_primary = !self.is_replica || self.stream.is_up();
        self.line.as_ref().map(|line| line.system).or_else(|| is_of_primary.then(|| self.id.system()))
    }

    /// From its answer. `upstream`: which member that is.
    #[must_use]
    pub fn new(info: &Info, upstream: Upstream, line: Option<Line>, beat: Option<u64>) -> Self {
        Self {
            is_replica: info.is_replica,
            id: info.id.clone(),
            earlier: info.earlier.clone(),
            offset: info.offset,
            counts: if info.is_replica { info.applied.is_some() } else { info.counts },
            is_loading: info.is_loading,
            upstream,
            stream: info.silent_for.map_or(Stream::Down, |silent_for| Stream::Up { silent_for }),
            logs: info.logs,
            line,
            beat,
        }
    }

    /// Where it ends, along its line; `None`: that cannot be told.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        let line = self.line.as_ref().filter(|_| self.counts && !self.is_loading)?;
        let own = &line.last().id;
        // A replica that goes on from a promoted one has its count before it has its opening.
        let is_after = self.is_replica && self.earlier.as_ref().is_some_and(|(id, _)| id == own);
        if self.id == *own || is_after { line.position(self.offset) } else { None }
    }

    /// The opening of the run that is under way; `None`: it is not signed.
    #[must_use]
    pub fn opening(&self) -> Option<Opening> {
        let last = self.line.as_ref()?.last();
        let opening = Opening { token: last.token, timeline: last.timeline, at: last.forked };
        (self.is_replica || last.id == self.id).then_some(opening)
    }
}

/// What the member that is to be followed says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// It takes no writes.
    pub is_replica: bool,
    /// The line of the run that is under way; `None`: it is not signed yet.
    pub line: Option<Line>,
}

/// What the agent's machine is told. `priority`: of the member, the lower is promoted first; `None`: never promoted.
///
/// Whoever is never promoted has no copy to offer: Redis ships nothing from a replica that is cut off, so nobody could fetch it.
#[must_use]
pub fn facts(seen: &Seen, region: &Label, priority: Option<u16>) -> Facts {
    let lives_under = match seen.process {
        Process::Ours(supervisor) => Some(supervisor),
        Process::Unknown | Process::Down | Process::Foreign => None,
    };
    let concerns = seen.floor.map(|floor| floor.concerns(seen.n_others));
    let silence = seen.silence.clone().filter(|_| seen.process != Process::Down);
    let base = Facts { lives_under, is_marked: seen.is_marked, concerns, silence, ..Facts::default() };
    let system = seen.kept.system();
    match (&seen.server, seen.process) {
        (Some(server), _) => {
            let database = match &server.upstream {
                _ if !server.is_replica => Database::Writes,
                Upstream::Nobody => Database::Standby { receives_from: None },
                Upstream::Member(region) => Database::Standby { receives_from: Some(region.clone()) },
                Upstream::Elsewhere | Upstream::Leaving => Database::Standby { receives_from: Some(Label::new("elsewhere")) },
            };
            let (position, line) = (server.position(), server.line.as_ref());
            let timeline = line.map_or(1, |line| line.last().timeline);
            let is_led = seen.broken.is_none();
            let system = line.map(|line| line.system).or(system).or_else(|| server.system());
            let offers = server.is_replica && priority.is_some() && is_led;
            let copy = position.zip(system).filter(|_| offers).map(|(position, system)| Sealed {
                region: region.clone(),
                system,
                timeline,
                position,
                // What is received is applied at once.
                replayed: position,
                priority,
            });
            let role = if server.is_replica { Role::Standby } else { Role::Writes };
            let sight = system.filter(|_| is_led).map(|system| Sight { role, system, timeline, position });
            let opening = server.opening().filter(|_| is_led);
            Facts { database, sight, stream: server.stream, copy, opening, ..base }
        }
        (None, Process::Down) => {
            let end = seen.kept.end();
            let timeline = end.as_ref().map(|end| &end.line).or(seen.kept.note.line.as_ref()).map_or(1, |line| line.last().timeline);
            let was_primary = seen.kept.ran(seen.is_marked) == Ran::Primary;
            let position = end.map(|end| end.position).filter(|_| was_primary && seen.kept.is_clean());
            let stopped = system.zip(position).map(|(system, position)| Stopped { system, timeline, position });
            let role = if was_primary { Role::Stopped } else { Role::Asleep };
            let sight = system.map(|system| Sight { role, system, timeline, position });
            Facts { database: Database::Down, sight, stopped, ..base }
        }
        (None, Process::Unknown | Process::Ours(_) | Process::Foreign) => base,
    }
}

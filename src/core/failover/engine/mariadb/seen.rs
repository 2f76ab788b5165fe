//! What the adapter saw, and what the agent's machine makes of it.

use super::{Process, lines::History};
use crate::{
    failover::{
        agent::{Database, Facts, Opening},
        choose::Sealed,
        evidence::Stream,
        group::Stopped,
        order::{Role, Sight},
        token::Token,
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
    /// Why the directory must not be started; `None`: it may.
    pub broken: Option<String>,
    /// From its files, while nothing runs; `None`: it runs, or they could not be read.
    pub control: Option<Control>,
    /// Why it does not answer; `None`: it does, or was not asked.
    pub silence: Option<String>,
    /// From itself; `None`: it does not answer.
    pub server: Option<Server>,
}

/// What a directory was when its server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It was to follow nobody, and stopped cleanly; the last position in its binary log.
    Stopped(u64),
    /// It was to follow nobody, and did not.
    Primary,
    /// It follows somebody, as far as it is told.
    Standby,
}

/// What its files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// What it was.
    pub ran: Ran,
    /// Of the database.
    pub system: u64,
    /// The timeline that it was seen on last.
    pub timeline: u32,
}

/// Whom a server is told to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Upstream {
    /// Nobody.
    #[default]
    Nobody,
    /// The member of that region.
    Member(Label),
    /// Something that is no member, or several at once.
    Elsewhere,
}

/// Why replication stopped, in the server's own number and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// MariaDB's.
    pub number: u32,
    /// MariaDB's.
    pub text: String,
}

/// What the primary says to a standby that asks for what is not in its binary log.
const NOT_IN_ITS_LOG: u32 = 1236;

/// What a standby says when its own log already has the place of a transaction that comes (`gtid_strict_mode`).
const OUT_OF_ORDER: u32 = 1950;

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Of the database.
    pub system: u64,
    /// The lines that it went through.
    pub history: History,
    /// Nobody else has opened the database since this server did, as far as it has heard.
    pub is_own_line: bool,
    /// The token in it; `None`: none.
    pub token: Option<Token>,
    /// It is not `read_only`.
    pub writes: bool,
    /// Whom it is told to follow.
    pub upstream: Upstream,
    /// Its receiver runs, or tries to.
    pub receives: bool,
    /// Its applier runs.
    pub applies: bool,
    /// What it hears from its upstream now.
    pub stream: Stream,
    /// The last transaction that it has applied or written.
    pub applied: u64,
    /// The last whole transaction in its relay log; `None`: nothing is there.
    pub received: Option<u64>,
    /// It is told to follow somebody, and has written something by itself behind this position; `None`: it has not.
    pub errant_from: Option<u64>,
    /// Why its receiver stopped; `None`: it did not, or was told to.
    pub io_error: Option<Refusal>,
    /// Why its applier stopped; `None`: it did not, or was told to.
    pub sql_error: Option<Refusal>,
    /// It holds back what it has (a delay is set), so it is no candidate.
    pub is_delayed: bool,
    /// What must be set otherwise before it can be led; `None`: nothing.
    pub unfit: Option<String>,
}

impl Server {
    /// Where its copy ends: with what it has applied, and what it will apply if nothing starts it again.
    #[must_use]
    pub fn end(&self) -> u64 {
        let counts = self.applies || self.receives && self.sql_error.is_none();
        self.received.filter(|_| counts).map_or(self.applied, |received| received.max(self.applied))
    }

    /// It has applied everything that it has.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.end() == self.applied
    }

    /// Why it cannot follow whom it is told to follow, which looking again does not help: one of them has what the other has not.
    #[must_use]
    pub fn refused(&self) -> Option<&Refusal> {
        let is = |error: &&Refusal| matches!(error.number, NOT_IN_ITS_LOG | OUT_OF_ORDER);
        self.io_error.as_ref().filter(is).or_else(|| self.sql_error.as_ref().filter(is))
    }
}

/// What the member that is to be followed says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Of the database.
    pub system: u64,
    /// The lines that it went through.
    pub history: History,
    /// It is not `read_only`.
    pub writes: bool,
}

/// What the agent's machine is told. `priority`: of the member, the lower is promoted first; `None`: never promoted.
#[must_use]
pub fn facts(seen: &Seen, region: &Label, priority: Option<u16>) -> Facts {
    let lives_under = match seen.process {
        Process::Ours(supervisor) => Some(supervisor),
        Process::Unknown | Process::Down | Process::Foreign => None,
    };
    let silence = seen.silence.clone().filter(|_| seen.process != Process::Down);
    let base = Facts { lives_under, is_marked: seen.is_marked, silence, ..Facts::default() };
    match (&seen.server, seen.process) {
        (Some(server), _) => {
            let database = match &server.upstream {
                _ if server.writes => Database::Writes,
                _ if !server.receives => Database::Standby { receives_from: None },
                Upstream::Member(region) => Database::Standby { receives_from: Some(region.clone()) },
                Upstream::Nobody | Upstream::Elsewhere => Database::Standby { receives_from: Some(Label::new("elsewhere")) },
            };
            let (system, timeline) = (server.system, server.history.timeline());
            // Of one that has what nobody else has, or whose order is not kept, nothing can be said by a number.
            let is_known = server.unfit.is_none() && server.errant_from.is_none();
            let copy = (!server.writes && is_known).then(|| Sealed {
                region: region.clone(),
                system,
                timeline,
                position: server.end(),
                replayed: server.applied,
                priority: priority.filter(|_| !server.is_delayed),
            });
            let role = if server.writes { Role::Writes } else { Role::Standby };
            let position = if server.writes { Some(server.applied) } else { copy.as_ref().map(|copy| copy.position) };
            let sight = Some(Sight { role, system, timeline, position });
            let opening = server.token.map(|token| Opening { token, timeline, at: server.history.began() });
            // A heartbeat takes no place in the binary log, and nothing else is written there by itself.
            let wrote = server.writes.then_some(server.applied);
            let is_late = !server.writes && server.is_delayed;
            let unfit = is_late.then(|| "it holds back what it receives (a delay of replication is set)".to_owned());
            Facts { database, sight, stream: server.stream, copy, opening, wrote, unfit, ..base }
        }
        (None, Process::Down) => {
            let stopped = seen.control.and_then(|control| match control.ran {
                Ran::Stopped(position) => Some(Stopped { system: control.system, timeline: control.timeline, position }),
                Ran::Primary | Ran::Standby => None,
            });
            let sight = seen.control.map(|control| {
                let role = if control.ran == Ran::Standby { Role::Asleep } else { Role::Stopped };
                Sight { role, system: control.system, timeline: control.timeline, position: stopped.map(|stopped| stopped.position) }
            });
            Facts { database: Database::Down, sight, stopped, ..base }
        }
        (None, Process::Unknown | Process::Ours(_) | Process::Foreign) => base,
    }
}

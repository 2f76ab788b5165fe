//! What a manager says of its database, and what the agent's machine makes of it.

use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::Upstream;
use crate::{
    failover::{
        agent::{Database, Facts, Opening},
        choose::Sealed,
        evidence::Stream,
        group::Stopped,
        order::{self, Sight},
        token::Token,
    },
    model::ids::Label,
};

/// The longest answer to a probe, in octets: a dozen short keys, with room for a long name.
pub const PROBE_OCTETS_MAX: usize = 16 * 1024;

/// The longest name of who runs it that is kept, in characters: a host's name.
const RUNS_CHARS_MAX: usize = 253;

/// What a database is, by its manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It runs, and takes none.
    Replica,
    /// Nothing of it runs.
    Stopped,
    /// The manager cannot tell. That is not nothing.
    #[default]
    Unknown,
}

/// One look at a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub role: Role,
    /// Which database; equal on all members of a group.
    pub system: u64,
    /// The timeline that it is on: it grows with each promotion. Zero: the engine has none, and the token in the data stands for it.
    pub timeline: u32,
    /// Where it ends, in the engine's own count: a primary's last write, up to where a replica has received; `None`: not known.
    pub position: Option<u64>,
    /// A replica: up to where it shows writes to readers; `None`: not known.
    pub applied: Option<u64>,
    /// Whom it receives from.
    pub upstream: Upstream,
    /// A replica: what it hears from there now.
    pub stream: Stream,
    /// It takes no writes, and the manager lets it take none by itself.
    pub fenced: bool,
    /// The token in it, and where its line began; `None`: none, or it could not be read.
    pub opening: Option<Opening>,
    /// Why the manager does not say what it is; `None`: it does, or nobody asked.
    pub silence: Option<String>,
    /// Who runs it inside the region, for people; `None`: nobody, or it is not told.
    pub runs: Option<String>,
}

impl Seen {
    /// The line that it is on, in numbers that grow with each promotion; zero: before the first one that is known.
    #[must_use]
    pub fn line(&self) -> u32 {
        let by_token = || self.opening.map_or(0, |opening| line_of(opening.token));
        if self.timeline > 0 { self.timeline } else { by_token() }
    }
}

/// Epochs are numbers in a log: they grow, and one of four milliards does not come.
fn line_of(token: Token) -> u32 {
    u32::try_from(token.epoch).unwrap_or(u32::MAX)
}

/// What the agent's machine is told. `priority`: of the member, the lower is promoted first; `None`: never promoted.
///
/// A member that receives nothing says where its copy ends; one that is fenced, where it ended.
#[must_use]
pub fn facts(seen: &Seen, region: &Label, priority: Option<u16>) -> Facts {
    let database = match (seen.role, &seen.upstream) {
        (Role::Unknown, _) => {
            return Facts { is_marked: seen.fenced, silence: seen.silence.clone(), ..Facts::default() };
        }
        (Role::Primary, _) => Database::Writes,
        (Role::Stopped, _) => Database::Down,
        (Role::Replica, Upstream::Nobody) => Database::Standby { receives_from: None },
        (Role::Replica, Upstream::Member(from)) => Database::Standby { receives_from: Some(from.clone()) },
        (Role::Replica, Upstream::Elsewhere | Upstream::Leaving) => Database::Standby { receives_from: Some(Label::new("elsewhere")) },
    };
    let (system, timeline) = (seen.system, seen.line());
    let writes = database == Database::Writes;
    let is_still = matches!(database, Database::Down | Database::Standby { receives_from: None });
    let copy = seen.position.filter(|_| !writes).map(|position| Sealed {
        region: region.clone(),
        system,
        timeline,
        position,
        replayed: seen.applied.unwrap_or(position).min(position),
        priority,
    });
    let stopped = seen.position.filter(|_| seen.fenced && is_still).map(|position| Stopped { system, timeline, position });
    let role = match seen.role {
        Role::Primary => order::Role::Writes,
        Role::Stopped if seen.fenced => order::Role::Stopped,
        Role::Stopped => order::Role::Asleep,
        Role::Replica | Role::Unknown => order::Role::Standby,
    };
    let opening = seen.opening.map(|opening| Opening { timeline, ..opening });
    let sight = Some(Sight { role, system, timeline, position: seen.position });
    Facts { database, sight, stream: seen.stream, is_marked: seen.fenced, copy, stopped, opening, ..Facts::default() }
}

/// Why the answer to a probe says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// It is longer than [`PROBE_OCTETS_MAX`].
    #[error("it says more than {PROBE_OCTETS_MAX} octets")]
    TooLong,
    /// It is not what the contract says; the parser's words.
    #[error("it is no answer to a probe: {0}")]
    NoAnswer(String),
}

/// An answer to a probe as a program prints it or a service sends it: one JSON object.
///
/// ```text
/// {"role": "primary|replica|stopped|unknown", "system": 7, "timeline": 3, "position": 4711, "applied": 4711,
///  "receives_from": "use1", "streams": true, "silent_ms": 120, "fenced": false,
///  "opening": {"generation": 1, "epoch": 4711, "at": 4000}, "runs": "node-2"}
/// ```
///
/// Only `role` and `system` must be there. `receives_from` is the name that `rejoin` told; any other is a stranger. `streams`: whether it hears from
/// there now; left out: nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Probe {
    role: Role,
    system: u64,
    #[serde(default)]
    timeline: u32,
    position: Option<u64>,
    applied: Option<u64>,
    receives_from: Option<String>,
    streams: Option<bool>,
    #[serde(default)]
    silent_ms: u32,
    #[serde(default)]
    fenced: bool,
    opening: Option<Signed>,
    runs: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct Signed {
    generation: u64,
    epoch: u64,
    /// Where that line began.
    at: u64,
}

impl Probe {
    /// Reads it. Keys that are not known are passed over.
    ///
    /// # Errors
    /// [`Unreadable`]: nothing is known.
    pub fn parse(octets: &[u8]) -> Result<Self, Unreadable> {
        if octets.len() > PROBE_OCTETS_MAX {
            return Err(Unreadable::TooLong);
        }
        serde_json::from_slice(octets).map_err(|error| Unreadable::NoAnswer(error.to_string()))
    }

    /// What was seen. `is_member`: whether the plan has a member in a region.
    #[must_use]
    pub fn seen(self, is_member: impl Fn(&Label) -> bool) -> Seen {
        let upstream = match self.receives_from.filter(|name| !name.is_empty()) {
            None => Upstream::Nobody,
            Some(name) => {
                let region = Label::new(&name);
                if is_member(&region) { Upstream::Member(region) } else { Upstream::Elsewhere }
            }
        };
        let stream = match self.streams {
            None => Stream::Unknown,
            Some(false) => Stream::Down,
            Some(true) => Stream::Up { silent_for: Duration::from_millis(self.silent_ms.into()) },
        };
        let opening = self.opening.map(|signed| Opening {
            token: Token { generation: signed.generation, epoch: signed.epoch },
            timeline: self.timeline,
            at: signed.at,
        });
        Seen {
            role: self.role,
            system: self.system,
            timeline: self.timeline,
            position: self.position,
            applied: self.applied,
            upstream,
            stream,
            fenced: self.fenced,
            opening,
            silence: None,
            runs: self.runs.map(|name| name.chars().filter(|it| !it.is_control()).take(RUNS_CHARS_MAX).collect()),
        }
    }
}

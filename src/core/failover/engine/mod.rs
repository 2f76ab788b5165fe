//! What an agent does to its database, engine by engine: what was seen in, the next verb out.
//!
//! A task of an agent ([`super::agent::Work`]) says what shall be so. A *course* looks at what is so and names the one thing that is to be done next,
//! until nothing is left. It can be begun again at any moment, after a crash of the agent, of the database or of both: what was done shows.

pub mod managed;
pub mod mariadb;
pub mod postgres;
pub mod redis;

use super::{
    agent::{Facts, Task, Work},
    lease::Grant,
};
use crate::model::ids::Label;

/// What an agent says first of a directory that nobody may start any more.
pub const RECLONE_REQUIRED: &str = "RECLONE_REQUIRED";

/// What runs in the data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Process {
    /// Nobody knows: the supervisor does not answer. That is not nothing.
    #[default]
    Unknown,
    /// Nothing.
    Down,
    /// What the supervisor of this incarnation started.
    Ours(u64),
    /// What somebody else started.
    Foreign,
}

/// What comes next. `V`: the engine's verbs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<V> {
    /// Nothing: it is so.
    Done,
    /// This.
    Do(V),
    /// Look again: what is waited for, in a few words.
    Wait(String),
    /// It cannot be brought about, and looking again does not help.
    Fail(String),
}

impl<V> Next<V> {
    fn wait(what: impl Into<String>) -> Self {
        Self::Wait(what.into())
    }

    fn fail(why: impl Into<String>) -> Self {
        Self::Fail(why.into())
    }
}

/// Who does the next thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The engine. `opens`: the database may take writes by it, so it takes a lease.
    Engine {
        /// Whether it takes a lease.
        opens: bool,
    },
    /// The supervisor starts the database. `opens`: for writes.
    Start {
        /// Whether it takes a lease.
        opens: bool,
    },
    /// The supervisor has it stop cleanly.
    Stop,
}

/// A task under way.
pub trait Course: Sized + Send + 'static {
    /// One look at the member.
    type Seen: Send + Sync;
    /// What the member that is to be followed says of itself.
    type Source: Send + Sync;
    /// One thing that the adapter does.
    type Verb: Clone + Send + Sync;

    /// Begins. `grant`: the one that is held, for work that opens the database for writes.
    fn begin(task: &Task, grant: Option<&Grant>) -> Self;

    /// What it is to bring about.
    fn work(&self) -> &Work;

    /// Of whom [`Self::next`] wants to know what it is; `None`: of nobody.
    fn source(&self) -> Option<&Label> {
        match self.work() {
            Work::Follow { upstream, .. } => Some(upstream),
            _ => None,
        }
    }

    /// What is to be done now. `source`: what the member of [`Self::source`] says; `None`: it does not answer.
    #[must_use]
    fn next(&mut self, seen: &Self::Seen, source: Option<&Self::Source>) -> Next<Self::Verb>;

    /// Who does a verb, and whether the database may take writes by it. `seen`: of the look that it came from.
    fn act(seen: &Self::Seen, verb: &Self::Verb) -> Act;

    /// The verb is about to be done; what comes of it may never be known.
    fn tries(&mut self, _: &Self::Verb) {}

    /// The verb was done; one of the supervisor's: it is about to be, and a look shows whether it was.
    fn did(&mut self, verb: &Self::Verb);

    /// What the agent's machine is told. `priority`: of the member, the lower is promoted first; `None`: never promoted.
    fn facts(seen: &Self::Seen, region: &Label, priority: Option<u16>) -> Facts;
}

/// Why the server in a directory cannot be led; `None`: it can, as far as these tell. `is_started`: this task started it. `foreign`: what is said of
/// a server that somebody else started.
fn unled(work: &Work, process: Process, broken: Option<String>, is_started: bool, foreign: &str) -> Option<String> {
    let starts = !matches!(work, Work::Mark | Work::Stop);
    match (broken, process) {
        (Some(why), _) if starts => Some(why),
        (_, Process::Foreign) if starts => Some(foreign.to_owned()),
        (_, Process::Down) if is_started => Some("it ended right after it was started: its log says why".to_owned()),
        _ => None,
    }
}

/// Feeds octets to everything here that reads what a database, its files or its programs say. For fuzzing: it must return, whatever the octets are.
pub fn fuzz_engines(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let _ = (postgres::History::parse(&text, 1), postgres::History::parse(&text, u32::MAX), postgres::position(&text));
    let _ = managed::Probe::parse(octets).map(|probe| managed::facts(&probe.seen(|_| true), &Label::new("us"), Some(1)));
    let _ = mariadb::parse(&text);
    let _ = (redis::Info::parse(&text), redis::Line::parse(&text), redis::end_of(octets));
}

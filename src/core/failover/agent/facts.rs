//! What an agent knows of its database.

use serde::{Deserialize, Serialize};

use crate::{
    failover::{choose::Sealed, concern::Concern, evidence::Stream, group::Stopped, order::Sight, token::Token},
    model::{ids::Label, time::Tick},
    recovery::{archive::Archive, aside::Aside},
};

/// What the database is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Database {
    /// Nobody has looked, or it could not be told.
    #[default]
    Unknown,
    /// Nothing of it runs.
    Down,
    /// It runs, and takes no writes.
    Standby {
        /// From whom it receives; `None`: from nobody.
        receives_from: Option<Label>,
    },
    /// It takes writes.
    Writes,
}

/// When and where the database was opened, as it stands in the database itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// By which grant.
    pub token: Token,
    /// The timeline that it is on.
    pub timeline: u32,
    /// Where that one began.
    pub at: u64,
}

/// What was seen of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What it is.
    pub database: Database,
    /// What it is for others; `None`: nobody knows.
    pub sight: Option<Sight>,
    /// A standby: what it hears from there now. It receives while that is [`Stream::Up`], whatever its settings say.
    pub stream: Stream,
    /// When the look began, by the agent's clock. Whoever looked says so.
    pub seen_at: Tick,
    /// The incarnation of the supervisor whose control group it runs in; `None`: it runs in none, or not at all.
    pub lives_under: Option<u64>,
    /// Whether the mark is there that lets it start as a standby only.
    pub is_marked: bool,
    /// Where its copy ends; `None`: that could not be read.
    pub copy: Option<Sealed>,
    /// Where it ended cleanly; `None`: it runs, or it did not.
    pub stopped: Option<Stopped>,
    /// The token in it; `None`: none, or it could not be read.
    pub opening: Option<Opening>,
    /// A primary: what it says of its archive; `None`: it does not.
    pub archive: Option<Archive>,
    /// A primary: how often others than its agent were seen to have ended a write, counted from any moment; `None`: it does not tell them apart from
    /// what it writes by itself.
    pub wrote: Option<u64>,
    /// What it had alone and was put aside last; `None`: nothing was, or nobody knows. Whoever keeps it says so.
    pub aside: Option<Aside>,
    /// What is amiss though it works; `None`: nobody has looked.
    pub concerns: Option<Vec<Concern>>,
    /// Why it is never promoted, whatever the plan says; `None`: nothing speaks against it.
    pub unfit: Option<String>,
    /// It runs, or may, and does not answer: why, in one line; `None`: it does, or nothing runs.
    pub silence: Option<String>,
}

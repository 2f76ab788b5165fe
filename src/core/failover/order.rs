//! What the leader tells the agents of a group, and what they answer.
//!
//! Orders are repeated until they are answered, and may come late, twice, or from a leader that was superseded: an agent refuses a lower token than
//! it has ever seen (A1), and answers an equal one again from what is so. An answer counts for its own token only.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    choose::Sealed,
    concern::Concern,
    evidence::Stream,
    group::Stopped,
    lease::{Class, Grant, Reply, Request},
    token::Token,
};
use crate::{
    model::ids::Label,
    recovery::{archive::Archive, aside::Aside},
};

/// An order to one agent of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Of the decision or grant that it belongs to.
    pub token: Token,
    /// What to do.
    pub verb: Verb,
}

/// What an agent can be told to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Acknowledge no holder of a lower token any more (L12).
    Promise,
    /// Stop the database, by force where needed, so that it never starts as a primary again by itself (A7).
    Fence,
    /// Stop the primary cleanly, and say where it ended (W1).
    Stop,
    /// Receive nothing more, and say up to where it did (A9).
    Seal,
    /// Replay everything up to this position; what is missing is fetched first.
    Drain {
        /// Up to where.
        position: u64,
        /// From whom the rest is fetched; `None`: it is there.
        fetch_from: Option<Label>,
    },
    /// Hold the role by this grant.
    Lead(Grant),
    /// Follow the primary; what goes beyond the common line is put aside first.
    Follow {
        /// Where it is.
        upstream: Label,
        /// A directory that may not be started any more may be replaced by a new copy.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        reclone: bool,
    },
}

/// What an agent says to the leader about one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Of the order; of a refusal: the refused one.
    pub token: Token,
    /// What.
    pub said: Said,
}

/// What an agent has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Nothing: it has seen a higher token.
    Refused {
        /// That one.
        highest: Token,
    },
    /// It acknowledges nobody by a lower token.
    Promised,
    /// Nothing runs, and nothing will start as a primary.
    Fenced,
    /// It stopped cleanly here.
    Stopped(Stopped),
    /// It ended, and not cleanly: nobody knows what was shipped, so there is no position to hand over. Nothing will start as a primary.
    Unclean,
    /// Nothing is received any more.
    Sealed(Sealed),
    /// Everything up to here is replayed.
    Drained {
        /// Position.
        position: u64,
    },
    /// It writes, and the token is in the database.
    Opened {
        /// The timeline that began.
        timeline: u32,
        /// Where it began.
        at: u64,
    },
    /// It follows.
    Follows {
        /// Whom.
        upstream: Label,
    },
}

/// What a member's database is, or was when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It takes writes.
    Writes,
    /// It runs, and takes none.
    Standby,
    /// Nothing runs, and it was a primary.
    Stopped,
    /// Nothing runs, and it was a standby.
    Asleep,
}

impl Role {
    /// The word in logs and the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Writes => "primary",
            Self::Standby => "standby",
            Self::Stopped => "stopped primary",
            Self::Asleep => "stopped standby",
        }
    }
}

/// What an agent sees of its database, whatever it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// What it is.
    pub role: Role,
    /// Which database; copies have the same.
    pub system: u64,
    /// The timeline that it is on.
    pub timeline: u32,
    /// Where it ends; `None`: that could not be told.
    pub position: Option<u64>,
}

/// What an agent tells the leader of itself, every few seconds and when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Start of the agent, and number since then: of two the higher one is the newer one, whichever comes first.
    pub sequence: (u64, u64),
    /// When it says this, in microseconds of the agent's own clock, which means nothing to others but for its differences.
    pub said_at_us: u64,
    /// The highest token that it has seen.
    pub highest: Token,
    /// Of the grant that it holds; `None`: none.
    pub grant: Option<Token>,
    /// What it can attest.
    pub class: Class,
    /// What it follows, by the order of this token; `None`: nothing.
    pub follows: Option<(Token, Label)>,
    /// Whether its database writes by the grant that it holds.
    pub writes: bool,
    /// What it sees of its database; `None`: nothing.
    pub sight: Option<Sight>,
    /// When the look began that showed this, on the same clock.
    pub seen_at_us: u64,
    /// A standby: what it hears of the primary that it follows, at that moment.
    pub stream: Stream,
    /// A standby: up to where it shows writes to readers; `None`: that could not be told.
    pub replayed: Option<u64>,
    /// Why it does not come on, in one line; `None`: it does, or has nothing to do.
    pub trouble: Option<String>,
    /// Why the end of its lease would prove nothing, though a supervisor holds the database, in one line; `None`: nothing speaks against it (L10).
    #[serde(default)]
    pub doubt: Option<String>,
    /// A primary: what it says of its archive; `None`: it does not.
    #[serde(default)]
    pub archive: Option<Archive>,
    /// A primary: a count that grows whenever others than its agent were seen to have ended a write; `None`: nobody tells them apart from what it
    /// writes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrote: Option<u64>,
    /// What its database had alone and was put aside last, before it followed another one; `None`: nothing was, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<Aside>,
    /// What is amiss with its database though it works; `None`: it was not looked at.
    #[serde(default)]
    pub concerns: Option<Vec<Concern>>,
    /// Why its database is never promoted, whatever the plan says, in one line; `None`: nothing speaks against it.
    #[serde(default)]
    pub unfit: Option<String>,
    /// How long its right to write lasts from when it says this, until its soft deadline on its own clock; `None`: its database does not write
    /// by the grant in force.
    #[serde(default)]
    pub holding: Option<Duration>,
    /// How long ago it had to stop its database last, because that took writes though another member has the role; `None`: it did not since it was
    /// started. It may have been promoted by hand, and have writes that nobody else has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usurped: Option<Duration>,
    /// Whether it opens copies of its database apart, as [`Isolate`] asks: whoever does not is not asked, since an older one would not know what it is.
    #[serde(default)]
    pub opens_copies: bool,
}

impl Status {
    /// Whether nothing that the agent says speaks against it that its database serves once it may: it sees one, which is the group's, and nothing is
    /// in its way. `system`: the group's database.
    #[must_use]
    pub fn could_serve(&self, system: u64) -> bool {
        self.trouble.is_none() && self.sight.is_some_and(|sight| sight.system == system)
    }
}

/// A copy of the database is to be opened where nobody reaches it, asked, and thrown away. It is no order: it has no token, and nothing of the group
/// depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolate {
    /// For which drill: asked again for the same one, the agent tells how far it is.
    pub drill: u64,
    /// It is made of a backup, by this program; `None`: it is a copy of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
    /// The database in which the plan's queries are asked; `None`: the agent's own.
    pub database: Option<String>,
    /// As whom they are asked; `None`: as the agent.
    pub user: Option<String>,
    /// The queries of the plan that are to say `true` there, with their names.
    pub queries: Vec<(String, String)>,
}

/// How a backup becomes a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The class of the backup strategy that it is of.
    pub class: Label,
    /// The program's name in the agent's `hooks_dir`.
    pub hook: Label,
}

/// A copy that was opened, and works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// How long it took to make it.
    pub copied: Duration,
    /// From its start until it took a write.
    pub opened: Duration,
    /// How far it was behind the primary's last sign of life when it was whole, of a backup when its restore began, by the clocks of both; `None`: it
    /// does not say.
    pub behind: Option<Duration>,
    /// What was shown, one line each.
    pub lines: Vec<String>,
}

/// Hears how far an agent is with a copy, in a few words.
pub type Say = dyn Fn(&str) + Send + Sync;

/// How far an agent is with a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tried {
    /// It is at it: with what.
    Busy(String),
    /// It was shown, and is removed.
    Passed(Restored),
    /// It was not, why; nothing of it is left, or that is why.
    Failed(String),
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromAgent {
    /// To an order.
    Answer(Answer),
    /// It wants more time.
    Renewal(Request),
    /// How it is.
    Status(Box<Status>),
    /// The agents of all other members, and who votes in a region without one, are asked whether they acknowledge the holder of this grant (L12).
    AskPeers {
        /// Of the grant.
        token: Token,
        /// Of the request whose time it is.
        sequence: u64,
    },
    /// How far it is with a copy that is opened apart.
    Isolated {
        /// For which drill.
        drill: u64,
        /// How far.
        tried: Tried,
    },
    /// It acknowledges the holder of this grant.
    Acknowledges {
        /// Who asked.
        holder: Label,
        /// Of the grant.
        token: Token,
        /// Of the request.
        sequence: u64,
    },
}

/// What an agent is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToAgent {
    /// By the leader.
    Order(Order),
    /// By the leader, for a drill.
    Isolate(Isolate),
    /// By the leader: that drill is over, whatever has become of its copy.
    Abandon {
        /// Which drill.
        drill: u64,
    },
    /// The leader's answer to a renewal.
    Reply(Reply),
    /// The holder of this grant asks whether it is acknowledged.
    Asks {
        /// Who.
        holder: Label,
        /// Of the grant.
        token: Token,
        /// Of the request.
        sequence: u64,
    },
    /// That peer acknowledges the holder of this grant.
    Acknowledged {
        /// Who does.
        peer: Label,
        /// Of the grant.
        token: Token,
        /// Of the request.
        sequence: u64,
    },
}

//! The write lease of a group: who may write until when, on two clocks that never meet.
//!
//! ```text
//! holder   send ------------------ ttl (1 - drift) ------------ soft (margin before) -- hard
//!            \                                                   kill the database       nothing writes any more
//! leader      receive, check, majority's word -- ttl (1 + drift) ----------------------------- take over
//! ```
//!
//! The holder counts from before it sent, the leader from after it received, each by its own clock and with the drift against itself: so the
//! holder is over before the leader takes over, whatever the delay of either message. `ttl` is in the committed grant, never in a
//! message alone.
//!
//! Terms: a *grant* is a committed entry that names a region, a token and a ttl; a *lease* is a grant with a renewal that a majority confirmed
//! and that has not run out.
//!
//! Both sides look at how fast the other's clock runs ([`Rate`]): one that runs further off than half of the drift takes a lease its proof (L10).
//!
//! Source: Gray and Cheriton, "Leases", 1989; the rules L1 to L7 of our model-checked protocol, each named at its line.

#[cfg(test)]
mod drawn;
mod grantor;
mod holder;
#[cfg(test)]
mod properties;
mod rate;

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{choose::Durability, token::Token};
use crate::model::{group::OnControlLoss, ids::Label};

pub use grantor::{Grantor, Refused, Verdict, WAITING_MAX};
pub use holder::{Holder, Ignored, Lapse};
pub use rate::{BEYOND_PPM, Estimate, Rate, Stamps};

/// How far a clock may run from a true one, in thousandths: a hundred times what a crystal does.
pub const DRIFT_PERMILLE: u32 = 10;

/// How often a holder renews: so many times in a ttl.
pub const RENEWALS_PER_TTL: u32 = 6;

/// A committed grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its own token.
    pub token: Token,
    /// Who may write.
    pub region: Label,
    /// For how long after a renewal, longer than zero. A change of the plan touches the next grant only (L7).
    pub ttl: Duration,
    /// The holder stops its database so long before the lease ends. Shorter than the ttl.
    pub margin: Duration,
    /// The longest ttl of any grant before it that its holder may still count by: who takes over waits for that one. No shorter than the ttl.
    pub longest: Duration,
    /// Whether its end proves anything.
    pub class: Class,
    /// Whether that can be relied on: its holder opens by this grant, and only as it says; or it went on under it and has renewed by it since.
    pub is_attested: bool,
    /// Who must have a write before it is acknowledged under this grant.
    pub durability: Durability,
    /// What the holder does when it cannot reach a quorum.
    pub on_control_loss: OnControlLoss,
    /// The other members. Where all of them together may stand in for a quorum, a promise of one of them ends that (L12).
    pub peers: BTreeSet<Label>,
    /// A timeline that begins under this grant is above this one: another candidate may have begun everything up to it.
    pub above: u32,
}

/// Whether the end of a lease stops the database: what the log says counts, never what was last heard (L8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The database lives in the control group of this incarnation of a supervisor, and dies with it.
    Armed {
        /// Of the supervisor; another one needs another grant.
        supervisor: u64,
    },
    /// Nothing stops the database when the lease ends: the end proves nothing.
    #[default]
    Bare,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Armed { .. } => "armed",
            Self::Bare => "bare",
        })
    }
}

/// A holder asks for more time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Of the grant that it holds.
    pub token: Token,
    /// Who asks.
    pub region: Label,
    /// What it can attest now. Another class than the grant's is refused.
    pub class: Class,
    /// Grows with each request of a holder.
    pub sequence: u64,
    /// The last request that it heard granted; zero: none. Without it a leader cannot tell whether its answers arrive (L11).
    pub heard: u64,
    /// When it heard that answer, and when it asks, by its clock; `None`: it heard none.
    #[serde(default)]
    pub stamps: Option<Stamps>,
}

/// What the leader answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Of the request.
    pub sequence: u64,
    /// What the group's highest token is: of the request when it is granted.
    pub token: Token,
    /// Whether it is.
    pub granted: bool,
    /// When it is not, but the asker's region holds another grant: that one.
    pub instead: Option<Grant>,
    /// When it is not, because the asker is to stop cleanly: it does, as by the order, which may come later. A kill would leave no position at
    /// which it stopped, and a switchover that cannot go on.
    #[serde(default)]
    pub stops: bool,
    /// When the request came and when this was said, by the leader's clock; `None`: no majority was asked.
    #[serde(default)]
    pub stamps: Option<Stamps>,
    /// The asker's clock beside the leader's, if that lies beyond what a lease bears; `None`: the leader found nothing since this was told.
    #[serde(default)]
    pub drifts: Option<Estimate>,
    /// Regions of voters in which the group has no member. Without a majority each of them must acknowledge the holder, as the members must.
    #[serde(default)]
    pub voters: BTreeSet<Label>,
}

/// The length of a lease for its holder, whose clock may run slow.
pub(crate) fn short(ttl: Duration) -> Duration {
    ttl - ttl / 1000 * DRIFT_PERMILLE
}

/// The same for who waits for its end, whose clock may run fast. Rounded up, because less would be too early.
pub(crate) fn long(ttl: Duration) -> Duration {
    ttl + ttl / 1000 * DRIFT_PERMILLE + Duration::from_micros(1)
}

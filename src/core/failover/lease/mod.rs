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
//! Source: Gray and Cheriton, "Leases", 1989; the rules L1 to L7 of our model-checked protocol, each named at its line.

#[cfg(test)]
mod drawn;
mod grantor;
mod holder;
#[cfg(test)]
mod properties;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::token::Token;
use crate::model::ids::Label;

pub use grantor::{Grantor, Refused, Verdict, WAITING_MAX};
pub use holder::{Holder, Ignored, Lapse};

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
}

/// A holder asks for more time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of the grant that it holds.
    pub token: Token,
    /// Who asks.
    pub region: Label,
    /// Grows with each request of a holder.
    pub sequence: u64,
    /// The last request that it heard granted; zero: none. Without it a leader cannot tell whether its answers arrive (L11).
    pub heard: u64,
}

/// What the leader answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Of the request.
    pub sequence: u64,
    /// What the group's highest token is: of the request when it is granted.
    pub token: Token,
    /// Whether it is.
    pub granted: bool,
}

/// The length of a lease for its holder, whose clock may run slow.
fn short(ttl: Duration) -> Duration {
    ttl - ttl / 1000 * DRIFT_PERMILLE
}

/// The same for who waits for its end, whose clock may run fast. Rounded up, because less would be too early.
fn long(ttl: Duration) -> Duration {
    ttl + ttl / 1000 * DRIFT_PERMILLE + Duration::from_micros(1)
}

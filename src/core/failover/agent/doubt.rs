//! Why an agent attests less than its supervisor would let it (L10).
//!
//! A lease proves that a database has ended only if two clocks run as they should, and if whoever kills at its end is not held up. When either is
//! seen to fail, the end of the lease is no proof any more until it was well for a while; the database goes on to be stopped by it all the same.

use std::{fmt, time::Duration};

use super::Agent;
use crate::{
    failover::lease::Estimate,
    model::time::{Human, Tick},
};

/// So long nothing may be found before the end of a lease is a proof again.
pub const CLEAN_AFTER: Duration = Duration::from_secs(600);

/// A loop that stands still for longer is one that may be late when it is to kill.
pub const STANDSTILL_MAX: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// By this host's clock the leader's runs so much faster.
    Leader(Estimate),
    /// By the leader's clock this host's runs so much faster.
    Host(Estimate),
    /// The agent did nothing for so long.
    Agent(Duration),
    /// The supervisor did.
    Supervisor(Duration),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader(rate) => write!(f, "the leader's clock runs {rate} fast beside this host's"),
            Self::Host(rate) => write!(f, "this host's clock runs {rate} fast beside the leader's"),
            Self::Agent(time) => write!(f, "the agent stood still for {}", Human(*time)),
            Self::Supervisor(time) => write!(f, "the supervisor stood still for {}", Human(*time)),
        }
    }
}

/// What was found last, and until when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) found: Found,
    pub(super) until: Tick,
}

impl Agent {
    /// The supervisor says that it stood still for so long, until `at`.
    pub fn stood_still(&mut self, at: Tick, time: Duration) {
        self.doubt(Found::Supervisor(time), at);
    }

    /// Whoever runs this begins another turn, as it does again and again within less than [`STANDSTILL_MAX`].
    pub fn goes_on(&mut self, now: Tick) {
        let stood = self.went_on.replace(now).map_or(Duration::ZERO, |before| now.since(before));
        if stood > STANDSTILL_MAX {
            self.doubt(Found::Agent(stood), now);
        }
    }

    /// Whoever runs this waited until now for somebody else to do something, which is no standing still.
    pub const fn waited(&mut self, now: Tick) {
        self.went_on = Some(now);
    }

    /// From then on the end of a lease proves nothing, for a while.
    pub(super) fn doubt(&mut self, found: Found, at: Tick) {
        let doubt = Doubt { found, until: at + CLEAN_AFTER };
        if self.doubt.is_none_or(|known| known.until < doubt.until) {
            self.doubt = Some(doubt);
        }
    }
}

//! What was really lost: what a member's copy had and nobody else, as its agent put it aside before the copy followed the new primary.
//!
//! ```text
//! old primary   ------ commits ------+------ only here ------|     rewound, or condemned and made anew
//! new primary                        '------ writes ... ------>    put aside, counted --status--> noted in the record of the operation
//! ```
//!
//! An estimate says in time what may be lost, while nobody can ask the old primary; this says it when that one is back, and as far as its engine can
//! tell. Both stay in the record.
//!
//! Invariant: what cannot be told is unknown, and never zero.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    failover::token::Token,
    model::time::{Human, Timestamp},
};

/// What only one copy had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// Of the order to follow by which it was put aside: what was lost was lost before that.
    pub by: Token,
    /// Timeline and position, in the engine's count, up to where others have it too; `None`: nobody knows where they parted.
    pub parted: Option<(u32, u64)>,
    /// Transactions that it had kept, those of its agent included; `None`: unknown.
    pub commits: Option<u64>,
    /// Octets of its log; `None`: unknown.
    pub octets: Option<u64>,
    /// When the first and the last of them were committed, by its own clock; `None`: unknown, or there are none.
    pub span: Option<(Timestamp, Timestamp)>,
}

/// `312 commits, 48211 octets, made in 2.9s from 2026-11-30T15:00:01Z on`, `commits unknown, octets unknown`.
impl fmt::Display for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.commits {
            Some(commits) => write!(f, "{commits} commits, ")?,
            None => f.write_str("commits unknown, ")?,
        }
        match self.octets {
            Some(octets) => write!(f, "{octets} octets")?,
            None => f.write_str("octets unknown")?,
        }
        match self.span {
            Some((first, last)) => write!(f, ", made in {} from {first} on", Human(last.since(first))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_not_zero() {
        assert_eq!(Aside::default().to_string(), "commits unknown, octets unknown");
        let known = Aside { commits: Some(0), octets: Some(120), ..Aside::default() };
        assert_eq!(known.to_string(), "0 commits, 120 octets");
        let span = Some((Timestamp(1_800_000_000_000), Timestamp(1_800_000_002_500)));
        let text = Aside { commits: Some(7), span, ..known }.to_string();
        assert_eq!(text, "7 commits, 120 octets, made in 2.5s from 2027-01-15T08:00:00Z on");
    }
}

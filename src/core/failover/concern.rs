//! What is amiss around a database that works: told while it works, because a failover would find it.
//!
//! ```text
//! settings of a server --its engine's rules--> Concern --status--> readiness: a finding that warns
//! ```
//!
//! Invariant: a concern takes nobody out of the choice; who must not be promoted is told by [`super::order::Status::unfit`].

use serde::{Deserialize, Serialize};

/// More of one member are not shown: the first ones are mended first.
pub const CONCERNS_MAX: usize = 16;

/// One thing that is amiss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    /// What was looked at: a word that stays the same.
    pub check: String,
    /// What was seen, in one line.
    pub text: String,
    /// What would mend it.
    pub fix: String,
}

impl Concern {
    /// Of these words.
    #[must_use]
    pub fn new(check: &str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: check.to_owned(), text: text.into(), fix: fix.into() }
    }
}

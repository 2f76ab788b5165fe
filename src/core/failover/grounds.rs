//! What an automatic decision stands on. It stays in the record of the operation.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use crate::model::{ids::Label, time::Timestamp};

/// Why the cluster decides by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grounds {
    /// What is wrong with the primary.
    pub evidence: Evidence,
    /// When the first probe failed of those that have failed since (t0).
    pub impact: Timestamp,
    /// When enough rounds had failed (t1).
    pub detected: Timestamp,
    /// When the failed rounds ended, the oldest first.
    pub rounds: Vec<Timestamp>,
    /// What each vantage region saw when it was asked, after the hold.
    pub attestations: BTreeMap<Label, Attestation>,
}

/// What a vantage region saw by a probe that it made after it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attestation {
    /// It fails.
    Failing,
    /// It works.
    Working,
    /// It could not tell: blind, or no probe ended in time.
    Abstains,
}

impl fmt::Display for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Failing => "sees it fail",
            Self::Working => "sees it work",
            Self::Abstains => "cannot tell",
        })
    }
}

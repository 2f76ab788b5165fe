//! What probes say of a region: how many of its endpoints are up, since when, and what the others fail of.

use std::collections::BTreeMap;

use crate::model::{
    check::FailureCategory,
    time::Timestamp,
    verdict::{Health, Verdict},
};

/// Endpoints of one region by what probes say of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) up: u32,
    down: u32,
    pub(super) total: u32,
    causes: BTreeMap<FailureCategory, u32>,
    first_up: Option<Timestamp>,
    last_down: Option<Timestamp>,
}

impl Counts {
    pub(super) fn add(&mut self, observed: &Verdict) {
        self.total += 1;
        match observed.health {
            Health::Up => {
                self.up += 1;
                self.first_up = self.first_up.into_iter().chain(observed.since).min();
            }
            Health::Down => {
                self.down += 1;
                self.last_down = self.last_down.max(observed.since);
                if let Some(failure) = &observed.failure {
                    *self.causes.entry(failure.category).or_default() += 1;
                }
            }
            Health::Unknown => {}
        }
    }

    pub(super) fn health(&self) -> Health {
        match (self.up, self.down) {
            (0, 0) => Health::Unknown,
            (0, _) => Health::Down,
            _ => Health::Up,
        }
    }

    /// Down since the last of them fell; up since the first of those that are up came.
    pub(super) fn since(&self) -> Option<Timestamp> {
        match self.health() {
            Health::Up => self.first_up,
            Health::Down => self.last_down,
            Health::Unknown => None,
        }
    }

    pub(super) fn cause(&self) -> Option<String> {
        let (category, count) = self.causes.iter().max_by_key(|(_, count)| **count)?;
        Some(format!("{category} on {count}/{}", self.total))
    }
}

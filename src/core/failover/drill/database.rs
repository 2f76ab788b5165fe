//! A member's database, as far as failover concerns it: a list of writes on a timeline, and what runs.

use std::time::Duration;

use super::net::Region;
use crate::failover::{
    agent::{Database, Facts, Opening, Work},
    choose::Sealed,
    evidence::Stream,
    group::Stopped,
    order::{Role, Sight},
    token::Token,
};
use crate::model::time::Tick;

/// All members hold this database.
pub(super) const SYSTEM: u64 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Down,
    Standby(Option<Region>),
    Writes,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) run: Run,
    pub(super) writes: Vec<u32>,
    pub(super) timeline: u32,
    pub(super) is_marked: bool,
    /// Its files are those of a primary: it goes on where it ended, without a timeline of its own.
    pub(super) was_primary: bool,
    pub(super) opening: Option<Opening>,
    pub(super) stopped_clean: bool,
    /// The supervisor that it runs under.
    pub(super) lives_under: Option<u64>,
    /// When the one that it follows was heard last, in true time; `None`: that one ended, or nothing was heard yet.
    pub(super) heard: Option<u64>,
}

impl Member {
    pub(super) fn new(primary: Region, region: Region) -> Self {
        let is_primary = primary == region;
        Self {
            run: if is_primary { Run::Writes } else { Run::Standby(Some(primary)) },
            writes: Vec::new(),
            timeline: 1,
            is_marked: !is_primary,
            was_primary: is_primary,
            opening: None,
            stopped_clean: false,
            lives_under: None,
            heard: Some(0),
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.writes.len() as u64
    }

    pub(super) fn facts(&self, region: Region, now: u64) -> Facts {
        let position = self.position();
        let silent_for = self.heard.map(|heard| Duration::from_micros(now - heard));
        Facts {
            database: match self.run {
                Run::Down => Database::Down,
                Run::Standby(from) => Database::Standby { receives_from: from.map(Region::label) },
                Run::Writes => Database::Writes,
            },
            sight: Some(Sight {
                role: match self.run {
                    Run::Down if self.was_primary => Role::Stopped,
                    Run::Down => Role::Asleep,
                    Run::Standby(_) => Role::Standby,
                    Run::Writes => Role::Writes,
                },
                system: SYSTEM,
                timeline: self.timeline,
                position: Some(position),
            }),
            seen_at: Tick(0),
            stream: match (self.run, silent_for) {
                (Run::Standby(Some(_)), Some(silent_for)) => Stream::Up { silent_for },
                _ => Stream::Down,
            },
            lives_under: self.lives_under,
            is_marked: self.is_marked,
            copy: Some(Sealed {
                region: region.label(),
                system: SYSTEM,
                timeline: self.timeline,
                position,
                replayed: position,
                priority: Some(1),
            }),
            stopped: (self.run == Run::Down && self.stopped_clean).then_some(Stopped { system: SYSTEM, timeline: self.timeline, position }),
            opening: self.opening.filter(|_| self.run != Run::Down),
            archive: None,
            wrote: None,
            aside: None,
            concerns: None,
            unfit: None,
            silence: None,
        }
    }

    pub(super) fn kill(&mut self) {
        if self.run != Run::Down {
            (self.run, self.stopped_clean, self.lives_under) = (Run::Down, false, None);
        }
    }

    /// What a task does when it acts; `true`: it opened the database for writes.
    pub(super) fn work(&mut self, work: &Work, upstream: Option<&Self>, above: u32) -> bool {
        match work {
            Work::Mark => self.is_marked = true,
            Work::Stop => {
                if self.run != Run::Down {
                    (self.run, self.stopped_clean) = (Run::Down, true);
                }
            }
            Work::Seal => {
                if let Run::Standby(_) = self.run {
                    self.run = Run::Standby(None);
                }
            }
            // What is here is replayed at once; what is elsewhere is received, and nothing else is.
            Work::Drain { .. } => {
                if let Some(source) = upstream {
                    let have = self.writes.len();
                    if source.writes.starts_with(&self.writes) {
                        self.writes.extend_from_slice(&source.writes[have..]);
                    }
                }
            }
            Work::Start if self.was_primary => {
                (self.run, self.is_marked, self.stopped_clean) = (Run::Writes, false, false);
                return true;
            }
            Work::Start => (self.run, self.stopped_clean) = (Run::Standby(None), false),
            Work::Promote => {
                if let Run::Standby(_) = self.run {
                    (self.run, self.is_marked, self.was_primary) = (Run::Writes, false, true);
                    self.timeline = self.timeline.max(above) + 1;
                    self.opening = None;
                    return true;
                }
            }
            Work::Sign | Work::Follow { .. } => {}
        }
        false
    }

    pub(super) fn sign(&mut self, token: Token, began: u64) {
        if self.run == Run::Writes {
            self.opening = Some(Opening { token, timeline: self.timeline, at: began });
        }
    }

    /// Begins to follow: what goes beyond the common line is taken away.
    pub(super) fn follow(&mut self, upstream: Region, source: &Self, now: u64) {
        let common = self.writes.iter().zip(&source.writes).take_while(|(a, b)| a == b).count();
        self.writes.truncate(common);
        (self.timeline, self.opening, self.heard) = (source.timeline, source.opening, Some(now));
        (self.run, self.is_marked, self.was_primary, self.stopped_clean) = (Run::Standby(Some(upstream)), true, false, false);
    }

    /// Receives so much more from the one that it follows.
    pub(super) fn receive(&mut self, source: &Self, n: usize) {
        let have = self.writes.len();
        if source.writes.starts_with(&self.writes) && source.timeline >= self.timeline {
            self.writes.extend(source.writes[have..].iter().take(n));
            (self.timeline, self.opening) = (source.timeline, source.opening);
        }
    }
}

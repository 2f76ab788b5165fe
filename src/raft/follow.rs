//! The replicated state for nodes that do not vote: a snapshot where they are behind, then each entry as it is applied.

use std::sync::Arc;

use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};

use super::machine::{Readers, Standing};
use crate::latest::LatestSeen;

/// What a machine tells those that follow it.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// It applied an entry.
    Applied(Fed),
    /// It took a snapshot in the place of entries, or went on without a lost side: what followers know may be void.
    Jumped,
}

/// An entry that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fed {
    /// The entry's index in the log.
    pub index: u64,
    /// The entry as it was committed.
    pub octets: Arc<[u8]>,
}

/// One step of a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The whole state; what the follower knew is void.
    Snapshot {
        /// The next entry.
        next: u64,
        /// As [`portolan_core::cluster::State::snapshot`] writes it.
        octets: Vec<u8>,
    },
    /// The next entry.
    Entry(Fed),
}

/// Follows what one node applies.
#[derive(Debug)]
pub struct Follower {
    standing: watch::Receiver<Standing>,
    /// `None`: there was no machine any more.
    feed: Option<broadcast::Receiver<Told>>,
    /// The next entry that the follower lacks; 0: everything.
    next: u64,
    /// It has all up to where the feed goes on.
    is_joined: bool,
}

impl Follower {
    pub(super) fn new(readers: &Readers, next: u64) -> Self {
        // Subscribed before the state is looked at, so that nothing falls between.
        let feed = readers.feed.upgrade().map(|feed| feed.subscribe());
        Self { feed, standing: readers.standing.clone(), next, is_joined: false }
    }

    /// The next entry that the follower lacks; entries of Raft itself are not told, so it may lag behind the log's.
    #[must_use]
    pub const fn next_index(&self) -> u64 {
        self.next
    }

    /// Waits for the next step; `None`: the node takes no part any more. Dropping the future loses nothing.
    pub async fn step(&mut self) -> Option<Step> {
        loop {
            let feed = self.feed.as_mut()?;
            if !self.is_joined {
                self.is_joined = true;
                let standing = self.standing.latest_seen();
                let applied = standing.applied.map_or(0, |applied| applied + 1);
                if self.next < applied || self.next == 0 && standing.applied.is_some() {
                    self.next = applied;
                    return Some(Step::Snapshot { next: applied, octets: standing.state.snapshot() });
                }
            }
            match feed.recv().await {
                Ok(Told::Applied(fed)) if fed.index < self.next => {}
                Ok(Told::Applied(fed)) => {
                    self.next = fed.index + 1;
                    return Some(Step::Entry(fed));
                }
                Ok(Told::Jumped) | Err(RecvError::Lagged(_)) => (self.next, self.is_joined) = (0, false),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

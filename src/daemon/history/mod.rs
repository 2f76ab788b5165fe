//! What this node said at earlier moments: pages on disk, and the node told again from them.
//!
//! ```text
//!  control task --Scribe: at most one page a second, never waits--> Keeper (a thread of its own) --> data_dir/history/*.pages
//!  `why --at`, `dns query --at` --> History: the segment of that time -> plan, pages -> the core's Recalled -> why, preview
//! ```
//!
//! A segment is a file of its own: who wrote it and the documents of the world, one page that says everything, then pages of what changed, and
//! marks of life. So a segment needs no other, and the oldest can go first.
//!
//! Invariants: the control task never waits for the disk; every octet is behind a checksum, and what is damaged is given up from there, with a
//! word; the folder stays below its bound; a hole (the node did not run, the disk was full or slow) is told where it is asked for.
//!
//! Absent on purpose: the history of other nodes; the picture of `status`, which is figures of the moment; a copy in memory.

mod frame;
mod keeper;
mod look;
mod scribe;
mod segment;
mod shelf;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use portolan_core::{model::time::Timestamp, node::report::PastError, table::World};
use tokio::sync::{Semaphore, mpsc};

use super::{Clock, Setup, control::Command, store::Origin};
use keeper::Keeper;
pub(super) use look::Looked;
pub(super) use scribe::Scribe;
pub use segment::fuzz_history;

/// The folder inside the data directory.
pub(super) const FOLDER: &str = "history";

/// How old a history is kept: longer than an incident takes to be looked into.
const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How large: a plan of 3,000 endpoints takes some MiB a day, and a small volume keeps room for everything else.
const OCTETS_MAX: u64 = 256 * 1024 * 1024;

/// Pages and marks that may wait for the disk. Each page holds a copy of the node; what finds no room is noted with the next change.
const QUEUE: usize = 2;

/// The bounds of a history.
#[derive(Clone, Copy, Debug)]
struct Limits {
    age: Duration,
    octets: u64,
    /// A segment with more octets of changes than this, and than four times its first page, is followed by another.
    segment_octets: u64,
    /// A segment older than this is followed by another, so that old ones can go.
    segment_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { age: AGE_MAX, octets: OCTETS_MAX, segment_octets: 1024 * 1024, segment_age: Duration::from_secs(24 * 3600) }
    }
}

/// The world in force with where it came from: what most moments that are asked for were in, too.
type InForce = Arc<Mutex<Option<(Arc<Origin>, Arc<World>)>>>;

/// The reader's side. Cheap to clone.
#[derive(Clone)]
pub(super) struct History {
    /// `None`: none is kept.
    folder: Option<PathBuf>,
    setup: Arc<Setup>,
    clock: Arc<Clock>,
    in_force: InForce,
    /// One look at a time: each holds a segment and a world in memory.
    turn: Arc<Semaphore>,
}

/// Opens the history of a node that has a data directory; the [`Scribe`] is the control task's.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn open(setup: &Setup, clock: &Arc<Clock>, commands: &mpsc::Sender<Command>) -> anyhow::Result<(History, Option<Scribe>)> {
    let folder = setup.data_dir.as_ref().map(|directory| directory.join(FOLDER));
    let in_force = InForce::default();
    let scribe = match &folder {
        Some(folder) => {
            let (sender, told) = mpsc::channel(QUEUE);
            Keeper::new(folder.clone(), Limits::default(), clock.clone(), commands.clone()).start(told)?;
            Some(Scribe::new(sender, in_force.clone()))
        }
        None => None,
    };
    let history = History { folder, setup: Arc::new(setup.clone()), clock: clock.clone(), in_force, turn: Arc::new(Semaphore::new(1)) };
    Ok((history, scribe))
}

impl History {
    /// The node as it was at the newest moment that is noted at or before `at`. Reads a segment, and makes the world of that time again
    /// where it is not the one in force.
    pub(super) async fn look(&self, at: Timestamp) -> Result<Looked, PastError> {
        let folder = self.folder.clone().ok_or(PastError::NotKept)?;
        let now = self.clock.now().wall;
        if at > now {
            return Err(PastError::Future { at, now });
        }
        let turn = self.turn.clone().try_acquire_owned().map_err(|_| PastError::Busy)?;
        let (setup, in_force) = (self.setup.clone(), self.in_force.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let in_force = in_force.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            look::look(&folder, at, now, &setup, in_force)
        });
        looked.await.unwrap_or_else(|error| Err(PastError::Unreadable { at, problem: error.to_string() }))
    }
}

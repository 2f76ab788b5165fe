//! The vote as it stands on a disk: for a planted bug, a voter that syncs it seconds later.
//!
//! Everything that a disk holds is in one file and synced as one, so a disk that lies forgets entries too; to forget a vote alone, it is set
//! back after the power is gone.

use std::time::Duration;

use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::{clock::Moment, disk::Platter};

/// As [`portolan::raft::Disk`] has them.
const VALUES: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("values");
const VOTE: &str = "vote";

/// Between two looks at it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The votes that a process had at the last looks.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    looked: Option<Moment>,
    older: Option<Vec<u8>>,
    newer: Option<Vec<u8>>,
}

impl Votes {
    /// Looks again when it is time to.
    pub(crate) fn look(&mut self, now: Moment, platter: &Platter) {
        if self.looked.is_none_or(|at| now.since(at) >= LOOK_EVERY) {
            self.looked = Some(now);
            self.older = std::mem::replace(&mut self.newer, read(&platter.copy()));
        }
    }

    /// Sets the vote back to one that is older than a second.
    pub(crate) fn forget(&self, platter: &Platter) {
        if let Some(vote) = &self.older {
            write(platter, vote);
        }
    }
}

/// The vote on this disk; `None`: there is none.
fn read(platter: &Platter) -> Option<Vec<u8>> {
    let database = Database::builder().create_with_backend(platter.plugged()).ok()?;
    let table = database.begin_read().ok()?.open_table(VALUES).ok()?;
    let vote = table.get(VOTE).ok()??;
    Some(vote.value().to_vec())
}

fn write(platter: &Platter, vote: &[u8]) {
    let Ok(database) = Database::builder().create_with_backend(platter.plugged()) else { return };
    let transaction = database.begin_write().unwrap();
    transaction.open_table(VALUES).unwrap().insert(VOTE, vote).unwrap();
    transaction.commit().unwrap();
}

//! The vote as it stands on a disk: for a planted bug, a voter that keeps it in memory only.
//!
//! Everything that a disk holds is in one file and synced as one, so a disk that lies forgets entries too; to forget a vote alone, it is set
//! back after the power is gone.

use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::disk::Platter;

/// As [`portolan::raft::Disk`] has them.
const VALUES: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("values");
const VOTE: &str = "vote";

/// The vote on this disk; `None`: there is none.
pub(crate) fn read(platter: &Platter) -> Option<Vec<u8>> {
    let database = Database::builder().create_with_backend(platter.plugged()).ok()?;
    let table = database.begin_read().ok()?.open_table(VALUES).ok()?;
    let vote = table.get(VOTE).ok()??;
    Some(vote.value().to_vec())
}

/// Sets the vote back to an earlier one.
pub(crate) fn write_older(platter: &Platter, vote: Option<&[u8]>) {
    let Some(vote) = vote else { return };
    let Ok(database) = Database::builder().create_with_backend(platter.plugged()) else { return };
    let transaction = database.begin_write().unwrap();
    transaction.open_table(VALUES).unwrap().insert(VOTE, vote).unwrap();
    transaction.commit().unwrap();
}

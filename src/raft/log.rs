//! The log and the vote, as openraft wants them kept.
//!
//! Invariants: what is reported as appended or voted is on disk; the log has no hole, and one found on reading is an error; entries that were
//! purged stay known by the id of the last of them.

use std::{fmt::Debug, io, ops::RangeBounds};

use openraft::{
    LogState, OptionalSend, RaftLogReader, RaftTypeConfig,
    alias::{LogIdOf, VoteOf},
    entry::RaftEntry as _,
    storage::{IOFlushed, RaftLogStorage},
};
use redb::ReadableTable as _;

use super::disk::{Disk, Fault, LOG, set_value, value};

pub(super) const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// Log and vote on a [`Disk`]. Cheap to clone; clones share the disk.
#[derive(Clone, Debug)]
pub struct LogStore {
    disk: Disk,
}

impl LogStore {
    /// Whatever the disk holds.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { disk }
    }
}

impl<C: RaftTypeConfig> RaftLogReader<C> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(&mut self, range: RB) -> io::Result<Vec<C::Entry>> {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        let entries = self.disk.read("read log entries", move |transaction| {
            let table = transaction.open_table(LOG)?;
            let mut entries: Vec<C::Entry> = Vec::new();
            let mut before: Option<u64> = None;
            for row in table.range(bounds)? {
                let (index, octets) = row?;
                let index = index.value();
                if before.is_some_and(|before| before + 1 != index) {
                    return Err(Fault::Hole(format!("entry {index} follows entry {}", before.unwrap_or(0))));
                }
                before = Some(index);
                entries.push(serde_json::from_slice(octets.value()).map_err(Fault::Form)?);
            }
            Ok(entries)
        });
        entries.await
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<C>>> {
        self.disk.read("read the vote", |transaction| value(transaction, VOTE)).await
    }
}

impl<C: RaftTypeConfig> RaftLogStorage<C> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        let state = self.disk.read("read the ends of the log", |transaction| {
            let purged: Option<LogIdOf<C>> = value(transaction, PURGED)?;
            let table = transaction.open_table(LOG)?;
            let last = table.last()?.map(|(_, octets)| serde_json::from_slice::<C::Entry>(octets.value())).transpose();
            let last = last.map_err(Fault::Form)?.map(|entry| entry.log_id());
            Ok(LogState { last_log_id: last.or_else(|| purged.clone()), last_purged_log_id: purged })
        });
        state.await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> io::Result<()> {
        let vote = vote.clone();
        self.disk.write("save the vote", move |transaction| set_value(transaction, VOTE, &vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> io::Result<()> {
        // Only a hint where to replay to: forgetting it costs a round trip after a crash, not the truth.
        self.disk.write_lazily("save what is committed", move |transaction| set_value(transaction, COMMITTED, &committed)).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<C>>> {
        let committed: Option<Option<_>> = self.disk.read("read what is committed", |transaction| value(transaction, COMMITTED)).await?;
        Ok(committed.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let rows: Result<Vec<(u64, Vec<u8>)>, serde_json::Error> =
            entries.into_iter().map(|entry| Ok((entry.index(), serde_json::to_vec(&entry)?))).collect();
        let rows = rows.map_err(io::Error::other)?;
        self.disk
            .write("append to the log", move |transaction| {
                let mut table = transaction.open_table(LOG)?;
                for (index, octets) in &rows {
                    table.insert(index, octets.as_slice())?;
                }
                Ok(())
            })
            .await?;
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<C>>) -> io::Result<()> {
        let first_gone = last_log_id.map_or(0, |id| id.index + 1);
        self.disk
            .write("truncate the log", move |transaction| {
                transaction.open_table(LOG)?.retain_in(first_gone.., |_, _| false)?;
                Ok(())
            })
            .await
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> io::Result<()> {
        self.disk
            .write("purge the log", move |transaction| {
                transaction.open_table(LOG)?.retain_in(..=log_id.index, |_, _| false)?;
                set_value(transaction, PURGED, &log_id)
            })
            .await
    }
}

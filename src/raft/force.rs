//! Going on without a lost majority: the last word of a person who knows that the others are gone for good.
//!
//! A change of membership to this node alone is written to the end of its own log, as if it had been agreed, and behind it the entry that raises the
//! recovery generation; a node that is the only voter then elects itself and commits all that its log holds. Entries that only the lost side had are
//! lost; entries that it never confirmed may come into force. What keeps the lost side from coming back is the generation, by which its nodes are
//! refused: so both are written at once. A node that went on alone in the old generation, because its power went in between, would be one cluster
//! and the lost side with its disks another, of one name.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use openraft::{
    EntryPayload, Membership,
    alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, VoteOf},
    entry::RaftEntry as _,
    vote::RaftLeaderId as _,
};
use portolan_core::cluster::Entry;

use super::{
    disk::{Disk, LOG, set_value},
    log::{LogStore, VOTE},
    types::{Command, Member, Types},
};

/// Makes this node the only voter of its log, on disk, and puts what is agreed right after that behind it: `raise`, by which the lost are refused.
/// Nothing may take part with this disk meanwhile.
///
/// # Errors
/// When the disk cannot be read or written, or `raise` is too long for the log. Either all of it is on disk then or nothing: power that goes at the
/// very end leaves all of it, and this node goes on by itself when it is back.
pub async fn go_on_alone(disk: &Disk, id: u64, member: Member, raise: &Entry) -> io::Result<()> {
    let raise = raise.encode().map_err(io::Error::other)?;
    let raise = Command(String::from_utf8(raise).map_err(io::Error::other)?);
    let mut log = LogStore::new(disk.clone());
    let vote: Option<VoteOf<Types>> = openraft::RaftLogReader::<Types>::read_vote(&mut log).await?;
    let last: Option<LogIdOf<Types>> = openraft::storage::RaftLogStorage::<Types>::get_log_state(&mut log).await?.last_log_id;
    let seen = vote.map_or(0, |vote| vote.leader_id.term).max(last.as_ref().map_or(0, |last| last.leader_id.term));
    let term = seen + 1;
    let next = last.map_or(0, |last| last.index + 1);
    let membership = Membership::new(vec![BTreeSet::from([id])], BTreeMap::from([(id, member)])).map_err(io::Error::other)?;
    let entry = |index, payload| {
        let at = LogIdOf::<Types>::new(CommittedLeaderIdOf::<Types>::new(term, id), index);
        serde_json::to_vec(&EntryOf::<Types>::new(at, payload)).map_err(io::Error::other)
    };
    let alone = entry(next, EntryPayload::Membership(membership))?;
    let raise = entry(next + 1, EntryPayload::Normal(raise))?;
    let vote = VoteOf::<Types>::new(term, id);
    disk.write("make this node the only voter", move |transaction| {
        let mut log = transaction.open_table(LOG)?;
        log.insert(next, alone.as_slice())?;
        log.insert(next + 1, raise.as_slice())?;
        drop(log);
        set_value(transaction, VOTE, &vote)
    })
    .await
}

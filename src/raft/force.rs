//! Going on without a lost majority: the last word of a person who knows that the others are gone for good.
//!
//! A change of membership to this node alone is written to the end of its own log, as if it had been agreed; a node that is the only voter
//! then elects itself and commits all that its log holds. Entries that only the lost side had are lost; entries that it never confirmed may
//! come into force. What keeps the lost side from coming back is not here: the recovery generation, and refusing its nodes.

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

use super::{
    disk::{Disk, LOG, set_value},
    log::{LogStore, VOTE},
    types::{Member, Types},
};

/// Makes this node the only voter of its log, on disk. Nothing may take part with this disk meanwhile.
///
/// # Errors
/// When the disk cannot be read or written; nothing was changed then.
pub async fn force_membership(disk: &Disk, id: u64, member: Member) -> io::Result<()> {
    let mut log = LogStore::new(disk.clone());
    let vote: Option<VoteOf<Types>> = openraft::RaftLogReader::<Types>::read_vote(&mut log).await?;
    let last: Option<LogIdOf<Types>> = openraft::storage::RaftLogStorage::<Types>::get_log_state(&mut log).await?.last_log_id;
    let seen = vote.map_or(0, |vote| vote.leader_id.term).max(last.as_ref().map_or(0, |last| last.leader_id.term));
    let term = seen + 1;
    let index = last.map_or(0, |last| last.index + 1);
    let membership = Membership::new(vec![BTreeSet::from([id])], BTreeMap::from([(id, member)])).map_err(io::Error::other)?;
    let entry = EntryOf::<Types>::new(
        LogIdOf::<Types>::new(CommittedLeaderIdOf::<Types>::new(term, id), index),
        EntryPayload::Membership(membership),
    );
    let octets = serde_json::to_vec(&entry).map_err(io::Error::other)?;
    let vote = VoteOf::<Types>::new(term, id);
    disk.write("make this node the only voter", move |transaction| {
        transaction.open_table(LOG)?.insert(index, octets.as_slice())?;
        set_value(transaction, VOTE, &vote)
    })
    .await
}

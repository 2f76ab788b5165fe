//! The replicated machine as openraft drives it: thin, all decisions are [`portolan_core::cluster`]'s.
//!
//! The state lives in memory; on disk are its last snapshot and the log after that, from which a start makes it anew. What followers of the
//! state read is a copy behind a watch channel, made once per batch of entries.

use std::{io, sync::Arc};

use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
    storage::{EntryResponder, RaftStateMachine},
};
use portolan_core::cluster::{FEATURE_LEVEL, Halt, Part, State, audit::AuditEntry};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error as _};
use tokio::sync::{broadcast, watch};
use tokio_stream::{Stream, StreamExt as _};

use super::{
    disk::{Disk, octets, set_octets, set_value, value},
    follow::{Fed, Told},
    types::{Reply, Types},
};

const SNAPSHOT_META: &str = "snapshot_meta";
const SNAPSHOT: &str = "snapshot";

/// The state as it stands, for readers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The replicated state.
    pub state: Arc<State>,
    /// The last entry in it; `None`: nothing was ever applied.
    pub applied: Option<u64>,
    /// Links of the audit chain that the last batch made, oldest first.
    pub news: Arc<[AuditEntry]>,
}

/// Entries that wait for the slowest follower; one that is further behind gets a snapshot.
const FEED: usize = 256;

/// What others read of a machine.
#[derive(Clone, Debug)]
pub struct Readers {
    /// The state.
    pub standing: watch::Receiver<Standing>,
    /// Weak: who follows a machine that is gone must hear of it, whoever still has a handle.
    pub(super) feed: broadcast::WeakSender<Told>,
}

/// The machine of one node.
#[derive(Debug)]
pub struct Machine {
    disk: Disk,
    state: State,
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    standing: watch::Sender<Standing>,
    feed: broadcast::Sender<Told>,
}

/// What a snapshot holds, at one moment.
#[derive(Debug)]
pub struct Builder {
    disk: Disk,
    state: State,
    meta: SnapshotMetaOf<Types>,
}

/// The state in a snapshot: JSON text, as [`State::snapshot`] writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Octets(pub Arc<Vec<u8>>);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(str::from_utf8(&self.0).map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Arc::new(String::deserialize(deserializer)?.into_bytes())))
    }
}

impl Machine {
    /// The machine as its last snapshot on the disk has it.
    ///
    /// # Errors
    /// When the disk cannot be read, or holds what this version cannot read ([`Halt`]).
    pub async fn open(disk: Disk) -> io::Result<(Self, Readers)> {
        let saved = load(&disk).await?;
        let (state, meta) = match saved {
            None => (State::supporting(FEATURE_LEVEL), None),
            Some((meta, octets)) => (State::restore(&octets, FEATURE_LEVEL).map_err(|halt| halted(&halt))?, Some(meta)),
        };
        let (applied, membership) = meta.map_or_else(Default::default, |meta| (meta.last_log_id, meta.last_membership));
        let index = applied.as_ref().map(|id| id.index);
        let (standing, watched) = watch::channel(Standing { state: Arc::new(state.clone()), applied: index, news: Arc::new([]) });
        let feed = broadcast::Sender::new(FEED);
        let readers = Readers { standing: watched, feed: feed.downgrade() };
        Ok((Self { disk, state, applied, membership, standing, feed }, readers))
    }

    fn publish(&self, news: Vec<AuditEntry>) {
        let applied = self.applied.as_ref().map(|id| id.index);
        self.standing.send_replace(Standing { state: Arc::new(self.state.clone()), applied, news: news.into() });
    }
}

/// openraft stops the node at such an error: it applies nothing more, and answers go on from the last table.
fn halted(halt: &Halt) -> io::Error {
    io::Error::other(format!("this node stops taking part: {halt}"))
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Octets;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut news = Vec::new();
        let mut fed = Vec::new();
        let mut replies = Vec::new();
        let mut fault = None;
        let mut is_left_behind = false;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let reply = match entry.payload {
                EntryPayload::Blank => Reply::Blank,
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
                    Reply::Blank
                }
                EntryPayload::Normal(command) => match self.state.apply_octets(entry.log_id.index, command.0.as_bytes()) {
                    Ok(applied) => {
                        is_left_behind |= applied.touched.contains(&Part::Generation);
                        news.extend(applied.audit);
                        fed.push(Fed { index: entry.log_id.index, octets: command.0.into_bytes().into() });
                        Reply::Applied { index: entry.log_id.index, outcome: applied.outcome, repeated: applied.repeated }
                    }
                    Err(halt) => {
                        fault = Some(halted(&halt));
                        break;
                    }
                },
            };
            self.applied = Some(entry.log_id);
            replies.extend(responder.map(|responder| (responder, reply)));
        }
        // Readers first: who got a reply must find what it is about.
        self.publish(news);
        for entry in fed {
            // Nobody follows.
            let _ = self.feed.send(Told::Applied(entry));
        }
        if is_left_behind {
            // Who followed the lost side may have entries that nobody knows any more, in the place of these.
            let _ = self.feed.send(Told::Jumped);
        }
        for (responder, reply) in replies {
            responder.send(reply);
        }
        fault.map_or(Ok(()), Err)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta = SnapshotMetaOf::<Types> { last_log_id: self.applied, last_membership: self.membership.clone() };
        Builder { disk: self.disk.clone(), state: self.state.clone(), meta }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, snapshot: Octets) -> io::Result<()> {
        let state = State::restore(&snapshot.0, FEATURE_LEVEL).map_err(|halt| halted(&halt))?;
        // Followers notice the gap before the next entry.
        store(&self.disk, meta.clone(), snapshot.0).await?;
        (self.state, self.applied, self.membership) = (state, meta.last_log_id, meta.last_membership.clone());
        self.publish(Vec::new());
        // Nobody follows.
        let _ = self.feed.send(Told::Jumped);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Octets>>> {
        let found = load(&self.disk).await?;
        Ok(found.map(|(meta, octets)| SnapshotOf::<Types, Octets> { meta, snapshot: Octets(Arc::new(octets)) }))
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Octets;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Octets>> {
        let octets = Arc::new(self.state.snapshot());
        store(&self.disk, self.meta.clone(), Arc::clone(&octets)).await?;
        Ok(SnapshotOf::<Types, Octets> { meta: self.meta.clone(), snapshot: Octets(octets) })
    }
}

async fn store(disk: &Disk, meta: SnapshotMetaOf<Types>, snapshot: Arc<Vec<u8>>) -> io::Result<()> {
    disk.write("save the snapshot", move |transaction| {
        set_value(transaction, SNAPSHOT_META, &meta)?;
        set_octets(transaction, SNAPSHOT, &snapshot)
    })
    .await
}

async fn load(disk: &Disk) -> io::Result<Option<(SnapshotMetaOf<Types>, Vec<u8>)>> {
    disk.read("read the snapshot", |transaction| {
        let meta = value(transaction, SNAPSHOT_META)?;
        Ok(meta.zip(octets(transaction, SNAPSHOT)?))
    })
    .await
}

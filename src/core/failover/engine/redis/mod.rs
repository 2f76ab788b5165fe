//! Redis 7 (and Valkey) with asynchronous replication.
//!
//! ```text
//! adapter: files, INFO, two keys --> Seen --facts--> the agent's machine
//!                                      '----Course::next--> Verb --> adapter: files, commands, supervisor
//! ```
//!
//! Redis has no timelines. It has a *replication id* per run of a primary, and an offset that counts octets since somewhere, which an append-only
//! file forgets. So the line that a database stands on is kept in the database itself, in one key: a *stretch* per opening, with its token, its
//! timeline, its id and where it left the stretch before. A *position* is counted along that line, and never goes back on it: a primary that came
//! back without an offset counts on from beyond everything that anybody can have.
//!
//! The *mark* is a fragment of configuration with a `replicaof`: while it is there, every start is one of a replica. One that is to receive from
//! nobody names an address at which nothing can listen. It stays: a primary, too, starts as a replica of nobody, which gives nothing to others, and
//! is promoted when it has shown its data. Else replicas would take over the emptiness of one that lost them before anybody looked, as they do
//! with Sentinel.
//!
//! Invariants: nothing starts for writes; where a copy ends is said only where it is known (the run that its offset counts belongs to its line, and no synchronisation is
//! under way or broke off); nobody is promoted without; a database that came back empty is never promoted; a primary that did not stop cleanly is
//! started again only from an append-only file; what a former primary has beyond the common line is put aside before it follows.
//!
//! Source: Redis 7.0's documentation of replication and its source for what is not written there (`replication.c`, `loadDataFromDisk`,
//! `rdbPopulateSaveInfo`, `prepareForShutdown`).

mod course;
mod floor;
mod info;
mod line;
mod seen;
mod snapshot;
#[cfg(test)]
mod tests;

pub use super::{
    Process,
    postgres::{Divergence, Upstream},
};
pub use course::{Course, Verb};
pub use floor::Floor;
pub use info::{Info, PRIMARY_WORD, REPLICA_WORD, ReplicationId, SECTIONS, SENTINEL_CHANNEL};
pub use line::{GAP, LINE_OCTETS_MAX, Line, Stretch};
pub use seen::{Kept, Note, Ran, Seen, Server, Source, facts};
pub use snapshot::{HEAD_OCTETS, end_of};

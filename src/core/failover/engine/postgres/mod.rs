//! PostgreSQL with physical streaming replication.
//!
//! ```text
//! adapter: files, pg_controldata, SQL --> Seen --facts--> the agent's machine
//!                                          '----Course::next--> Verb --> adapter: files, SQL, supervisor
//! ```
//!
//! Terms: a *position* is a log sequence number (LSN). The *mark* is `standby.signal`: while it is there, every start is one of a standby. A copy is
//! *exhausted* when it has replayed everything that it has.
//!
//! Only physical copies are members. A standby that holds back what it receives, and a database that takes part by logical replication, are never promoted:
//! the first is told apart by its setting, the second is another database, with a system identifier of its own, and is refused by that wherever it comes in.
//!
//! Invariants: the mark goes only right before a start for writes, which the supervisor refuses without a deadline; where a copy ends is said
//! only when it receives nothing, and is the end of a whole record; a directory in which a rewind did not end is never started.
//!
//! Source: PostgreSQL 15 documentation, chapters 27 (high availability), 30 (WAL) and `pg_rewind`; its source for what is not written there
//! (`xlogrecovery.c`: when the startup process waits; `timeline.c`: how the next timeline is found).

mod archive;
mod course;
mod history;
mod seen;
mod settings;
mod slots;
#[cfg(test)]
mod tests;

pub use super::Process;
pub use archive::Archiver;
pub use course::{Course, Verb};
pub use history::{Divergence, History, HistoryError, Switch, position};
pub use seen::{Control, Ran, Seen, Server, Source, Upstream, facts};
pub use settings::{LIMITS, Peer, Peers, Settings};
pub use slots::{Change, SLOT_PREFIX, Slot, changes, slot_of, to_name};

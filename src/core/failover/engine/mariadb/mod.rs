//! MariaDB with GTID replication. MySQL would be a variant of the same course; its GTID sets are other facts.
//!
//! ```text
//! adapter: files, SQL --> Seen --facts--> the agent's machine
//!                          '----Course::next--> Verb --> adapter: files, SQL, supervisor
//! ```
//!
//! Terms: a *position* is the sequence number of the group's one GTID domain. The *mark* is an option file that makes every start one of a server
//! that is `read_only`; it stays, also on a primary, which is opened by a word to the running server only. A *line* is a stretch of history that
//! one opening began ([`History`]); lines stand in the database itself. A standby is *sealed* when its receiver is stopped, and *exhausted* when it
//! has applied everything that it has received.
//!
//! Invariants: nothing starts but read-only, and nothing is opened but by [`Verb::Open`], which takes a lease; what a standby received and did not
//! apply counts only while its applier runs, because the server throws it away when it starts again; a standby is pointed elsewhere, or opened,
//! only when it is exhausted; whoever has what the primary has not is never a member again by itself: MariaDB cannot take transactions back.
//!
//! Absent on purpose: quorums. Semi-synchronous replication waits for any one standby's relay log, which that standby throws away when it starts
//! again, and stops to wait after a time; so it can promise nothing that a failover may build on.
//!
//! Source: MariaDB 10.11 documentation (Global Transaction ID, replication threads and their status, `read_only`); its own source for when relay
//! logs are purged (all of them, when replication that uses GTIDs starts with neither thread running), and for what stands in the binary log's
//! state file.

mod course;
mod gtid;
mod lines;
mod seen;
#[cfg(test)]
mod tests;

pub use super::Process;
pub use course::{Course, Verb};
pub use gtid::{Gtid, GtidError, in_domain, parse};
pub use lines::{Divergence, History, Line};
pub use seen::{Control, Ran, Refusal, Seen, Server, Source, Upstream, facts};

//! The replicated machine: committed entries in, one state on every node.
//!
//! ```text
//! a person, a script, the leader --Change--> proposer stamps time, actor, moved share --Entry--> Raft --+--> apply on node 1 --> State
//!                                                                                                       +--> apply on node 2 --> the same
//!                                                                                                       '--> apply on node 3 --> the same
//! ```
//!
//! Kilobytes of what must be agreed: the plan, orders, freezes, acknowledgements, the registry of nodes, feature level, recovery
//! generation, grants and operations of data groups, and the audit chain. Never probes, verdicts or figures.
//!
//! Invariants, each a property test:
//! - the same entries give the same octets on every node;
//! - a refused entry changes nothing but the audit chain, and what its request id remembers;
//! - a repeated request changes nothing at all;
//! - every list and text has a bound ([`limits`]), in the state and in what is decoded;
//! - what a node cannot read stops it ([`Halt`]); nothing is skipped.
//!
//! Absent on purpose: clocks (an entry's own time is all the time there is), who may what (checked where identities are proved), Raft, and the
//! renewals of leases, which are no entries.

mod apply;
pub mod audit;
mod change;
mod drills;
mod entry;
mod evacuations;
mod groups;
mod guardrails;
mod guards;
mod hooks;
pub mod limits;
mod members;
mod orders;
mod outline;
mod people;
mod plans;
mod refusal;
mod rejoin;
mod requests;
mod returns;
mod setbacks;
mod snapshot;
mod state;
mod terms;
#[cfg(test)]
mod tests;
mod wire;

pub use apply::{Applied, Outcome, Part};
pub use change::{Change, End, FEATURE_LEVEL, PutPlan};
pub use entry::{Actor, Entry, Overrule, Role};
pub use evacuations::Next;
pub use guardrails::observed_regions;
pub use members::{Node, NodeId, NodeRole, Registered};
pub use outline::{Outline, Service, Window};
pub use refusal::{Halt, Refusal, Rule};
pub use snapshot::SNAPSHOT_KIND;
pub use state::{Acknowledgement, Freeze, PlanInForce, State};

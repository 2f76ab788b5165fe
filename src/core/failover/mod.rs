//! Data failover: from what is seen of a group's primary to what is done about it.
//!
//! ```text
//! proven verdicts --Rounds--> window (three failed rounds in five minutes) --.
//! others' views, standbys, the agent's word ----------> evidence class ------+--Detector: hold, attestations, guards--> decision
//! a committed grant, renewals --Holder, Grantor--> who may write until when, from when on nobody does
//! sealed copies, committed forks --choose--> who is promoted, or why nobody is
//!
//!            orders                                  tasks, kill
//! Conductor --------> Agent (one per member) ----------------------> database and its supervisor
//!     ^   <--------          answers            <--------------------
//!     |                                               facts
//!     '-- Group: what is committed, changed by Steps only
//! ```
//!
//! Terms: a *group* is a database with one primary and its standbys, one *member* per region. A *round* is one probe interval of the group.
//!
//! Invariants: only rounds that were watched count; a primary that any standby still hears is never taken for dead, nor one of which no
//! standby is known.
//!
//! What the whole keeps, and the test that takes each rule of it away: `drill`.
//!
//! Absent on purpose: probes and connections, which are the adapters'; traffic, which moves without any of this; whether a step may be committed,
//! which [`crate::cluster`] judges.

pub mod adopt;
pub mod agent;
pub mod assertion;
pub mod choose;
pub mod concern;
pub mod conduct;
pub mod detect;
#[cfg(test)]
mod drill;
pub mod engine;
pub mod evacuation;
pub mod evidence;
pub mod grounds;
pub mod group;
pub mod holding;
pub(crate) mod keys;
pub mod lease;
pub mod order;
pub mod plan_id;
pub mod rehearsal;
pub mod rounds;
pub mod step;
pub mod token;
pub mod witness;

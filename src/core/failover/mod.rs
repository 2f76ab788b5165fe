//! Data failover: from what is seen of a group's primary to what is done about it.
//!
//! ```text
//! proven verdicts --Rounds--> window (three failed rounds in five minutes) --.
//! others' views, standbys, the agent's word ----------> evidence class ------+--> decision
//! a committed grant, renewals --Holder, Grantor--> who may write until when, from when on nobody does
//! sealed copies, committed forks --choose--> who is promoted, or why nobody is
//! ```
//!
//! Terms: a *group* is a database with one primary and its standbys, one *member* per region. A *round* is one probe interval of the group.
//!
//! Invariants: only rounds that were watched count; a primary that any standby still hears is never taken for dead, nor one of which no
//! standby is known.
//!
//! Absent on purpose: probes and connections, which are the adapters'; traffic, which moves without any of this.

pub mod choose;
pub mod evidence;
pub mod lease;
pub mod rounds;
pub mod token;

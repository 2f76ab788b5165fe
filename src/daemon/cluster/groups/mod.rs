//! Data groups on a voter: the agents that are attached here, and while this node leads the conductor of their groups.
//!
//! ```text
//!  agents --lines--> crew: who is who by the plan --said--> keep: relays what agents ask of each other;
//!     ^                                                       on the leader: Conductor --steps--> consensus
//!     '------------- orders, replies, terms ------------------'  renewals --a round of the consensus--> replies
//! probes --Databases--> lookout: every voter watches rounds; the leader asks each region once more, and proposes the decision
//! ```
//!
//! Invariants, by their names in the protocol: a renewal is checked against what is committed, then confirmed by a round that began after it came, and
//! answered only then (L3); no renewal is answered and no step is taken before an entry of this leader's own term is applied (L4).

mod attest;
mod crew;
mod drills;
mod evacuate;
mod hooks;
mod keep;
mod lookout;
mod observe;
mod returns;
mod roster;
mod validate;

pub(super) use attest::{answer_any, reached};
pub(super) use crew::DaemonCrew;
pub(super) use hooks::{ask_before, teller};
pub(super) use keep::{Asked, keep};

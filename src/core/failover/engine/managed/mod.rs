//! A database that another manager runs: Patroni, an operator, a program or a service of the user. It is led by one contract.
//!
//! ```text
//! manager --probe--> Seen --facts--> the agent's machine
//!                      '--Course::next--> Call (verb and token) --> the manager, which does it
//! ```
//!
//! Verbs, each of which may come again at any time, also when it is done already, and is then answered by what is so:
//!
//! | verb | what is so when a later probe shows it |
//! |---|---|
//! | `fence` | it takes no writes, whoever is connected, and the manager does not let it take any by itself, until `unseal` or `rejoin`, by no lower token; what was written before is shipped to whoever receives |
//! | `seal` | a replica receives from nobody, and what it has stays |
//! | `drain` | a sealed replica shows everything that it has up to a position |
//! | `unseal` | a fence or a seal is lifted; it may take writes by itself then, so it is done under a lease |
//! | `promote` | it takes writes; its timeline is above the one that is told, where it has timelines |
//! | `verify` | the token stands in the database, and travels to replicas with it, where the manager can do that |
//! | `rejoin` | it follows the member that is told; what only it had is put aside or the copy is made anew |
//!
//! Invariants: no supervisor stands under it, so its class is always bare: its lease's end proves nothing, only a probe that shows the fence does, after
//! the manager has taken a `fence` of that very token;
//! whoever carries out a verb refuses a token below the highest that it has seen, so that one that was late does no harm, and lets nothing of a lower
//! one that is still under way come about once it has taken a higher one.
//!
//! Absent on purpose: quorums. What a manager's replicas acknowledge it alone knows.

mod course;
mod seen;
#[cfg(test)]
mod tests;

pub use super::postgres::Upstream;
pub use course::{Call, Course, Source, Verb};
pub use seen::{PROBE_OCTETS_MAX, Probe, Role, Seen, Unreadable, facts};

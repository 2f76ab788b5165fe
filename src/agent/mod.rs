//! The agent's side of data failover: a small process beside each member's database, and the supervisor under which that one lives.
//!
//! ```text
//!  leader --orders, replies--> Runner: owns core's Agent --effects--> disk, leader, supervisor
//!                                ^   '--begin--> task: a course of the engine, verb by verb, each only if the agent may
//!                                '-- facts -- looker: looks every second, and when something was done
//! ```
//!
//! What an agent decides is in `portolan_core::failover::agent`; here is what it does. The engine comes in as a trait ([`Engine`]), the leader as
//! two queues.
//!
//! Invariants: nothing waits between the agent's clock and its kill but this process's own turn; what was looked at before something was done is
//! not taken for what is so after it.

mod berth;
mod disk;
mod engine;
pub mod link;
mod looker;
mod run;
mod sandbox;
pub mod supervisor;
mod task;

pub use berth::{Berth, Crew, ForAgent, SAID_OCTETS_MAX, Said, Terms, routes};
pub use disk::{DiskError, Store};
pub use engine::{Act, Course, Engine, Step, Vessel};
pub use run::{Runner, Setup};

/// What `proto/portolan/agent/v1` compiles to.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::use_self,
    reason = "generated code: it carries no style of ours"
)]
mod proto {
    tonic::include_proto!("portolan.agent.v1");
}

/// Feeds octets to everything that reads what agents, voters and supervisors say to each other. For fuzzing: it must return, whatever the octets are.
pub fn fuzz_agents(octets: &[u8]) {
    let _ = serde_json::from_slice::<portolan_core::failover::order::FromAgent>(octets);
    let _ = serde_json::from_slice::<portolan_core::failover::order::ToAgent>(octets);
    let _ = serde_json::from_slice::<Terms>(octets);
    let _ = serde_json::from_slice::<supervisor::State>(octets);
    let _ = serde_json::from_slice::<supervisor::Verb>(octets);
}

//! The whole protocol in a world of three regions on virtual time: leaders that are superseded, agents that pause and die, supervisors that die,
//! hosts that crash, lines that are cut one way or both, messages that are late, lost and doubled, people who press buttons.
//!
//! The log is the real one (`cluster::State`), the agents and the conductor are the real ones, and where a run is watched, so are each region's witness
//! and detector (`watch`); Raft, the databases and probes are models, and what would be lost is what the run says. A run proves after every event what
//! must hold; with one rule taken away some run finds harm (`removed`). `FAILOVER_SEEDS=FROM..TO` picks seeds.

mod database;
mod faults;
mod hosts;
mod leaders;
mod net;
mod proof;
mod removed;
mod setup;
mod tests;
mod watch;
mod world;

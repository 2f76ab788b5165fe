//! The whole protocol in a world of three regions on virtual time: leaders that are superseded, agents that pause and die, supervisors that die,
//! hosts that crash, lines that are cut one way or both, messages that are late, lost and doubled, people who press buttons.
//!
//! The log is the real one (`cluster::State`), the agents and the conductor are the real ones; Raft and the databases are models. A run proves
//! after every event what must hold; with one rule of the protocol taken away some run finds harm. `FAILOVER_SEEDS=FROM..TO` picks seeds.

mod database;
mod faults;
mod hosts;
mod net;
mod proof;
mod tests;
mod world;

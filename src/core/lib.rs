//! The pure core of Portolan: events in, changes and effects out.
//!
//! Absent on purpose: clocks, sockets, files, randomness, logging, async, hash order. Time and entropy come in by argument, so that every
//! decision can be replayed, simulated and explained.
//!
//! ```text
//! plan --> topology --.
//! observations --> health --> verdicts --> table --> answer(query, client) --> records, and the reasons for them
//! client network --> geo ------------------^
//! ```

pub mod answer;
pub mod cluster;
pub mod document;
pub mod failover;
pub mod geo;
pub mod health;
pub mod model;
pub mod node;
pub mod plan;
pub mod recovery;
pub mod simulate;
pub mod steering;
pub mod table;
#[cfg(test)]
mod testing;
pub mod zone;

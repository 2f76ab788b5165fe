//! Agents and supervisors beside real databases.

mod failover;
mod leader;
pub(crate) mod postgres;
mod supervisor;

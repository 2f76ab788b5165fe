//! Agents and supervisors beside real databases.

mod conformance;
mod failover;
mod leader;
pub(crate) mod postgres;
mod supervisor;

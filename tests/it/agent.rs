//! Agents and supervisors beside real databases.

mod failover;
mod leader;
mod postgres;
mod supervisor;

//! Agents and supervisors beside real databases.

mod conformance;
mod failover;
mod leader;
pub(crate) mod mariadb;
pub(crate) mod postgres;
mod supervisor;

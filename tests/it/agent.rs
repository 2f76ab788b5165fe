//! Agents and supervisors beside real databases.

mod conformance;
mod failover;
mod leader;
pub(crate) mod mariadb;
mod patroni;
pub(crate) mod patroni_server;
pub(crate) mod postgres;
mod redis;
mod redis_server;
mod supervisor;

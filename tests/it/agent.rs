//! Agents and supervisors beside real databases.

mod amiss;
mod archive;
mod clients;
mod cnpg;
pub(crate) mod cnpg_server;
mod conformance;
mod failover;
mod leader;
mod managed;
pub(crate) mod mariadb;
mod patroni;
pub(crate) mod patroni_server;
pub(crate) mod postgres;
mod reclone;
mod redis;
mod redis_server;
mod sandbox;
mod slots;
mod supervisor;
mod wall;

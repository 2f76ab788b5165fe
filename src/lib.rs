//! Portolan: the adapters around the core, and the composition root.

pub mod agent;
pub mod api;
pub mod backup;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod dns;
pub mod engine;
pub mod geo;
pub mod hook;
mod latest;
pub mod mesh;
pub mod net;
pub mod probe;
pub mod raft;
pub mod telemetry;

//! Portolan against real sockets on loopback: one binary, one module per area; it links once.

#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing has failed; helpers of tests are no exception")]

mod agent;
mod api;
mod backup;
mod canned;
mod cli;
mod control;
mod daemon;
mod demo;
mod dns;
mod fuzz;
mod mesh;
mod mutate;
mod probe;
mod raft;
mod regions;
mod telemetry;
mod tidy;

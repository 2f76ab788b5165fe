//! Which region, and which of its endpoints, a client gets.
//!
//! An ordered list of pure stages over a set of regions; each can only take away, and says what it took and why. Residency comes first, so
//! that nothing after it can cross a fence.
//!
//! ```text
//! residency -> tier (up, unjudged, drained, else all_down) -> families -> standby -> admission -> geo | latency | priority | weight -> endpoints
//! ```

pub mod choose;
pub mod prove;
pub mod rendezvous;
pub mod trace;

pub use choose::{Choice, Client, Served, choose};
pub use trace::{Recorder, Silent, Trace};

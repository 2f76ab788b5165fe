//! Connections to others: names, TCP, TLS, and the clock that judges certificates.
//!
//! A leaf: it knows nothing of probes, DNS or the core's decisions, and whoever needs a connection (probes today, webhooks and peers later)
//! takes it from here, so that trust and limits are the same everywhere.
//!
//! Absent on purpose: connection pools. A probe must see what a new client sees, so it always makes a new connection.

pub mod accept;
pub mod clock;
pub mod connect;
pub mod detour;
pub mod dial;
pub mod mutual;
pub mod names;
pub mod resolve;
pub mod rotate;
pub mod tls;

//! The control API: gRPC `portolan.v1` over what the node reports and what the cluster agreed on, with health, reflection and a JSON mirror.
//!
//! ```text
//!  port with TLS --.                                    .--> status, why, preview, heartbeat, traffic, simulate --> ControlSource (the node)
//!  socket ---------+--> front: who, may it, how often --+--> overrides, freezes, plan, cluster, groups, audit, events --> ClusterSource
//!                                                       '--> JSON mirror, through the same services
//! ```
//!
//! One file per proto service; [`source`] is what the daemon implements, [`server`] the listeners with their limits, [`auth`] who may what,
//! [`convert`] the way between values and the wire.
//! Invariant: nothing here decides or remembers anything that is agreed; each answer is what a source said, and each change is judged by the
//! replicated machine.

pub mod access;
pub mod acknowledgements;
pub mod audit;
pub mod auth;
pub mod cluster;
pub mod convert;
pub mod dns;
pub mod drills;
pub mod evacuations;
pub mod event_log;
pub mod events;
pub mod explain;
pub mod freezes;
pub mod heartbeat;
pub mod operations;
pub mod overrides;
pub mod page;
pub mod plan;
pub mod recovery;
pub mod refusal;
pub mod returns;
pub mod rotate;
pub mod server;
pub mod simulate;
pub mod socket;
pub mod source;
pub mod status;
pub mod traffic;

mod following;
mod front;
mod json;
mod mutation;
mod reading;

pub use crate::net::{
    accept::{Origin, Peer},
    mutual::{TlsError, TlsFiles},
};
pub use auth::{AuthOptions, Binding, Caller, JwtOptions, Who};
pub use front::PLANS_MAX;
pub use json::fuzz_json;
pub use server::{ApiError, ApiOptions, ApiServer};
pub use source::{Beat, BeatError, ControlSource, PreviewReport, PreviewRequest, RecordText, Simulation, ZoneReport};

/// What `proto/portolan/v1` compiles to.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::use_self,
    reason = "generated code: it carries no style of ours"
)]
pub mod proto {
    tonic::include_proto!("portolan.v1");

    /// Descriptors of all files, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/portolan.v1.bin"));
}

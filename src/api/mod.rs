//! The control API: gRPC `portolan.v1` over what the node reports, with health and reflection.
//!
//! One file per proto service; [`source`] is what the daemon implements, [`server`] the listener with its limits, [`convert`] the way
//! between core reports and the wire, in both directions because the command line wants reports back.
//! Invariant: nothing here decides or remembers anything; each answer is what the [`ControlSource`] said.
//! Absent on purpose: roles, audit, rate limits and mutations of the plan; they come with the full control API.

pub mod convert;
pub mod dns;
pub mod explain;
pub mod heartbeat;
pub mod refusal;
pub mod server;
pub mod source;
pub mod status;

pub use crate::net::{
    accept::Peer,
    mutual::{TlsError, TlsFiles},
};
pub use server::{ApiError, ApiServer};
pub use source::{Beat, BeatError, ControlSource, PreviewReport, PreviewRequest, RecordText};

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

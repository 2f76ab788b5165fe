//! Generates the code of `proto/` without a protoc installed, and keeps the descriptors for the reflection service.

use std::{error::Error, path::Path};

use prost::Message as _;

/// For clients; reflection tells them all of it.
const CONTROL: &[&str] = &[
    "proto/portolan/v1/access_service.proto",
    "proto/portolan/v1/acknowledgement_service.proto",
    "proto/portolan/v1/audit_service.proto",
    "proto/portolan/v1/cluster_service.proto",
    "proto/portolan/v1/dns_service.proto",
    "proto/portolan/v1/drill_service.proto",
    "proto/portolan/v1/evacuation_service.proto",
    "proto/portolan/v1/event_service.proto",
    "proto/portolan/v1/explain_service.proto",
    "proto/portolan/v1/freeze_service.proto",
    "proto/portolan/v1/freshness.proto",
    "proto/portolan/v1/heartbeat_service.proto",
    "proto/portolan/v1/moment.proto",
    "proto/portolan/v1/mutation.proto",
    "proto/portolan/v1/operation_service.proto",
    "proto/portolan/v1/override_service.proto",
    "proto/portolan/v1/plan_service.proto",
    "proto/portolan/v1/reason.proto",
    "proto/portolan/v1/recovery_service.proto",
    "proto/portolan/v1/return_service.proto",
    "proto/portolan/v1/scope.proto",
    "proto/portolan/v1/simulate_service.proto",
    "proto/portolan/v1/status_service.proto",
    "proto/portolan/v1/traffic_service.proto",
];

/// Between nodes and the agents of databases.
const AGENT: &[&str] = &["proto/portolan/agent/v1/agent.proto"];

/// Between nodes.
const PEER: &[&str] = &["proto/portolan/peer/v1/peer.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(CONTROL, ["proto"])?;
    let folder = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR for build scripts")?;
    std::fs::write(Path::new(&folder).join("portolan.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    tonic_prost_build::configure().bytes(".").compile_fds(protox::compile(AGENT, ["proto"])?)?;
    // What is sent to many peers is encoded once and shared. The one large frame is boxed: a queue has room for 32 frames from the start.
    tonic_prost_build::configure()
        .bytes(".")
        .boxed(".portolan.peer.v1.ObserveFrame.frame.hello")
        .codec_path("crate::mesh::codec::SmallCodec")
        .compile_fds(protox::compile(PEER, ["proto"])?)?;
    Ok(())
}

//! Generates the code of `proto/` without a protoc installed, and keeps the descriptors for the reflection service.

use std::{error::Error, path::Path};

use prost::Message as _;

const FILES: &[&str] = &[
    "proto/portolan/v1/dns_service.proto",
    "proto/portolan/v1/explain_service.proto",
    "proto/portolan/v1/heartbeat_service.proto",
    "proto/portolan/v1/reason.proto",
    "proto/portolan/v1/status_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let folder = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR for build scripts")?;
    std::fs::write(Path::new(&folder).join("portolan.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}

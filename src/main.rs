//! The `portolan` binary.

use std::process::ExitCode;

use portolan::{cli, daemon::Program};

fn main() -> ExitCode {
    // Some libraries take the process's default; there is one provider of cryptography and this is it. It fails only when set already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cli::main(&Program)
}

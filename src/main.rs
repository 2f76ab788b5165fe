//! The `portolan` binary.

use std::process::ExitCode;

/// Nothing beside the client verbs.
struct ClientOnly;

impl portolan::cli::Actions for ClientOnly {}

fn main() -> ExitCode {
    portolan::cli::main(&ClientOnly)
}

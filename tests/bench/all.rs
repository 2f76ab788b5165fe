//! All benchmarks in one program, which links once: `cargo bench -- table|failover|dns|probe|flap|mesh|commit|leaders|observers|observations|
//! groups|agent|race [OPTION VALUE ...]`.
//! `tests/bench/run.sh` runs them all and holds their figures against the targets.
//!
//! A figure is a line `figure NAME VALUE`. The programs that are measured from outside are this one again, under another first argument.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where it stopped")]

mod agent;
mod commit;
mod daemon;
mod dns;
mod failover;
mod fleet;
mod groups;
mod leaders;
mod mesh;
mod observations;
mod observers;
mod probe;
mod process;
mod race;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["table", ..] => table::run(),
        ["table-load", plan, ..] => table::load_once(plan.as_ref()),
        ["table-changes", plan, ..] => table::changes(plan.as_ref()),
        ["failover", ..] => failover::run_all(),
        ["dns", ..] => return dns::run(),
        ["dns-serve", ..] => dns::serve(),
        ["mesh", ..] => mesh::run(),
        ["commit", ..] => commit::run(),
        ["leaders", ..] => leaders::run(),
        ["leaders-serve", ..] => leaders::serve(),
        ["observations", ..] => observations::run(),
        ["observations-serve", plan, data, ref book @ ..] => observations::serve(plan, data, book),
        ["groups", ..] => groups::run(),
        ["groups-serve", plan, data, ..] => groups::serve(plan, data),
        ["agent", ..] => agent::run(),
        ["race", ..] => race::run(),
        ["observers", ..] => observers::run(),
        ["observers-serve", ..] => observers::serve(),
        ["probe", ..] => probe::run(false),
        ["flap", ..] => probe::run(true),
        ["probe-target", ..] => probe::serve_alone(false),
        ["flap-target", ..] => probe::serve_alone(true),
        _ => {
            eprintln!(
                "usage: cargo bench -- table|failover|dns|probe|flap|mesh|commit|leaders|observers|observations|groups|agent|race [OPTION VALUE ...]"
            );
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

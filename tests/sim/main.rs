//! The real core in a world of machines, networks and people that go wrong, on virtual time, over an ideal log.
//!
//! ```text
//! cargo test -p portolan-core --test sim                              10,000 short runs, and the planted bugs
//! SIM_SEED=n cargo test -p portolan-core --test sim ideal_log         one run again, with its trace when it fails
//! SIM_SEEDS=from..to …                                                others
//! SIM_EPISODES=40 SIM_HOURS=10000 cargo test --release …              a soak: long runs until so many cluster hours were lived
//! ```
//!
//! Each run is a function of its seed. [`invariants`] has one file for each thing that must hold; [`found`] proves that they see.
//!
//! Absent on purpose: consensus; here everybody gets the same log ([`agreement`]). The same world over the real one is
//! `tests/sim/over_raft`, whose root names the same files. Also wire formats.

#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing has failed; helpers of tests are no exception")]

mod agreement;
mod clock;
mod commits;
mod episodes;
mod faults;
mod found;
mod happened;
mod invariants;
mod log;
mod mesh;
mod network;
mod plan;
#[allow(dead_code, reason = "some bugs are of the real consensus, and planted there")]
mod planted;
mod queue;
mod random;
mod runner;
mod settings;
mod station;
mod truth;
mod turn;
mod world;

use world::Setting;

/// Runs in a plain `cargo test`.
const SEEDS: u64 = 10_000;

#[test]
fn over_an_ideal_log_no_invariant_breaks() {
    settings::run(SEEDS);
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let told = || {
        let outcome = runner::run(7, Setting::plain(2).traced());
        (outcome.trace, outcome.n_turns, outcome.n_tables, outcome.broken)
    };
    let first = told();
    assert!(first.1 > 1000 && first.2 > 10, "{first:?}");
    assert_eq!(first, told());
}

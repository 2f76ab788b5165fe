//! The real core in a world of machines, networks and people that go wrong, on virtual time, over an ideal log.
//!
//! ```text
//! cargo test -p portolan-core --test sim                              10,000 short runs, and the planted bugs
//! SIM_SEED=n cargo test -p portolan-core --test sim ideal_log         one run again, with its trace when it fails
//! SIM_SEEDS=from..to …                                                others
//! SIM_EPISODES=40 SIM_HOURS=10000 cargo test --release …              a soak: long runs until so many cluster hours were lived
//! ```
//!
//! Each run is a function of its seed. [`invariants`] has one file for each thing that must hold; [`planted`] proves that they see.
//!
//! Absent on purpose: consensus, which has a simulation of its own strength; here everybody gets the same log. Also wire formats.

#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing has failed; helpers of tests are no exception")]

mod clock;
mod commits;
mod episodes;
mod faults;
mod happened;
mod invariants;
mod log;
mod mesh;
mod network;
mod plan;
mod planted;
mod queue;
mod random;
mod runner;
mod station;
mod truth;
mod turn;
mod world;

use world::Setting;

/// Runs in a plain `cargo test`.
const SEEDS: u64 = 10_000;

fn setting(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "how a person who replays a seed says which")]
    std::env::var(name).ok()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

#[test]
fn over_an_ideal_log_no_invariant_breaks() {
    let n_episodes = setting("SIM_EPISODES").map_or(1, |text| usize::try_from(number(&text)).unwrap());
    let hours = setting("SIM_HOURS").map(|text| number(&text));
    let (from, to) = match (setting("SIM_SEED"), setting("SIM_SEEDS"), hours) {
        (Some(seed), _, _) => (number(&seed), number(&seed) + 1),
        (None, Some(seeds), _) => {
            let (from, to) = seeds.split_once("..").unwrap_or_else(|| panic!("SIM_SEEDS is FROM..TO, not `{seeds}`"));
            (number(from), number(to))
        }
        (None, None, Some(_)) => (0, u64::MAX),
        (None, None, None) => (0, SEEDS),
    };
    runner::run_all(from, to, n_episodes, hours);
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

//! The real core over the real consensus, in a world of machines, networks, disks and people that go wrong, on virtual time.
//!
//! ```text
//! cargo test --test sim_raft                              200 short runs, and the planted bugs
//! SIM_SEED=n cargo test --test sim_raft over_raft         one run again, with its trace when it fails
//! SIM_SEEDS=from..to …                                    others
//! SIM_EPISODES=20 SIM_HOURS=300 cargo test --release …    a soak: three voters and six observers, ten faults an hour
//! ```
//!
//! The world, its faults and its invariants are those of `tests/sim`, which is the same over an ideal log; what differs is [`agreement`]: here
//! each process has `portolan::raft` on a redb disk that loses what was not synced, a runtime of its own whose clock the world moves on, and
//! its calls take the ways of the world's network. [`agreed`] has what must hold of consensus beside [`invariants`], one thing per file;
//! [`found`] proves that they see.
//!
//! A run is a function of its seed: one thread, tokio's clock standing still, openraft's chance given, ways that draw for themselves. One thing
//! is not: which of two tasks that wait for one watch channel tokio wakes first. What they do to each other is nothing, and what they send is
//! sorted; a test proves of some seeds that two runs are the same.
//!
//! Absent on purpose: sockets, certificates and gRPC (`tests/it/mesh.rs`), and the daemon's own tasks around the consensus, whose way is
//! followed in [`calls`], [`following`] and [`members`].

#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing has failed; helpers of tests are no exception")]

mod agreed;
mod agreement;
mod ambush;
mod calls;
#[path = "../clock.rs"]
mod clock;
#[path = "../commits.rs"]
mod commits;
mod desk;
mod disaster;
#[path = "../../it/raft/disk.rs"]
mod disk;
#[path = "../episodes.rs"]
mod episodes;
#[path = "../faults.rs"]
mod faults;
mod following;
mod found;
#[path = "../happened.rs"]
mod happened;
mod host;
#[path = "../invariants/mod.rs"]
mod invariants;
#[path = "../log.rs"]
mod log;
mod members;
#[path = "../mesh.rs"]
mod mesh;
#[path = "../network.rs"]
mod network;
#[path = "../plan.rs"]
mod plan;
#[path = "../planted.rs"]
mod planted;
#[path = "../queue.rs"]
mod queue;
#[path = "../random.rs"]
mod random;
#[path = "../runner.rs"]
mod runner;
#[path = "../settings.rs"]
mod settings;
#[path = "../station.rs"]
mod station;
#[path = "../truth.rs"]
mod truth;
#[path = "../turn.rs"]
mod turn;
mod vote;
#[path = "../world.rs"]
mod world;

use world::Setting;

/// Runs in a plain `cargo test`.
const SEEDS: u64 = 200;

#[test]
fn over_raft_no_invariant_breaks() {
    settings::run(SEEDS);
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let told = |seed| {
        let outcome = runner::run(seed, Setting::plain(1).traced());
        (outcome.trace, outcome.n_turns, outcome.n_tables, outcome.broken)
    };
    for seed in [3, 4, 5] {
        let first = told(seed);
        assert!(first.1 > 1000 && first.2 > 10, "{first:?}");
        assert_eq!(first, told(seed));
    }
}

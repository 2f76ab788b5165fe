//! What a person who replays a seed, or soaks, says by the environment.

use crate::runner;

fn setting(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "how a person who replays a seed says which")]
    std::env::var(name).ok()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

/// Runs as the environment says; by itself so many seeds.
pub(crate) fn run(n_seeds: u64) {
    let n_episodes = setting("SIM_EPISODES").map_or(1, |text| usize::try_from(number(&text)).unwrap());
    let hours = setting("SIM_HOURS").map(|text| number(&text));
    let (from, to) = match (setting("SIM_SEED"), setting("SIM_SEEDS"), hours) {
        (Some(seed), _, _) => (number(&seed), number(&seed) + 1),
        (None, Some(seeds), _) => {
            let (from, to) = seeds.split_once("..").unwrap_or_else(|| panic!("SIM_SEEDS is FROM..TO, not `{seeds}`"));
            (number(from), number(to))
        }
        (None, None, Some(_)) => (0, u64::MAX),
        (None, None, None) => (0, n_seeds),
    };
    runner::run_all(from, to, n_episodes, hours);
}

//! Many seeds on all cores, and the line that replays the one that failed.

use std::{
    fmt::Write as _,
    io::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    agreement::{NAME, REPLAY},
    planted::Planted,
    world::{Broken, Setting, World},
};

/// What a run came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) broken: Option<Broken>,
    /// The last lines of the trace; empty when none was kept.
    pub(crate) trace: String,
    /// How long it lasted in the world.
    pub(crate) lasted: Duration,
    pub(crate) n_turns: u64,
    pub(crate) n_tables: u64,
    pub(crate) n_faults: usize,
}

/// Runs the world of one seed.
pub(crate) fn run(seed: u64, setting: Setting) -> Outcome {
    let mut world = World::new(seed, setting);
    world.run();
    Outcome {
        broken: world.broken.clone(),
        trace: world.told(),
        lasted: world.now.since(crate::clock::Moment(0)),
        n_turns: world.n_turns,
        n_tables: world.n_tables,
        n_faults: world.faults.len(),
    }
}

/// Runs seeds until the invariant breaks, alone: others may see the bug first.
pub(crate) fn must_break(planted: Planted, invariant: &'static str, seeds: u64) {
    let setting = Setting { planted, only: Some(invariant), ..Setting::plain(1) };
    let is_found = (0..seeds).any(|seed| run(seed, setting).broken.is_some_and(|it| it.invariant == invariant));
    assert!(is_found, "{planted:?} is not found by `{invariant}` in {seeds} seeds");
}

/// A soak says how far it is after so many runs; after fewer, if they are long.
const TOLD_EVERY: u64 = 500;
const SPARSE_TOLD_EVERY: u64 = 10;

/// Sums over runs.
#[derive(Debug, Default)]
struct Sums {
    runs: AtomicU64,
    millis: AtomicU64,
    turns: AtomicU64,
    tables: AtomicU64,
    faults: AtomicU64,
}

impl Sums {
    /// Gives the number of runs so far.
    fn add(&self, outcome: &Outcome) -> u64 {
        let add = |sum: &AtomicU64, n: u64| sum.fetch_add(n, Ordering::Relaxed);
        add(&self.millis, u64::try_from(outcome.lasted.as_millis()).unwrap_or(u64::MAX));
        add(&self.turns, outcome.n_turns);
        add(&self.tables, outcome.n_tables);
        add(&self.faults, outcome.n_faults as u64);
        add(&self.runs, 1) + 1
    }

    fn tell(&self) -> String {
        let of = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        let minutes = of(&self.millis) / 60_000;
        format!(
            "{} runs, {}.{} cluster hours, {} faults, {} turns of nodes, {} tables",
            of(&self.runs),
            minutes / 60,
            minutes % 60 * 10 / 60,
            of(&self.faults),
            of(&self.turns),
            of(&self.tables)
        )
    }
}

/// Runs seeds from `from` to below `to` on all cores, or until so many hours were lived. The first broken invariant ends it.
pub(crate) fn run_all(from: u64, to: u64, n_episodes: usize, hours: Option<u64>) {
    let setting = if hours.is_some() { Setting::soak(n_episodes) } else { Setting::plain(n_episodes) };
    let told_every = if setting.is_sparse { SPARSE_TOLD_EVERY } else { TOLD_EVERY };
    let (next, sums, failed) = (AtomicU64::new(from), Sums::default(), Mutex::new(None::<u64>));
    let is_over = || {
        let lived = sums.millis.load(Ordering::Relaxed) / 3_600_000;
        hours.is_some_and(|hours| lived >= hours) || failed.lock().is_ok_and(|it| it.is_some())
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !is_over() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        break;
                    }
                    let panics = Panics { seed, setting };
                    let outcome = run(seed, setting);
                    drop(panics);
                    if sums.add(&outcome).is_multiple_of(told_every) && hours.is_some() {
                        let _ = writeln!(std::io::stderr(), "sim, {NAME}: {}", sums.tell());
                    }
                    if outcome.broken.is_some()
                        && let Ok(mut failed) = failed.lock()
                    {
                        *failed = Some(failed.map_or(seed, |known| known.min(seed)));
                    }
                }
            });
        }
    });
    let told = sums.tell();
    if let Some(seed) = failed.into_inner().ok().flatten() {
        panic!("{}", tell_failure(seed, setting, &told));
    }
    // Beside the harness, which keeps what a passing test prints to itself.
    let _ = writeln!(std::io::stderr(), "sim, {NAME}: seeds {from} to {}: {told}; no invariant broken", next.into_inner().min(to) - 1);
}

/// Runs a seed again, with a trace.
pub(crate) fn tell_failure(seed: u64, setting: Setting, told: &str) -> String {
    let outcome = run(seed, setting.traced());
    let mut text = format!("{told}\n{}", outcome.trace);
    match outcome.broken {
        Some(Broken { invariant, at, text: what }) => {
            let _ = writeln!(text, "seed {seed} breaks the invariant `{invariant}` at {at}: {what}");
        }
        None => {
            let _ = writeln!(text, "seed {seed} broke an invariant and now breaks none: a run is not a function of its seed");
        }
    }
    let _ = writeln!(text, "{}", replay(seed, setting));
    text
}

fn replay(seed: u64, setting: Setting) -> String {
    let n_episodes = setting.n_episodes;
    let mut episodes = if n_episodes == 1 { String::new() } else { format!(" SIM_EPISODES={n_episodes}") };
    if setting.is_sparse {
        episodes.push_str(" SIM_HOURS=1");
    }
    format!("replay: SIM_SEED={seed}{episodes} {REPLAY}")
}

/// Tells how to see it again when a run ends in the midst.
struct Panics {
    seed: u64,
    setting: Setting,
}

impl Drop for Panics {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = writeln!(std::io::stderr(), "sim, {NAME}: seed {} panicked; {}", self.seed, replay(self.seed, self.setting));
        }
    }
}

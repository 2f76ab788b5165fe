//! A run in parts: something goes wrong, everything is mended, all comes to rest, nothing may move. Then again, in the same world.
//!
//! ```text
//! |-- warm --|-- faults, commands --|-- mended: MENDED and what probes need --|-- QUIET --|
//!            begin                  heal                                      settled     over
//! ```

use std::time::Duration;

use portolan_core::model::ids::Label;

use crate::{agreement, clock::Moment, log::wish, queue::Event, world::World};

/// After the last fault: attaching to a voter again, freshness, the log, and the first round of a restarted node with jitter.
const MENDED: Duration = Duration::from_secs(9);

/// How long everything must stay as it is.
pub(crate) const QUIET: Duration = Duration::from_secs(5);

/// The longest pause between episodes, in milliseconds.
const PAUSE_MAX: usize = 20_000;
/// The same where ten things an hour go wrong: three in an episode.
const SPARSE_PAUSE_MAX: usize = 32 * 60_000;

impl World {
    /// Draws what happens in the next episode, which begins in so long.
    pub(crate) fn plan_episode(&mut self, warm: Duration) {
        self.n_episodes -= 1;
        let length = self.random.millis(8000, 24_000);
        let scenes = if self.planted.needs_moment() { 1000 } else { agreement::SCENES };
        let length = if self.random.permille(scenes) { agreement::SCENE_LENGTH } else { length };
        let begin = self.now + warm;
        let heal = begin + length;
        let before = std::mem::replace(&mut self.now, begin);
        self.plan_faults(heal);
        self.now = before;
        self.plan_commands(begin, heal);
        self.plan_members(begin, heal);
        let settled = heal + self.settled_after + MENDED + agreement::SETTLES_LATER + self.slowest * 2;
        self.settles = settled;
        self.schedule(settled, Event::Settled);
        self.schedule(settled + QUIET, Event::Over);
    }

    /// What was broken and stayed so is mended, and something else breaks.
    pub(crate) fn next_episode(&mut self) {
        let lasting = std::mem::take(&mut self.lasting);
        lasting.into_iter().for_each(|position| self.end(position));
        self.first_fault = self.faults.len();
        let most = if self.is_sparse { SPARSE_PAUSE_MAX } else { PAUSE_MAX };
        let pause = self.random.millis(0, most);
        self.plan_episode(pause);
    }

    /// What people ask for between two moments, each up to three times.
    fn plan_commands(&mut self, begin: Moment, heal: Moment) {
        let whole = usize::try_from(heal.since(begin).as_millis()).expect("invariant: short");
        for _ in 0..self.random.below(4) {
            self.n_commands += 1;
            let number = self.n_commands;
            let at = begin + self.random.millis(0, whole);
            let endpoints: Vec<String> = self.shapes[&1].put().outline.services[&Label::new("api")]
                .pools
                .iter()
                .flat_map(|(region, targets)| targets.iter().map(move |target| format!("api/{region}/{target}")))
                .collect();
            let mut command = wish(&mut self.random, number, self.n_regions, &endpoints, &self.log);
            command.number = number;
            let mut sent = at;
            for attempt in 0..self.random.between(1, 3) {
                let request = if self.planted.forgets_request() { format!("r{number}-{attempt}") } else { format!("r{number}") };
                self.schedule(sent.min(heal), Event::Order { command: Box::new(command.clone()), request });
                sent = sent + self.random.millis(50, 8000);
            }
        }
        if self.random.permille(400) {
            let at = begin + self.random.millis(0, whole);
            self.schedule(at, Event::Edit);
        }
    }
}

//! The words of scripts in `tests/data/health`, and a world of scripted targets that answers a book's probes on a virtual clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use crate::{
    model::{
        check::{Address, Cadence, Check, Failure, Flap, Host, Observation, Outcome, Probe, ProbeKind, Timings},
        ids::CheckIdx,
        time::{Human, Now, Tick},
    },
    testing::{
        clock::now_at,
        script::{category, duration},
    },
};

use super::{
    book::{Attempt, Book, Changes, Event, SavedCheck},
    endpoint::{NEVER, Touch},
};

/// The lines of a script that say something, as words.
pub(super) fn lines(script: &str) -> impl Iterator<Item = Vec<&str>> {
    script.lines().map(|line| line.split('#').next().unwrap_or("").split_whitespace().collect::<Vec<_>>()).filter(|words| !words.is_empty())
}

/// `key=value` words over the defaults of the example plan.
pub(super) fn cadence(words: &[&str]) -> Cadence {
    let mut cadence = Cadence {
        interval: Duration::from_secs(30),
        fast_interval: Duration::from_secs(2),
        down_interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        fall: 3,
        rise: 2,
        ok_run: 10,
        flap: Flap { window: Duration::from_secs(600), rise_max: 8 },
    };
    for word in words {
        match word.split_once('=') {
            Some(("interval", value)) => cadence.interval = duration(value),
            Some(("fast", value)) => cadence.fast_interval = duration(value),
            Some(("down", value)) => cadence.down_interval = duration(value),
            Some(("timeout", value)) => cadence.timeout = duration(value),
            Some(("fall", value)) => cadence.fall = value.parse().unwrap(),
            Some(("rise", value)) => cadence.rise = value.parse().unwrap(),
            Some(("flap", value)) => cadence.flap.window = duration(value),
            Some(("rise_max", value)) => cadence.flap.rise_max = value.parse().unwrap(),
            _ => {}
        }
    }
    cadence
}

/// A time to the next change.
pub(super) fn shown(next_change: Duration) -> String {
    if next_change == NEVER { "never".to_owned() } else { format!("in {}", Human(next_change)) }
}

/// `ok`, `fail connect`, with a detail for people.
pub(super) fn outcome(words: &[&str]) -> Outcome {
    match words {
        ["ok"] => Outcome::Passed,
        ["fail", category_word] => Outcome::Failed(Failure::new(category(category_word), "scripted")),
        _ => panic!("{words:?} is not an outcome"),
    }
}

pub(super) fn observation(outcome: Outcome) -> Observation {
    Observation { outcome, timings: Timings { total: Duration::from_millis(20), ..Timings::default() } }
}

/// What a scripted target does with probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The probe reports this after 20 ms.
    Answers(Outcome),
    /// The probe never reports.
    Lost,
}

/// A book and the targets that it probes, on a virtual clock. Proves at every step that no check has two probes in flight, that results
/// are refused only when the book gave the probe up or lost its check, and that it gives up no probe that is still to report.
pub(super) struct World {
    pub(super) book: Book,
    pub(super) now: Now,
    /// By position.
    pub(super) names: Vec<String>,
    /// By name; a target that is not in here passes.
    pub(super) targets: BTreeMap<String, Target>,
    /// When each probe started, by name.
    pub(super) starts: Vec<(Tick, String)>,
    /// The most probes in flight at a time.
    pub(super) room: usize,
    /// On their way.
    results: BTreeMap<(Tick, Attempt), Outcome>,
}

const LATENCY: Duration = Duration::from_millis(20);

impl World {
    pub(super) fn new(plan: &[(String, Check)], seed: u64) -> Self {
        let (names, checks): (Vec<String>, Vec<Check>) = plan.iter().cloned().unzip();
        let now = now_at(Tick(0));
        let book = Book::new(&checks, seed, now);
        Self { book, now, names, targets: BTreeMap::new(), starts: Vec::new(), room: usize::MAX, results: BTreeMap::new() }
    }

    /// Plays until `end`, handing every non-empty set of changes to `report`.
    pub(super) fn run_until(&mut self, end: Tick, mut report: impl FnMut(&Self, Changes)) {
        loop {
            let free = self.room.saturating_sub(self.book.n_in_flight());
            let result = self.results.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.book.next_deadline(free > 0);
            let Some(next) = [result, deadline].into_iter().flatten().min().filter(|next| *next <= end) else { break };
            self.now = now_at(next.max(self.now.tick));
            let mut changes = Changes::default();
            match self.results.pop_first() {
                Some(((at, attempt), outcome)) if at <= self.now.tick => {
                    let is_known = self.book.in_flight().any(|probe| probe.attempt == attempt);
                    let handled =
                        self.book.handle(self.now, Event::ProbeFinished { attempt, observation: observation(outcome) }, &mut changes);
                    assert_eq!(handled.is_ok(), is_known);
                }
                later => {
                    self.results.extend(later);
                    self.start_due(free, &mut changes);
                }
            }
            if !changes.is_empty() {
                report(self, changes);
            }
        }
        self.now = now_at(end.max(self.now.tick));
    }

    fn start_due(&mut self, free: usize, changes: &mut Changes) {
        let before: BTreeSet<Attempt> = self.book.in_flight().map(|probe| probe.attempt).collect();
        let started = self.book.due(self.now, free, changes);
        let after: BTreeSet<Attempt> = self.book.in_flight().map(|probe| probe.attempt).collect();
        let checks: BTreeSet<CheckIdx> = self.book.in_flight().map(|probe| probe.check).collect();
        assert!(started.len() <= free, "more started than there was room for");
        assert_eq!(checks.len(), after.len(), "a check has two probes in flight");
        assert!(
            !self.results.keys().any(|(_, attempt)| before.contains(attempt) && !after.contains(attempt)),
            "a probe was given up too early"
        );
        for start in started {
            let name = self.names[start.check.get()].clone();
            if let Target::Answers(outcome) = self.targets.get(&name).cloned().unwrap_or(Target::Answers(Outcome::Passed)) {
                self.results.insert((self.now.tick + LATENCY, start.attempt), outcome);
            }
            self.starts.push((self.now.tick, name));
        }
    }

    /// Another plan under the running book.
    pub(super) fn reload(&mut self, plan: &[(String, Check)]) -> Changes {
        let (names, checks): (Vec<String>, Vec<Check>) = plan.iter().cloned().unzip();
        self.names = names;
        self.book.reload(&checks, self.now)
    }

    /// Another process: a new book from what the old one saved, and results of old probes are lost.
    pub(super) fn restart(&mut self, plan: &[(String, Check)], seed: u64) {
        let checks: Vec<Check> = plan.iter().map(|(_, check)| check.clone()).collect();
        let saved = serde_json::to_string(&self.book.save(self.now)).unwrap();
        self.book = Book::new(&checks, seed, self.now);
        let saved: Vec<SavedCheck> = serde_json::from_str(&saved).unwrap();
        assert_eq!(self.book.restore(saved.clone(), self.now), saved.len());
        self.results.clear();
    }

    pub(super) fn position(&self, name: &str) -> CheckIdx {
        CheckIdx::at(self.names.iter().position(|known| known == name).unwrap_or_else(|| panic!("`{name}` is not in the plan")))
    }

    /// One line per turn and touch, as scripts show them.
    pub(super) fn describe(&self, changes: &Changes) -> String {
        let mut text = String::new();
        let at = self.now.tick.0;
        let time = format!("{}.{:03}s", at / 1_000_000, at / 1000 % 1000);
        for turn in &changes.turns {
            writeln!(text, "{time:>10}  {}: {}", self.names[turn.check.get()], turn.transition).unwrap();
        }
        for (check, touch) in &changes.touched {
            let next_change = shown(self.book.verdict(*check).next_change);
            let what = match touch {
                Touch::Verdict => "verdict touched",
                Touch::NextChange => "only the time to live touched",
            };
            writeln!(text, "{time:>10}  {}: {what}, next change {next_change}", self.names[check.get()]).unwrap();
        }
        text
    }
}

/// `check NAME KIND [of=a,b at_least=1] [name=beat] [address=…] [cadence…]`; positions of `of` are those in `plan`.
pub(super) fn parse_check(words: &[&str], plan: &[&str]) -> Check {
    let value = |key: &str| words.iter().find_map(|word| word.split_once('=').filter(|(found, _)| *found == key).map(|(_, value)| value));
    let (name, kind) = (words[0], words[1]);
    let position = |name: &str| CheckIdx::at(plan.iter().position(|known| *known == name).unwrap());
    let kind = match kind {
        "tcp" => ProbeKind::Tcp,
        "none" => ProbeKind::None,
        "heartbeat" => ProbeKind::Heartbeat { name: value("name").unwrap_or(name).to_owned() },
        "calculated" => ProbeKind::Calculated {
            of: value("of").unwrap().split(',').map(position).collect(),
            at_least: value("at_least").unwrap().parse().unwrap(),
        },
        kind => panic!("`{kind}` is not a kind of these scripts"),
    };
    let address = (kind == ProbeKind::Tcp)
        .then(|| Address { host: Host::Ip(value("address").expect("a tcp check has an address").parse().unwrap()), port: 80 });
    Check { address, probe: Arc::new(Probe { kind, cadence: cadence(words) }) }
}

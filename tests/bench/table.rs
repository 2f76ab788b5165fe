//! What a large plan costs: 10,000 names in 3 regions with 2 endpoints each, 60,000 endpoints and as many checks.
//!
//! `cargo bench -- table [--services 10000]`. Three figures, each from a fresh process (this program again), so that no allocation of
//! one is counted for the other:
//! - from the plan's text to the first table, and the most memory of the process that did it (`VmHWM`, everything included);
//! - from the observation that decides a verdict to the table that carries it, 1,000 times;
//! - the same when all checks of a region fail in one batch.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    fmt::Write as _,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use portolan::config::plan::{Options, load};
use portolan_core::{
    geo::{GeoMap, Profiles},
    model::{
        check::{Failure, FailureCategory, Observation, Outcome, Timings},
        ids::{CheckIdx, Label, RegionIdx},
        time::{Now, Tick, Timestamp},
        units::Share,
        verdict::Health,
    },
    node::{Attempt, Effect, Event, Node, Settings, StartProbe},
    table::{EndpointState, Table, World},
};

use super::process;

const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-1"];
const ENDPOINTS: usize = 2;
/// Verdict changes that are measured.
const CHANGES: usize = 1_000;
/// Probes that a daemon lets run at once.
const ROOM: usize = 4096;
/// Results that a daemon takes in before it makes one table of them.
const BATCH: usize = 1024;
const START: Now = Now { tick: Tick(1), wall: Timestamp(1_700_000_000_000) };

pub(crate) fn run() {
    let services: usize = process::option("--services", 10_000);
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.yaml");
    let text = plan_text(services);
    println!("plan: {services} services, {} endpoints, {} octets", services * REGIONS.len() * ENDPOINTS, text.len());
    std::fs::write(&plan, text).unwrap();
    for part in ["load", "changes"] {
        let done = Command::new(std::env::current_exe().unwrap()).arg(format!("table-{part}")).arg(&plan).status().unwrap();
        assert!(done.success(), "{part}: {done}");
    }
}

fn plan_text(services: usize) -> String {
    let mut text = "version: 1\nrevision: 1\nname: bench\nregions:\n".to_owned();
    for (region, place) in
        REGIONS.iter().zip(["latitude: 38.9, longitude: -77.4", "latitude: 53.3, longitude: -6.3", "latitude: 1.35, longitude: 103.8"])
    {
        writeln!(text, "  {region}: {{ {place} }}").unwrap();
    }
    text.push_str("zones:\n  gslb.example.com: { nameservers: [ns1.example.com], contact: hostmaster@example.com }\nservices:\n");
    for service in 0..services {
        writeln!(text, "  s{service:05}:\n    hostnames: [s{service:05}.gslb.example.com]\n    steering: geo\n    endpoints:").unwrap();
        for (at, region) in REGIONS.iter().enumerate() {
            writeln!(text, "      {region}:").unwrap();
            for endpoint in 0..ENDPOINTS {
                let number = service * ENDPOINTS + endpoint;
                writeln!(text, "        - {{ address: 10.{at}.{}.{}, port: 8080 }}", number / 256, number % 256).unwrap();
            }
        }
    }
    text
}

fn world(text: &str, mut step: impl FnMut(&str)) -> Arc<World> {
    let loaded = load(text, "plan.yaml", &Options::default()).unwrap_or_else(|problems| panic!("{problems}"));
    step("load");
    let topology = Arc::new(loaded.topology);
    let map = GeoMap::build(&topology.regions, &Profiles::of(&topology).distinct, None, None).unwrap();
    step("geo map");
    let world = Arc::new(World::new(topology, Arc::new(map)));
    step("world");
    world
}

pub(crate) fn load_once(plan: &Path) {
    let text = std::fs::read_to_string(plan).unwrap();
    let (start, mut last) = (Instant::now(), Instant::now());
    let mut steps = Vec::new();
    let mut step = |name: &str| {
        steps.push(format!("{name} {:.0} ms ({})", milliseconds(last.elapsed()), process::status("VmHWM")));
        last = Instant::now();
    };
    let world = world(&text, &mut step);
    let up = EndpointState {
        health: Health::Up,
        drained: false,
        kept: false,
        admitted: Share::FULL,
        next_change: Duration::from_secs(34),
        weight: None,
        pool_weight: None,
        left: None,
        note: None,
    };
    let table = Table::compile(1, world, |_| up.clone());
    step("table");
    println!("{}; peaks in parentheses", steps.join(", "));
    println!("figure text_to_table_ms {:.0}", milliseconds(start.elapsed()));
    println!("figure text_to_table_peak_mib {:.1}", process::mebibytes("VmHWM"));
    println!("figure text_to_table_kept_mib {:.1}", process::mebibytes("VmRSS"));
    assert!(!table.views.is_empty());
}

/// A node on a clock of its own; probes are answered by `fails`.
struct Run {
    node: Node,
    now: Now,
    in_flight: Vec<StartProbe>,
}

impl Run {
    /// Lets the clock run to the next deadline.
    fn turn(&mut self) {
        if let Some(next) = self.node.next_deadline(self.now, true) {
            self.pass(next.since(self.now.tick));
        }
        self.in_flight.extend(self.node.advance(self.now, ROOM, &mut Vec::new()));
    }

    fn pass(&mut self, time: Duration) {
        let tick = self.now.tick + time;
        self.now = Now { tick, wall: START.wall + tick.since(START.tick) };
    }

    fn finish(&mut self, attempt: Attempt, up: bool, effects: &mut Vec<Effect>) {
        let outcome = match up {
            true => Outcome::Passed,
            false => Outcome::Failed(Failure::new(FailureCategory::Connect, "connection refused")),
        };
        let observation = Observation { outcome, timings: Timings::default() };
        self.node.handle(self.now, Event::ProbeFinished { attempt, observation }, effects).unwrap();
    }
}

pub(crate) fn changes(plan: &Path) {
    let text = std::fs::read_to_string(plan).unwrap();
    let world = world(&text, |_| {});
    drop(text);
    let settings = Settings { node: Label::new("bench"), region: Label::new(REGIONS[0]), stale_limit: Duration::from_secs(3600), seed: 1 };
    let node = Node::new(settings, world.clone(), "0".repeat(64), None, START);
    let mut run = Run { node, now: START, in_flight: Vec::new() };
    while run.node.table().is_none() || run.node.book().n_unjudged() > 0 {
        run.turn();
        for start in std::mem::take(&mut run.in_flight) {
            run.finish(start.attempt, true, &mut Vec::new());
        }
    }
    println!("node with its first table: {} now, {} at most", process::status("VmRSS"), process::status("VmHWM"));
    println!("figure node_mib {:.1}", process::mebibytes("VmRSS"));

    // Checks all over the plan fail; each failing observation is taken in and followed by a turn, as if it came alone.
    let stride = world.topology.checks.len() / CHANGES;
    let fails = |check: CheckIdx| check.get().is_multiple_of(stride.max(1)) && check.get() / stride.max(1) < CHANGES;
    let mut times = Vec::new();
    while times.len() < CHANGES {
        run.turn();
        for start in std::mem::take(&mut run.in_flight) {
            let mut effects = Vec::new();
            let begin = Instant::now();
            run.finish(start.attempt, !fails(start.check), &mut effects);
            if fails(start.check) {
                run.in_flight.extend(run.node.advance(run.now, 0, &mut effects));
                let told = effects.iter().any(|effect| matches!(effect, Effect::Tell(_)));
                if told && effects.iter().any(|effect| matches!(effect, Effect::Publish(_))) {
                    times.push(begin.elapsed());
                }
            }
        }
    }
    times.sort_unstable();
    let quantile = |hundredths: usize| milliseconds(times[(times.len() - 1) * hundredths / 100]);
    println!("figure change_to_table_p50_ms {:.3}", quantile(50));
    println!("figure change_to_table_p99_ms {:.3}", quantile(99));
    println!("figure change_to_table_max_ms {:.3}", quantile(100));

    // A region is lost: every check of it fails. The clock passes in steps, so that full batches come together; the costliest turn counts.
    let lost = RegionIdx(1);
    let mut checks = vec![false; world.topology.checks.len()];
    for endpoint in &world.topology.endpoints {
        checks[endpoint.check.get()] |= endpoint.region == lost;
    }
    let n_lost = checks.iter().filter(|lost| **lost).count();
    let (mut longest, mut total, mut turns) = (Duration::ZERO, Duration::ZERO, 0);
    let down =
        |node: &Node| (0..checks.len()).filter(|&at| checks[at] && node.book().verdict(CheckIdx::at(at)).health == Health::Down).count();
    while down(&run.node) < n_lost {
        run.pass(Duration::from_millis(250));
        let begin = Instant::now();
        run.in_flight.extend(run.node.advance(run.now, ROOM, &mut Vec::new()));
        longest = longest.max(begin.elapsed());
        total += begin.elapsed();
        let mut starts = std::mem::take(&mut run.in_flight).into_iter().peekable();
        while starts.peek().is_some() {
            let begin = Instant::now();
            let mut effects = Vec::new();
            for start in starts.by_ref().take(BATCH) {
                run.finish(start.attempt, !checks[start.check.get()], &mut effects);
            }
            run.in_flight.extend(run.node.advance(run.now, 0, &mut effects));
            longest = longest.max(begin.elapsed());
            total += begin.elapsed();
            turns += 1;
        }
    }
    println!("a region is lost: {n_lost} verdicts change, {:.0} ms of CPU in {turns} turns", milliseconds(total));
    println!("figure region_loss_longest_turn_ms {:.1}", milliseconds(longest));
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

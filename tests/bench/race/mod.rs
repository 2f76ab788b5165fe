//! How fast a primary is replaced when its host is gone, beside systems that many know: PostgreSQL under Portolan and under Patroni with etcd, Redis
//! under Portolan and under Sentinel. All on this machine, in one run, by turns.
//!
//! `cargo bench -- race [--runs 20] [--only postgres|redis] [--log FILE]`. With the default about 22 minutes. The log is of the daemons.
//!
//! ```text
//! lost --- detection --- decided ... lease over --- fenced --- granted --- promoted: a client writes --- published
//!                                        |---------- decided to write ---------|
//!                                        |---- ours ----|- granted to write ---|  - engine        ------ ours
//! ```
//!
//! Lost is SIGKILL to the database and to whatever stands beside it and could start it again; the others of each system live, its store among them.
//! A client at each other member writes until one is acknowledged: lost to write. A decision may be acted on from the later of its commit and the end
//! of the lease. Engine is what PostgreSQL's log says from the request to promote to the first connection; what is neither that nor before the decision
//! is ours.
//!
//! Equal settings. Patroni's leader key is detection and lease in one: when it runs out, its primary is taken for dead and may not write. Both leases
//! are of 20 s, the shortest that Patroni's documentation allows, with its shortest `loop_wait` (1 s) and `retry_timeout` (3 s); Portolan's rounds are
//! a second, too, and with the hold over before the lease is. It renews a sixth of the lease apart instead of a second, and both of its sides
//! add 1 % for clocks that drift. No failsafe mode there, so `on_control_loss: fence` here. Its decision counts from the moment at which etcd has no leader
//! key, the grant from the later holder's own word or etcd's, whichever is first. Sentinel fences nobody; `down-after-milliseconds` is what three
//! rounds and the hold take here, whose lease is over before. These are the plan's defaults at one twentieth of their length (`time_scale`).
//! Its decision is `+odown` at the Sentinel that led the failover, the grant that one's `+elected-leader`, published the one that names the new address.
//!
//! Nothing of it depends on time but the figures. Beside the table stands how busy the machine was.

mod ground;
mod ours;
mod patroni;
mod sentinel;

use std::time::Duration;

use super::process;
use ours::{Engine, Ours};
use patroni::Patronis;
use sentinel::Sentinels;

/// Rounds, silence and hold are over before the lease is.
const POSTGRES: &str =
    "    probe: { interval: 1s, timeout: 1s }\n    confirm_hold: 2s\n    local_recovery: 2s\n    lease: { ttl: 20s, margin: 4s }\n";
const POSTGRES_LEASE: Duration = Duration::from_secs(20);

/// A round of 750 ms, a hold of 3 s, a lease of 4.5 s.
const REDIS: &str = "    time_scale: 5%\n";
const REDIS_LEASE: Duration = Duration::from_millis(4500);
/// Half a round until the first one begins that fails, three rounds, the hold.
const DOWN_AFTER: Duration = Duration::from_millis(750 / 2 + 3 * 750 + 3000);

/// One failover.
#[derive(Clone, Copy, Debug)]
struct Took {
    /// From the loss to the decision.
    detected: Duration,
    /// From there to the end of the lease; zero: that was before, or there is none.
    lease: Duration,
    /// From the later of both to the first write.
    decided_to_write: Duration,
    /// From the grant to it.
    granted_to_write: Duration,
    lost_to_write: Duration,
    /// The engine's own.
    engine: Duration,
    /// From the loss until names, or Sentinels, lead there; `None`: nothing tells.
    published: Option<Duration>,
}

impl Took {
    /// What is neither before the decision nor the engine's own, until a client writes.
    fn own(&self) -> Duration {
        self.decided_to_write.saturating_sub(self.engine)
    }

    /// The same until names lead there.
    fn own_published(&self) -> Duration {
        self.published.unwrap_or_default().saturating_sub(self.detected + self.lease + self.engine)
    }
}

/// Which part of a failover a line is of.
type Part = fn(&Took) -> Duration;

/// The lines of the table.
const KINDS: [(&str, &str, Part); 7] = [
    ("lost_to_write", "lost to first write", |it| it.lost_to_write),
    ("detected", "  detection", |it| it.detected),
    ("lease", "  lease after it", |it| it.lease),
    ("decided_to_write", "  decided to write", |it| it.decided_to_write),
    ("granted_to_write", "    granted to write", |it| it.granted_to_write),
    ("engine", "    engine", |it| it.engine),
    ("own", "    ours", Took::own),
];

pub(crate) fn run() {
    let runs = process::option("--runs", 20);
    let only: String = process::option("--only", String::new());
    let log: String = process::option("--log", String::new());
    if !log.is_empty() {
        let file = std::fs::File::create(log).unwrap();
        tracing_subscriber::fmt().with_ansi(false).with_writer(std::sync::Mutex::new(file)).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if only != "redis" {
            postgres(runs).await;
        }
        if only != "postgres" {
            redis(runs).await;
        }
    });
}

async fn postgres(runs: usize) {
    println!("PostgreSQL, {runs} failovers each");
    let mut patroni = Patronis::start().await;
    let ours = Ours::new(Engine::Postgres, POSTGRES, POSTGRES_LEASE);
    let mut trio = ours.build().await;
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..runs {
        // What one is made ready with is over long before the other one's lease is.
        let (took, ()) = tokio::join!(trio.fail_over(), patroni.rejoin());
        mine.push(told("portolan", took));
        let next = async { if n + 1 < runs { Some(ours.build().await) } else { None } };
        let (took, next) = tokio::join!(patroni.fail_over(), next);
        theirs.push(told("patroni", took));
        let Some(next) = next else { break };
        trio = next;
    }
    table("pg", "patroni", &mine, &theirs);
}

async fn redis(runs: usize) {
    println!("Redis, {runs} failovers each");
    let mut sentinels = Sentinels::start(DOWN_AFTER).await;
    let ours = Ours::new(Engine::Redis, REDIS, REDIS_LEASE);
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let trio = ours.build().await;
        sentinels.rejoin().await;
        mine.push(told("portolan", trio.fail_over().await));
        theirs.push(told("sentinel", sentinels.fail_over().await));
    }
    table("redis", "sentinel", &mine, &theirs);
}

fn told(system: &str, took: Took) -> Took {
    println!("  {system}: {took:?}");
    took
}

/// Median, 95th percentile.
fn spread(took: &[Took], of: fn(&Took) -> Duration) -> [f64; 2] {
    let mut times: Vec<Duration> = took.iter().map(of).collect();
    times.sort_unstable();
    [50, 95].map(|percent| times[(times.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3)
}

fn table(prefix: &str, other: &str, mine: &[Took], theirs: &[Took]) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    println!("\n{} runs each, by turns; load average {}; ms", mine.len(), load.join(" "));
    println!("{:<22} {:>17} {:>17} {:>13}", "", "portolan", other, "ratio");
    println!("{:<22} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6}", "", "median", "p95", "median", "p95", "median", "p95");
    let mut figures = Vec::new();
    for (name, title, of) in KINDS {
        let (ours, others) = (spread(mine, of), spread(theirs, of));
        let ratios = [0, 1].map(|at| (others[at] > 0.0).then(|| format!("{:.2}", ours[at] / others[at])));
        let shown = ratios.clone().map(|ratio| ratio.unwrap_or_else(|| "-".to_owned()));
        println!("{title:<22} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>6} {:>6}", ours[0], ours[1], others[0], others[1], shown[0], shown[1]);
        for (system, [median, p95]) in [("portolan", ours), (other, others)] {
            figures.push(format!("{prefix}_{system}_{name}_median_ms {median:.0}"));
            figures.push(format!("{prefix}_{system}_{name}_p95_ms {p95:.0}"));
        }
        for (kind, ratio) in ["ratio", "p95_ratio"].into_iter().zip(ratios) {
            figures.extend(ratio.map(|ratio| format!("{prefix}_{name}_{kind} {ratio}")));
        }
    }
    let published = spread(mine, Took::own_published);
    println!("{:<22} {:>8.0} {:>8.0}\n", "ours until published", published[0], published[1]);
    figures.push(format!("{prefix}_portolan_own_published_median_ms {:.0}", published[0]));
    figures.push(format!("{prefix}_portolan_own_published_p95_ms {:.0}", published[1]));
    for figure in figures {
        println!("figure {figure}");
    }
}

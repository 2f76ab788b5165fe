//! A committed command, beside two round trips to the majority and what a sync to this disk takes.
//!
//! `cargo bench -- commit [--commands 60]`. Three whole daemons, 80 ms apart one way, with their logs on disk. Measured is from the command at a
//! node to its outcome there, applied: at the leader, and at a node that hands it on, whose floor are two round trips and a sync. Both are measured
//! beside: a round trip as an echo over such a relay as lies between the nodes, a sync on the same file system after four kilobytes were written,
//! again and again while the commands run, because a disk that is shared has its moments.
//! Commands are half a second apart: one that follows at once waits for the word that the one before is committed.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    fs::File,
    io::Write as _,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use portolan::demo::wan::{Path, Relay, Way};
use portolan_core::{
    cluster::{Actor, Change, End, Entry, Outcome, Role},
    health::overlay::{OverrideKind, Scope},
    model::{time::Timestamp, units::Share},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    fleet::{Fleet, NODES, quantile_ms},
    process,
};

/// One way.
const DELAY: Duration = Duration::from_millis(80);
const SYNC_PAUSE: Duration = Duration::from_millis(50);
const ECHOES: usize = 60;
/// As long as a command, about.
const MESSAGE: usize = 600;
const PAUSE: Duration = Duration::from_millis(500);

/// One service, nothing to probe.
pub(crate) const PLAN: &str = "version: 1
revision: 1
name: bench
regions: { us-east-1: {}, eu-west-1: {}, ap-southeast-1: {} }
health_check_defaults: { type: none }
zones: { gslb.example.com: { nameservers: [ns1.example.com], contact: hostmaster@example.com } }
services:
  api:
    hostnames: [api.gslb.example.com]
    steering: multivalue
    endpoints:
      us-east-1: [{ address: 192.0.2.1, port: 80 }]
      eu-west-1: [{ address: 192.0.2.2, port: 80 }]
      ap-southeast-1: [{ address: 192.0.2.3, port: 80 }]
";

pub(crate) fn run() {
    let commands: usize = process::option("--commands", 60);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut round_trips = runtime.block_on(round_trips());
    let is_over = AtomicBool::new(false);
    let ([mut at_leader, mut elsewhere], mut syncs) = thread::scope(|scope| {
        let syncs = scope.spawn(|| syncs(&is_over));
        let times = runtime.block_on(measure(commands));
        is_over.store(true, Relaxed);
        (times, syncs.join().unwrap())
    });
    let sync = quantile_ms(&mut syncs, 990);
    let round_trip = quantile_ms(&mut round_trips, 990);
    let limit = 2.0 * round_trip + sync;
    println!("figure commit_round_trip_p99_ms {round_trip:.1}");
    println!("figure commit_sync_p99_ms {sync:.1}");
    println!("figure commit_limit_ms {limit:.0}");
    for (name, times) in [("at_leader", &mut at_leader), ("elsewhere", &mut elsewhere)] {
        for (permille, figure) in [(500, "p50"), (990, "p99")] {
            println!("figure commit_{name}_{figure}_ms {:.0}", quantile_ms(times, permille));
        }
    }
    println!("figure commit_at_leader_to_limit_ratio {:.3}", quantile_ms(&mut at_leader, 990) / limit);
    println!("figure commit_elsewhere_to_limit_ratio {:.3}", quantile_ms(&mut elsewhere, 990) / limit);
}

/// Commands at the leader, and at the others by turns.
async fn measure(commands: usize) -> [Vec<Duration>; 2] {
    let fleet = Fleet::start(PLAN, DELAY, |_| Vec::new()).await;
    let mut times = [Vec::new(), Vec::new()];
    let leader = fleet.leader().await.expect("a leader");
    for n in 0..2 * commands {
        let node = (leader + if n % 2 == 0 { 0 } else { 1 + n / 2 % (NODES.len() - 1) }) % NODES.len();
        let wall = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let entry = Entry {
            at: Timestamp(i64::try_from(wall).unwrap()),
            by: Actor { name: "bench".to_owned(), role: Role::Operator },
            request_id: Some(format!("bench-{n}")),
            reason: "measured".to_owned(),
            moves: Some(Share::NONE),
            overrules: Vec::new(),
            change: Change::PutOverride {
                id: None,
                kind: OverrideKind::Hold,
                scope: Scope::Region("eu-west-1".into()),
                end: End::AfterMs(600_000),
            },
        };
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let outcome = fleet.nodes[node].propose(entry).await.unwrap();
        times[n % 2].push(begun.elapsed());
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome}");
    }
    assert_eq!(fleet.leader().await, Some(leader), "nobody else led meanwhile");
    fleet.stop().await;
    times
}

/// An echo, as far away as the nodes are from each other.
async fn round_trips() -> Vec<Duration> {
    let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let relay = Relay::open(Way::new(Path::of(DELAY)), echo.local_addr().unwrap(), 1).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = echo.accept().await.unwrap();
        let mut message = [0; MESSAGE];
        while stream.read_exact(&mut message).await.is_ok() && stream.write_all(&message).await.is_ok() {}
    });
    let mut stream = TcpStream::connect(relay.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut times = Vec::new();
    for _ in 0..ECHOES {
        let begun = Instant::now();
        stream.write_all(&[7; MESSAGE]).await.unwrap();
        stream.read_exact(&mut [0; MESSAGE]).await.unwrap();
        times.push(begun.elapsed());
    }
    times
}

/// Syncs until it is over.
fn syncs(is_over: &AtomicBool) -> Vec<Duration> {
    let folder = tempfile::tempdir().unwrap();
    let mut file = File::create(folder.path().join("log")).unwrap();
    let mut times = Vec::new();
    while !is_over.load(Relaxed) {
        let begun = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        times.push(begun.elapsed());
        thread::sleep(SYNC_PAUSE);
    }
    times
}

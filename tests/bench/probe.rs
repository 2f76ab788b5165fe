//! What a probe costs: 10,000 http targets at 10 s intervals, in CPU time of this process, kernel work included.
//!
//! `cargo bench -- probe [--seconds 30] [--per-second 1000] [--workers 1]`: as in the daemon, probes and who orders them have a runtime of their
//! own, with one worker on a small machine. The targets are a process of their own (this program again), so that only the prober's side is
//! counted. CPU time is `utime + stime` of `/proc/self/stat`, in hundredths of a second.
//!
//! `cargo bench -- flap [--minutes 0.5]`: every target turns through well, wrong answers, closed connections and silence, each for
//! some seconds. What counts is that nothing is left behind: tasks and descriptors before and after, with no probe under way.
#![allow(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portolan::probe::{
    ProbeEnv,
    scheduler::{ProbeOrder, Prober},
};
use portolan_core::model::{
    check::{Address, Cadence, Check, Flap, Host, HttpExpect, HttpMethod, Outcome, Probe, ProbeKind},
    ids::CheckIdx,
    time::Timestamp,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
    time::{Instant, MissedTickBehavior, interval},
};

use super::process;

/// Listening sockets of the target process. Each serves many targets, which differ in their path.
const LISTENERS: u8 = 100;
const TARGETS: usize = 10_000;
/// Orders are given out in this rhythm.
const TICK: Duration = Duration::from_millis(10);
/// A flapping target stays as it is for this many seconds.
const TURN: u64 = 3;
/// Not measured: connections, buffers and branch predictors settle.
const WARM_UP: Duration = Duration::from_secs(2);

pub(crate) fn serve_alone(flaps: bool) {
    runtime(0).block_on(serve(flaps));
}

pub(crate) fn run(flaps: bool) {
    let workers = process::option("--workers", 1_usize).max(1);
    let per_second = process::option("--per-second", 1000);
    let (mut target, addresses) = start_target(if flaps { "flap-target" } else { "probe-target" });
    let runtime = runtime(workers);
    if flaps {
        let time = Duration::from_secs_f64(60.0 * process::option("--minutes", 0.5));
        runtime.block_on(async { tokio::spawn(flap(addresses, time, per_second)).await.unwrap() });
    } else {
        let seconds = process::option("--seconds", 30);
        let address = addresses[0];
        let before = floor(address, seconds / 4);
        let measured = measure(addresses, Duration::from_secs(seconds), per_second, workers);
        let cost = runtime.block_on(async { tokio::spawn(measured).await.unwrap() });
        let floor = f64::midpoint(before, floor(address, seconds / 4));
        println!("figure probe_cpu_us {cost:.1}");
        println!("figure probe_floor_us {floor:.1}");
        println!("figure probe_to_floor_ratio {:.2}", cost / floor);
    }
    target.kill().unwrap();
    target.wait().unwrap();
}

fn runtime(workers: usize) -> Runtime {
    let mut builder = if workers == 0 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(workers.max(1)).enable_all().build().unwrap()
}

async fn serve(flaps: bool) {
    // The pipe from the measuring process closes when that ends, in whatever way.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let start = Instant::now();
    for host in 1..=LISTENERS {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 1, 0, host), 0)).await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let turn = (start.elapsed().as_secs() / TURN + u64::from(host)) % 6;
                tokio::spawn(async move {
                    let mut request = [0; 2048];
                    // An error is the prober going away.
                    let _ = stream.read(&mut request).await;
                    let answer: &[u8] = match turn {
                        3 if flaps => b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                        4 if flaps => return,
                        // Silence until the prober gives up.
                        5 if flaps => return stream.read(&mut request).await.map_or((), drop),
                        _ => b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                    };
                    let _ = stream.write_all(answer).await;
                });
            }
        });
    }
    std::future::pending().await
}

/// What the kernel asks for the least that a probe can do: connect, ask, read to the end, close; no timer, no parser, one thread, at the same
/// pace. Machines, and hours of one machine, differ by a factor of two in it.
fn floor(address: SocketAddr, seconds: u64) -> f64 {
    let n = u32::try_from(seconds).unwrap() * 100;
    let before = process::cpu(std::process::id());
    for _ in 0..n {
        for _ in 0..10 {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /health/1 HTTP/1.1\r\nHost: target\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"));
        }
        std::thread::park_timeout(TICK);
    }
    (process::cpu(std::process::id()) - before).as_secs_f64() * 1e6 / f64::from(n * 10)
}

fn start_target(mode: &str) -> (Child, Vec<SocketAddr>) {
    let mut child = Command::new(std::env::current_exe().unwrap()).arg(mode).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let addresses = lines.take(LISTENERS.into()).map(|line| line.unwrap().parse().unwrap()).collect();
    (child, addresses)
}

fn checks(addresses: &[SocketAddr]) -> Vec<Check> {
    let cadence = Cadence {
        interval: Duration::from_secs(10),
        fast_interval: Duration::from_secs(2),
        down_interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        fall: 3,
        rise: 2,
        ok_run: 10,
        flap: Flap { window: Duration::ZERO, rise_max: 2 },
    };
    let check = |i: usize| {
        let target = addresses[i % addresses.len()];
        let kind = ProbeKind::Http {
            tls: None,
            host: None,
            method: HttpMethod::Get,
            path: format!("/health/{i}"),
            headers: Vec::new(),
            expect: HttpExpect { status: vec![(200, 299)], body: None },
        };
        let address = Some(Address { host: Host::Ip(target.ip()), port: target.port() });
        Check { address, probe: Arc::new(Probe { kind, cadence: cadence.clone() }) }
    };
    (0..TARGETS).map(check).collect()
}

async fn measure(addresses: Vec<SocketAddr>, time: Duration, per_second: usize, workers: usize) -> f64 {
    let checks = checks(&addresses);
    let (prober, orders, mut results) = Prober::start(&Handle::current(), ProbeEnv::new(Arc::new(Timestamp(0))), 1024);
    let before = (Handle::current().metrics().num_alive_tasks(), process::descriptors());
    let rhythm = async {
        let per_tick = (per_second / 100).max(1);
        let (start, mut ticks, mut sent) = (Instant::now(), interval(TICK), 0_usize);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut measured_from = None;
        while start.elapsed() < WARM_UP + time {
            ticks.tick().await;
            if measured_from.is_none() && start.elapsed() >= WARM_UP {
                measured_from = Some((process::cpu(std::process::id()), sent));
            }
            for _ in 0..per_tick {
                let order = ProbeOrder::new(CheckIdx::at(sent % TARGETS), sent as u64, checks[sent % TARGETS].clone()).unwrap();
                orders.send(order).await.unwrap();
                sent += 1;
            }
        }
        let (cpu_before, sent_before) = measured_from.unwrap();
        let spent = (process::cpu(std::process::id()) - cpu_before, sent - sent_before);
        drop(orders);
        spent
    };
    let collect = async {
        let (mut totals, mut failures) = (Vec::new(), 0_usize);
        while let Some(result) = results.recv().await {
            totals.push(result.observation.timings.total);
            if let Outcome::Failed(failure) = result.observation.outcome {
                failures += 1;
                if failures == 1 {
                    println!("first failure: {failure}");
                }
            }
        }
        (totals, failures)
    };
    let ((spent, n_probes), (mut totals, failures)) = tokio::join!(rhythm, collect);
    prober.finish().await;
    totals.sort_unstable();
    let quantile = |hundredths: usize| totals[(totals.len() - 1) * hundredths / 100];
    println!("probes: {n_probes} measured of {}, {failures} failed; {per_second}/s, {workers} workers", totals.len());
    println!("figure probe_peak_mib {:.1}", process::mebibytes("VmHWM"));
    println!("duration: p50 {:?}, p99 {:?}, max {:?}", quantile(50), quantile(99), quantile(100));
    println!("memory: {}", process::status("VmRSS") + " now, " + &process::status("VmHWM") + " at most");
    let after = (Handle::current().metrics().num_alive_tasks(), process::descriptors());
    println!("tasks and descriptors: {before:?} with the prober, {after:?} after it");
    spent.as_secs_f64() * 1e6 / f64::from(u32::try_from(n_probes).unwrap())
}

/// Probes flapping targets for `time`; compares what the process holds before and after, both with no probe under way.
async fn flap(addresses: Vec<SocketAddr>, time: Duration, per_second: usize) {
    let (prober, orders, mut results) = Prober::start(&Handle::current(), ProbeEnv::new(Arc::new(Timestamp(0))), 1024);
    let checks = checks(&addresses);
    let counts = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let of_results = counts.clone();
    let collect = tokio::spawn(async move {
        while let Some(result) = results.recv().await {
            let failed = usize::from(result.observation.outcome != Outcome::Passed);
            of_results[failed].fetch_add(1, Ordering::Relaxed);
        }
    });
    let n_done = || counts[0].load(Ordering::Relaxed) + counts[1].load(Ordering::Relaxed);
    let held = || (Handle::current().metrics().num_alive_tasks(), process::descriptors());
    let mut sent = 0_usize;
    let mut start = (0, 0);
    for (phase, time) in [WARM_UP * 5, time].into_iter().enumerate() {
        let (begin, mut ticks) = (Instant::now(), interval(TICK));
        while begin.elapsed() < time {
            ticks.tick().await;
            for _ in 0..(per_second / 100).max(1) {
                let order = ProbeOrder::new(CheckIdx::at(sent % TARGETS), sent as u64, checks[sent % TARGETS].clone()).unwrap();
                orders.send(order).await.unwrap();
                sent += 1;
            }
        }
        while n_done() < sent {
            ticks.tick().await;
        }
        // A task lives a little longer than its result.
        for _ in 0..200 {
            if held().0 <= 4 {
                break;
            }
            ticks.tick().await;
        }
        if phase == 0 {
            start = held();
        }
    }
    let end = held();
    println!("flapping: {sent} probes, {} failed, {} at most", counts[1].load(Ordering::Relaxed), process::status("VmHWM"));
    println!("tasks and descriptors: {start:?} at the start, {end:?} at the end");
    let growth = |from: usize, to: usize| 100.0 * (to as f64 - from as f64) / from as f64;
    println!("figure flap_tasks_growth_percent {:.1}", growth(start.0, end.0));
    println!("figure flap_descriptors_growth_percent {:.1}", growth(start.1, end.1));
    drop(orders);
    prober.finish().await;
    collect.await.unwrap();
}

//! What a probe costs: 10,000 http targets at 10 s intervals, in CPU time of this process, kernel work included.
//!
//! `cargo bench --bench probe -- [--seconds 30] [--per-second 1000] [--workers 2]`; zero workers is tokio's single-threaded runtime. The targets
//! are a process of their own (this program again), so that only the prober's side is counted. CPU time is `utime + stime` of
//! `/proc/self/stat`, in hundredths of a second.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where it stopped")]

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::Arc,
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

/// Listening sockets of the target process. Each serves many targets, which differ in their path.
const LISTENERS: u8 = 100;
const TARGETS: usize = 10_000;
/// Orders are given out in this rhythm.
const TICK: Duration = Duration::from_millis(10);
/// Not measured: connections, buffers and branch predictors settle.
const WARM_UP: Duration = Duration::from_secs(2);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == "target") {
        return runtime(0).block_on(serve());
    }
    let option = |name: &str, default: usize| {
        let value = arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
        value.map_or(default, |value| value.parse().unwrap())
    };
    let (seconds, per_second, workers) = (option("--seconds", 30), option("--per-second", 1000), option("--workers", 2));
    let (mut target, addresses) = start_target();
    runtime(workers).block_on(async {
        tokio::spawn(measure(addresses, Duration::from_secs(seconds as u64), per_second, workers)).await.unwrap();
    });
    target.kill().unwrap();
    target.wait().unwrap();
}

fn runtime(workers: usize) -> Runtime {
    let mut builder = if workers == 0 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(workers.max(1)).enable_all().build().unwrap()
}

async fn serve() {
    // The pipe from the measuring process closes when that ends, in whatever way.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    for host in 1..=LISTENERS {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 1, 0, host), 0)).await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut request = [0; 2048];
                    // An error is the prober going away.
                    let _ = stream.read(&mut request).await;
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                    let _ = stream.write_all(answer).await;
                });
            }
        });
    }
    std::future::pending().await
}

fn start_target() -> (Child, Vec<SocketAddr>) {
    let mut child =
        Command::new(std::env::current_exe().unwrap()).arg("target").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let addresses = lines.take(LISTENERS.into()).map(|line| line.unwrap().parse().unwrap()).collect();
    (child, addresses)
}

fn checks(addresses: &[SocketAddr]) -> Vec<Check> {
    let cadence = Cadence {
        interval: Duration::from_secs(10),
        fast_interval: Duration::from_secs(2),
        down_interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
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

async fn measure(addresses: Vec<SocketAddr>, time: Duration, per_second: usize, workers: usize) {
    let checks = checks(&addresses);
    let (prober, orders, mut results) = Prober::start(ProbeEnv::new(Arc::new(Timestamp(0))), 1024);
    let before = (Handle::current().metrics().num_alive_tasks(), descriptors());
    let rhythm = async {
        let per_tick = (per_second / 100).max(1);
        let (start, mut ticks, mut sent) = (Instant::now(), interval(TICK), 0_usize);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut measured_from = None;
        while start.elapsed() < WARM_UP + time {
            ticks.tick().await;
            if measured_from.is_none() && start.elapsed() >= WARM_UP {
                measured_from = Some((cpu(), sent));
            }
            for _ in 0..per_tick {
                let order = ProbeOrder::new(CheckIdx::at(sent % TARGETS), sent as u64, checks[sent % TARGETS].clone()).unwrap();
                orders.send(order).await.unwrap();
                sent += 1;
            }
        }
        let (cpu_before, sent_before) = measured_from.unwrap();
        let spent = (cpu() - cpu_before, sent - sent_before);
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
    let ((spent, probes), (mut totals, failures)) = tokio::join!(rhythm, collect);
    prober.finish().await;
    totals.sort_unstable();
    let quantile = |hundredths: usize| totals[(totals.len() - 1) * hundredths / 100];
    println!("probes: {probes} measured of {}, {failures} failed; {per_second}/s, {workers} workers", totals.len());
    println!("cpu per probe: {:.1} us", spent.as_secs_f64() * 1e6 / f64::from(u32::try_from(probes).unwrap()));
    println!("duration: p50 {:?}, p99 {:?}, max {:?}", quantile(50), quantile(99), quantile(100));
    println!("memory: {}", status("VmRSS") + " now, " + &status("VmHWM") + " at most");
    let after = (Handle::current().metrics().num_alive_tasks(), descriptors());
    println!("tasks and descriptors: {before:?} with the prober, {after:?} after it");
}

/// User and system time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name in parentheses may hold spaces; the times are fields 14 and 15, counted from the process id.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let hundredths: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(hundredths * 10)
}

fn status(key: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

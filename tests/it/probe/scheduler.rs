//! The prober as the daemon uses it: orders in, results out, nothing left behind.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use portolan::{
    net::clock::WallClock,
    probe::{
        ProbeEnv,
        scheduler::{ProbeOrder, Prober},
    },
};
use portolan_core::model::{
    check::{FailureCategory, Outcome, ProbeKind},
    ids::CheckIdx,
    time::Timestamp,
};
use tokio::runtime::Handle;

use super::{
    AMPLE, check, env, failed, get, has, passed,
    server::{
        Step::{Drip, Flood, HalfClose, Hang, Request, Reset, Send},
        serve,
    },
    tls,
};

#[test]
fn what_the_core_judges_alone_is_not_ordered() {
    for kind in [
        ProbeKind::None,
        ProbeKind::Heartbeat { name: "cron".to_owned() },
        ProbeKind::Calculated { of: vec![], at_least: 1 },
        ProbeKind::Tcp,
    ] {
        assert!(ProbeOrder::new(CheckIdx(0), 0, check(None, kind.clone(), AMPLE)).is_none(), "{kind:?}");
    }
}

#[tokio::test]
async fn every_order_has_its_result() {
    let server = serve(&[Request, Send(b"HTTP/1.1 204 No Content\r\n\r\n")]).await;
    let (prober, orders, mut results) = Prober::start(&Handle::current(), env(), 4);
    let feeding = tokio::spawn(async move {
        for i in 0..100 {
            let order = ProbeOrder::new(CheckIdx(i), u64::from(i) + 7, check(Some(server.address), get(None), AMPLE)).unwrap();
            orders.send(order).await.unwrap();
        }
        // The server must outlive the probes.
        server
    });
    let mut missing: BTreeSet<_> = (0..100).collect();
    while let Some(result) = results.recv().await {
        passed(&result.observation);
        assert_eq!(result.attempt, u64::from(result.check_idx.0) + 7);
        assert!(missing.remove(&result.check_idx.0), "two results for {:?}", result.check_idx);
    }
    assert!(missing.is_empty(), "{missing:?}");
    prober.finish().await;
    drop(feeding);
}

#[tokio::test]
async fn stopping_ends_probes_that_hang() {
    let server = serve(&[Hang]).await;
    let (prober, orders, mut results) = Prober::start(&Handle::current(), env(), 4);
    for i in 0..4 {
        orders.send(ProbeOrder::new(CheckIdx(i), 0, check(Some(server.address), get(None), AMPLE)).unwrap()).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(10), prober.stop()).await.expect("stops long before the probes' own timeout");
    assert!(results.recv().await.is_none());
    assert!(orders.is_closed());
}

/// A clock that breaks when it is read.
#[derive(Debug)]
struct BrokenClock;

impl WallClock for BrokenClock {
    fn now(&self) -> Timestamp {
        panic!("the clock is broken, on purpose");
    }
}

#[tokio::test]
async fn a_panic_in_a_probe_is_a_result() {
    let server = tls::start(&["127.0.0.1"], (2026, 1, 1), (2027, 1, 1)).await;
    let (_prober, orders, mut results) = Prober::start(&Handle::current(), ProbeEnv::new(Arc::new(BrokenClock)), 4);
    let kind = ProbeKind::Tls { tls: tls::BLIND, valid_for: Duration::ZERO };
    orders.send(ProbeOrder::new(CheckIdx(7), 3, check(Some(server.address), kind, AMPLE)).unwrap()).await.unwrap();
    let result = results.recv().await.unwrap();
    assert_eq!((result.check_idx, result.attempt), (CheckIdx(7), 3));
    let failure = failed(&result.observation, FailureCategory::Protocol);
    assert!(failure.detail.starts_with("the probe ended unexpectedly"), "{failure}");
    // Others go on.
    orders.send(ProbeOrder::new(CheckIdx(8), 4, check(Some(server.address), ProbeKind::Tcp, AMPLE)).unwrap()).await.unwrap();
    passed(&results.recv().await.unwrap().observation);
}

#[tokio::test]
async fn waiting_for_a_place_is_not_held_against_the_endpoint() {
    let server = serve(&[Hang]).await;
    let (_prober, orders, mut results) = Prober::start_limited(&Handle::current(), env(), 20, 1);
    let timeout = Duration::from_millis(100);
    let started = tokio::time::Instant::now();
    for i in 0..20 {
        orders.send(ProbeOrder::new(CheckIdx(i), 0, check(Some(server.address), get(None), timeout)).unwrap()).await.unwrap();
    }
    for i in 0..20 {
        let result = results.recv().await.unwrap();
        assert_eq!(result.check_idx, CheckIdx(i), "one after the other, in order");
        failed(&result.observation, FailureCategory::Timeout);
        assert!(result.observation.timings.total < 15 * timeout, "{:?}", result.observation.timings.total);
    }
    assert!(started.elapsed() >= 20 * timeout, "there is one place only");
}

/// Sockets that this process holds and that are connected to one of these ports.
///
/// Its own descriptors are asked, not the kernel's table alone: a child that another test has forked and that has not yet
/// reached its `exec` holds all that was open at the fork, for a moment in which nothing here has leaked.
fn connected_to(ports: &BTreeSet<u16>) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let inode = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port = fields[2].rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
        port.is_some_and(|port| ports.contains(&port)).then(|| format!("socket:[{}]", fields[9]))
    };
    let connected: BTreeSet<String> = table.lines().skip(1).filter_map(inode).collect();
    let held = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    held.filter(|target| target.to_str().is_some_and(|target| connected.contains(target))).count()
}

#[tokio::test]
async fn two_thousand_bad_probes_leave_nothing_behind() {
    let scripts: [&[_]; 8] = [
        &[Hang],
        &[],
        &[Request, Reset],
        &[Request, HalfClose, Hang],
        &[Request, Send(b"HTTP/1.1 200 OK\r\n\r\n"), Flood(&[b'x'; 4096])],
        &[Request, Send(b"HTTP/1.1 200 OK\r\n"), Drip(b"X")],
        &[Request, Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")],
        &[Send(b"\0\0\0\x04\0\0\0\0\0"), Hang],
    ];
    let mut servers = Vec::new();
    for script in scripts {
        servers.push(serve(script).await);
    }
    let ports: BTreeSet<u16> = servers.iter().map(|server| server.address.port()).collect();
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (prober, orders, mut results) = Prober::start_limited(&Handle::current(), env(), 64, 256);
    let timeout = Duration::from_millis(40);
    let kinds = [
        get(has("ok")),
        ProbeKind::Grpc { tls: None, service: String::new() },
        ProbeKind::Tls { tls: tls::BLIND, valid_for: Duration::ZERO },
        ProbeKind::Tcp,
    ];
    let feed = async {
        for i in 0..2000_u32 {
            let (server, kind) = (&servers[i as usize % servers.len()], &kinds[i as usize / servers.len() % kinds.len()]);
            orders.send(ProbeOrder::new(CheckIdx(i), 0, check(Some(server.address), kind.clone(), timeout)).unwrap()).await.unwrap();
        }
        drop(orders);
    };
    let collect = async {
        let (mut passed, mut failed) = (0, 0);
        while let Some(result) = results.recv().await {
            *if result.observation.outcome == Outcome::Passed { &mut passed } else { &mut failed } += 1;
        }
        (passed, failed)
    };
    let ((), (passed, failed)) = tokio::join!(feed, collect);
    assert_eq!(passed + failed, 2000);
    assert!(passed >= 500 && failed > 500, "{passed} passed, {failed} failed");
    prober.finish().await;
    // A gRPC probe's connection runs in tasks, which are gone at their next turn after they were ended, and the servers' connections end when
    // theirs do; this runtime has one thread, so yielding gives each task its turn.
    for _ in 0..100_000 {
        if tasks() <= before {
            assert_eq!(connected_to(&ports), 0, "connections outlived their probes");
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{before} tasks before, {} after", tasks());
}

//! TCP probes, and how all probes end their connections.

use std::time::Duration;

use portolan_core::model::check::{Address, FailureCategory, Host, ProbeKind};
use tokio::{io::AsyncReadExt, net::TcpListener};

use super::{AMPLE, PATIENCE, TIMEOUT, check, failed, get, observe, passed, probe};

#[tokio::test]
async fn a_listening_port_is_enough() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let seen = probe(listener.local_addr().unwrap(), ProbeKind::Tcp).await;
    passed(&seen);
    assert!(seen.timings.connect.is_some_and(|connect| connect <= seen.timings.total));
    assert_eq!((seen.timings.tls, seen.timings.first_byte), (None, None));
}

#[tokio::test]
async fn ipv6_is_probed_too() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    passed(&probe(listener.local_addr().unwrap(), ProbeKind::Tcp).await);
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = failed(&probe(target, ProbeKind::Tcp).await, FailureCategory::Connect);
    assert_eq!(failure.detail, format!("{target}: connection refused"));
}

#[tokio::test]
async fn a_full_backlog_is_a_connect_timeout() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let target = socket.local_addr().unwrap().as_socket().unwrap();
    // Nobody accepts: what the queue takes is taken, then the kernel drops new handshakes.
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(TIMEOUT, tokio::net::TcpStream::connect(target)).await {
        waiting.push(stream);
    }
    let seen = observe(&check(Some(target), ProbeKind::Tcp, TIMEOUT)).await;
    failed(&seen, FailureCategory::ConnectTimeout);
    assert!(seen.timings.total >= TIMEOUT && seen.timings.total < PATIENCE);
    assert_eq!(seen.timings.connect, None);
}

#[tokio::test]
async fn names_are_resolved_and_unknown_ones_say_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let named = |name: &str| {
        let mut check = check(None, ProbeKind::Tcp, AMPLE);
        check.address = Some(Address { host: Host::Name(name.parse().unwrap()), port });
        check
    };
    let seen = observe(&named("localhost")).await;
    // `localhost` may be ::1 first, where nobody listens.
    if seen.outcome != portolan_core::model::check::Outcome::Passed {
        assert!(failed(&seen, FailureCategory::Connect).detail.contains("[::1]"));
    }
    // RFC 6761 section 6.4: this name never resolves.
    let failure = failed(&observe(&named("no-such-host.invalid")).await, FailureCategory::Resolve);
    assert!(failure.detail.contains("`no-such-host.invalid`"), "{failure}");
}

/// The server reads an orderly end although no `TIME_WAIT` stays behind (see `net::connect`).
#[tokio::test]
async fn the_server_sees_an_orderly_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    passed(&probe(target, ProbeKind::Tcp).await);
    let (mut accepted, prober) = listener.accept().await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(accepted.read_to_end(&mut rest).await.unwrap(), 0, "an end of input, not a reset");
    // /proc/net/tcp: the prober's side is gone altogether; state 06 would be TIME_WAIT. Its port alone may be another test's by now.
    let (near, far) = (format!(":{:04X}", prober.port()), format!(":{:04X}", target.port()));
    let is_its = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|at| at.ends_with(&near)) && words.next().is_some_and(|at| at.ends_with(&far))
    };
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let left: Vec<_> = table.lines().filter(is_its).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_probe_that_is_dropped_closes_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = check(Some(listener.local_addr().unwrap()), get(None), AMPLE);
    let probing = tokio::spawn(async move { observe(&check).await });
    let (mut accepted, _) = listener.accept().await.unwrap();
    probing.abort();
    let mut request = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), accepted.read_to_end(&mut request)).await;
    assert!(ended.is_ok(), "the connection outlived its probe");
}

//! gRPC health probes against tonic's own server and against what is none.

use std::{net::SocketAddr, time::Duration};

use portolan_core::model::check::{FailureCategory, ProbeKind};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::{ServingStatus, server::health_reporter};

use super::{
    AMPLE, PATIENCE, TIMEOUT, check, failed, observe, passed, probe,
    server::{
        Step::{Flood, Hang, Send},
        serve,
    },
};

fn kind(service: &str) -> ProbeKind {
    ProbeKind::Grpc { tls: None, service: service.to_owned() }
}

/// A server with its own health service, until the set is dropped.
async fn health() -> (SocketAddr, JoinSet<()>) {
    let (reporter, service) = health_reporter();
    for (name, status) in
        [("shop.Cart", ServingStatus::Serving), ("shop.Pay", ServingStatus::NotServing), ("shop.New", ServingStatus::Unknown)]
    {
        reporter.set_service_status(name, status).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap() });
    (address, tasks)
}

#[tokio::test]
async fn serving_is_healthy_and_the_rest_says_what_it_is() {
    let (address, _server) = health().await;
    for service in ["", "shop.Cart"] {
        let seen = probe(address, kind(service)).await;
        passed(&seen);
        assert!(seen.timings.connect.is_some() && seen.timings.first_byte.is_some_and(|first| first <= seen.timings.total));
    }
    for (service, says) in [
        ("shop.Pay", "the service is NOT_SERVING"),
        ("shop.New", "the service is UNKNOWN"),
        ("shop.None", "the server does not know the service `shop.None`: "),
    ] {
        let failure = failed(&probe(address, kind(service)).await, FailureCategory::Status);
        assert!(failure.detail.starts_with(says), "{failure}");
    }
}

#[tokio::test]
async fn a_server_without_health_service_says_so() {
    let other = tonic_reflection::server::Builder::configure().build_v1().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        Server::builder().add_service(other).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
    }));
    let failure = failed(&probe(address, kind("")).await, FailureCategory::Status);
    assert!(failure.detail.starts_with("the server has no grpc.health.v1.Health"), "{failure}");
}

const SETTINGS: super::server::Step = Send(b"\0\0\0\x04\0\0\0\0\0");

#[tokio::test]
async fn what_is_not_grpc_is_bounded_and_classified() {
    for (script, category) in [
        (&[Hang] as &[_], FailureCategory::Timeout),
        // Settings are the connection's, not an answer to the call.
        (&[SETTINGS, Hang], FailureCategory::Timeout),
        (&[], FailureCategory::Closed),
        (&[Send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Hang], FailureCategory::Protocol),
        (&[Flood(&[0; 1024])], FailureCategory::Protocol),
        // Pings without end.
        (&[SETTINGS, Flood(b"\0\0\x08\x06\0\0\0\0\0abcdefgh")], FailureCategory::Protocol),
    ] {
        let server = serve(script).await;
        // Only silence is meant to take its time.
        let limit = if category == FailureCategory::Timeout { TIMEOUT } else { AMPLE };
        let seen = observe(&check(Some(server.address), kind(""), limit)).await;
        println!("{script:?}: {:?}", seen.outcome);
        failed(&seen, category);
        assert!(seen.timings.total < if limit == TIMEOUT { PATIENCE } else { AMPLE / 2 }, "{:?}", seen.timings.total);
    }
}

#[tokio::test]
async fn no_task_outlives_its_probe() {
    let server = serve(&[SETTINGS, Hang]).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..20 {
        failed(&observe(&check(Some(server.address), kind(""), Duration::from_millis(20))).await, FailureCategory::Timeout);
    }
    // Aborted tasks and the server's go at their next turn; the runtime of this test has one thread, so yielding gives them theirs.
    for _ in 0..10_000 {
        if tasks() <= before {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} tasks before, {} after", before, tasks());
}

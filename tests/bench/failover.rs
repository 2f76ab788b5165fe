//! How long a dead endpoint is answered: from its death to the first answer without it, a whole daemon and real sockets in between.
//!
//! `cargo bench -- failover [--runs 20]`. Settings: interval 250 ms, fast_interval 100 ms, timeout 200 ms, fall 2. The endpoint dies at
//! a random phase of the interval, in two ways: it is gone (connections are refused), or it hangs (connections stand, nothing answers).
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

use super::{daemon, process};

const NAME: &str = "api.gslb.example.com";
const INTERVAL: Duration = Duration::from_millis(250);
/// Two queries are this far apart: the figures' resolution.
const STEP: Duration = Duration::from_millis(2);
const EAST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const WEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Nothing here takes longer, or it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Well,
    Killed,
    Hung,
}

pub(crate) fn run_all() {
    let runs: usize = process::option("--runs", 20);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for (death, word) in [(Life::Killed, "killed"), (Life::Hung, "hung")] {
        let mut times: Vec<Duration> = (0..runs).map(|_| runtime.block_on(run(death))).collect();
        times.sort_unstable();
        for (at, figure) in [(0, "min"), (times.len() / 2, "median"), (times.len() - 1, "max")] {
            println!("figure failover_{word}_{figure}_ms {:.0}", times[at].as_secs_f64() * 1e3);
        }
    }
}

/// One daemon, one death.
async fn run(death: Life) -> Duration {
    let (life, of_east) = watch::channel(Life::Well);
    let (_lives_on, of_west) = watch::channel(Life::Well);
    let (east, west) = (endpoint(EAST, of_east).await, endpoint(WEST, of_west).await);
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "version: 1
revision: 1
name: bench
regions: {{ us-east-1: {{}}, eu-west-1: {{}} }}
traffic_routing: {{ us-east-1: {{ priority: 1 }}, eu-west-1: {{ priority: 2 }} }}
health_check_defaults: {{ type: http, interval: 250ms, fast_interval: 100ms, down_interval: 250ms, timeout: 200ms, fall: 2, rise: 1 }}
zones: {{ gslb.example.com: {{ nameservers: [ns1.example.com], contact: hostmaster@example.com }} }}
services:
  api:
    hostnames: [{NAME}]
    steering: failover
    endpoints:
      us-east-1: [{{ address: {EAST}, port: {} }}]
      eu-west-1: [{{ address: {WEST}, port: {} }}]
",
        east.port(),
        west.port()
    );
    let daemon = daemon::start(daemon::write(folder.path(), &text)).await;
    let server = daemon.dns()[0];
    until(server, EAST).await;
    // Past the first round, at any phase of the interval.
    let random = RandomState::new().hash_one(server) % 1000;
    sleep(2 * INTERVAL + INTERVAL * u32::try_from(random).unwrap() / 1000).await;
    let start = Instant::now();
    life.send(death).unwrap();
    until(server, WEST).await;
    let took = start.elapsed();
    daemon.stop().await;
    took
}

async fn until(server: SocketAddr, wanted: Ipv4Addr) {
    let wait = async {
        while daemon::ask(server, NAME).await != Some(wanted) {
            sleep(STEP).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{NAME} is not {wanted} after {PATIENCE:?}"));
}

/// Answers every request while it is well. Killed: the socket is closed. Hung: it stays open, and the kernel goes on taking connections.
async fn endpoint(address: Ipv4Addr, mut life: watch::Receiver<Life>) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let bound = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                biased;
                changed = life.changed() => match changed {
                    Ok(()) if *life.borrow() == Life::Hung => return life.wait_for(|life| *life != Life::Hung).await.map_or((), drop),
                    _ => return,
                },
                accepted = listener.accept() => accepted.unwrap().0,
            };
            tokio::spawn(answer(stream, life.clone()));
        }
    });
    bound
}

async fn answer(mut stream: TcpStream, mut life: watch::Receiver<Life>) {
    let mut request = [0; 2048];
    let talk = async {
        while stream.read(&mut request).await.is_ok_and(|octets| octets > 0) {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    };
    // An endpoint that dies takes its connections with it.
    tokio::select! {
        () = talk => {}
        _ = life.wait_for(|life| *life == Life::Killed) => {}
    }
}

//! From the observation that decides to the changed answers of all three regions, which are 80 ms apart, one way.
//!
//! `cargo bench -- mesh [--flips 100]`. Three whole daemons with relays between them. Each region's prober sees the endpoint through a server of
//! its own, so that a region can be made to see it fail: one does all the time, and a second one decides. Measured is from the moment at which
//! that one's server gives the first answer of the other kind, until a client of each region has the other address from the node of its region;
//! clients ask every millisecond. fall and rise are 1, so that this answer is the observation that decides.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::sleep,
};

use super::{
    daemon,
    fleet::{Fleet, quantile_ms, until},
    process,
};

const NAME: &str = "api.gslb.example.com";
/// One way.
const DELAY: Duration = Duration::from_millis(80);
/// Two questions are this far apart: the figures' resolution.
const STEP: Duration = Duration::from_millis(1);
/// Where both endpoints are said to be; each region reaches servers of its own in their place.
const FIRST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 8080);
const SECOND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)), 8080);
/// The region that sees it fail all the time, and the one that decides.
const FAILING: usize = 0;
const DECIDING: usize = 1;

pub(crate) fn run() {
    let flips: u32 = process::option("--flips", 100);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut times = runtime.block_on(measure(flips));
    for (permille, figure) in [(500, "p50"), (990, "p99"), (1000, "max")] {
        println!("figure mesh_answers_{figure}_ms {:.0}", quantile_ms(&mut times, permille));
    }
}

async fn measure(flips: u32) -> Vec<Duration> {
    let (well, mut eyes) = (Eye::open().await, Vec::new());
    for _ in 0..3 {
        eyes.push(Eye::open().await);
    }
    let plan = format!(
        "version: 1
revision: 1
name: bench
regions: {{ us-east-1: {{}}, eu-west-1: {{}}, ap-southeast-1: {{}} }}
traffic_routing: {{ us-east-1: {{ priority: 1 }}, eu-west-1: {{ priority: 2 }} }}
health_check_defaults: {{ type: http, interval: 250ms, fast_interval: 250ms, down_interval: 250ms, timeout: 200ms, fall: 1, rise: 1, flap: {{ window: 0s }} }}
zones: {{ gslb.example.com: {{ nameservers: [ns1.example.com], contact: hostmaster@example.com }} }}
services:
  api:
    hostnames: [{NAME}]
    steering: failover
    slow_start: {{ share: 100%, for: 1s }}
    endpoints:
      us-east-1: [{{ address: {}, port: {} }}]
      eu-west-1: [{{ address: {}, port: {} }}]
",
        FIRST.ip(),
        FIRST.port(),
        SECOND.ip(),
        SECOND.port()
    );
    let fleet = Fleet::start(&plan, DELAY, |node| vec![(FIRST, eyes[node].address), (SECOND, well.address)]).await;
    let servers: Vec<SocketAddr> = fleet.nodes.iter().map(|node| node.dns()[0]).collect();
    let answer_all = async |wanted: SocketAddr| {
        until(&format!("all nodes answer {wanted}"), async || {
            for server in &servers {
                if daemon::ask(*server, NAME).await.map(std::net::IpAddr::V4) != Some(wanted.ip()) {
                    return false;
                }
            }
            true
        })
        .await;
    };
    eyes[FAILING].turn(false);
    answer_all(FIRST).await;
    let mut times = Vec::new();
    for flip in 0..flips {
        // Every prober has looked, and the phase differs from flip to flip.
        sleep(Duration::from_millis(600 + u64::from(flip * 37 % 250))).await;
        let is_well = flip % 2 == 1;
        let wanted = if is_well { FIRST } else { SECOND };
        let decided = eyes[DECIDING].turn(is_well);
        let changes: Vec<_> = servers.iter().map(|server| tokio::spawn(changed(*server, wanted))).collect();
        let mut last = None;
        for change in changes {
            last = last.max(Some(change.await.unwrap()));
        }
        let begun = decided.lock().unwrap().expect("a probe decided");
        times.push(last.unwrap().duration_since(begun));
    }
    fleet.stop().await;
    times
}

/// When a node first answers so.
async fn changed(server: SocketAddr, wanted: SocketAddr) -> Instant {
    let deadline = Instant::now() + Duration::from_secs(20);
    while daemon::ask(server, NAME).await.map(std::net::IpAddr::V4) != Some(wanted.ip()) {
        assert!(Instant::now() < deadline, "{server} does not answer {wanted}");
        sleep(STEP).await;
    }
    Instant::now()
}

/// What one region sees.
struct Eye {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
}

struct Mood {
    is_well: bool,
    /// When it first answered so.
    since: Arc<Mutex<Option<Instant>>>,
}

impl Eye {
    async fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(Mutex::new(Mood { is_well: true, since: Arc::default() }));
        let of_server = mood.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mood = of_server.clone();
                tokio::spawn(async move {
                    let mut request = [0; 2048];
                    // An error is the prober going away.
                    let _ = stream.read(&mut request).await;
                    let status = {
                        let mood = mood.lock().unwrap();
                        mood.since.lock().unwrap().get_or_insert_with(Instant::now);
                        if mood.is_well { "200 OK" } else { "503 Service Unavailable" }
                    };
                    let _ =
                        stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).await;
                });
            }
        });
        Self { address, mood }
    }

    /// From now on it answers so; in the cell is when it first did.
    fn turn(&self, is_well: bool) -> Arc<Mutex<Option<Instant>>> {
        let since: Arc<Mutex<Option<Instant>>> = Arc::default();
        *self.mood.lock().unwrap() = Mood { is_well, since: since.clone() };
        since
    }
}

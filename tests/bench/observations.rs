//! What observations of others cost a node: 1,000 endpoints, probed from three regions.
//!
//! `cargo bench -- observations [--seconds 20]`. Measured is a whole daemon in a process of its own, on its own and then with two others that
//! probe the same endpoints; the difference is what it takes to tell, hear and judge observations, the consensus at rest included. Endpoints are
//! up, and a hundredth of them goes down or up at every second in a second run. Probing costs the same in both and is another benchmark's.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use portolan::daemon::{Daemon, Setup};
use tokio::time::sleep;

use super::{
    daemon,
    fleet::{NODES, entry, free},
    process::{self, Served},
};

const SERVICES: usize = 334;
const ENDPOINTS: usize = 3 * SERVICES;
/// A first round of probes, and peers that find each other.
const WARM_UP: Duration = Duration::from_secs(25);
/// In the second run, so many endpoints are in another state after each second.
const TURNED: usize = ENDPOINTS / 100;

pub(crate) fn run() {
    let seconds = process::option("--seconds", 20);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(Duration::from_secs(seconds)));
}

async fn measure(time: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let turned = Arc::new(AtomicUsize::new(0));
    let port = endpoints(turned.clone()).await;
    let plan = daemon::write(folder.path(), &plan(port));
    let addresses: Vec<SocketAddr> = NODES.iter().map(|_| free()).collect();
    let spent = async |pid: u32| {
        let before = process::cpu(pid);
        sleep(time).await;
        100.0 * (process::cpu(pid) - before).as_secs_f64() / time.as_secs_f64()
    };
    let mut figures = Vec::new();
    for with_peers in [false, true] {
        let book = &addresses[..if with_peers { NODES.len() } else { 1 }];
        turned.store(0, Relaxed);
        let data = folder.path().join(format!("measured-{with_peers}"));
        let book_words: Vec<String> = book.iter().map(ToString::to_string).collect();
        let mut words = vec!["observations-serve", plan.to_str().unwrap(), data.to_str().unwrap()];
        words.extend(book_words.iter().map(String::as_str));
        let mut measured = Served::start(&words);
        measured.line();
        let mut others = Vec::new();
        for at in 1..book.len() {
            let setup = voter(&plan, &folder.path().join(format!("other-{at}")), at, book);
            others.push(Daemon::start(setup).await.unwrap());
        }
        sleep(WARM_UP).await;
        let quiet = spent(measured.pid()).await;
        let turning = tokio::spawn(turn(turned.clone()));
        let lively = spent(measured.pid()).await;
        turning.abort();
        println!("{}: {quiet:.1} % of a core, {lively:.1} % while {TURNED} endpoints a second turn", book.len());
        figures.push((quiet, lively));
    }
    let [(alone, alone_lively), (among, among_lively)] = figures[..] else { return };
    println!("figure observations_core_percent {:.2}", among - alone);
    println!("figure observations_turning_core_percent {:.2}", among_lively - alone_lively);
}

async fn turn(turned: Arc<AtomicUsize>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        turned.fetch_add(TURNED, Relaxed);
    }
}

/// Something that takes connections at all addresses of 127.64.0.0/16, and answers at those that are up: each turns once in the time in which
/// all do.
async fn endpoints(turned: Arc<AtomicUsize>) -> u16 {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let Ok(SocketAddr::V4(at)) = stream.local_addr() else { continue };
            let [_, _, high, low] = at.ip().octets();
            let number = usize::from(high) * 256 + usize::from(low);
            let turned = turned.load(Relaxed);
            let turns = turned / ENDPOINTS + usize::from(turned % ENDPOINTS > number % ENDPOINTS);
            tokio::spawn(answer(stream, turns.is_multiple_of(2)));
        }
    });
    port
}

async fn answer(mut stream: tokio::net::TcpStream, is_up: bool) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut request = [0; 1024];
    // An error is the prober going away.
    let _ = stream.read(&mut request).await;
    let status = if is_up { "200 OK" } else { "503 Service Unavailable" };
    let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).await;
}

fn plan(port: u16) -> String {
    let regions = ["us-east-1", "eu-west-1", "ap-southeast-1"];
    let mut text = String::from(
        "version: 1\nrevision: 1\nname: bench\nregions: { us-east-1: {}, eu-west-1: {}, ap-southeast-1: {} }\n\
         health_check_defaults: { type: http, interval: 10s, fast_interval: 1s, timeout: 1s, fall: 2, rise: 2 }\n\
         zones: { gslb.example.com: { nameservers: [ns1.example.com], contact: hostmaster@example.com } }\nservices:\n",
    );
    for service in 0..SERVICES {
        writeln!(text, "  s{service}:\n    hostnames: [s{service}.gslb.example.com]\n    steering: multivalue\n    endpoints:").unwrap();
        for (at, region) in regions.iter().enumerate() {
            let number = 3 * service + at;
            writeln!(text, "      {region}: [{{ address: 127.64.{}.{}, port: {port} }}]", number / 256, number % 256).unwrap();
        }
    }
    text
}

fn voter(plan: &Path, data: &Path, at: usize, book: &[SocketAddr]) -> Setup {
    let book_entries = NODES.iter().zip(book).map(|((node, region), address)| entry(node, region, *address)).collect();
    Setup {
        node: NODES[at].0.to_owned(),
        region: NODES[at].1.to_owned(),
        data_dir: Some(data.to_owned()),
        cluster: Some(daemon::voter(book[at], book_entries, Default::default())),
        ..daemon::setup(plan.to_owned())
    }
}

/// The first node.
pub(crate) fn serve(plan: &str, data: &str, book: &[&str]) {
    let book: Vec<SocketAddr> = book.iter().map(|address| address.parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _daemon = runtime.block_on(Daemon::start(voter(plan.as_ref(), data.as_ref(), 0, &book))).unwrap();
    println!("started");
    process::wait_for_the_end();
}

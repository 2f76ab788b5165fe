//! What an answer costs, beside NSD: CPU time per answered query over UDP, kernel work included, both servers in one run.
//!
//! `cargo bench -- dns [--rounds 5] [--seconds 4] [--rate 20000]`. Needs `nsd` and `dnsperf` (`tests/bench/run.sh` installs them).
//! The same name with one A record is asked of both, then of ours a steered name in three regions. Rounds alternate, so that a busy machine
//! slows both alike. CPU time is that of `/proc/PID/stat` of each server, of all its processes and threads, in hundredths of a second.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use super::{daemon, process};

const ZONE: &str = "gslb.example.com";

/// A server under measurement; it ends with this.
struct Server(Child, SocketAddr);

impl Drop for Server {
    fn drop(&mut self) {
        // NSD ends its own children on SIGTERM, and only then.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

pub(crate) fn run() -> ExitCode {
    for (program, version) in [("nsd", "-v"), ("dnsperf", "-h")] {
        let found = Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            eprintln!("{program} is not installed; as root: apt-get install -y nsd dnsperf");
            return ExitCode::from(69);
        }
    }
    let (rounds, seconds, rate) =
        (process::option("--rounds", 5_u32), process::option("--seconds", 4_u32), process::option("--rate", 20_000));
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (start_ours(), start_nsd(folder.path()));
    let questions = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{name}.{ZONE} A\n")).unwrap();
        path
    };
    let (fixed, steered) = (questions("fixed"), questions("api"));
    let cases = [("portolan_fixed", &ours, &fixed), ("nsd_fixed", &theirs, &fixed), ("portolan_steered", &ours, &steered)];
    let mut sums = [(Duration::ZERO, 0_u64); 3];
    for round in 0..=rounds {
        for ((name, server, questions), sum) in cases.iter().zip(&mut sums) {
            let before = process::cpu(server.0.id());
            let answered = ask(server.1, questions, seconds, rate);
            let spent = process::cpu(server.0.id()) - before;
            println!("round {round}: {name} {answered} answers, {:.2} us each", each(spent, answered));
            // The first round warms both up.
            if round > 0 {
                *sum = (sum.0 + spent, sum.1 + answered);
            }
        }
    }
    let [ours, theirs, steered] = sums.map(|(spent, answered)| each(spent, answered));
    println!("figure dns_cpu_per_answer_us {ours:.2}");
    println!("figure nsd_cpu_per_answer_us {theirs:.2}");
    println!("figure dns_steered_cpu_per_answer_us {steered:.2}");
    println!("figure dns_to_nsd_ratio {:.2}", ours / theirs);
    ExitCode::SUCCESS
}

fn each(spent: Duration, answered: u64) -> f64 {
    spent.as_secs_f64() * 1e6 / f64::from(u32::try_from(answered.max(1)).unwrap())
}

/// Runs dnsperf and gives how many answers it got.
fn ask(server: SocketAddr, questions: &Path, seconds: u32, rate: u32) -> u64 {
    let mut command = Command::new("dnsperf");
    command.args(["-s", &server.ip().to_string(), "-p", &server.port().to_string(), "-c", "4"]);
    command.args(["-l", &seconds.to_string(), "-Q", &rate.to_string(), "-d"]).arg(questions);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_else(|| panic!("{key} {text}")).trim();
    assert!(line("Response codes:").starts_with("NOERROR") && !line("Response codes:").contains(','), "{text}");
    let answered = line("Queries completed:").split_whitespace().next().unwrap().parse().unwrap();
    assert!(answered * 20 >= u64::from(seconds * rate) * 19, "answers are missing: {text}");
    answered
}

fn start_ours() -> Server {
    let mut child =
        Command::new(std::env::current_exe().unwrap()).arg("dns-serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server(child, line.trim().parse().unwrap())
}

pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "version: 1
revision: 1
name: bench
regions:
  us-east-1: {{ latitude: 38.9, longitude: -77.4 }}
  eu-west-1: {{ latitude: 53.3, longitude: -6.3 }}
  ap-southeast-1: {{ latitude: 1.35, longitude: 103.8 }}
health_check_defaults: {{ type: none }}
zones:
  {ZONE}:
    nameservers: [ns1.example.com]
    contact: hostmaster@example.com
    records: [{{ name: fixed, type: A, ttl: 5m, values: [192.0.2.80] }}]
services:
  api:
    hostnames: [api.{ZONE}]
    steering: geo
    endpoints:
      us-east-1: [{{ address: 192.0.2.1 }}, {{ address: 192.0.2.2 }}]
      eu-west-1: [{{ address: 192.0.2.3 }}, {{ address: 192.0.2.4 }}]
      ap-southeast-1: [{{ address: 192.0.2.5 }}, {{ address: 192.0.2.6 }}]
"
    );
    let path = daemon::write(folder.path(), &text);
    let daemon = runtime.block_on(daemon::start(path));
    let server = daemon.dns()[0];
    runtime.block_on(async {
        // Checks of type none: the first table stands at once.
        let mut tries = 0;
        while daemon::ask(server, &format!("api.{ZONE}")).await.is_none() {
            tries += 1;
            assert!(tries < 500, "no answer from {server}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    println!("{server}");
    // The pipe from the measuring process closes when that ends, in whatever way.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

fn start_nsd(folder: &Path) -> Server {
    let zone = format!(
        "$ORIGIN {ZONE}.\n$TTL 300\n@ SOA ns1.example.com. hostmaster.example.com. 1 1h 15m 1w 60\n@ NS ns1.example.com.\nfixed A 192.0.2.80\n"
    );
    std::fs::write(folder.join("zone"), zone).unwrap();
    // A free port; taken again by NSD a moment later.
    let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let here = folder.display();
    let config = format!(
        "server:
  ip-address: {}@{}
  server-count: 1
  rrl-ratelimit: 0
  username: \"\"
  chroot: \"\"
  zonesdir: \"{here}\"
  database: \"\"
  pidfile: \"{here}/nsd.pid\"
  xfrdfile: \"{here}/xfrd.state\"
  zonelistfile: \"{here}/zone.list\"
  xfrdir: \"{here}\"
remote-control:
  control-enable: no
zone:
  name: {ZONE}
  zonefile: zone
",
        address.ip(),
        address.port()
    );
    std::fs::write(folder.join("nsd.conf"), config).unwrap();
    let child = Command::new("nsd").arg("-d").arg("-c").arg(folder.join("nsd.conf")).spawn().unwrap();
    let server = Server(child, address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answers = async { while daemon::ask(address, &format!("fixed.{ZONE}")).await.is_none() {} };
        tokio::time::timeout(Duration::from_secs(10), answers).await.expect("nsd answers within 10 s");
    });
    server
}

//! Whether answers feel it when the leader changes: lost ones, and the slowest percent, beside the same load while nothing changes.
//!
//! `cargo bench -- leaders [--rounds 6] [--seconds 6] [--rate 1000]`. A process of its own holds three whole daemons, 10 ms apart one way; in every
//! other round leadership is handed on every two seconds. Questions come at a steady rate to one node, and count from the moment at which they
//! were to be sent. Rounds alternate, so that a busy machine slows both kinds alike.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    net::{SocketAddr, UdpSocket},
    sync::mpsc,
    time::{Duration, Instant},
};

use portolan::api::proto::TransferLeaderRequest;

use super::{
    commit::PLAN,
    fleet::{Fleet, NODES, quantile_ms},
    process::{self, Served},
};

const DELAY: Duration = Duration::from_millis(10);
/// Between two changes of the leader.
const CHANGE_EVERY: Duration = Duration::from_secs(2);
/// What has not come by then is lost.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn run() {
    let (rounds, seconds, rate) =
        (process::option("--rounds", 6_u32), process::option("--seconds", 6_u32), process::option("--rate", 1000_u32));
    let mut served = Served::start(&["leaders-serve"]);
    let dns = served.line().parse().unwrap();
    let (mut times, mut lost, mut changes) = ([Vec::new(), Vec::new()], [0, 0], 0);
    for round in 0..=2 * rounds {
        let kind = usize::try_from(round % 2).unwrap();
        if kind == 1 {
            served.say("change");
        }
        let (answered, unanswered) = load(dns, seconds, rate);
        if kind == 1 {
            changes += served.say("rest").parse::<u32>().unwrap();
        }
        // The first round warms up.
        if round > 0 {
            times[kind].extend(answered);
            lost[kind] += unanswered;
        }
    }
    let [mut still, mut changing] = times;
    println!("questions: {} while nothing changed, {} in all others", still.len() + lost[0], changing.len() + lost[1]);
    println!("figure leaders_changes {changes}");
    println!("figure leaders_answers_lost {}", lost[0] + lost[1]);
    let (still, changing) = (quantile_ms(&mut still, 990), quantile_ms(&mut changing, 990));
    println!("figure leaders_still_p99_ms {still:.3}");
    println!("figure leaders_changing_p99_ms {changing:.3}");
    println!("figure leaders_p99_ratio {:.2}", changing / still);
}

/// Asks at a steady rate; how long each answer took, and how many did not come.
fn load(server: SocketAddr, seconds: u32, rate: u32) -> (Vec<Duration>, usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hears = socket.try_clone().unwrap();
    let (sent, due) = mpsc::channel::<Instant>();
    let n = seconds * rate;
    let listener = std::thread::spawn(move || {
        let mut answers = Vec::new();
        let mut datagram = [0; 512];
        while answers.len() < usize::try_from(n).unwrap() {
            let Ok(length) = hears.recv(&mut datagram) else { break };
            assert!(length > 12 && datagram[3] & 0x0f == 0, "an answer is an error");
            answers.push((u16::from_be_bytes([datagram[0], datagram[1]]), Instant::now()));
        }
        answers
    });
    let begun = Instant::now();
    for i in 0..n {
        let at = begun + Duration::from_secs(1) / rate * i;
        if let Some(wait) = at.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(wait);
        }
        let [a, b] = u16::try_from(i % 65536).unwrap().to_be_bytes();
        let mut question = vec![a, b, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in ["api", "gslb", "example", "com"] {
            question.push(u8::try_from(label.len()).unwrap());
            question.extend(label.as_bytes());
        }
        question.extend([0, 0, 1, 0, 1]);
        sent.send(at).unwrap();
        socket.send(&question).unwrap();
    }
    let due: Vec<Instant> = due.try_iter().collect();
    let answers = listener.join().unwrap();
    let unanswered = due.len() - answers.len();
    // Ids repeat after a minute of the usual rate, long after an answer is given up.
    let took = |(id, heard): (u16, Instant)| {
        let asked = due.iter().skip(usize::from(id)).step_by(65536).take_while(|asked| **asked <= heard).last();
        asked.map_or(Duration::ZERO, |asked| heard - *asked)
    };
    (answers.into_iter().map(took).collect(), unanswered)
}

/// Three daemons. `change`: hands leadership on again and again; `rest`: no more, and tells how often it was.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let fleet = runtime.block_on(Fleet::start(PLAN, DELAY, |_| Vec::new()));
    println!("{}", fleet.nodes[0].dns()[0]);
    let fleet = std::sync::Arc::new(fleet);
    let mut changing = None;
    // The pipe from the measuring process closes when that ends, in whatever way.
    for word in std::io::stdin().lines() {
        match word.unwrap().as_str() {
            "change" => {
                changing = Some(runtime.spawn(change(fleet.clone())));
                println!("changing");
            }
            _ => {
                let task: tokio::task::JoinHandle<()> = changing.take().expect("`change` comes first");
                task.abort();
                let _ = runtime.block_on(task);
                println!("{}", CHANGES.swap(0, std::sync::atomic::Ordering::Relaxed));
            }
        }
    }
}

static CHANGES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

async fn change(fleet: std::sync::Arc<Fleet>) {
    loop {
        if let Some(leader) = fleet.leader().await {
            let (next, _) = NODES[(leader + 1) % NODES.len()];
            let request = TransferLeaderRequest { member: next.to_owned(), validate_only: false, reason: "measured".to_owned() };
            // One that is too early is tried again.
            if fleet.client(leader).await.transfer_leader(request).await.is_ok() {
                CHANGES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        tokio::time::sleep(CHANGE_EVERY).await;
    }
}

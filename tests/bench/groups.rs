//! What data groups cost a node: 1,000 of them, each with a primary that answers its probe.
//!
//! `cargo bench -- groups [--groups 1000] [--seconds 30]`. Measured is a whole daemon in a process of its own, with the plan's default rhythm: a round
//! every 15 s per group, each judged every second. What answers is one listener in this process, at an address per group, that says what a real fake
//! database said of itself. Agents say nothing here: what one of them costs is another benchmark's.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use portolan::{
    api::proto::GetOutlookRequest,
    client::{Client, Target},
    daemon::{Daemon, Listen, Setup},
    engine::fake,
};
use portolan_core::{
    cluster::{Actor, Change, Entry, Outcome, Role},
    failover::{lease::Class, step::Step, token::Token},
    model::{ids::Label, time::Timestamp},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::{
    agent, daemon,
    fleet::{entry, free, until},
    process::{self, Served},
};

/// The first rounds, which are soon, and the ones after them.
const WARM_UP: Duration = Duration::from_secs(20);

pub(crate) fn run() {
    let (n, seconds) = (process::option("--groups", 1000), process::option("--seconds", 30));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(n, Duration::from_secs(seconds)));
}

async fn measure(n: usize, time: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let port = members(status(folder.path()).await).await;
    let plan = daemon::write(folder.path(), &plan(n, port));
    let data = folder.path().join("data");
    let mut served = Served::start(&["groups-serve", plan.to_str().unwrap(), data.to_str().unwrap()]);
    let client = Client::connect(&Target::of_listener(served.line().parse().unwrap(), None)).await.unwrap();
    sleep(WARM_UP).await;
    let healthy = async || {
        let mut healthy = 0;
        for group in 0..n {
            let mut outlook = None;
            // So many calls are more than one caller may make in a second.
            until("a node tells how a group stands", async || {
                let request = GetOutlookRequest { name: format!("groups/g{group}") };
                outlook = client.get_outlook(request).await.ok().and_then(|told| told.outlook);
                outlook.is_some()
            })
            .await;
            healthy += usize::from(outlook.is_some_and(|outlook| outlook.evidence == "healthy"));
        }
        healthy
    };
    until("all primaries are seen to work", async || healthy().await == n).await;
    let before = process::cpu(served.pid());
    sleep(time).await;
    let spent = process::cpu(served.pid()) - before;
    assert_eq!(healthy().await, n, "all primaries still answer");
    println!("figure groups_core_percent {:.2}", 100.0 * spent.as_secs_f64() / time.as_secs_f64());
    agent::tell_memory("groups", served.pid());
}

/// What a real fake says of itself, with an agent that wrote to it half a second ago.
async fn status(folder: &Path) -> String {
    let (directory, listen) = (folder.join("fake"), free());
    std::fs::create_dir(&directory).unwrap();
    fake::create(&directory, 7, false, None).unwrap();
    let serving = fake::Serving { directory, listen, clock: agent::clock };
    let server = tokio::spawn(fake::serve(serving, std::future::pending()));
    let mut said = None;
    until("the fake answers", async || {
        if let Ok(mut client) = fake::Client::connect(&listen.to_string()).await {
            said = client.status().await.ok();
        }
        said.is_some()
    })
    .await;
    server.abort();
    let mut status = serde_json::to_value(said.unwrap()).unwrap();
    status["beat_age"] = serde_json::json!({ "secs": 0, "nanos": 500_000_000 });
    serde_json::json!({ "status": status }).to_string() + "\n"
}

/// Something that answers so to every line, at all addresses of 127.65.0.0/16.
async fn members(status: String) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let status = Arc::new(status);
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let status = Arc::clone(&status);
            // An error is the prober going away.
            tokio::spawn(async move { answer(stream, &status).await.unwrap_or_default() });
        }
    });
    port
}

async fn answer(mut stream: TcpStream, status: &str) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while lines.next_line().await?.is_some() {
        writer.write_all(status.as_bytes()).await?;
    }
    Ok(())
}

fn plan(n: usize, port: u16) -> String {
    let mut text = String::from(
        "version: 1\nrevision: 1\nname: bench\nregions: { us-east-1: {}, eu-west-1: {}, ap-southeast-1: {} }\n\
         disaster_recovery: { rpo_target: 1h, rto_target: 30m, failover_automation: { automatic_failover: true } }\ndata_groups:\n",
    );
    for group in 0..n {
        writeln!(text, "  g{group}:\n    engine: fake\n    primary: us-east-1\n    fence: [{{ lease: expire }}]\n    members:").unwrap();
        for (at, region) in ["us-east-1", "eu-west-1", "ap-southeast-1"].iter().enumerate() {
            let number = 3 * group + at;
            writeln!(text, "      {region}: {{ address: \"127.65.{}.{}:{port}\", agent: a{number} }}", number / 256, number % 256).unwrap();
        }
    }
    text
}

/// Says that the primary of a group is where the plan expects it, as its agents would.
async fn adopt(daemon: &Daemon, group: Label) {
    let adopted = Step::Adopt { token: Token::default(), primary: "us-east-1".into(), system: 7, timeline: 1, class: Class::Bare };
    let entry = Entry {
        at: Timestamp(i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()),
        by: Actor { name: "bench".to_owned(), role: Role::Approver },
        request_id: None,
        reason: "bench".to_owned(),
        moves: None,
        overrules: Vec::new(),
        change: Change::Group { group, step: adopted },
    };
    let outcome = daemon.propose(entry).await.unwrap();
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome}");
}

/// The daemon, a cluster of one.
pub(crate) fn serve(plan: &str, data: &str) {
    let address = free();
    let setup = Setup {
        data_dir: Some(data.into()),
        listen: Listen { control: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))), ..daemon::setup(plan.into()).listen },
        cluster: Some(daemon::voter(address, vec![entry("bench", "us-east-1", address)], Default::default())),
        ..daemon::setup(plan.into())
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let daemon = runtime.block_on(Daemon::start(setup)).unwrap();
    runtime.block_on(async {
        until("the plan is agreed", async || daemon.agreed().plan().is_some()).await;
        let groups: Vec<Label> = daemon.agreed().plan().unwrap().plan.outline.groups.keys().cloned().collect();
        for group in groups {
            adopt(&daemon, group).await;
        }
    });
    println!("{}", daemon.control().unwrap());
    process::wait_for_the_end();
}

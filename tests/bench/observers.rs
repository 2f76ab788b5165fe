//! What an observer costs the voter that it is at: memory, and time on a processor, with 50, 100 and 200 of them.
//!
//! `cargo bench -- observers [--seconds 10]`. The voter is a whole daemon in a process of its own. Observers are the mesh alone, without a daemon
//! around it: each has a link on which it gives signs of life every half second, has said something of three checks, hears what all others
//! say, and follows the replicated state. Memory is what is resident, before the first and with the last one, some seconds after it came; time is
//! user and system time, above that of the voter alone.
#![allow(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use portolan::{
    daemon::{Daemon, PeerEntry, Setup},
    mesh::{
        Address, Event, Far, FarRole, FollowStream, Followed, Greeting, Host, Mesh, MeshSetup, Parcel, Passport, Patience, Proposed, Route,
    },
};
use portolan_core::{
    health::vantage::{CheckKey, Judgement, PULSE_EVERY, Report, Sight, Statement},
    model::{time::Timestamp, verdict::Health},
};
use tokio::{
    sync::{mpsc, watch},
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    commit::PLAN,
    daemon,
    fleet::until,
    process::{self, Served},
};

const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-1"];
const VOTER: &str = "use1-a";
/// Not measured: links are made, snapshots are sent.
const WARM_UP: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn run() {
    let seconds = process::option("--seconds", 10);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut voter = Served::start(&["observers-serve"]);
    let address = Address { node: VOTER.into(), address: voter.line() };
    runtime.block_on(measure(voter.pid(), address, Duration::from_secs(seconds)));
}

async fn measure(pid: u32, voter: Address, time: Duration) {
    let stranger = observer(0, None).await;
    let mut cluster = None;
    until("the voter belongs to a cluster", async || {
        cluster = stranger.mesh.greet(&voter, LIMIT).await.ok().and_then(|greeting| greeting.passport.cluster);
        cluster.is_some()
    })
    .await;
    let spent = async || {
        sleep(WARM_UP).await;
        let before = process::cpu(pid);
        sleep(time).await;
        (process::cpu(pid) - before).as_secs_f64() * 1e3 / time.as_secs_f64()
    };
    let alone = spent().await;
    let memory = process::resident_kib(pid);
    println!("alone: {alone:.1} ms a second, {memory} KiB");
    let (mut observers, mut each) = (Vec::new(), Vec::new());
    for n in [50, 100, 200] {
        for i in observers.len()..n {
            let observer = observer(i + 1, cluster.clone()).await;
            tokio::spawn(observe(observer.mesh.clone(), observer.name.clone(), i, observer.events, voter.clone()));
            observers.push((observer.mesh, observer.introduction));
        }
        until("all links stand", async || observers.iter().all(|(mesh, _)| !mesh.peers().is_empty())).await;
        let total = spent().await - alone;
        let linked = observers.iter().filter(|(mesh, _)| !mesh.peers().is_empty()).count();
        assert_eq!(linked, n, "links that stand still; who does not take what it is sent is cut off: too busy a machine");
        println!("figure observers_cpu_ms_per_second_{n} {total:.1}");
        each.push(total / n as f64);
    }
    let grown = process::resident_kib(pid).saturating_sub(memory);
    println!("figure observers_kib_each {:.1}", grown as f64 / observers.len() as f64);
    println!("figure observers_cpu_each_200_to_50_ratio {:.2}", each[2] / each[0]);
}

/// An observer without a daemon.
struct Observer {
    mesh: Mesh,
    name: String,
    events: mpsc::Receiver<Event>,
    introduction: watch::Sender<Far>,
}

async fn observer(n: usize, cluster: Option<String>) -> Observer {
    let bound = Mesh::bind((Ipv4Addr::LOCALHOST, 0).into(), false).await.unwrap();
    let name = format!("observer-{n}");
    let id = u64::try_from(n).unwrap() + 1000;
    let passport = Passport { cluster, id, node: name.as_str().into(), region: REGIONS[n % 3].into(), generation: 0 };
    let far = Far {
        passport: passport.clone(),
        role: FarRole::Observer,
        incarnation: 1,
        version: "1".to_owned(),
        heard: Vec::new(),
        plan_revision: None,
    };
    let (introduction, introduced) = watch::channel(far);
    let (told, events) = mpsc::channel(256);
    let setup = MeshSetup {
        patience: Patience::default(),
        tls: None,
        peers: Vec::new(),
        detours: Default::default(),
        introduction: introduced,
        events: told,
        clock: Arc::new(Timestamp(1_800_000_000_000)),
        others: Default::default(),
        stop: CancellationToken::new(),
    };
    let mesh = Mesh::start(bound, setup, Arc::new(Anybody(passport))).unwrap();
    Observer { mesh, name, events, introduction }
}

/// What an observer does: signs of life, statements once, and listening.
async fn observe(mesh: Mesh, name: String, n: usize, mut events: mpsc::Receiver<Event>, voter: Address) {
    mesh.dial(vec![voter.clone()]);
    let follower = mesh.clone();
    tokio::spawn(async move {
        loop {
            let (told, mut heard) = mpsc::channel::<Followed>(4);
            let drain = async { while heard.recv().await.is_some() {} };
            tokio::join!(follower.follow(&voter, 0, told), drain);
        }
    });
    let judgement = Judgement { health: Health::Up, since: Some(Timestamp(5)), ..Judgement::default() };
    let key = |i: u64| CheckKey::from_number(u128::from(u64::try_from(n).unwrap() * 3 + i));
    let statements: Vec<Statement> = (0..3).map(|i| Statement { check: key(i), sequence: i + 1, judgement: judgement.clone() }).collect();
    let report = |after, sequence, statements| Report {
        observer: name.as_str().into(),
        region: REGIONS[(n + 1) % 3].into(),
        incarnation: 1,
        after,
        sequence,
        sight: Sight::Sighted,
        age: Duration::ZERO,
        statements,
    };
    let (mut sequence, mut pulses) = (3, interval(PULSE_EVERY));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Up { link, .. }) => {
                    mesh.activate(link);
                    mesh.send(link, &Parcel::Reports(vec![report(0, sequence, statements.clone())]));
                }
                Some(_) => {}
                None => return,
            },
            _ = pulses.tick() => {
                sequence += 1;
                mesh.spread(Route::Own, Parcel::Reports(vec![report(sequence - 1, sequence, Vec::new())]));
            }
        }
    }
}

/// Asked for nothing but who it is.
struct Anybody(Passport);

#[tonic::async_trait]
impl Host for Anybody {
    fn passport(&self) -> Passport {
        self.0.clone()
    }

    fn refuses(&self, _: u64) -> Option<String> {
        None
    }

    fn greeting(&self, _: Option<&Passport>) -> Greeting {
        Greeting {
            passport: self.passport(),
            is_empty: false,
            is_persistent: false,
            peers: Vec::new(),
            leader: None,
            is_witness: false,
            feature_level: 1,
            wall_ms: 0,
            word: None,
            members: Vec::new(),
        }
    }

    async fn raft(&self, _: &Passport, _: u32, _: Bytes) -> Result<Vec<u8>, String> {
        Err("an observer".to_owned())
    }

    async fn propose(&self, _: Bytes) -> Proposed {
        Proposed::NotLeader(None)
    }

    async fn ask(&self, _: Bytes) -> Result<Vec<u8>, String> {
        Err("an observer".to_owned())
    }

    async fn order(&self, _: Bytes) -> Result<Vec<u8>, String> {
        Err("an observer".to_owned())
    }

    fn follow(&self, _: &Passport, _: u64) -> Option<FollowStream> {
        None
    }
}

/// One voter, alone in its address book.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let listen = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let setup = Setup {
        node: VOTER.to_owned(),
        region: REGIONS[0].to_owned(),
        data_dir: Some(folder.path().join("data")),
        cluster: Some(daemon::voter(
            listen,
            vec![PeerEntry { node: VOTER.into(), region: REGIONS[0].into(), address: listen.to_string() }],
            Default::default(),
        )),
        ..daemon::setup(daemon::write(folder.path(), PLAN))
    };
    let _daemon = runtime.block_on(Daemon::start(setup)).unwrap();
    println!("{listen}");
    process::wait_for_the_end();
}

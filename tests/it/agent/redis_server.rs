//! What the agent and the probe of Redis make of single servers that are special, and of what is none.

use std::{
    fs,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use ::redis::{AsyncCommands as _, aio::MultiplexedConnection, cmd};
use portolan::{
    engine::{
        Server as _,
        redis::{HEARTBEAT_KEY, Login, Redis, Setup},
    },
    probe::{self, ProbeEnv},
};
use portolan_core::{
    failover::{
        agent::Work,
        engine::{
            Course as _, Next,
            redis::{Course, Seen, Verb},
        },
        token::Token,
    },
    model::{
        check::{Address, Cadence, Check, Failure, FailureCategory, Flap, Host, Outcome, Probe, ProbeKind, ServerEngine, ServerRole},
        ids::Label,
        time::Timestamp,
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{postgres::hold_port, redis::snapshot};
use crate::daemon::given;

/// A server with nothing beside it.
struct Lone {
    directory: TempDir,
    port: u16,
    /// Keeps the port from everybody but the server.
    _held: socket2::Socket,
    server: Child,
}

impl Lone {
    async fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (held, port) = hold_port();
        let at = directory.path().to_str().unwrap();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir", at, "--protected-mode", "no"])
            .args(arguments);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("redis-server is installed: make setup");
        let lone = Self { directory, port, _held: held, server };
        given("it listens", async || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await;
        lone
    }

    async fn client(&self, login: &str) -> MultiplexedConnection {
        let client = ::redis::Client::open(format!("redis://{login}127.0.0.1:{}", self.port)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    fn beside(&self, login: Option<&str>) -> Redis {
        beside(&self.directory, self.port, login)
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn beside(directory: &TempDir, port: u16, login: Option<&str>) -> Redis {
    Redis::new(Setup {
        region: Label::new("us"),
        config: directory.path().join("redis.conf"),
        arguments: Vec::new(),
        directory: directory.path().to_owned(),
        address: ("127.0.0.1".to_owned(), port),
        login: login.map(|text| Login::parse(text).unwrap()),
        owner: None,
        evidence: directory.path().join("evidence"),
    })
}

/// In a vessel, as far as anybody says.
async fn look(redis: &Redis) -> Seen {
    redis.look(Some((1, true))).await.unwrap()
}

fn next(seen: &Seen, work: Work) -> Next<Verb> {
    Course::new(work, Token { generation: 0, epoch: 1 }, 0).next(seen, None)
}

fn at(port: u16) -> Address {
    Address { host: Host::Ip(Ipv4Addr::LOCALHOST.into()), port }
}

async fn probed(port: u16, login: Option<&str>) -> Result<(), Failure> {
    asked(port, ProbeKind::Redis { login: login.map(str::to_owned) }, Duration::from_secs(10)).await
}

/// As a server that nobody here leads.
async fn served(port: u16, login: Option<&str>, role: Option<ServerRole>) -> Result<(), Failure> {
    let secret = login.map(str::to_owned);
    asked(port, ProbeKind::Server { engine: ServerEngine::Redis, secret, tls: None, role }, Duration::from_secs(10)).await
}

async fn asked(port: u16, kind: ProbeKind, timeout: Duration) -> Result<(), Failure> {
    let secrets: probe::Secrets = Arc::new(|name| match name {
        "right" => Ok("hush".to_owned()),
        "wrong" => Ok("hushed".to_owned()),
        "broken" => Ok("a\nb\nc".to_owned()),
        _ => Err(format!("read secret `{name}`: it is not there")),
    });
    let cadence = Cadence {
        interval: Duration::from_secs(30),
        fast_interval: Duration::from_secs(30),
        down_interval: Duration::from_secs(30),
        timeout,
        fall: 1,
        rise: 1,
        ok_run: 1,
        flap: Flap { window: Duration::ZERO, rise_max: 1 },
    };
    let check = Check { address: Some(at(port)), probe: Arc::new(Probe { kind, cadence }) };
    let env = ProbeEnv::new(Arc::new(Timestamp(0))).with_secrets(secrets);
    match probe::run(&check, &env).await.unwrap().outcome {
        Outcome::Passed => Ok(()),
        Outcome::Failed(failure) => Err(failure),
    }
}

#[tokio::test]
async fn a_primary_passes_its_probe_while_its_agent_writes_to_it() {
    let lone = Lone::start(&[]).await;
    let redis = lone.beside(None);
    assert_eq!(probed(lone.port, None).await.unwrap_err().detail, "no agent has ever written to it");
    assert!(redis.beat().await.unwrap_err().0.contains("position is not known"), "it is not signed");

    // Its offset counts nothing before somebody asked for a copy; then it is signed, and beats.
    let seen = look(&redis).await;
    assert!(matches!(next(&seen, Work::Sign), Next::Do(Verb::Count)));
    redis.act(&Verb::Count).await.unwrap();
    let Next::Do(sign @ Verb::Sign(_)) = next(&look(&redis).await, Work::Sign) else { panic!("it counts") };
    redis.act(&sign).await.unwrap();
    assert_eq!(next(&look(&redis).await, Work::Sign), Next::Done);
    redis.beat().await.unwrap();
    probed(lone.port, None).await.unwrap();
    let signed = probe::redis_token(&at(lone.port), None, Duration::from_secs(10), &env()).await;
    assert_eq!(signed.unwrap(), Some(Token { generation: 0, epoch: 1 }));

    // What it says of the time is its own clock's.
    let mut client = lone.client("").await;
    client.set::<_, _, ()>(HEARTBEAT_KEY, "1 1").await.unwrap();
    let silent = probed(lone.port, None).await.unwrap_err();
    assert!(silent.category == FailureCategory::Silent && silent.detail.starts_with("its agent wrote to it"), "{silent}");
    redis.beat().await.unwrap();
    cmd("REPLICAOF").arg("127.0.0.1").arg(0).query_async::<()>(&mut client).await.unwrap();
    assert_eq!(probed(lone.port, None).await.unwrap_err().detail, "it is a replica");
}

fn env() -> ProbeEnv {
    ProbeEnv::new(Arc::new(Timestamp(0)))
}

#[tokio::test]
async fn a_wrong_password_is_told_and_is_in_no_word_of_it() {
    let lone = Lone::start(&["--requirepass", "hush"]).await;
    let seen = look(&lone.beside(Some("hush"))).await;
    assert!(seen.server.is_some() && seen.broken.is_none());
    for login in [None, Some("hushed"), Some("somebody\nhush")] {
        let redis = lone.beside(login);
        assert_eq!(look(&redis).await.server, None, "nothing is known of it");
        let why = redis.act(&Verb::Promote).await.unwrap_err().0;
        assert!(why.to_lowercase().contains("auth") && !why.contains("hush"), "{why}");
    }
    assert_eq!(probed(lone.port, Some("right")).await.unwrap_err().category, FailureCategory::Silent);
    for login in [None, Some("wrong")] {
        let refused = probed(lone.port, login).await.unwrap_err();
        assert!(refused.category == FailureCategory::Status && !refused.detail.contains("hush"), "{refused}");
    }
    for (login, why) in [("broken", "one line with the password"), ("missing", "it is not there")] {
        let local = probed(lone.port, Some(login)).await.unwrap_err();
        assert!(local.category == FailureCategory::Local && local.detail.contains(why), "{local}");
    }
}

/// A server of a service, which no agent stands beside.
#[tokio::test]
async fn a_server_that_nobody_leads_passes_while_it_answers_as_what_it_is_to_be() {
    let lone = Lone::start(&["--requirepass", "hush"]).await;
    served(lone.port, Some("right"), None).await.unwrap();
    served(lone.port, Some("right"), Some(ServerRole::Primary)).await.unwrap();
    assert_eq!(served(lone.port, Some("right"), Some(ServerRole::Replica)).await.unwrap_err().detail, "it is a primary");
    for login in [None, Some("wrong")] {
        let refused = served(lone.port, login, None).await.unwrap_err();
        assert!(refused.category == FailureCategory::Status && !refused.detail.contains("hush"), "{refused}");
    }
    for (login, why) in [("broken", "one line with the password"), ("missing", "it is not there")] {
        let local = served(lone.port, Some(login), None).await.unwrap_err();
        assert!(local.category == FailureCategory::Local && local.detail.contains(why), "{local}");
    }
    let mut client = lone.client(":hush@").await;
    cmd("REPLICAOF").arg("127.0.0.1").arg(0).query_async::<()>(&mut client).await.unwrap();
    served(lone.port, Some("right"), Some(ServerRole::Replica)).await.unwrap();
    assert_eq!(served(lone.port, Some("right"), Some(ServerRole::Primary)).await.unwrap_err().detail, "it is a replica");

    // It accepts connections, and does nothing with them.
    let process = nix::unistd::Pid::from_raw(i32::try_from(lone.server.id()).unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let kind = ProbeKind::Server { engine: ServerEngine::Redis, secret: Some("right".to_owned()), tls: None, role: None };
    let hung = asked(lone.port, kind, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(hung.category, FailureCategory::Timeout, "{hung}");
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGCONT).unwrap();
}

#[tokio::test]
async fn a_server_that_cluster_or_sentinel_manages_is_refused() {
    let lone = Lone::start(&["--cluster-enabled", "yes"]).await;
    let why = look(&lone.beside(None)).await.broken.unwrap();
    assert!(why.contains("cluster mode"), "{why}");

    let lone = Lone::start(&[]).await;
    let redis = lone.beside(None);
    assert_eq!(look(&redis).await.broken, None);
    let client = ::redis::Client::open(format!("redis://127.0.0.1:{}", lone.port)).unwrap();
    let mut sentinel = client.get_async_pubsub().await.unwrap();
    sentinel.subscribe("__sentinel__:hello").await.unwrap();
    let seen = look(&redis).await;
    assert!(matches!(next(&seen, Work::Sign), Next::Fail(why) if why.contains("a Sentinel watches it")));
    assert!(probed(lone.port, None).await.unwrap_err().detail.contains("a Sentinel watches it"));
    drop(sentinel);
    given("the Sentinel is gone", async || look(&redis).await.broken.is_none().then_some(())).await;

    let mut client = lone.client("").await;
    client.set::<_, _, ()>("portolan:line", "something else").await.unwrap();
    assert!(look(&redis).await.broken.unwrap().contains("portolan:line"), "a key of ours that is not ours");
}

/// A primary that begins to send a copy, and stops in the middle.
async fn begin_a_copy(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut heard = Vec::new();
            loop {
                let mut piece = [0; 1024];
                let Ok(read @ 1..) = stream.read(&mut piece).await else { return };
                heard.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&heard).into_owned();
                if text.contains("PSYNC") {
                    let start = format!("+FULLRESYNC {} 5000\r\n$1000000\r\nREDIS0010", "a".repeat(40));
                    stream.write_all(start.as_bytes()).await.unwrap();
                    heard.clear();
                } else if text.ends_with("\r\n") {
                    let answer = if text.contains("PING") { "+PONG\r\n" } else { "+OK\r\n" };
                    // Several questions may come at once.
                    let questions = text.matches("*").count();
                    stream.write_all(answer.repeat(questions.max(1)).as_bytes()).await.unwrap();
                    heard.clear();
                }
            }
        });
    }
}

#[tokio::test]
async fn a_replica_that_takes_in_a_whole_copy_is_not_promoted_and_offers_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap().port().to_string();
    let primary = tokio::spawn(begin_a_copy(listener));
    let lone = Lone::start(&["--replicaof", "127.0.0.1", &upstream]).await;
    let redis = lone.beside(None);
    let seen =
        given("it takes in a copy", async || Some(look(&redis).await).filter(|seen| seen.server.as_ref().is_some_and(|it| it.is_loading)))
            .await;
    assert_eq!(seen.server.as_ref().unwrap().position(), None);
    assert_eq!(next(&seen, Work::Promote), Next::Wait("it takes in a whole copy".to_owned()));
    // Sealed in the middle of it, it has lost its place.
    redis.act(&Verb::Point(None)).await.unwrap();
    let seen =
        given("it ends that", async || Some(look(&redis).await).filter(|seen| seen.server.as_ref().is_some_and(|it| !it.is_loading))).await;
    assert!(matches!(next(&seen, Work::Seal), Next::Fail(why) if why.contains("cannot be told")));
    assert!(matches!(next(&seen, Work::Promote), Next::Fail(_)));
    primary.abort();
}

#[tokio::test]
async fn nonsense_is_no_server_and_takes_neither_time_nor_memory() {
    for what in ["HTTP/1.1 400 Bad Request\r\n\r\n", "$-7\r\n", "*1\r\n", "$3000000000\r\n", "+OK\r\n", ":1\r\n", "-ERR no\r\n", "\0"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let talking = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // Until the other side has had enough.
                while stream.write_all(what.repeat(1000).as_bytes()).await.is_ok() {}
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let redis = beside(&directory, port, None);
        assert_eq!(look(&redis).await.server, None, "{what:?}");
        let failure = probed(port, None).await.unwrap_err();
        assert!(failure.detail.len() < 400, "{failure}");
        assert!(served(port, None, None).await.is_err(), "{what:?}");
        talking.abort();
    }
}

#[tokio::test]
async fn a_stopped_server_is_seen_by_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let (_held, port) = hold_port();
    let redis = beside(&directory, port, None);
    let down = async || redis.look(Some((1, false))).await.unwrap();
    assert!(matches!(next(&down().await, Work::Start), Next::Fail(why) if why.contains("emptiness")));
    let run = "e6336b93e02b189f17407a52dea20f1df2157040";
    fs::write(directory.path().join("dump.rdb"), snapshot(&[("repl-id", run), ("repl-offset", "1000")])).unwrap();
    let seen = down().await;
    assert_eq!(seen.kept.snapshot.as_ref().map(|(id, offset)| (id.to_string(), *offset)), Some((run.to_owned(), 1000)));
    assert_eq!(next(&seen, Work::Start), Next::Do(Verb::Claim));
    fs::write(directory.path().join("redis.conf"), "appendonly yes\n").unwrap();
    assert!(matches!(next(&down().await, Work::Start), Next::Fail(why) if why.contains("pass over its snapshot")));
    // A mark that makes no replica is none.
    fs::write(directory.path().join("portolan.conf"), "# nothing\n").unwrap();
    assert!(!down().await.is_marked);
    redis.act(&Verb::Mark).await.unwrap();
    assert!(down().await.is_marked);
}

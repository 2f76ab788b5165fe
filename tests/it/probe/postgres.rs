//! Probes of a real primary, a standby, and servers that are neither.

use nix::sys::signal::{Signal, kill};
use portolan_core::model::ids::Label;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::agent::postgres::{REGIONS, Trio};

fn dsn(name: &str) -> ProbeKind {
    ProbeKind::Postgres { dsn: name.to_owned() }
}

fn with_secrets() -> ProbeEnv {
    env().with_secrets(Arc::new(|name| match name {
        "database" => Ok("user=postgres".to_owned()),
        "stranger" => Ok("user=stranger password=hush".to_owned()),
        "broken" => Ok("password".to_owned()),
        _ => Err(format!("read secret `{name}`: it is not there")),
    }))
}

async fn ask(target: &str, name: &str, timeout: Duration) -> Observation {
    probe::run(&check(Some(target.parse().unwrap()), dsn(name), timeout), &with_secrets()).await.unwrap()
}

async fn ask_server(target: &str, name: &str, role: Option<ServerRole>, timeout: Duration) -> Observation {
    let kind = ProbeKind::Server { engine: ServerEngine::Postgres, secret: Some(name.to_owned()), tls: None, role };
    probe::run(&check(Some(target.parse().unwrap()), kind, timeout), &with_secrets()).await.unwrap()
}

#[tokio::test]
async fn a_primary_passes_while_its_agent_writes_to_it() {
    let trio = Trio::new(REGIONS);
    let primary = &trio.members[&Label::new("us")];
    let at = primary.address();
    failed(&ask(&at, "database", AMPLE).await, FailureCategory::Connect);

    primary.start_alone();
    let never = failed(&ask(&at, "database", AMPLE).await, FailureCategory::Silent);
    assert_eq!(never.detail, "no agent has ever written to it");
    let client = primary.connect().await.unwrap();
    let table = "create schema portolan; create table portolan.heartbeat (one boolean primary key default true, at timestamptz not null)";
    client.batch_execute(table).await.unwrap();
    failed(&ask(&at, "database", AMPLE).await, FailureCategory::Silent);
    client.batch_execute("insert into portolan.heartbeat (at) values (clock_timestamp())").await.unwrap();
    passed(&ask(&at, "database", AMPLE).await);
    // Of a server that nobody here leads the same is asked, but for the heartbeat.
    passed(&ask_server(&at, "database", None, AMPLE).await);
    passed(&ask_server(&at, "database", Some(ServerRole::Primary), AMPLE).await);
    let primary_seen = failed(&ask_server(&at, "database", Some(ServerRole::Replica), AMPLE).await, FailureCategory::Status);
    assert_eq!(primary_seen.detail, "it is a primary");
    let stranger = failed(&ask_server(&at, "stranger", None, AMPLE).await, FailureCategory::Status);
    assert!(stranger.detail.contains("role \"stranger\" does not exist") && !stranger.detail.contains("hush"), "{stranger}");
    failed(&ask_server(&at, "missing", None, AMPLE).await, FailureCategory::Local);
    client.batch_execute("update portolan.heartbeat set at = clock_timestamp() + interval '1 hour'").await.unwrap();
    passed(&ask(&at, "database", AMPLE).await);
    client.batch_execute("update portolan.heartbeat set at = clock_timestamp() - interval '11 seconds'").await.unwrap();
    let silent = failed(&ask(&at, "database", AMPLE).await, FailureCategory::Silent);
    assert!(silent.detail.starts_with("its agent wrote to it 11") && silent.detail.ends_with("s ago"), "{silent}");

    // Whoever is not let in sees it fail; what cannot be tried from here says nothing.
    let stranger = failed(&ask(&at, "stranger", AMPLE).await, FailureCategory::Status);
    assert!(stranger.detail.contains("role \"stranger\" does not exist") && !stranger.detail.contains("hush"), "{stranger}");
    for (name, why) in [("broken", "connection string"), ("missing", "it is not there")] {
        let local = failed(&ask(&at, name, AMPLE).await, FailureCategory::Local);
        assert!(local.detail.contains(why), "{local}");
    }

    // It accepts connections, and does nothing with them.
    kill(primary.alone(), Signal::SIGSTOP).unwrap();
    let hung = failed(&ask(&at, "database", TIMEOUT).await, FailureCategory::Timeout);
    assert!(hung.detail.starts_with("connected, but no answer"), "{hung}");
    failed(&ask_server(&at, "database", None, TIMEOUT).await, FailureCategory::Timeout);
    kill(primary.alone(), Signal::SIGCONT).unwrap();
    primary.stop_alone();

    primary.mark();
    primary.start_alone();
    let role = failed(&ask(&at, "database", AMPLE).await, FailureCategory::Status);
    assert_eq!(role.detail, "it is a standby");
    passed(&ask_server(&at, "database", Some(ServerRole::Replica), AMPLE).await);
    let replica = failed(&ask_server(&at, "database", Some(ServerRole::Primary), AMPLE).await, FailureCategory::Status);
    assert_eq!(replica.detail, "it is a replica");
    primary.stop_alone();
}

/// A password that the server asks for, right and wrong: neither is in what the probe says.
#[tokio::test]
async fn a_server_that_asks_for_a_password_is_told_it() {
    let trio = Trio::new(REGIONS);
    let primary = &trio.members[&Label::new("us")];
    primary.start_alone();
    let client = primary.connect().await.unwrap();
    client.batch_execute("create role app login password 'open sesame'").await.unwrap();
    let file: String = client.query_one("show hba_file", &[]).await.unwrap().get(0);
    let rules = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("host all app 127.0.0.1/32 scram-sha-256\n{rules}")).unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    let env = env().with_secrets(Arc::new(|name| match name {
        "right" => Ok("user=app password='open sesame'".to_owned()),
        "wrong" => Ok("user=app password='open barley'".to_owned()),
        _ => Ok("user=app".to_owned()),
    }));
    let ask = async |name: &str| {
        let kind = ProbeKind::Server { engine: ServerEngine::Postgres, secret: Some(name.to_owned()), tls: None, role: None };
        probe::run(&check(Some(primary.address().parse().unwrap()), kind, AMPLE), &env).await.unwrap()
    };
    // The settings are read again in a moment of the server's own.
    crate::daemon::given("the server asks for passwords", async || matches!(ask("wrong").await.outcome, Outcome::Failed(_)).then_some(()))
        .await;
    let wrong = failed(&ask("wrong").await, FailureCategory::Status);
    assert!(wrong.detail.contains("password authentication failed") && !wrong.detail.contains("barley"), "{wrong}");
    passed(&ask("right").await);
    let none = ask("none").await;
    assert!(matches!(none.outcome, Outcome::Failed(_)), "{none:?}");
    primary.stop_alone();
}

#[tokio::test]
async fn what_is_no_database_fails_in_the_words_of_all_probes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let answers: [(&[u8], FailureCategory); 3] = [
        (b"", FailureCategory::Closed),
        (b"SSH-2.0-OpenSSH_9.2\r\n", FailureCategory::Closed),
        (b"HTTP\0\0\0\x01 400 Bad Request\r\n", FailureCategory::Closed),
    ];
    for (answer, category) in answers {
        let serve = async {
            let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        };
        let (seen, _stream) = tokio::join!(ask(&at, "database", AMPLE), serve);
        failed(&seen, category);
        let serve = async {
            let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        };
        let (seen, _stream) = tokio::join!(ask_server(&at, "database", None, AMPLE), serve);
        failed(&seen, category);
    }
}

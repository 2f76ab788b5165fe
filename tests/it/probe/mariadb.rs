//! Probes of a real MariaDB primary, a standby, and servers that are neither.

use std::{fs, path::Path};

use mysql_async::prelude::Queryable as _;
use nix::sys::signal::Signal;
use portolan::engine::{Server as _, mariadb::Verb};
use portolan_core::failover::token::Token;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use super::*;
use crate::agent::mariadb::Alone;

const TOKEN: Token = Token { generation: 1, epoch: 9 };

/// `folder`: where authorities are.
fn with_secrets(folder: &Path) -> ProbeEnv {
    let folder = folder.display().to_string();
    env().with_secrets(Arc::new(move |name| match name {
        "database" => Ok("user=replication password=r sslmode=disable".to_owned()),
        "stranger" => Ok("user=replication password=hush sslmode=disable".to_owned()),
        "broken" => Ok("password".to_owned()),
        "nameless" => Ok("password=hush".to_owned()),
        "trusting" | "doubting" => Ok(format!("user=replication password=r sslmode=verify-full sslrootcert={folder}/{name}.pem")),
        _ => Err(format!("read secret `{name}`: it is not there")),
    }))
}

async fn ask(target: SocketAddr, name: &str, timeout: Duration, env: &ProbeEnv) -> Observation {
    probe::run(&check(Some(target), ProbeKind::Mariadb { dsn: name.to_owned() }, timeout), env).await.unwrap()
}

async fn ask_server(target: SocketAddr, name: &str, role: Option<ServerRole>, timeout: Duration, env: &ProbeEnv) -> Observation {
    let kind = ProbeKind::Server { engine: ServerEngine::Mysql, secret: Some(name.to_owned()), tls: None, role };
    probe::run(&check(Some(target), kind, timeout), env).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_passes_while_its_agent_writes_to_it() {
    let alone = Alone::start_with(|_| String::new()).await;
    let (at, nobody) = alone.addresses();
    let env = with_secrets(Path::new("/nowhere"));
    let ask = async |at, name, timeout| ask(at, name, timeout, &env).await;
    failed(&ask(nobody, "database", AMPLE).await, FailureCategory::Connect);
    let never = failed(&ask(at, "database", AMPLE).await, FailureCategory::Silent);
    assert_eq!(never.detail, "no agent has ever written to it");

    let server = alone.server();
    server.act(&Verb::Open { token: TOKEN, timeline: None }).await.unwrap();
    failed(&ask(at, "database", AMPLE).await, FailureCategory::Silent);
    server.look(Some((1, true))).await.unwrap();
    server.beat().await.unwrap();
    passed(&ask(at, "database", AMPLE).await);
    let mut conn = alone.agent().await;
    conn.query_drop("set session sql_log_bin = 0").await.unwrap();
    conn.query_drop("update portolan.heartbeat set at = utc_timestamp(6) + interval 1 hour").await.unwrap();
    passed(&ask(at, "database", AMPLE).await);
    conn.query_drop("update portolan.heartbeat set at = utc_timestamp(6) - interval 11 second").await.unwrap();
    let silent = failed(&ask(at, "database", AMPLE).await, FailureCategory::Silent);
    assert!(silent.detail.starts_with("its agent wrote to it 11") && silent.detail.ends_with("s ago"), "{silent}");

    let stranger = failed(&ask(at, "stranger", AMPLE).await, FailureCategory::Status);
    assert!(stranger.detail.contains("Access denied") && !stranger.detail.contains("hush"), "{stranger}");
    for (name, why) in [("broken", "connection string"), ("missing", "it is not there"), ("nameless", "names no user")] {
        let local = failed(&ask(at, name, AMPLE).await, FailureCategory::Local);
        assert!(local.detail.contains(why) && !local.detail.contains("hush"), "{local}");
    }

    // Of a server that nobody here leads the same is asked, but for the heartbeat.
    let served = async |name, role| ask_server(at, name, role, AMPLE, &env).await;
    passed(&served("database", None).await);
    passed(&served("database", Some(ServerRole::Primary)).await);
    assert_eq!(failed(&served("database", Some(ServerRole::Replica)).await, FailureCategory::Status).detail, "it is a primary");
    let stranger = failed(&served("stranger", None).await, FailureCategory::Status);
    assert!(stranger.detail.contains("Access denied") && !stranger.detail.contains("hush"), "{stranger}");
    failed(&served("missing", None).await, FailureCategory::Local);
    failed(&ask_server(nobody, "database", None, AMPLE, &env).await, FailureCategory::Connect);

    let address = Address { host: Host::Ip(at.ip()), port: at.port() };
    let row =
        probe::inquire_mariadb(&address, "database", "select epoch, null, @@global.read_only = 0 from portolan.lease", AMPLE, &env).await;
    assert_eq!(row, Ok(vec![Some("9".to_owned()), None, Some("1".to_owned())]));
    let writes = probe::inquire_mariadb(&address, "database", "delete from portolan.lease", AMPLE, &env).await.unwrap_err();
    assert_eq!(writes.category, FailureCategory::Status, "{writes}");

    // It accepts connections, and does nothing with them.
    alone.signal(Signal::SIGSTOP);
    let hung = ask(at, "database", TIMEOUT).await;
    assert!(matches!(hung.outcome, Outcome::Failed(_)), "{hung:?}");
    let hung = ask_server(at, "database", None, TIMEOUT, &env).await;
    assert!(matches!(hung.outcome, Outcome::Failed(_)) && hung.timings.total < PATIENCE, "{hung:?}");
    alone.signal(Signal::SIGCONT);

    conn.query_drop("set global read_only = ON").await.unwrap();
    let role = failed(&ask(at, "database", AMPLE).await, FailureCategory::Status);
    assert_eq!(role.detail, "it is a standby");
    passed(&served("database", Some(ServerRole::Replica)).await);
    assert_eq!(failed(&served("database", Some(ServerRole::Primary)).await, FailureCategory::Status).detail, "it is a replica");
}

#[tokio::test]
async fn what_is_no_database_fails_and_takes_no_longer_than_it_may() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let env = with_secrets(Path::new("/nowhere"));
    let answers: [&[u8]; 4] = [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\xff\xff\xff\0\x0a", &[b'x'; 4096]];
    for answer in answers {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // It may have left already.
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            stream
        };
        let (seen, _stream) = tokio::join!(ask(at, "database", AMPLE, &env), serve);
        assert!(matches!(seen.outcome, Outcome::Failed(_)), "{answer:?}: {seen:?}");
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            stream
        };
        let (seen, _stream) = tokio::join!(ask_server(at, "database", None, AMPLE, &env), serve);
        assert!(matches!(seen.outcome, Outcome::Failed(_)), "{answer:?}: {seen:?}");
    }
    let silent = async { listener.accept().await.unwrap() };
    let (seen, _stream) = tokio::join!(ask(at, "database", TIMEOUT, &env), silent);
    assert!(matches!(seen.outcome, Outcome::Failed(_)) && seen.timings.total < PATIENCE, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_verify_full_only_who_is_signed_for_is_asked() {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (own, other, folder) = (authority(), authority(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("trusting.pem"), own.pem()).unwrap();
    fs::write(folder.path().join("doubting.pem"), other.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &own).unwrap();
    let alone = Alone::start_with(|directory| {
        fs::write(directory.join("server.crt"), certificate.pem()).unwrap();
        fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
        format!("ssl_cert={0}/server.crt\nssl_key={0}/server.key\n", directory.display())
    })
    .await;
    let (at, _) = alone.addresses();
    let env = with_secrets(folder.path());
    alone.server().act(&Verb::Open { token: TOKEN, timeline: None }).await.unwrap();
    failed(&ask(at, "trusting", AMPLE, &env).await, FailureCategory::Silent);
    let stranger = failed(&ask(at, "doubting", AMPLE, &env).await, FailureCategory::Tls);
    assert!(stranger.detail.contains("invalid peer certificate"), "{stranger}");
}

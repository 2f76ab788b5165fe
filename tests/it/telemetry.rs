//! Probes and metrics over real sockets.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use portolan::telemetry::{
    BackupReading, ClusterReading, DnsReading, GroupReading, HttpServer, Metrics, NoticeReading, Probes, Readiness, Readings,
    RegionReading, ReloadReading, TableReading,
};
use portolan_core::{
    model::{check::FailureCategory, time::Timestamp},
    recovery::{class_exposure::GroupExposure, exposure::Bracket},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

struct Fake {
    regions: Mutex<Vec<&'static str>>,
}

impl Readings for Fake {
    fn dns(&self) -> DnsReading {
        DnsReading { queries: vec![("udp", "NOERROR", 41), ("tcp", "REFUSED", 1)], truncated: 2 }
    }

    fn regions(&self) -> Vec<RegionReading> {
        let regions = self.regions.lock().unwrap();
        let reading = |name: &&str| RegionReading {
            name: (*name).to_owned(),
            up: *name != "us-east-1",
            endpoints_up: 2,
            cluster: (*name == "us-east-1").then(|| "shop-use1".to_owned()),
            failure_domain: None,
        };
        regions.iter().map(reading).collect()
    }

    fn table(&self) -> Option<TableReading> {
        Some(TableReading { generation: 8812, age: Duration::from_millis(1500) })
    }

    fn reload(&self) -> Option<ReloadReading> {
        Some(ReloadReading { successful: true, succeeded_at: Some(Timestamp(1_795_316_600_000)) })
    }

    fn cluster(&self) -> ClusterReading {
        ClusterReading {
            is_leader_known: true,
            is_leader: false,
            silence: Some(Duration::from_millis(250)),
            term: 7,
            applied: Some(4117),
            generation: 1,
            voters: 3,
            voters_reachable: Some(2),
            links: 5,
            clock_offset_max: Some(Duration::from_millis(1500)),
            plan_revision: Some(12),
            running_revision: Some(11),
            overrides: BTreeMap::from([("drain", 2)]),
        }
    }

    fn groups(&self) -> Vec<GroupReading> {
        vec![GroupReading {
            name: "orders".to_owned(),
            evidence: "healthy",
            doubts: vec![("eu-west-1".to_owned(), true)],
            exposed: GroupExposure {
                primary: Some("us-east-1".into()),
                streaming: BTreeMap::from([
                    ("eu-west-1".into(), Bracket { low: Duration::ZERO, high: Some(Duration::from_millis(1500)) }),
                    ("ap-southeast-1".into(), Bracket::UNKNOWN),
                ]),
                archive: None,
            },
            apply_lags: vec![("eu-west-1".to_owned(), Some(Duration::from_millis(2500))), ("ap-southeast-1".to_owned(), None)],
            ready: Some(true),
            predicted: Some(Duration::from_secs(90)),
            is_held: false,
            drills: vec![("fence", Duration::from_secs(86_400), true)],
            backup_restored: Some(Duration::from_secs(86_400)),
            restored: Some(Duration::from_secs(7 * 86_400)),
        }]
    }

    fn backups(&self) -> Vec<BackupReading> {
        let exposures = vec![("eu-west-1".to_owned(), Some(Duration::from_millis(1500))), ("ap-southeast-1".to_owned(), None)];
        let reading = |class: &str, age, standing, looks_failing| {
            let exposures = exposures.clone();
            BackupReading { class: class.to_owned(), age, standing, looks_failing, exposures }
        };
        vec![reading("orders", Some(Duration::from_secs(90)), "warn", 0), reading("models", None, "unknown", 2)]
    }

    fn notices(&self) -> Vec<NoticeReading> {
        vec![NoticeReading { kind: "plan_drift".to_owned(), severity: "warning", count: 1 }]
    }
}

fn metrics() -> (Arc<Fake>, Arc<Metrics>) {
    let fake = Arc::new(Fake { regions: Mutex::new(vec!["us-east-1", "eu-west-1"]) });
    let metrics = Metrics::new(Arc::<Fake>::clone(&fake)).unwrap();
    metrics.probe("http", None, Duration::from_millis(18));
    metrics.probe("http", Some(FailureCategory::ConnectTimeout), Duration::from_secs(5));
    metrics.table_built(Duration::from_micros(900));
    (fake, Arc::new(metrics))
}

#[test]
fn the_metrics_are_those_of_the_list() {
    let (_, metrics) = metrics();
    let text = metrics.text().unwrap();
    let printed: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/metrics.txt");
    let list = std::fs::read_to_string(path).unwrap();
    let listed: Vec<_> = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(printed, listed, "tests/data/metrics.txt lists name and type of each metric in order");
}

#[test]
fn metrics_hold_what_they_were_given() {
    let (_, metrics) = metrics();
    let text = metrics.text().unwrap();
    for line in [
        r#"portolan_dns_queries_total{rcode="NOERROR",transport="udp"} 41"#,
        "portolan_dns_truncated_total 2",
        r#"portolan_probe_total{kind="http",outcome="passed"} 1"#,
        r#"portolan_probe_failures_total{category="connect_timeout"} 1"#,
        r#"portolan_probe_duration_seconds_bucket{kind="http",le="0.025"} 1"#,
        r#"portolan_probe_duration_seconds_count{kind="http"} 2"#,
        r#"portolan_region_up{region="us-east-1"} 0"#,
        r#"portolan_endpoints_up{region="eu-west-1"} 2"#,
        "portolan_table_generation 8812",
        "portolan_table_age_seconds 1.5",
        "portolan_table_build_seconds_sum 0.0009",
        "portolan_config_last_reload_successful 1",
        "portolan_cluster_leader_known 1",
        "portolan_cluster_is_leader 0",
        "portolan_cluster_leader_silence_seconds 0.25",
        "portolan_cluster_voters_reachable 2",
        "portolan_cluster_plan_revision 12",
        "portolan_plan_revision 11",
        "portolan_clock_offset_max_seconds 1.5",
        r#"portolan_overrides{kind="drain"} 2"#,
        r#"portolan_notice{kind="plan_drift",severity="warning"} 1"#,
        r#"portolan_group_ready{group="orders"} 1"#,
        r#"portolan_group_held{group="orders"} 0"#,
        r#"portolan_group_lease_doubted{group="orders",region="eu-west-1"} 1"#,
        r#"portolan_group_recovery_predicted_seconds{group="orders"} 90"#,
        r#"portolan_group_exposure_seconds{group="orders",region="eu-west-1"} 1.5"#,
        r#"portolan_group_exposure_known{group="orders",region="ap-southeast-1"} 0"#,
        r#"portolan_group_evidence{evidence="healthy",group="orders"} 1"#,
        r#"portolan_drill_age_seconds{group="orders",kind="fence"} 86400"#,
        r#"portolan_drill_passed{group="orders",kind="fence"} 1"#,
        r#"portolan_backup_age_seconds{class="orders"} 90"#,
        r#"portolan_backup_looks_failing{class="models"} 2"#,
        r#"portolan_backup_standing{class="models",standing="unknown"} 1"#,
        "portolan_config_last_reload_timestamp_seconds 1795316600",
        concat!("portolan_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line}\nis not in\n{text}");
    }
    assert!(!text.contains(r#"portolan_group_exposure_seconds{group="orders",region="ap-southeast-1"}"#), "unknown is not zero: {text}");
    assert!(!text.contains(r#"portolan_backup_age_seconds{class="models"}"#), "unknown is not zero: {text}");
}

#[test]
fn a_region_that_left_the_plan_leaves_the_metrics() {
    let (fake, metrics) = metrics();
    assert!(metrics.text().unwrap().contains("region=\"us-east-1\""));
    fake.regions.lock().unwrap().remove(0);
    let text = metrics.text().unwrap();
    assert!(!text.contains("region=\"us-east-1\"") && text.contains("region=\"eu-west-1\""), "{text}");
}

/// One request on a connection of its own: status code, head and body.
async fn ask(address: SocketAddr, request_line: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{request_line} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn probes_follow_the_node_and_nothing_else_is_there() {
    let (_, metrics) = metrics();
    let (live, ready) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (is_live, is_ready, is_started) = (Arc::clone(&live), Arc::clone(&ready), Arc::clone(&ready));
    let readiness = |flag: &AtomicBool, reason: &str| {
        if flag.load(Ordering::SeqCst) { Readiness::Ready } else { Readiness::NotReady(reason.to_owned()) }
    };
    let probes = Probes {
        live: Box::new(move || is_live.load(Ordering::SeqCst)),
        ready: Box::new(move || readiness(&is_ready, "no table yet")),
        started: Box::new(move || readiness(&is_started, "first round under way")),
    };
    let server = HttpServer::start(SocketAddr::from(([127, 0, 0, 1], 0)), probes, metrics).await.unwrap();
    let at = server.address();
    let short = |(code, _, body): (u16, String, String)| (code, body);

    assert_eq!(short(ask(at, "GET /livez").await), (200, "ok\n".to_owned()));
    assert_eq!(short(ask(at, "GET /readyz").await), (503, "no table yet\n".to_owned()));
    assert_eq!(short(ask(at, "GET /startupz").await), (503, "first round under way\n".to_owned()));
    live.store(false, Ordering::SeqCst);
    ready.store(true, Ordering::SeqCst);
    assert_eq!(ask(at, "GET /livez").await.0, 503);
    assert_eq!(short(ask(at, "GET /readyz").await), (200, "ok\n".to_owned()));
    assert_eq!(short(ask(at, "HEAD /readyz").await), (200, String::new()));
    assert_eq!(ask(at, "GET /startupz").await.0, 200);

    let (code, head, body) = ask(at, "GET /metrics").await;
    assert_eq!((code, body.contains("portolan_build_info")), (200, true));
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    for (request, code) in
        [("POST /readyz", 405), ("DELETE /metrics", 405), ("GET /", 404), ("GET /debug/pprof", 404), ("GET /livez/", 404)]
    {
        assert_eq!(ask(at, request).await.0, code, "{request}");
    }
    let (code, ..) = ask(at, &format!("GET /{}", "x".repeat(20_000))).await;
    assert!((400..500).contains(&code), "{code}");

    // An idle keep-alive connection does not hold the shutdown up.
    let mut idle = TcpStream::connect(at).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 12]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(2), server.shutdown()).await.expect("shutdown waits for requests only");
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let (_, metrics) = metrics();
    let probes = Probes { live: Box::new(|| true), ready: Box::new(|| Readiness::Ready), started: Box::new(|| Readiness::Ready) };
    let server = HttpServer::start(SocketAddr::from(([127, 0, 0, 1], 0)), probes, metrics).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let mut late = TcpStream::connect(server.address()).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(5), late.read(&mut [0; 64])).await.expect("closed, not left waiting");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

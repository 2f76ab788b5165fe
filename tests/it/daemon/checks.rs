//! Each kind of check steers: one plan, one service per kind, one server of the kind behind it.

use std::{net::SocketAddr, sync::Arc};

use hickory_proto::{
    op::Message,
    rr::{RData, Record, rdata::A},
};
use portolan::client::{Client, ClientError};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::server::{HealthReporter, health_reporter};

use super::{
    Files, Question, eventually,
    plan::{EU, Plan, QUICK, US},
    site::{Mood, Site},
};

/// One server of each kind, which can be made sick and well.
struct Servers {
    site: Site,
    left: Site,
    right: Site,
    prometheus: Site,
    /// Last octet of the address that the DNS server answers.
    dns: watch::Sender<u8>,
    /// Whether the certificate is valid.
    tls: watch::Sender<bool>,
    grpc: HealthReporter,
    addresses: [SocketAddr; 3],
    _tasks: JoinSet<()>,
}

impl Servers {
    async fn start() -> Self {
        let mut tasks = JoinSet::new();
        let (dns, answers) = watch::channel(1);
        let (tls, is_valid) = watch::channel(true);
        let (grpc, service) = health_reporter();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [serve_dns(&mut tasks, answers).await, serve_tls(&mut tasks, is_valid).await, listener.local_addr().unwrap()];
        tasks.spawn(async move { Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap() });
        let (site, left, right) = (Site::healthy().await, Site::healthy().await, Site::healthy().await);
        let prometheus = Site::with(errors(3)).await;
        let servers = Self { site, left, right, prometheus, dns, tls, grpc, addresses, _tasks: tasks };
        servers.set("grpc", true, None).await;
        servers
    }

    /// Makes what the check of this kind looks at well, or sick.
    async fn set(&self, kind: &str, well: bool, client: Option<&Client>) {
        match kind {
            "http" if well => self.site.set_healthy(),
            "http" => self.site.set(Mood::Answers(503, String::new())),
            // `left` stays well: `all` must be.
            "calculated" if well => self.right.set_healthy(),
            "calculated" => self.right.set(Mood::Answers(500, String::new())),
            "prometheus" => self.prometheus.set(errors(if well { 3 } else { 5 })),
            "dns" => drop(self.dns.send_replace(if well { 1 } else { 2 })),
            "tls" => drop(self.tls.send_replace(well)),
            "grpc" if well => self.grpc.set_service_status("shop.Cart", tonic_health::ServingStatus::Serving).await,
            "grpc" => self.grpc.set_service_status("shop.Cart", tonic_health::ServingStatus::NotServing).await,
            "heartbeat" => client.unwrap().beat("nightly", well, "as told").await.unwrap(),
            other => panic!("{other}"),
        }
    }
}

/// What Prometheus says when asked for so many errors.
fn errors(n: u32) -> Mood {
    Mood::Answers(200, format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[1,"{n}"]}}}}"#))
}

async fn serve_dns(tasks: &mut JoinSet<()>, answers: watch::Receiver<u8>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tasks.spawn(async move {
        let mut query = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            let query = Message::from_vec(&query[..length]).unwrap();
            let name = query.queries[0].name().clone();
            let mut answer = query.into_response();
            let last = *answers.borrow();
            answer.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, last))));
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

/// A TLS server whose certificate is valid for a century, or for some days of 2020.
async fn serve_tls(tasks: &mut JoinSet<()>, is_valid: watch::Receiver<bool>) -> SocketAddr {
    let acceptor = |until: i32| {
        let mut params = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 9));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into());
        TlsAcceptor::from(Arc::new(config.unwrap()))
    };
    let (valid, expired) = (acceptor(2120), acceptor(2020));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut handshakes = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = if *is_valid.borrow() { valid.clone() } else { expired.clone() };
            // An error is the prober hanging up when it has seen enough.
            handshakes.spawn(async move { acceptor.accept(stream).await.map(drop).unwrap_or_default() });
            while handshakes.try_join_next().is_some() {}
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_check_steers() {
    let servers = Servers::start().await;
    let [dns, tls, grpc] = servers.addresses;
    let mut plan = Plan::three_regions();
    plan.checks = QUICK.replace("type: http, ", "");
    plan.more = format!(
        "checks:\n\
         \x20 left: {{ type: http, address: \"{}\" }}\n\
         \x20 right: {{ type: http, address: \"{}\" }}\n\
         \x20 both: {{ type: calculated, of: [left, right], require: all }}\n\
         \x20 nightly: {{ type: heartbeat, interval: 1h, fall: 1 }}\n\
         services:\n",
        servers.left.address, servers.right.address
    );
    let kinds = [
        ("http", format!("type: http, address: \"{}\"", servers.site.address)),
        ("calculated", "use: both".to_owned()),
        ("heartbeat", "use: nightly".to_owned()),
        ("dns", format!("type: dns, address: \"{dns}\", name: a.example, expect: 192.0.2.1")),
        ("tls", format!("type: tls, address: \"{tls}\", server_name: shop.example, verify: false, valid_for: 1d")),
        ("grpc", format!("type: grpc, address: \"{grpc}\", service: shop.Cart")),
        ("prometheus", format!("type: prometheus, source: \"http://{}\", query: errors, below: 5", servers.prometheus.address)),
    ];
    for (kind, check) in &kinds {
        let first = format!("{{ address: 192.0.2.1, port: 80, health_checks: {{ {check} }} }}");
        plan.more += &format!(
            "  {kind}: {{ hostnames: [{kind}.gslb.example.net], steering: failover, ttl: {{ min: 1s, max: 5s }}, slow_start: {{ for: 0s }}, \
             endpoints: {{ {US}: [{first}], {EU}: [{{ address: 192.0.2.2, port: 80 }}] }} }}\n"
        );
    }
    let bed = Files::new(&plan.text(1)).start().await;
    let client = bed.client().await;
    // The first table waits for it as for any other check.
    servers.set("heartbeat", true, Some(&client)).await;
    bed.ready().await;
    for (kind, _) in &kinds {
        let host = format!("{kind}.gslb.example.net");
        let answer = || async { bed.ask(Question::a(&host)).await.one().to_owned() };
        assert_eq!(answer().await, "192.0.2.1", "{kind}: {}", bed.why(kind).await);
        servers.set(kind, false, Some(&client)).await;
        eventually(&format!("{kind} takes its endpoint out"), answer, |address| address == "192.0.2.2").await;
        let why = bed.why(&host).await;
        assert!(why.contains(&format!("x {kind}/{US}/192.0.2.1:80: DOWN")), "{why}");
        servers.set(kind, true, Some(&client)).await;
        eventually(&format!("{kind} lets its endpoint back"), answer, |address| address == "192.0.2.1").await;
    }
    let status = bed.status().await;
    assert_eq!(status.state.word(), "OK", "{status:?}");
    match client.beat("nihgtly", true, "").await {
        Err(ClientError::Refused(refusal)) => assert!(refusal.to_string().contains("nightly"), "{refusal}"),
        other => panic!("{other:?}"),
    }
}

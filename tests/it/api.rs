//! The control API over real sockets: what goes in comes out, what is too much is refused, who may not come in stays out.

use std::{net::SocketAddr, path::Path, sync::Arc};

use portolan::{
    api::{
        ApiError, ApiServer, TlsFiles,
        proto::{self, WatchStatusRequest, explain_service_client::ExplainServiceClient, status_service_client::StatusServiceClient},
        status::WATCHERS_MAX,
    },
    client::{Attempt, Cause, Client, ClientError, PictureCause, Target},
};
use portolan_core::{model::time::Timestamp, node::report::ReportError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};
use tokio_stream::StreamExt as _;
use tonic::{
    Code,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::canned::{self, Canned};

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn start(source: &Arc<Canned>) -> ApiServer {
    ApiServer::start(loopback(), None, Arc::<Canned>::clone(source)).await.expect("loopback needs no tls")
}

fn target(address: impl ToString) -> Target {
    Target { addresses: vec![address.to_string()], tls: None, ca_file: None, token: None }
}

async fn channel(server: &ApiServer) -> Channel {
    Endpoint::try_from(format!("http://{}", server.address())).unwrap().connect().await.expect("the server listens")
}

fn attempts(error: ClientError) -> Vec<Attempt> {
    match error {
        ClientError::Unreachable(attempts) => attempts,
        other => panic!("expected unreachable, got {other:?}"),
    }
}

#[tokio::test]
async fn reports_come_through_whole() {
    let source = Canned::new(Ok(canned::degraded()));
    let server = start(&source).await;
    let client = Client::connect(&target(server.address())).await.unwrap();
    assert_eq!(client.status(true).await.unwrap(), canned::degraded());

    let mut basic = canned::degraded();
    basic.services[0].endpoints.clear();
    assert_eq!(client.status(false).await.unwrap(), basic);

    let why = client.why("us-east-1", None).await.unwrap();
    assert_eq!((why.object.as_str(), why.reason.because.len(), why.history.len()), ("region us-east-1", 2, 1));

    let (client_network, resolver) = ("203.0.113.9".parse().unwrap(), "2001:db8::53".parse().unwrap());
    let preview =
        client.preview(&"api.example.org".parse().unwrap(), "aaaa".parse().unwrap(), Some(client_network), Some(resolver), None).await;
    assert_eq!(preview.unwrap().answers[0].to_string(), "api.example.org. 20 IN A 192.0.2.20");
    let asked = source.previews.lock().unwrap()[0].clone();
    let subnet = asked.client.map(|subnet| (subnet.address.to_string(), subnet.source_prefix));
    assert_eq!(subnet, Some(("203.0.113.0".to_owned(), 24)));
    assert_eq!((asked.resolver, asked.record_type.to_string()), (Some(resolver), "AAAA".to_owned()));

    client.beat("nightly", false, "disk full").await.unwrap();
    let beat = source.beats.lock().unwrap()[0].clone();
    assert_eq!((beat.name.as_str(), beat.ok, beat.note.as_str()), ("nightly", false, "disk full"));
}

#[tokio::test]
async fn refusals_carry_a_reason_a_remedy_and_what_is_near() {
    let server = start(&Canned::new(Ok(canned::ok()))).await;
    let mut service = ExplainServiceClient::new(channel(&server).await);
    let refused = |object: &str| proto::WhyRequest { object: object.to_owned(), at: None };
    let status = service.why(refused("us-est-1")).await.unwrap_err();
    let info = status.get_details_error_info().expect("every refusal has an ErrorInfo");
    assert_eq!((status.code(), info.reason.as_str(), info.domain.as_str()), (Code::NotFound, "UNKNOWN_OBJECT", "portolan"));
    assert_eq!((info.metadata["candidates"].as_str(), info.metadata["subject"].as_str()), ("us-east-1", "us-est-1"));
    assert!(info.metadata["remedy"].contains("portolan status"));

    let status = service.why(refused(" ")).await.unwrap_err();
    let violations = status.get_details_bad_request().expect("a bad field is named").field_violations;
    assert_eq!((status.code(), violations[0].field.as_str()), (Code::InvalidArgument, "object"));
    assert_eq!(service.why(refused(&"x".repeat(600))).await.unwrap_err().code(), Code::InvalidArgument);

    let client = Client::connect(&target(server.address())).await.unwrap();
    let Err(ClientError::Refused(refusal)) = client.beat("weekly", true, "").await else { panic!("no such heartbeat") };
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "UNKNOWN_HEARTBEAT"));
    assert!(refusal.message.contains("it has nightly"), "{}", refusal.message);
    let Err(ClientError::Refused(refusal)) = client.beat("nightly", true, "two\nlines").await else { panic!("a note is one line") };
    assert_eq!(refusal.reason, "BAD_FIELD");
}

#[tokio::test]
async fn the_past_is_told_as_of_a_moment_or_refused_with_its_bounds() {
    let source = Canned::new(Ok(canned::ok()));
    let server = start(&source).await;
    let client = Client::connect(&target(server.address())).await.unwrap();
    let (at, name, a) = (Timestamp(canned::NOW.0 - 60_000), "api.example.org".parse().unwrap(), "A".parse().unwrap());
    let why = client.why("us-east-1", Some(at)).await.unwrap();
    assert_eq!((why.at, why.moment), (Timestamp(at.0 - 500), Some(canned::moment(at))));
    let preview = client.preview(&name, a, None, None, Some(at)).await.unwrap();
    assert_eq!(preview.moment, Some(canned::moment(at)));
    assert_eq!(source.previews.lock().unwrap()[0].at, Some(at));
    for (millis, reason) in [(1, "HISTORY_OUT_OF_RANGE"), (-90_000_000, "HISTORY_OUT_OF_RANGE")] {
        let Err(ClientError::Refused(refusal)) = client.why("us-east-1", Some(Timestamp(canned::NOW.0 + millis))).await else {
            panic!("it is not kept")
        };
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::OutOfRange, reason), "{refusal}");
    }
    let mut service = ExplainServiceClient::new(channel(&server).await);
    let no_time = proto::WhyRequest { object: "us-east-1".to_owned(), at: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }) };
    assert_eq!(service.why(no_time).await.unwrap_err().code(), Code::InvalidArgument);
    let early = prost_types::Timestamp { seconds: canned::NOW.0 / 1000 - 90_000, nanos: 0 };
    let status = service.why(proto::WhyRequest { object: "us-east-1".to_owned(), at: Some(early) }).await.unwrap_err();
    let info = status.get_details_error_info().expect("every refusal has an ErrorInfo");
    assert_eq!(info.metadata["oldest"], "2026-11-21T03:03:20Z", "{info:?}");
}

#[tokio::test]
async fn a_node_without_a_table_says_so() {
    let server = start(&Canned::new(Err(ReportError::NotReady))).await;
    let client = Client::connect(&target(server.address())).await.unwrap();
    let Err(ClientError::Refused(refusal)) = client.status(false).await else { panic!("there is no table") };
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unavailable, "NOT_READY"));
}

#[tokio::test]
async fn too_large_a_request_is_refused_and_the_next_is_served() {
    let server = start(&Canned::new(Ok(canned::ok()))).await;
    let mut service = ExplainServiceClient::new(channel(&server).await);
    let status = service.why(proto::WhyRequest { object: "x".repeat(2 * 1024 * 1024), at: None }).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(service.why(proto::WhyRequest { object: "us-east-1".to_owned(), at: None }).await.is_ok());
}

#[tokio::test]
async fn a_watcher_gets_a_snapshot_then_the_latest_change_at_most_once_a_second() {
    let source = Canned::new(Ok(canned::ok()));
    let server = start(&source).await;
    let client = Client::connect(&target(server.address())).await.unwrap();
    let mut pictures = client.watch(false).await.unwrap();
    let (cause, first) = pictures.next().await.unwrap().unwrap();
    assert_eq!((cause, first.generation), (PictureCause::Snapshot, 8812));
    let since = Instant::now();
    for _ in 0..50 {
        source.advance();
    }
    let (cause, second) = pictures.next().await.unwrap().unwrap();
    assert_eq!((cause, second.generation), (PictureCause::Change, 8862));
    assert!(since.elapsed() >= Duration::from_millis(900), "{:?}", since.elapsed());
}

#[tokio::test]
async fn shutdown_ends_watchers_soon() {
    let server = start(&Canned::new(Ok(canned::ok()))).await;
    let client = Client::connect(&target(server.address())).await.unwrap();
    let mut pictures = client.watch(false).await.unwrap();
    pictures.next().await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(2), server.shutdown()).await.expect("an idle watcher does not hold the daemon up");
    match pictures.next().await {
        Err(ClientError::Refused(refusal)) => assert_eq!(refusal.reason, "STOPPING"),
        other => panic!("expected the last word, got {:?}", other.map(|_| ())),
    }
}

#[tokio::test]
async fn watchers_are_counted_over_all_connections() {
    let server = start(&Canned::new(Ok(canned::ok()))).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut service = StatusServiceClient::new(channel(&server).await);
        for _ in 0..WATCHERS_MAX / 4 {
            open.push(service.watch_status(WatchStatusRequest::default()).await.unwrap());
        }
    }
    let mut service = StatusServiceClient::new(channel(&server).await);
    let status = service.watch_status(WatchStatusRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), status.get_details_error_info().unwrap().reason.as_str()), (Code::ResourceExhausted, "TOO_MANY_WATCHERS"));

    // A place is free again as soon as the server has seen a watcher leave.
    drop(open);
    let freed = async {
        while service.watch_status(WatchStatusRequest::default()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), freed).await.expect("places come back");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let server = start(&Canned::new(Ok(canned::ok()))).await;
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let mut late = TcpStream::connect(server.address()).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(5), late.read(&mut [0; 64])).await.expect("closed, not left waiting");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    // Nobody speaks on the open ones, so they are closed in their turn and the places come back.
    let freed = async { while Client::connect(&target(server.address())).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), freed).await.expect("places come back");
    let mut octets = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), open[0].read_to_end(&mut octets)).await;
    assert!(ended.is_ok(), "a silent connection does not last");
}

#[tokio::test]
async fn reflection_lists_what_is_served() {
    use tonic_reflection::pb::{v1, v1alpha};
    let server = start(&Canned::new(Ok(canned::ok()))).await;
    let expected = [
        "grpc.health.v1.Health",
        "portolan.v1.DnsService",
        "portolan.v1.ExplainService",
        "portolan.v1.HeartbeatService",
        "portolan.v1.StatusService",
    ];

    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel(&server).await);
    let ask = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(expected.iter().all(|name| names.iter().any(|listed| listed == name)), "{names:?}");

    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel(&server).await);
    let ask = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(expected[4].to_owned());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    assert!(matches!(answer, Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
}

#[tokio::test]
async fn health_follows_the_node() {
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
    let server = start(&Canned::new(Ok(canned::ok()))).await;
    let channel = channel(&server).await;
    let ask = |service: &'static str| {
        let mut client = HealthClient::new(channel.clone());
        async move { client.check(HealthCheckRequest { service: service.to_owned() }).await.map(|answer| answer.into_inner().status()) }
    };
    for service in ["", "portolan.v1.StatusService", "portolan.v1.DnsService"] {
        assert_eq!(ask(service).await.unwrap(), ServingStatus::NotServing, "{service}");
    }
    server.set_serving(true).await;
    assert_eq!(ask("portolan.v1.StatusService").await.unwrap(), ServingStatus::Serving);
    server.set_serving(false).await;
    assert_eq!(ask("").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(ask("nobody").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn without_tls_only_loopback_is_listened_on() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let Err(error) = ApiServer::start(everywhere, None, Canned::new(Ok(canned::ok()))).await else { panic!("it must not listen") };
    assert!(matches!(error, ApiError::NotLoopback { .. }));
    let text = error.to_string();
    assert!(text.contains("tls: { ca_file, cert_file, key_file }") && text.contains("127.0.0.1"), "{text}");
    let error = Client::connect(&target("192.0.2.1:8443")).await.err().unwrap();
    assert!(matches!(error, ClientError::Target(_)) && error.to_string().contains("plaintext is for loopback only"), "{error}");
}

/// An authority that signs certificates for localhost.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Files of a certificate by this authority, which trust `trusted`.
    fn files(&self, folder: &Path, name: &str, trusted: &Self) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let write = |kind: &str, text: String| {
            let path = folder.join(format!("{name}-{kind}.pem"));
            std::fs::write(&path, text).unwrap();
            path
        };
        TlsFiles {
            ca_file: write("ca", trusted.0.pem()),
            cert_file: write("cert", certificate.pem()),
            key_file: write("key", key.serialize_pem()),
        }
    }
}

#[tokio::test]
async fn with_tls_both_sides_prove_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server_files = ours.files(folder.path(), "server", &ours);
    let source = Canned::new(Ok(canned::ok()));
    let server = ApiServer::start(loopback(), Some(&server_files), source).await.unwrap();
    let secured = |files: TlsFiles| Target { addresses: vec![server.address().to_string()], tls: Some(files), ca_file: None, token: None };

    let client = Client::connect(&secured(ours.files(folder.path(), "client", &ours))).await.unwrap();
    assert_eq!(client.status(true).await.unwrap(), canned::ok());

    // The client's certificate is by another authority: the server refuses.
    let error = Client::connect(&secured(other.files(folder.path(), "stranger", &ours))).await.err().unwrap();
    let cause = attempts(error).remove(0).cause;
    assert!(matches!(&cause, Cause::Tls(problem) if problem.contains("ca_file")), "{cause:?}");

    // The server's certificate is by an authority that the client does not trust: the client refuses.
    let error = Client::connect(&secured(ours.files(folder.path(), "doubter", &other))).await.err().unwrap();
    let cause = attempts(error).remove(0).cause;
    assert!(matches!(&cause, Cause::Tls(problem) if problem.contains("UnknownIssuer")), "{cause:?}");

    // No client certificate at all.
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ours.0.pem())).domain_name("localhost");
    let endpoint = Endpoint::try_from(format!("https://{}", server.address())).unwrap().tls_config(tls).unwrap();
    let refused = match endpoint.connect().await {
        Err(_) => true,
        Ok(channel) => {
            ExplainServiceClient::new(channel).why(proto::WhyRequest { object: "us-east-1".to_owned(), at: None }).await.is_err()
        }
    };
    assert!(refused);

    // Plaintext to a TLS port.
    let error = Client::connect(&target(server.address())).await.err().unwrap();
    let cause = attempts(error).remove(0).cause;
    assert!(matches!(&cause, Cause::Tls(problem) if problem.contains("--config")), "{cause:?}");

    // TLS to a plaintext port.
    let plain = start(&Canned::new(Ok(canned::ok()))).await;
    let files = ours.files(folder.path(), "mistaken", &ours);
    let error = Client::connect(&Target { addresses: vec![plain.address().to_string()], tls: Some(files), ca_file: None, token: None })
        .await
        .err()
        .unwrap();
    let cause = attempts(error).remove(0).cause;
    assert!(matches!(&cause, Cause::Tls(_)), "{cause:?}");

    // A new certificate is used from the next connection on; bad files leave the old one in force.
    server.replace_tls(&other.files(folder.path(), "renewed", &ours)).unwrap();
    let error = Client::connect(&secured(ours.files(folder.path(), "after", &ours))).await.err().unwrap();
    assert!(matches!(&attempts(error)[0].cause, Cause::Tls(_)));
    assert!(server.replace_tls(&TlsFiles { key_file: folder.path().join("absent.pem"), ..server_files }).is_err());
    let files = ours.files(folder.path(), "trusting", &other);
    assert!(Client::connect(&secured(files)).await.is_ok());
}

#[tokio::test]
async fn tls_files_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let good = ours.files(folder.path(), "good", &ours);
    let mismatched = TlsFiles { key_file: ours.files(folder.path(), "second", &ours).key_file, ..good.clone() };
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let cases = [
        (TlsFiles { ca_file: empty.clone(), ..good.clone() }, "empty.pem"),
        (TlsFiles { cert_file: folder.path().join("absent.pem"), ..good.clone() }, "absent.pem"),
        (TlsFiles { key_file: empty, ..good.clone() }, "empty.pem"),
        (mismatched, "second-key.pem"),
    ];
    for (files, named) in cases {
        let error = ApiServer::start(loopback(), Some(&files), Canned::new(Ok(canned::ok()))).await.err().expect(named);
        assert!(error.to_string().contains(named), "{error}");
        assert!(files.client().expect_err(named).to_string().contains(named));
    }
}

#[tokio::test]
async fn every_address_is_tried_and_its_trouble_told_apart() {
    let server = start(&Canned::new(Ok(canned::ok()))).await;
    let closed = TcpListener::bind(loopback()).await.unwrap();
    let refusing = closed.local_addr().unwrap();
    drop(closed);
    let web = TcpListener::bind(loopback()).await.unwrap();
    let web_address = web.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = web.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
        }
    });
    let silent = TcpListener::bind(loopback()).await.unwrap();
    let silent_address = silent.local_addr().unwrap();

    // The first that answers as Portolan does is taken.
    let list = [refusing, web_address, server.address()];
    let all = Target { addresses: list.map(|address| address.to_string()).to_vec(), tls: None, ca_file: None, token: None };
    assert_eq!(Client::connect(&all).await.unwrap().address(), server.address().to_string());

    let none = Target {
        addresses: [refusing, web_address, silent_address].map(|address| address.to_string()).to_vec(),
        tls: None,
        ca_file: None,
        token: None,
    };
    let error = Client::connect(&none).await.err().unwrap();
    let text = error.to_string();
    assert!(text.ends_with("DNS answers continue from the last table; this is the control path only."), "{text}");
    let causes: Vec<_> = attempts(error).into_iter().map(|attempt| attempt.cause).collect();
    assert!(matches!(causes[..], [Cause::Refused, Cause::NotPortolan(_), Cause::NotPortolan(_)]), "{causes:?}");
}

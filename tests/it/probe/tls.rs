//! TLS and HTTPS probes against a rustls server with certificates of every kind.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use portolan_core::model::{
    check::{FailureCategory, HttpExpect, HttpMethod, Observation, ProbeKind, TlsCheck},
    time::Timestamp,
};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{
    AMPLE, NOW, PATIENCE, TIMEOUT, check, failed, observe, passed, probe,
    server::{
        Step::{Flood, Hang, Send},
        serve,
    },
};

/// A server with a self-signed certificate that is valid from one day (year, month, day) to another.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// The certificate as PEM, to trust it.
    ca: NamedTempFile,
    tasks: JoinSet<()>,
}

pub(super) async fn start(names: &[&str], from: (i32, u8, u8), until: (i32, u8, u8)) -> Server {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.not_before = date_time_ymd(from.0, from.1, from.2);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let ca = NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), certificate.pem()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            // An error is the prober not trusting the certificate.
            connections.spawn(async move { answer(acceptor, stream).await.unwrap_or_default() });
        }
    });
    Server { address, ca, tasks }
}

/// Answers any request with the server name that was asked for, and waits for the other side's goodbye.
async fn answer(acceptor: TlsAcceptor, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let name = stream.get_ref().1.server_name().unwrap_or("(none)").to_owned();
    let mut request = [0; 4096];
    if stream.read(&mut request).await? > 0 {
        let body = format!("asked for {name}");
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    }
    stream.shutdown().await
}

impl Server {
    fn trust(&self) -> TlsCheck {
        TlsCheck { server_name: None, verify: true, ca_file: Some(self.ca.path().to_str().unwrap().to_owned()) }
    }

    async fn tls(&self, tls: TlsCheck, valid_for: Duration) -> Observation {
        probe(self.address, ProbeKind::Tls { tls, valid_for }).await
    }
}

pub(super) const BLIND: TlsCheck = TlsCheck { server_name: None, verify: false, ca_file: None };
const DAY: Duration = Duration::from_secs(86_400);

fn https(tls: TlsCheck, host: Option<&str>, body: &str) -> ProbeKind {
    ProbeKind::Http {
        tls: Some(tls),
        host: host.map(str::to_owned),
        method: HttpMethod::Get,
        path: "/".to_owned(),
        headers: Vec::new(),
        expect: HttpExpect { status: vec![(200, 200)], body: super::has(body) },
    }
}

#[tokio::test]
async fn a_trusted_certificate_passes_for_as_long_as_it_holds() {
    // NOW is 2026-11-22 03:03:20, so 8 days and some hours are left.
    let server = start(&["127.0.0.1"], (2026, 1, 1), (2026, 12, 1)).await;
    let seen = server.tls(server.trust(), 8 * DAY).await;
    passed(&seen);
    assert!(seen.timings.tls.is_some() && seen.timings.connect.is_some());
    let failure = failed(&server.tls(server.trust(), 9 * DAY).await, FailureCategory::Expiry);
    assert_eq!(failure.detail, "the certificate ends in 8d20h56m40s, at 2026-12-01T00:00:00Z; at least 9d is asked for");
}

#[tokio::test]
async fn what_is_not_trusted_fails_in_the_handshake() {
    let good = start(&["127.0.0.1"], (2026, 1, 1), (2027, 1, 1)).await;
    let expired = start(&["127.0.0.1"], (2025, 1, 1), (2026, 11, 1)).await;
    let early = start(&["127.0.0.1"], (2026, 12, 1), (2027, 1, 1)).await;
    let renamed = start(&["other.example"], (2026, 1, 1), (2027, 1, 1)).await;
    let system = TlsCheck { verify: true, ..TlsCheck::default() };
    let missing = TlsCheck { ca_file: Some("/nonexistent/ca.pem".to_owned()), ..good.trust() };
    for (server, tls, says) in [
        (&good, system, "certificate"),
        (&good, expired.trust(), "invalid peer certificate"),
        (&good, missing, "read authorities from `/nonexistent/ca.pem`"),
        (&expired, expired.trust(), "expired"),
        (&early, early.trust(), "not valid yet"),
        (&renamed, renamed.trust(), "not valid for name"),
    ] {
        let failure = failed(&server.tls(tls, Duration::ZERO).await, FailureCategory::Tls);
        assert!(failure.detail.contains(says), "{failure} should say `{says}`");
    }
    passed(&renamed.tls(TlsCheck { server_name: Some("other.example".to_owned()), ..renamed.trust() }, Duration::ZERO).await);
}

#[tokio::test]
async fn without_verification_only_the_dates_count() {
    let renamed = start(&["other.example"], (2026, 1, 1), (2027, 1, 1)).await;
    passed(&renamed.tls(BLIND, DAY).await);
    failed(&renamed.tls(BLIND, 400 * DAY).await, FailureCategory::Expiry);
    let expired = start(&["127.0.0.1"], (2025, 1, 1), (2026, 11, 1)).await;
    failed(&expired.tls(BLIND, Duration::ZERO).await, FailureCategory::Expiry);
    let early = start(&["127.0.0.1"], (2026, 12, 1), (2027, 1, 1)).await;
    failed(&early.tls(BLIND, Duration::ZERO).await, FailureCategory::Tls);
}

#[tokio::test]
async fn the_clock_is_the_one_given() {
    let server = start(&["127.0.0.1"], (2026, 1, 1), (2026, 12, 1)).await;
    let check = check(Some(server.address), ProbeKind::Tls { tls: server.trust(), valid_for: Duration::ZERO }, AMPLE);
    let later = probe::ProbeEnv::new(Arc::new(NOW + 30 * DAY));
    let seen = probe::run(&check, &later).await.unwrap();
    assert!(failed(&seen, FailureCategory::Tls).detail.contains("expired"));
    assert!(Timestamp(0) < NOW);
}

#[tokio::test]
async fn a_changed_ca_file_is_read_again() {
    let (old, new) = (start(&["127.0.0.1"], (2026, 1, 1), (2027, 1, 1)).await, start(&["127.0.0.1"], (2026, 1, 1), (2028, 1, 1)).await);
    let env = super::env();
    let kind = ProbeKind::Tls { tls: old.trust(), valid_for: Duration::ZERO };
    let check = check(Some(new.address), kind, AMPLE);
    failed(&probe::run(&check, &env).await.unwrap(), FailureCategory::Tls);
    let both = std::fs::read_to_string(old.ca.path()).unwrap() + &std::fs::read_to_string(new.ca.path()).unwrap();
    std::fs::write(old.ca.path(), both).unwrap();
    passed(&probe::run(&check, &env).await.unwrap());
}

#[tokio::test]
async fn https_asks_for_the_host_that_it_names() {
    let server = start(&["app.example", "127.0.0.1"], (2026, 1, 1), (2027, 1, 1)).await;
    let seen = probe(server.address, https(server.trust(), Some("app.example:8443"), "asked for app.example")).await;
    passed(&seen);
    assert!(seen.timings.tls.is_some() && seen.timings.first_byte.is_some());
    // An address is verified, but there is no way to ask for it (RFC 6066 section 3).
    passed(&probe(server.address, https(server.trust(), None, "asked for (none)")).await);
    let other = TlsCheck { server_name: Some("other.example".to_owned()), ..server.trust() };
    failed(&probe(server.address, https(other, Some("app.example"), "")).await, FailureCategory::Tls);
}

#[tokio::test]
async fn the_server_sees_a_goodbye() {
    let mut server = start(&["127.0.0.1"], (2026, 1, 1), (2027, 1, 1)).await;
    server.tasks.abort_all();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kind = ProbeKind::Tls { tls: BLIND, valid_for: Duration::ZERO };
    let check = check(Some(listener.local_addr().unwrap()), kind, AMPLE);
    let probing = tokio::spawn(async move { observe(&check).await });
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
    let mut rest = Vec::new();
    // rustls makes an end without close_notify an error.
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
    drop(stream);
    passed(&probing.await.unwrap());
}

#[tokio::test]
async fn what_is_not_tls_is_told_apart() {
    let kind = || ProbeKind::Tls { tls: BLIND, valid_for: Duration::ZERO };
    let plain = serve(&[Send(b"220 mail.example ESMTP\r\n"), Hang]).await;
    failed(&probe(plain.address, kind()).await, FailureCategory::Tls);
    let closing = serve(&[]).await;
    failed(&probe(closing.address, kind()).await, FailureCategory::Tls);
    // Handshake records without end: empty ones of the kind that is ignored in TLS 1.3 (change_cipher_spec).
    let flood = serve(&[Flood(b"\x14\x03\x03\x00\x01\x01")]).await;
    failed(&probe(flood.address, kind()).await, FailureCategory::Tls);
    let hanging = serve(&[Hang]).await;
    let seen = observe(&check(Some(hanging.address), kind(), TIMEOUT)).await;
    assert_eq!(failed(&seen, FailureCategory::Timeout).detail, "connected, but no TLS handshake within 300ms");
    assert!(seen.timings.total < PATIENCE && seen.timings.tls.is_none());
}

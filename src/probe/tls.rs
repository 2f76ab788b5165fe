//! TLS probes: a handshake, and how long the certificate still holds.
//!
//! Only the server's own certificate is looked at: an authority's that ends sooner makes the handshake fail when it does, and most servers
//! do not even send it. With `verify` a certificate that has already ended fails the handshake (`tls`); one that ends too soon, or that
//! ended under `verify: false`, is `expiry`.

use std::time::Duration;

use portolan_core::model::{
    causes::chain,
    check::{Address, Failure, FailureCategory, TlsCheck},
    time::{Human, Timestamp},
};
use tokio::io::AsyncWriteExt;
use x509_parser::{parse_x509_certificate, time::ASN1Time};

use super::{GOODBYE_MAX, ProbeEnv, bare_host, open, watch::Watch};
use crate::net::tls::Alpn;

/// One TLS probe.
pub(super) async fn probe(address: &Address, tls: &TlsCheck, valid_for: Duration, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    let connection = open::connect(address, env, watch).await?;
    let mut stream = open::secure(connection, tls, &bare_host(address), Alpn::None, env, watch).await?;
    let verdict = match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
        Some(certificate) => judge(certificate, valid_for, env.clock.now()),
        None => Err(Failure::new(FailureCategory::Tls, "the server showed no certificate")),
    };
    watch.judged(&verdict);
    // Says goodbye (close_notify) and waits for the server's: in TLS 1.3 the server still has tickets to send when the client is done, and
    // would log a broken pipe. The verdict stands whether or not this works.
    let goodbye = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
    verdict
}

pub(super) fn judge(certificate: &[u8], valid_for: Duration, now: Timestamp) -> Result<(), Failure> {
    let (_, parsed) = parse_x509_certificate(certificate)
        .map_err(|e| Failure::new(FailureCategory::Tls, &format!("the certificate cannot be read: {}", chain(&e))))?;
    let (begins, ends) = (timestamp(parsed.validity().not_before), timestamp(parsed.validity().not_after));
    if now < begins {
        return Err(Failure::new(FailureCategory::Tls, &format!("the certificate is not valid before {begins}")));
    }
    if ends < now {
        return Err(Failure::new(FailureCategory::Expiry, &format!("the certificate ended {} ago, at {ends}", Human(now.since(ends)))));
    }
    if ends < now + valid_for {
        let (left, wanted) = (Human(ends.since(now)), Human(valid_for));
        return Err(Failure::new(
            FailureCategory::Expiry,
            &format!("the certificate ends in {left}, at {ends}; at least {wanted} is asked for"),
        ));
    }
    Ok(())
}

fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp(time.timestamp().saturating_mul(1000))
}

//! Certificates that are renewed on disk are in force without a restart; the port stays open all the time.

use portolan::{
    api::{
        ApiOptions,
        proto::{GetClusterRequest, WatchEventsRequest},
    },
    client::{Client, Target},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{
    net::TcpStream,
    time::{Duration, timeout},
};
use tokio_rustls::TlsConnector;

use super::{Authority, at, double::Ideal, loopback, serve};

#[tokio::test]
async fn a_renewed_authority_and_certificate_are_taken_and_half_a_renewal_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = old.files(folder.path(), "server", None, &old);
    let server = serve(ApiOptions::new(loopback(), Some(files.clone())), &Ideal::founded()).await;
    let target = |authority: &Authority, name: &str| Target {
        tls: Some(authority.files(folder.path(), name, None, authority)),
        ..at(server.address())
    };
    let before = Client::connect(&target(&old, "before")).await.unwrap();
    let renewed = target(&new, "after");
    assert!(Client::connect(&renewed).await.is_err(), "nobody knows the new authority yet");

    // The key alone is half a renewal: it fits no certificate, so the old pair stays.
    let spare = tempfile::tempdir().unwrap();
    let next = new.files(spare.path(), "server", None, &new);
    let place = |from: &std::path::Path, to: &std::path::Path| {
        let beside = to.with_extension("new");
        std::fs::copy(from, &beside).unwrap();
        std::fs::rename(beside, to).unwrap();
    };
    place(&next.key_file, &files.key_file);
    Client::connect(&target(&old, "meanwhile")).await.unwrap();
    place(&next.cert_file, &files.cert_file);
    place(&next.ca_file, &files.ca_file);
    let taken = async { while Client::connect(&renewed).await.is_err() {} };
    timeout(Duration::from_secs(30), taken).await.expect("the renewed files are in force");

    assert!(Client::connect(&target(&old, "late")).await.is_err(), "the old authority is trusted no more");
    // Ended in its turn, and then refused: not even who stays connected is in any longer.
    let ended = async { while before.get_cluster(GetClusterRequest {}).await.is_ok() {} };
    timeout(Duration::from_secs(30), ended).await.expect("a connection by the old authority does not last");
}

#[tokio::test]
async fn a_renewed_certificate_by_the_same_authority_ends_no_connection() {
    let (folder, spare) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new("ours");
    let files = authority.files(folder.path(), "server", None, &authority);
    let server = serve(ApiOptions::new(loopback(), Some(files.clone())), &Ideal::founded()).await;
    let client = authority.files(folder.path(), "client", None, &authority);
    let target = Target { tls: Some(client.clone()), ..at(server.address()) };
    let before = Client::connect(&target).await.unwrap();
    let mut events = before.watch_events(WatchEventsRequest::default()).await.unwrap();
    events.next().await.unwrap();

    let next = authority.files(spare.path(), "server", None, &authority);
    std::fs::copy(&next.key_file, &files.key_file).unwrap();
    std::fs::copy(&next.cert_file, &files.cert_file).unwrap();
    let wanted = CertificateDer::from_pem_file(&next.cert_file).unwrap();
    let connector = TlsConnector::from(client.client().unwrap());
    let shown = async || {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    timeout(Duration::from_secs(30), async { while shown().await != wanted {} }).await.expect("the new certificate is shown");
    before.get_cluster(GetClusterRequest {}).await.expect("a connection that stands goes on");
    assert!(timeout(Duration::from_secs(30), events.next()).await.unwrap().unwrap().is_some(), "and so do its streams");
}

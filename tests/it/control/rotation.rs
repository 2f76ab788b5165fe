//! Certificates that are renewed on disk are in force without a restart; the port stays open all the time.

use portolan::{
    api::{ApiOptions, proto::GetClusterRequest},
    client::{Client, Target},
};
use tokio::time::{Duration, timeout};

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
    before.get_cluster(GetClusterRequest {}).await.expect("a connection that stands goes on");
}

//! The whole control API over real sockets, with the real core behind it: a double of the cluster that commits at once.

mod access;
mod audit;
mod cluster;
pub(crate) mod double;
mod events;
mod mirror;
mod operations;
mod overrides;
mod plan;
mod rotation;
mod socket;
mod traffic;

use std::{net::SocketAddr, path::Path, sync::Arc};

use portolan::{
    api::{ApiOptions, ApiServer, TlsFiles, proto, refusal::Refusal},
    client::{Client, ClientError, Target},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

use crate::canned::{self, Canned};
use double::Ideal;

/// A node without TLS and the cluster behind it.
struct Node {
    server: ApiServer,
    cluster: Arc<Ideal>,
    client: Client,
}

impl Node {
    async fn start() -> Self {
        let cluster = Ideal::founded();
        let server = serve(ApiOptions::new(loopback(), None), &cluster).await;
        let client = Client::connect(&at(server.address())).await.unwrap();
        Self { server, cluster, client }
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn at(address: impl ToString) -> Target {
    Target { addresses: vec![address.to_string()], ..Target::default() }
}

async fn serve(options: ApiOptions, cluster: &Arc<Ideal>) -> ApiServer {
    ApiServer::start_with(options, Canned::new(Ok(canned::ok())), Arc::<Ideal>::clone(cluster)).await.unwrap()
}

/// What a call was refused with.
#[track_caller]
fn refused<T>(answer: Result<T, ClientError>) -> Refusal {
    match answer {
        Ok(_) => panic!("it was accepted"),
        Err(ClientError::Refused(refusal)) => refusal,
        Err(other) => panic!("expected a refusal, got {other:?}"),
    }
}

/// A drain of a region for an hour.
fn drain(region: &str) -> proto::CreateOverrideRequest {
    let scope = proto::scope::Scope::Region(region.to_owned());
    let order = proto::Override::drain(scope, std::time::Duration::from_secs(3600));
    proto::CreateOverrideRequest { r#override: Some(order), reason: "kernel update".to_owned(), ..Default::default() }
}

/// An authority that signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes the files of a certificate by this authority for localhost, with this SPIFFE id if any, which trust `trusted`.
    fn files(&self, folder: &Path, name: &str, spiffe: Option<&str>, trusted: &Self) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let names = if spiffe.is_some() { vec![] } else { vec!["localhost".to_owned(), "127.0.0.1".to_owned()] };
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.subject_alt_names.extend(spiffe.map(|id| SanType::URI(id.try_into().unwrap())));
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let files = TlsFiles {
            ca_file: folder.join(format!("{name}-ca.pem")),
            cert_file: folder.join(format!("{name}-cert.pem")),
            key_file: folder.join(format!("{name}-key.pem")),
        };
        std::fs::write(&files.ca_file, trusted.0.pem()).unwrap();
        std::fs::write(&files.cert_file, certificate.pem()).unwrap();
        std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
        files
    }
}

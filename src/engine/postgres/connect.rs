//! A connection for a few questions, each with a bound in time.

use std::{path::Path, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    Trouble,
    conninfo::{ConnInfo, Trust},
};

/// To connect and authenticate.
const CONNECT: Duration = Duration::from_secs(5);

/// Connects. The connection ends when the client is dropped.
pub(super) async fn connect(info: &ConnInfo) -> Result<Client, Trouble> {
    let (mut config, trust) = info.client().map_err(|error| Trouble(error.to_string()))?;
    config.connect_timeout(CONNECT).application_name("portolan");
    if info.get("dbname").is_none() {
        config.dbname("postgres");
    }
    let connected = async {
        match trust {
            Trust::Plain => {
                let (client, connection) = config.connect(NoTls).await.map_err(|error| told(&error))?;
                tokio::spawn(connection);
                Ok(client)
            }
            Trust::Verified(roots) => {
                let tls = MakeRustlsConnect::new(self::roots(roots.as_deref())?);
                let (client, connection) = config.connect(tls).await.map_err(|error| told(&error))?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    };
    timeout(CONNECT, connected).await.map_err(|_| Trouble("connect to the server: no answer in time".to_owned()))?
}

/// An error of the client library with its cause, which it does not show by itself. The library puts no secrets into either.
pub(super) fn told(error: &tokio_postgres::Error) -> Trouble {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Trouble(format!("{error}{cause}"))
}

pub(super) fn roots(roots: Option<&Path>) -> Result<ClientConfig, Trouble> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(path) => {
            let problem =
                |error: &dyn std::fmt::Display| Trouble(format!("read certificate authorities from `{}`: {error}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| problem(&error))? {
                let certificate = certificate.map_err(|error| problem(&error))?;
                store.add(certificate).map_err(|error| problem(&error))?;
            }
        }
        None => {
            for certificate in rustls_native_certs::load_native_certs().certs {
                // One that rustls does not take is one that nobody is known by.
                let _ = store.add(certificate);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Trouble(format!("set up TLS: {error}")))?;
    Ok(config.with_root_certificates(store).with_no_client_auth())
}

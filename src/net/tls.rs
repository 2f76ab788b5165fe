//! TLS clients: whom to trust, under which name, judged by which clock.
//!
//! One client configuration per kind of trust, made once and shared: making one costs milliseconds (the system's authorities) and half a
//! megabyte. A `ca_file` is looked at before each handshake and read again when it changed, so that a renewed authority needs no restart.
//!
//! Invariant: no session is ever resumed. A resumed handshake does not show the certificate, and the certificate is what a check is about.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use portolan_core::model::check::TlsCheck;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    time_provider::TimeProvider,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::clock::WallClock;

/// The most configurations kept. A plan names a handful of `ca_file`s; when more come, all are made anew rather than kept without bound.
pub const CONFIGS_MAX: usize = 256;

/// The protocol asked for in the handshake (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alpn {
    /// None is offered.
    None,
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
}

/// Why there is no TLS connection.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Neither a host name nor an address.
    #[error("`{0}` is not a server name; set `server_name` to the name in the certificate")]
    ServerName(String),
    /// The file of authorities cannot be used.
    #[error("read authorities from `{file}`: {reason}")]
    Authorities {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no authorities to trust.
    #[error("the system has no certificate authorities ({0}); install them, or set `ca_file`")]
    NoSystemAuthorities(String),
    /// The handshake failed; the certificate not being trusted is one reason.
    #[error("handshake as `{name}`: {source}")]
    Handshake {
        /// The server name.
        name: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The TLS library refused the configuration.
    #[error("configure TLS: {0}")]
    Configuration(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    verify: bool,
    ca_file: Option<String>,
    alpn: Alpn,
}

struct Entry {
    config: Arc<ClientConfig>,
    /// Length and time of change of the `ca_file` that was read.
    version: Option<(u64, Option<SystemTime>)>,
}

/// Makes TLS connections. Cheap to share; configurations are made on first use.
pub struct TlsClients {
    clock: Arc<dyn WallClock>,
    provider: Arc<CryptoProvider>,
    system_roots: OnceLock<Arc<RootCertStore>>,
    configs: Mutex<BTreeMap<Key, Entry>>,
}

impl fmt::Debug for TlsClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClients").finish_non_exhaustive()
    }
}

impl TlsClients {
    /// Certificates are judged by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn WallClock>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self { clock, provider, system_roots: OnceLock::new(), configs: Mutex::default() }
    }

    /// Makes the handshake over `stream` as a client.
    ///
    /// `name` is what is asked for and verified, unless `check` names another: a host name or an address (without brackets or port).
    ///
    /// # Errors
    /// [`TlsError`] when the name or the authorities cannot be used or the handshake fails.
    pub async fn handshake<S>(&self, stream: S, check: &TlsCheck, name: &str, alpn: Alpn) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = check.server_name.as_deref().unwrap_or(name);
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))?;
        let connector = TlsConnector::from(self.config(check, alpn)?);
        connector.connect(server_name, stream).await.map_err(|source| TlsError::Handshake { name: name.to_owned(), source })
    }

    fn config(&self, check: &TlsCheck, alpn: Alpn) -> Result<Arc<ClientConfig>, TlsError> {
        let ca_file = check.ca_file.clone().filter(|_| check.verify);
        let version = match &ca_file {
            Some(file) => {
                let found = std::fs::metadata(file).map_err(|e| TlsError::Authorities { file: file.clone(), reason: e.to_string() })?;
                Some((found.len(), found.modified().ok()))
            }
            None => None,
        };
        let key = Key { verify: check.verify, ca_file, alpn };
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = configs.get(&key).filter(|entry| entry.version == version) {
            return Ok(Arc::clone(&entry.config));
        }
        let config = Arc::new(self.build(&key)?);
        if configs.len() >= CONFIGS_MAX {
            configs.clear();
        }
        configs.insert(key, Entry { config: Arc::clone(&config), version });
        Ok(config)
    }

    /// Read once. Failure is not kept: authorities may be installed later.
    fn system_roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        if let Some(roots) = self.system_roots.get() {
            return Ok(Arc::clone(roots));
        }
        let roots = system_authorities().map_err(TlsError::NoSystemAuthorities)?;
        Ok(Arc::clone(self.system_roots.get_or_init(|| roots)))
    }

    fn build(&self, key: &Key) -> Result<ClientConfig, TlsError> {
        let roots = match &key.ca_file {
            _ if !key.verify => None,
            Some(file) => Some(Arc::new(read_authorities(file)?)),
            None => Some(self.system_roots()?),
        };
        let verifier: Arc<dyn ServerCertVerifier> = match roots {
            Some(roots) => WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
                .build()
                .map_err(|e| TlsError::Configuration(e.to_string()))?,
            None => Arc::new(AnyCertificate(Arc::clone(&self.provider))),
        };
        let mut config = ClientConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(RustlsClock(Arc::clone(&self.clock))))
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Configuration(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = match key.alpn {
            Alpn::None => Vec::new(),
            Alpn::Http1 => vec![b"http/1.1".to_vec()],
            Alpn::Http2 => vec![b"h2".to_vec()],
        };
        Ok(config)
    }
}

/// All certificates of a PEM file as trusted authorities.
fn read_authorities(file: &str) -> Result<RootCertStore, TlsError> {
    let failed = |reason: String| TlsError::Authorities { file: file.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(Path::new(file)).map_err(|e| failed(e.to_string()))? {
        roots.add(certificate.map_err(|e| failed(e.to_string()))?).map_err(|e| failed(e.to_string()))?;
    }
    if roots.is_empty() { Err(failed("no certificate in it; it must be in PEM form".to_owned())) } else { Ok(roots) }
}

/// The system's authorities. Single unreadable ones are normal and skipped; having none at all is the error.
fn system_authorities() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string));
    }
    Ok(Arc::new(roots))
}

/// Our clock in the form that rustls reads.
struct RustlsClock(Arc<dyn WallClock>);

impl fmt::Debug for RustlsClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RustlsClock")
    }
}

impl TimeProvider for RustlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.now().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

/// `verify: false`: takes every certificate.
///
/// The handshake's signature is not checked either: without a trusted certificate it proves nothing, and checking it would refuse keys and
/// encodings that the operator asked to overlook.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

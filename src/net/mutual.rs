//! Mutual TLS between nodes and with operators: three PEM files become a server's or a client's configuration.
//!
//! Both sides trust `ca_file` only, never the system's roots: a public authority must not be able to name an operator or a node.
//! Contents of keys never appear in errors.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// HTTP/2 as ALPN names it (RFC 9113 section 3.1).
const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 as ALPN names it (RFC 7301 section 6), for the JSON mirror.
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Where the three files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that sign both sides' certificates.
    pub ca_file: PathBuf,
    /// This side's certificate, then intermediate ones.
    pub cert_file: PathBuf,
    /// The private key of the first certificate.
    pub key_file: PathBuf,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM of the expected kind.
    #[error("read {what} from `{}`: {problem}", .path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The files can be read, but do not fit together.
    #[error("use certificate `{}` with key `{}`: {problem}", .files.cert_file.display(), .files.key_file.display())]
    Unusable {
        /// The files.
        files: TlsFiles,
        /// What is wrong.
        problem: String,
    },
}

impl TlsFiles {
    /// Reads the files for a server that demands a client certificate signed by `ca_file`; with `or_none`, a client may also show none at all,
    /// because it will show a token. A certificate that is shown and not signed so is refused all the same.
    ///
    /// # Errors
    /// [`TlsError`] names the file and the problem.
    pub fn server(&self, or_none: bool) -> Result<Arc<ServerConfig>, TlsError> {
        let (chain, key) = self.identity()?;
        let provider = provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(&provider));
        let verifier = if or_none { verifier.allow_unauthenticated().build() } else { verifier.build() };
        let verifier = verifier.map_err(|error| self.unusable(&error))?;
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| self.unusable(&error))?.with_client_cert_verifier(verifier);
        let mut config = config.with_single_cert(chain, key).map_err(|error| self.unusable(&error))?;
        config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files for a client that shows its certificate and trusts servers signed by `ca_file`.
    ///
    /// # Errors
    /// [`TlsError`] names the file and the problem.
    pub fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.client_judging(|chain| chain)
    }

    /// As [`TlsFiles::client`]; `judge` makes of what verifies chains what verifies servers.
    ///
    /// # Errors
    /// [`TlsError`] names the file and the problem.
    pub fn client_judging(
        &self,
        judge: impl FnOnce(Arc<dyn ServerCertVerifier>) -> Arc<dyn ServerCertVerifier>,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let (chain, key) = self.identity()?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider()).build();
        let verifier = judge(verifier.map_err(|error| self.unusable(&error))?);
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = config.map_err(|error| self.unusable(&error))?.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = config.with_client_auth_cert(chain, key).map_err(|error| self.unusable(&error))?;
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the authority for a client that shows no certificate, because it shows a token.
    ///
    /// # Errors
    /// [`TlsError`] names the file and the problem.
    pub fn anonymous_client(ca_file: &Path) -> Result<Arc<ClientConfig>, TlsError> {
        let files = Self { ca_file: ca_file.to_owned(), cert_file: PathBuf::new(), key_file: PathBuf::new() };
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = config.map_err(|error| files.unusable(&error))?.with_root_certificates(files.roots()?);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Ok(Arc::new(config))
    }

    fn identity(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let key = PrivateKeyDer::from_pem_file(&self.key_file).map_err(|error| unreadable("a private key", &self.key_file, &error))?;
        Ok((certificates("a certificate", &self.cert_file)?, key))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let what = "certificate authorities";
        let mut roots = RootCertStore::empty();
        for certificate in certificates(what, &self.ca_file)? {
            roots.add(certificate).map_err(|error| unreadable(what, &self.ca_file, &error))?;
        }
        Ok(roots)
    }

    fn unusable(&self, problem: &dyn std::fmt::Display) -> TlsError {
        TlsError::Unusable { files: self.clone(), problem: problem.to_string() }
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|error| unreadable(what, path, &error))?;
    if certificates.is_empty() { Err(unreadable(what, path, &"the file holds no CERTIFICATE block")) } else { Ok(certificates) }
}

fn unreadable(what: &'static str, path: &Path, problem: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { what, path: path.to_owned(), problem: problem.to_string() }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

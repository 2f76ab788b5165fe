//! Whose certificate it is: that of the node which is meant, and not just anybody's whom the same authority signed.
//!
//! An operator's certificate comes from the same authority and must not speak for a node. A node's certificate names it by one of: the node's
//! name as a DNS name, the host under which the address book has it, or a URI whose path ends in `/node/NAME` (SPIFFE). An agent's names it by a
//! URI whose path ends in `/agent/NAME`, and by nothing else: who stands beside a database speaks for no node.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// The longest list of names shown to people.
const NAMES_SHOWN_MAX: usize = 5;

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    dns: Vec<String>,
    uris: Vec<String>,
}

impl Names {
    /// Of a certificate that was verified; one that cannot be read has none.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut names = Self::default();
        let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return names };
        let Ok(Some(alternative)) = parsed.subject_alternative_name() else { return names };
        for name in &alternative.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        names
    }

    /// Whether it is the certificate of the agent of this name.
    #[must_use]
    pub fn is_of_agent(&self, name: &str) -> bool {
        self.uris.iter().any(|uri| uri.rsplit_once("/agent/").is_some_and(|(_, of)| of == name))
    }

    /// Whether it is the certificate of `node`, which the address book has at `host`.
    #[must_use]
    pub fn is_of(&self, node: &str, host: Option<&str>) -> bool {
        let is_named = |name: &String| name.eq_ignore_ascii_case(node) || host.is_some_and(|host| name.eq_ignore_ascii_case(host));
        let ends = |uri: &String| uri.rsplit_once("/node/").is_some_and(|(_, name)| name == node);
        self.dns.iter().any(is_named) || self.uris.iter().any(ends)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.dns.iter().chain(&self.uris).map(String::as_str).take(NAMES_SHOWN_MAX).collect();
        if all.is_empty() { f.write_str("nobody") } else { f.write_str(&all.join(", ")) }
    }
}

/// Verifies that the other side is `node`: signed by the authority, and named as above.
#[derive(Debug)]
pub struct IsNode {
    /// Verifies the chain.
    pub chain: Arc<dyn ServerCertVerifier>,
    /// Which node.
    pub node: String,
}

impl ServerCertVerifier for IsNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // Names are looked at last: everything else about it is in order.
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                let names = Names::of(end_entity);
                if names.is_of(&self.node, None) {
                    return Ok(ServerCertVerified::assertion());
                }
                Err(Error::General(format!("its certificate is of {names}, not of node `{}`", self.node)))
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_by_its_name_its_host_or_its_uri() {
        let names = Names {
            dns: vec!["use1-a".to_owned(), "portolan-0.use1.example.net".to_owned()],
            uris: vec!["spiffe://shop-prod/node/use1-a".to_owned()],
        };
        assert!(names.is_of("use1-a", None));
        assert!(names.is_of("other", Some("portolan-0.use1.example.net")));
        assert!(!names.is_of("other", Some("portolan-1.use1.example.net")));
        let uri = Names { dns: Vec::new(), uris: names.uris };
        assert!(uri.is_of("use1-a", None) && !uri.is_of("a", None));
        let operator = Names { dns: Vec::new(), uris: vec!["spiffe://shop-prod/operator/use1-a".to_owned()] };
        assert!(!operator.is_of("use1-a", None), "an operator speaks for no node");
        let agent = Names { dns: Vec::new(), uris: vec!["spiffe://shop-prod/agent/pg-use1".to_owned()] };
        assert!(agent.is_of_agent("pg-use1") && !agent.is_of_agent("use1") && !agent.is_of("pg-use1", None));
        assert_eq!(Names::default().to_string(), "nobody");
    }
}

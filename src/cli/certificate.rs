//! What a certificate file says: for whom, by whom, from when until when.

use std::{fs, path::Path};

use portolan_core::model::time::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

/// The largest file of certificates that is read, in octets: a long chain takes a hundredth of it.
const FILE_OCTETS_MAX: u64 = 1024 * 1024;

/// The first certificate of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Its SPIFFE id, else its first DNS name, else its subject.
    pub(super) name: String,
    /// Its DNS names and addresses.
    pub(super) hosts: Vec<String>,
    /// Its URIs.
    pub(super) uris: Vec<String>,
    /// Valid from.
    pub(super) begin: Timestamp,
    /// Valid until.
    pub(super) end: Timestamp,
}

/// Reads the first certificate of a PEM file.
///
/// # Errors
/// A sentence that names the file.
pub(super) fn read(file: &Path) -> Result<Shown, String> {
    let named = |problem: &dyn std::fmt::Display| format!("read a certificate from `{}`: {problem}", file.display());
    let size = fs::metadata(file).map_err(|error| named(&error))?.len();
    if size > FILE_OCTETS_MAX {
        return Err(named(&format!("it has {size} octets; at most {FILE_OCTETS_MAX} are read")));
    }
    let text = fs::read(file).map_err(|error| named(&error))?;
    let der = CertificateDer::from_pem_slice(&text).map_err(|error| named(&error))?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| named(&error))?;
    Ok(shown(&parsed))
}

fn shown(parsed: &X509Certificate<'_>) -> Shown {
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    let (mut hosts, mut uris) = (Vec::new(), Vec::new());
    for name in names {
        match name {
            GeneralName::DNSName(name) => hosts.push((*name).to_owned()),
            GeneralName::IPAddress(octets) => hosts.extend(address(octets)),
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            _ => {}
        }
    }
    let name = uris.iter().find(|uri| uri.starts_with("spiffe://")).or_else(|| hosts.first()).cloned();
    let millis = |time: &x509_parser::time::ASN1Time| Timestamp(time.timestamp().saturating_mul(1000));
    let validity = parsed.validity();
    Shown {
        name: name.unwrap_or_else(|| parsed.subject().to_string()),
        hosts,
        uris,
        begin: millis(&validity.not_before),
        end: millis(&validity.not_after),
    }
}

/// An address as a certificate holds it (RFC 5280 section 4.2.1.6).
fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).ok().map(|octets| std::net::Ipv4Addr::from(octets).to_string());
    v4.or_else(|| <[u8; 16]>::try_from(octets).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string()))
}

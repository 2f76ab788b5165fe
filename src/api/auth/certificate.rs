//! The name in a client certificate.
//!
//! Source: SPIFFE X.509-SVID section 2 (exactly one URI SAN), RFC 5280 section 4.2.1.6.

use portolan_core::cluster::limits::ACTOR_MAX;
use rustls::pki_types::CertificateDer;
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

/// What a verified certificate says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// The name to show.
    pub(super) name: String,
    /// The SPIFFE id, which roles are bound to; `None`: it has none, or more than one.
    pub(super) spiffe: Option<String>,
}

/// The holder: its SPIFFE id, else its first DNS name, else its common name. Who a certificate is for was verified before; a certificate that
/// names nobody has the name `certificate`.
pub(super) fn holder(certificate: &CertificateDer<'_>) -> Holder {
    let nobody = Holder { name: "certificate".to_owned(), spiffe: None };
    let Ok((_, parsed)) = x509_parser::certificate::X509Certificate::from_der(certificate) else { return nobody };
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    let mut spiffe = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with("spiffe://") => is_shown(uri).then(|| (*uri).to_owned()),
        _ => None,
    });
    if let (Some(id), None) = (spiffe.next(), spiffe.next()) {
        return Holder { name: id.clone(), spiffe: Some(id) };
    }
    let dns = names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => Some(format!("dns:{name}")),
        _ => None,
    });
    let common = || parsed.subject().iter_common_name().find_map(|name| name.as_str().ok()).map(|name| format!("cn:{name}"));
    dns.or_else(common).filter(|name| is_shown(name)).map_or(nobody, |name| Holder { name, spiffe: None })
}

/// Whether audit and logs can show it whole.
fn is_shown(name: &str) -> bool {
    name.len() <= ACTOR_MAX && !name.trim().is_empty() && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn of(common: Option<&str>, uris: &[&str], dns: &[&str]) -> Holder {
        let mut params = CertificateParams::new(dns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        holder(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    #[test]
    fn a_holder_is_its_spiffe_id_else_a_name_that_cannot_be_taken_for_one() {
        let runner = "spiffe://example.com/runner";
        assert_eq!(of(Some("ana"), &[runner], &["a.example.com"]), Holder { name: runner.to_owned(), spiffe: Some(runner.to_owned()) });
        assert_eq!(of(Some("ana"), &[], &["a.example.com"]), Holder { name: "dns:a.example.com".to_owned(), spiffe: None });
        assert_eq!(of(Some(runner), &[], &[]), Holder { name: format!("cn:{runner}"), spiffe: None });
        assert_eq!(of(None, &["https://example.com"], &[]).name, "certificate");
    }

    #[test]
    fn two_spiffe_ids_are_none_and_no_name_breaks_a_line() {
        assert_eq!(of(Some("ana"), &["spiffe://a/x", "spiffe://b/y"], &[]), Holder { name: "cn:ana".to_owned(), spiffe: None });
        assert_eq!(of(Some("ana\nrole=admin"), &[], &[]).name, "certificate");
        assert_eq!(of(Some(&"x".repeat(300)), &[], &[]).name, "certificate");
        assert_eq!(holder(&CertificateDer::from(vec![1, 2, 3])).name, "certificate");
    }
}

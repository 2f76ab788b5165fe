//! The authority on disk, and what it signs.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use portolan_core::model::{name::Name, time::Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};

use crate::cli::{certificate, file};

/// The authority's certificate in its directory.
pub(super) const CERT_FILE: &str = "ca.pem";
/// Its key.
const KEY_FILE: &str = "ca.key";
/// The name of the authority's files, which no holder may have.
const OWN_NAME: &str = "ca";
/// Life of the authority, in days: ten years.
const CA_DAYS: i64 = 3653;
/// A certificate is valid from a day ago: clocks differ, and a node that is refused for a minute is a bad start.
const EARLIER_DAYS: i64 = 1;
const DAY_MS: i64 = 86_400_000;

pub(super) struct Authority {
    dir: PathBuf,
    cluster: String,
    end: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// Files that were written.
pub(super) struct Issued {
    pub(super) cert_file: PathBuf,
    pub(super) key_file: PathBuf,
    pub(super) end: Timestamp,
}

/// For whom a certificate is.
#[derive(Debug)]
pub(super) struct Holder {
    name: String,
    id: String,
    hosts: Vec<SanType>,
    is_server: bool,
}

impl Holder {
    /// A node, which serves and calls.
    ///
    /// # Errors
    /// A host that is neither a DNS name nor an address.
    pub(super) fn node(cluster: &str, name: &str, hosts: &[String]) -> Result<Self, String> {
        let mut names = vec![dns(name)?];
        for host in hosts {
            let host = host.parse::<IpAddr>().map_or_else(|_| dns(host), |address| Ok(SanType::IpAddress(address)))?;
            if !names.contains(&host) {
                names.push(host);
            }
        }
        Ok(Self { name: own(name)?, id: format!("spiffe://{cluster}/node/{name}"), hosts: names, is_server: true })
    }

    /// A person or a program, who only calls.
    ///
    /// # Errors
    /// The name is the authority's own.
    pub(super) fn client(cluster: &str, name: &str, role: &str) -> Result<Self, String> {
        Ok(Self { name: own(name)?, id: format!("spiffe://{cluster}/{role}/{name}"), hosts: Vec::new(), is_server: false })
    }

    /// The SPIFFE id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// A name whose files are not the authority's.
fn own(name: &str) -> Result<String, String> {
    if name == OWN_NAME {
        Err(format!("`{OWN_NAME}` is the name of the authority's own files; choose another"))
    } else {
        Ok(name.to_owned())
    }
}

fn dns(host: &str) -> Result<SanType, String> {
    let wrong = |problem: &dyn std::fmt::Display| format!("host `{host}` is neither a DNS name nor an address: {problem}");
    let name: Name = host.parse().map_err(|problem| wrong(&problem))?;
    let name = name.to_string();
    let name = name.trim_end_matches('.');
    if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet)) {
        return Err(wrong(&"write letters, digits, `-` and dots"));
    }
    name.try_into().map(SanType::DnsName).map_err(|problem: rcgen::Error| wrong(&problem))
}

fn uri(text: &str) -> Result<SanType, String> {
    text.try_into().map(SanType::URI).map_err(|problem: rcgen::Error| format!("`{text}` cannot be in a certificate: {problem}"))
}

/// Midnight so many days after the day of `now`.
fn day(now: Timestamp, days: i64) -> Timestamp {
    Timestamp((now.0.div_euclid(DAY_MS) + days) * DAY_MS)
}

/// Valid from the midnight that yesterday began with until `end`, which is a midnight, too.
fn set_life(params: &mut CertificateParams, now: Timestamp, end: Timestamp) -> Result<(), String> {
    let date = |at: Timestamp| {
        let civil = jiff::Timestamp::from_millisecond(at.0).map_err(|error| format!("the clock says {at}: {error}"))?;
        let civil = civil.to_zoned(jiff::tz::TimeZone::UTC).date();
        Ok::<_, String>(date_time_ymd(i32::from(civil.year()), civil.month().unsigned_abs(), civil.day().unsigned_abs()))
    };
    params.not_before = date(day(now, -EARLIER_DAYS))?;
    params.not_after = date(end)?;
    Ok(())
}

fn common_name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

/// An ECDSA key on P-256 (FIPS 186-5): what every TLS library takes, and small.
fn new_key() -> Result<KeyPair, String> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| format!("make a key: {error}"))
}

impl Authority {
    /// Makes an authority and writes it.
    ///
    /// # Errors
    /// A file is there already, or cannot be written.
    pub(super) fn create(dir: &Path, cluster: &str, now: Timestamp) -> Result<Issued, String> {
        let (cert_file, key_file) = (dir.join(CERT_FILE), dir.join(KEY_FILE));
        for file in [&cert_file, &key_file] {
            if file.exists() {
                return Err(format!(
                    "`{}` is there already: certificates by another authority would not be trusted any more; choose another --dir",
                    file.display()
                ));
            }
        }
        fs::create_dir_all(dir).map_err(|error| format!("create `{}`: {error}", dir.display()))?;
        let mut params = CertificateParams::default();
        common_name(&mut params, &format!("Portolan authority of {cluster}"));
        params.subject_alt_names = vec![uri(&format!("spiffe://{cluster}"))?];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let end = day(now, CA_DAYS);
        set_life(&mut params, now, end)?;
        let signed = CertifiedIssuer::self_signed(params, new_key()?).map_err(|error| format!("sign the authority: {error}"))?;
        file::write_new(&key_file, signed.key().serialize_pem().as_bytes(), file::PRIVATE)?;
        file::write_new(&cert_file, signed.pem().as_bytes(), file::PUBLIC)?;
        Ok(Issued { cert_file, key_file, end })
    }

    /// Reads an authority that was made before.
    ///
    /// # Errors
    /// A file is missing, or is none of ours.
    pub(super) fn load(dir: &Path) -> Result<Self, String> {
        let (cert_file, key_file) = (dir.join(CERT_FILE), dir.join(KEY_FILE));
        let read = |file: &Path| {
            fs::read_to_string(file).map_err(|error| format!("read `{}`: {error}; `portolan pki init` makes an authority", file.display()))
        };
        let (certificate, key) = (read(&cert_file)?, read(&key_file)?);
        let shown = certificate::read(&cert_file)?;
        let cluster = shown.uris.iter().find_map(|uri| uri.strip_prefix("spiffe://")).filter(|domain| !domain.contains('/'));
        let cluster =
            cluster.ok_or_else(|| format!("`{}` names no cluster: it was not made by `portolan pki init`", cert_file.display()))?;
        let key = KeyPair::from_pem(&key).map_err(|error| format!("read a key from `{}`: {error}", key_file.display()))?;
        let issuer =
            Issuer::from_ca_cert_pem(&certificate, key).map_err(|error| format!("use `{}` to sign: {error}", cert_file.display()))?;
        Ok(Self { dir: dir.to_owned(), cluster: cluster.to_owned(), end: shown.end, issuer })
    }

    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Signs a certificate for a holder, and writes it with its new key.
    ///
    /// # Errors
    /// Files of that name are there and `replace` is not set, the authority ends before it, or something cannot be written.
    pub(super) fn issue(&self, holder: &Holder, days: u16, now: Timestamp, replace: bool) -> Result<Issued, String> {
        let file = |ending: &str| self.dir.join(format!("{}.{ending}", holder.name));
        let (cert_file, key_file) = (file("pem"), file("key"));
        for file in [&cert_file, &key_file] {
            if !replace && file.exists() {
                return Err(format!("`{}` is there already; --replace renews it", file.display()));
            }
        }
        let end = day(now, i64::from(days));
        if end > self.end {
            return Err(format!("the authority is valid until {} only; give fewer --days, or make a new authority", self.end));
        }
        let mut params = CertificateParams::default();
        common_name(&mut params, &holder.name);
        params.subject_alt_names = holder.hosts.clone();
        params.subject_alt_names.push(uri(&holder.id)?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if holder.is_server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        set_life(&mut params, now, end)?;
        let key = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| format!("sign the certificate: {error}"))?;
        let write = if replace { file::write_over } else { file::write_new };
        write(&key_file, key.serialize_pem().as_bytes(), file::PRIVATE)?;
        write(&cert_file, certificate.pem().as_bytes(), file::PUBLIC)?;
        Ok(Issued { cert_file, key_file, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        let node = |host: &str| Holder::node("shop", "use1-a", &[host.to_owned()]);
        assert_eq!(node("use1.example.net").unwrap().hosts.len(), 2);
        assert_eq!(node("use1-a").unwrap().hosts.len(), 1, "no name twice");
        assert!(matches!(node("192.0.2.1").unwrap().hosts[1], SanType::IpAddress(_)));
        for wrong in ["", "a b", "use1:8443", "https://use1", "a..b"] {
            assert!(node(wrong).unwrap_err().contains("neither"), "{wrong}");
        }
        assert!(Holder::client("shop", "ca", "viewer").unwrap_err().contains("own files"));
    }

    #[test]
    fn certificates_begin_and_end_at_midnight() {
        let now = Timestamp(1_795_316_600_000);
        assert_eq!(day(now, 365).to_string(), "2027-11-22T00:00:00Z");
        assert_eq!(day(now, -1).to_string(), "2026-11-21T00:00:00Z");
    }
}

//! The words that settings are made of: durations, shares, names, addresses, URLs.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;

use super::decode::{Measure, Word};
use crate::model::{
    check::{Address, Host},
    ids::Label,
    name::Name,
    record::RecordType,
    time::{Human, Timestamp},
    units::{Code, Share},
};

/// The longest duration: longer than any retention, and sums of a few never overflow.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);
/// The longest name of a region, a service, a group, a secret: one DNS label (RFC 1035), so that it fits into one.
const LABEL_LENGTH_MAX: usize = 63;

/// Shorthand for tables of sections.
#[must_use]
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Shorthand for tables of sections.
#[must_use]
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Shorthand for tables of sections.
#[must_use]
pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// Shorthand for tables of sections.
#[must_use]
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

/// Shorthand for tables of sections.
#[must_use]
pub const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

/// `1h30m`: whole numbers with units, the larger unit first. A year is 365 days.
impl Word for Duration {
    const WHAT: &'static str = "a duration";
    const EXAMPLES: &'static str = "for example 250ms, 30s, 5m, 1h30m, 30d, 1y";
    const PATTERN: &'static str = "^([0-9]+y)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

    fn read(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 6] = [("y", 31_536_000_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        let (mut rest, mut total, mut units) = (text, 0_u64, UNITS.as_slice());
        if text.is_empty() {
            return Err("is not a duration".to_owned());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let Ok(number) = rest[..digits].parse::<u64>() else { return Err("is not a duration".to_owned()) };
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let unit = &rest[..letters];
            rest = &rest[letters..];
            if unit.is_empty() {
                return Err(if rest.is_empty() { "has no unit".to_owned() } else { "is not a duration".to_owned() });
            }
            let Some(at) = units.iter().position(|&(known, _)| known == unit) else {
                let known = UNITS.iter().any(|&(known, _)| known == unit);
                return Err(if known {
                    "has its units out of order, or one twice".to_owned()
                } else {
                    format!("has an unknown unit, `{unit}`")
                });
            };
            total = number.checked_mul(units[at].1).and_then(|millis| total.checked_add(millis)).ok_or("is too long for a duration")?;
            units = &units[at + 1..];
        }
        Some(Self::from_millis(total)).filter(|&duration| duration <= DURATION_MAX).ok_or_else(|| "is longer than 100 years".to_owned())
    }

    fn show(&self) -> String {
        // `Human` rounds between whole seconds for people; what is written must read back as it is.
        let (whole, millis) = (Self::from_secs(self.as_secs()), self.subsec_millis());
        match (whole.is_zero(), millis) {
            (_, 0) => Human(whole).to_string(),
            (true, millis) => format!("{millis}ms"),
            (false, millis) => format!("{}{millis}ms", Human(whole)),
        }
    }
}

impl Measure for Duration {
    fn show_measure(&self) -> String {
        self.show()
    }

    fn number(&self) -> Option<serde_json::Value> {
        None
    }
}

/// `20%`, with at most two decimals.
impl Word for Share {
    const WHAT: &'static str = "a percentage";
    const EXAMPLES: &'static str = "for example 10% or 12.5%";
    const PATTERN: &'static str = r"^[0-9]{1,3}(\.[0-9]{1,2})?%$";

    fn read(text: &str) -> Result<Self, String> {
        let Some(number) = text.strip_suffix('%') else {
            return Err(if text.parse::<f64>().is_ok() { "has no percent sign".to_owned() } else { "is not a percentage".to_owned() });
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 2 {
            return Err("is not a percentage with at most two decimals".to_owned());
        }
        let hundredths: u32 = format!("{fraction:0<2}").parse().map_err(|_| "is not a percentage")?;
        let points = whole.parse::<u32>().ok().and_then(|whole| whole.checked_mul(100)?.checked_add(hundredths)).unwrap_or(u32::MAX);
        u16::try_from(points).ok().filter(|&points| points <= 10_000).map(Self::basis_points).ok_or_else(|| "is more than 100%".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A name that people give: of a region, a service, a group.
impl Word for Label {
    const WHAT: &'static str = "a name";
    const EXAMPLES: &'static str = "1 to 63 of a-z, 0-9, `-`, `_` and `.`, the first and the last a letter or digit";
    const PATTERN: &'static str = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$";

    fn read(text: &str) -> Result<Self, String> {
        let is_edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let edges = text.as_bytes().first().is_some_and(is_edge) && text.as_bytes().last().is_some_and(is_edge);
        if !edges || text.len() > LABEL_LENGTH_MAX || !text.bytes().all(|b| is_edge(&b) || matches!(b, b'-' | b'_' | b'.')) {
            return Err("cannot be a name here".to_owned());
        }
        Ok(Self::new(text))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A name that other systems gave (a machine type, a VPC, a channel): printable ASCII without spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainName(pub String);

impl Word for PlainName {
    const WHAT: &'static str = "a name";
    const EXAMPLES: &'static str = "1 to 253 printable characters without spaces";
    const PATTERN: &'static str = "^[!-~]{1,253}$";

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 253 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("cannot be a name here".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl std::fmt::Display for PlainName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of a file in `secrets_dir` or `hooks_dir`: never a path, never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret(pub Label);

impl Word for Secret {
    const WHAT: &'static str = "the name of a file in secrets_dir or hooks_dir";
    const EXAMPLES: &'static str = "for example pg-use1: 1 to 63 of a-z, 0-9, `-`, `_` and `.`, no path";
    const PATTERN: &'static str = <Label as Word>::PATTERN;

    fn read(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Err("is a path or a URL; the plan names secrets and hooks, their places stand in the node config".to_owned());
        }
        if text.contains("..") {
            return Err("cannot be a name here".to_owned());
        }
        Label::read(text).map(Self)
    }

    /// What stands where a name belongs may be the secret itself.
    fn is_sensitive(_text: &str) -> bool {
        true
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl Word for Name {
    const WHAT: &'static str = "a DNS name";
    const EXAMPLES: &'static str = "for example api.example.com";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|problem| format!("is not a DNS name: {problem}"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Word for RecordType {
    const WHAT: &'static str = "a record type";
    const EXAMPLES: &'static str = "for example A, AAAA, TXT, MX";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is not a record type".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Word for Code {
    const WHAT: &'static str = "a code of two letters";
    const EXAMPLES: &'static str = "a continent (EU, NA, AS) or a country (IE, US)";
    const PATTERN: &'static str = "^[A-Za-z]{2}$";

    fn read(text: &str) -> Result<Self, String> {
        Self::new(text).ok_or_else(|| "is not a code of two letters".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Word for IpAddr {
    const WHAT: &'static str = "an IP address";
    const EXAMPLES: &'static str = "for example 192.0.2.20 or \"2001:db8::1\"";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            if text.parse::<SocketAddr>().is_ok() { "has a port; an address alone is expected" } else { "is not an IP address" }.to_owned()
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Word for SocketAddr {
    const WHAT: &'static str = "an address with a port";
    const EXAMPLES: &'static str = "for example 0.0.0.0:5353 or \"[::]:5353\"";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| if text.parse::<IpAddr>().is_ok() { "has no port" } else { "is not an address with a port" }.to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Word for IpNet {
    const WHAT: &'static str = "a network";
    const EXAMPLES: &'static str = "for example 10.0.0.0/16 or \"2001:db8::/32\"";

    fn read(text: &str) -> Result<Self, String> {
        let net: Self = text
            .parse()
            .map_err(|_| if text.parse::<IpAddr>().is_ok() { "has no prefix length" } else { "is not a network" }.to_owned())?;
        if net.trunc() != net {
            return Err(format!("has bits set behind its prefix; the network is {}", net.trunc()));
        }
        Ok(net)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A host, by name or address, with a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort(pub Address);

impl Word for HostPort {
    const WHAT: &'static str = "a host and port";
    const EXAMPLES: &'static str = "for example db.example.com:5432 or 10.0.0.5:5432";

    fn read(text: &str) -> Result<Self, String> {
        let Some((host, port)) = text.rsplit_once(':') else { return Err("has no port".to_owned()) };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_none() && host.contains(':') {
            return Err("is not a host and port; an IPv6 address stands in square brackets".to_owned());
        }
        let port =
            port.parse::<u16>().ok().filter(|&number| number != 0 && number.to_string() == port).ok_or("has no port from 1 to 65535")?;
        Ok(Self(Address { host: read_host(bracketed.unwrap_or(host), bracketed.is_some())?, port }))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// An address, or a name; what looks like a mistyped address is not taken for a name.
pub(crate) fn read_host(text: &str, must_be_v6: bool) -> Result<Host, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return if must_be_v6 && address.is_ipv4() {
            Err("has an IPv4 address in square brackets".to_owned())
        } else {
            Ok(Host::Ip(address))
        };
    }
    let last_label = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_name = !must_be_v6 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !is_name || last_label.is_empty() || last_label.bytes().all(|b| b.is_ascii_digit()) {
        return Err("has neither an address nor a host name".to_owned());
    }
    text.parse().map(Host::Name).map_err(|problem| format!("has no valid host name: {problem}"))
}

/// A URL: a scheme, a host, and the rest as it is written. Never with a password: secrets are named, not written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    text: String,
    scheme_end: usize,
    host_end: usize,
}

impl Url {
    /// In lower case, without `://`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme_end]
    }

    /// Host and port as written; placeholders such as `{publish}` may stand in it.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.text[self.scheme_end + 3..self.host_end]
    }

    /// From the first `/` behind the host, if any.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.text[self.host_end..]
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host without port and brackets, when it is an IP address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let authority = self.authority();
        if let Some(rest) = authority.strip_prefix('[') {
            return rest.split_once(']').and_then(|(host, _)| host.parse().ok());
        }
        authority.split(':').next().and_then(|host| host.parse().ok())
    }
}

impl Word for Url {
    const WHAT: &'static str = "a URL";
    const EXAMPLES: &'static str = "for example https://host.example.com/path";
    const PATTERN: &'static str = "^[a-z][a-z0-9+.-]*://[^/?#@ ]+([/?#][^ ]*)?$";

    fn read(text: &str) -> Result<Self, String> {
        let Some(scheme_end) = text.find("://") else { return Err("has no scheme".to_owned()) };
        let scheme = &text[..scheme_end];
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'.' | b'-'));
        if !is_scheme {
            return Err("has a scheme that is not lower-case letters".to_owned());
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("holds a space or a character outside ASCII".to_owned());
        }
        let rest = &text[scheme_end + 3..];
        let host_end = scheme_end + 3 + rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = &text[scheme_end + 3..host_end];
        if authority.contains('@') {
            return Err("holds a user or a password".to_owned());
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err("has no host".to_owned());
        }
        let port = authority.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']')).map(|(_, port)| port);
        if port.is_some_and(|port| !port.starts_with('{') && port.parse::<u16>().map_or(true, |port| port == 0)) {
            return Err("has no port from 1 to 65535 behind the colon".to_owned());
        }
        Ok(Self { text: text.to_owned(), scheme_end, host_end })
    }

    /// A user and a password stand before an at sign.
    fn is_sensitive(text: &str) -> bool {
        text.contains('@')
    }

    fn show(&self) -> String {
        self.text.clone()
    }
}

/// `2026-12-24T00:00:00Z`: UTC, whole seconds.
impl Word for Timestamp {
    const WHAT: &'static str = "a time";
    const EXAMPLES: &'static str = "in UTC, for example 2026-12-24T00:00:00Z";
    const PATTERN: &'static str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$";

    fn read(text: &str) -> Result<Self, String> {
        let wrong = || "is not a time in UTC".to_owned();
        let octets = text.as_bytes();
        let form = b"0000-00-00T00:00:00Z";
        let fits = octets.len() == form.len() && octets.iter().zip(form).all(|(b, f)| if *f == b'0' { b.is_ascii_digit() } else { b == f });
        if !fits {
            return Err(wrong());
        }
        let field = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap_or(0);
        let (year, month, day) = (field(0..4), field(5..7), field(8..10));
        let (hour, minute, second) = (field(11..13), field(14..16), field(17..19));
        // Days of the civil calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
        let shifted_year = if month <= 2 { year - 1 } else { year };
        let era = shifted_year.div_euclid(400);
        let year_of_era = shifted_year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
        let at = Self((days * 86_400 + hour * 3600 + minute * 60 + second) * 1000);
        // A date that does not exist comes out as another one.
        if at.to_string() == text { Ok(at) } else { Err("does not exist in the calendar".to_owned()) }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

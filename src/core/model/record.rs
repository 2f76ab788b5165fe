//! DNS records as values: type, owner, time to live, data.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{name::Name, units::Ttl};

/// A record or query type by its number (IANA DNS parameters).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordType(pub u16);

macro_rules! record_types {
    ($($name:ident = $number:literal),* $(,)?) => {
        impl RecordType {
            $(
                #[doc = concat!("Type ", stringify!($name), ".")]
                pub const $name: Self = Self($number);
            )*
            const NAMES: &'static [(&'static str, Self)] = &[$((stringify!($name), Self($number))),*];
        }
    };
}

record_types! {
    A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, HINFO = 13, MX = 15, TXT = 16, AAAA = 28, SRV = 33, DS = 43, RRSIG = 46, NSEC = 47,
    DNSKEY = 48, SVCB = 64, HTTPS = 65, IXFR = 251, AXFR = 252, ANY = 255, CAA = 257,
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(_, known)| known == self) {
            Some((name, _)) => f.pad(name),
            None => f.pad(&format!("TYPE{}", self.0)),
        }
    }
}

impl fmt::Debug for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for RecordType {
    type Err = String;

    /// Reads `AAAA` in any case, or `TYPE28` (RFC 3597 section 5).
    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        if let Some((_, known)) = Self::NAMES.iter().find(|(name, _)| *name == upper) {
            return Ok(*known);
        }
        let number = upper.strip_prefix("TYPE").and_then(|digits| digits.parse().ok());
        number.map(Self).ok_or_else(|| format!("`{text}` is not a record type; write for example A, AAAA, TXT or TYPE65"))
    }
}

/// The data of a record of class IN. Only the types that a plan or a zone file may hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecordData {
    /// An IPv4 address (RFC 1035 section 3.4.1).
    A(Ipv4Addr),
    /// An IPv6 address (RFC 3596).
    Aaaa(Ipv6Addr),
    /// The canonical name (RFC 1035 section 3.3.1).
    Cname(Name),
    /// A name server (RFC 1035 section 3.3.11).
    Ns(Name),
    /// A pointer (RFC 1035 section 3.3.12).
    Ptr(Name),
    /// A mail exchange (RFC 1035 section 3.3.9).
    Mx {
        /// The lower is preferred.
        preference: u16,
        /// The host.
        exchange: Name,
    },
    /// One or more strings of at most 255 octets each (RFC 1035 section 3.3.14).
    Txt(Vec<Vec<u8>>),
    /// A service location (RFC 2782).
    Srv {
        /// The lower is tried first.
        priority: u16,
        /// Share among equal priorities.
        weight: u16,
        /// TCP or UDP port.
        port: u16,
        /// The host.
        target: Name,
    },
    /// Certification authority authorisation (RFC 8659).
    Caa {
        /// Bit 7 is "issuer critical".
        flags: u8,
        /// `issue`, `issuewild`, `iodef` … in lower case.
        tag: String,
        /// The value as octets.
        value: Vec<u8>,
    },
    /// Start of authority (RFC 1035 section 3.3.13).
    Soa(Soa),
}

/// Start of authority (RFC 1035 section 3.3.13; `minimum` as in RFC 2308).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Soa {
    /// The first name server.
    pub primary: Name,
    /// The mailbox of the person in charge, the at sign as a dot.
    pub contact: Name,
    /// Version of the zone's static content (RFC 1982).
    pub serial: u32,
    /// Seconds between a secondary's looks.
    pub refresh: u32,
    /// Seconds before a failed look is tried again.
    pub retry: u32,
    /// Seconds after which a secondary gives up.
    pub expire: u32,
    /// Seconds for which "no such name" and "no such data" may be cached.
    pub minimum: u32,
}

impl RecordData {
    /// The type of this data.
    #[must_use]
    pub const fn record_type(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::AAAA,
            Self::Cname(_) => RecordType::CNAME,
            Self::Ns(_) => RecordType::NS,
            Self::Ptr(_) => RecordType::PTR,
            Self::Mx { .. } => RecordType::MX,
            Self::Txt(_) => RecordType::TXT,
            Self::Srv { .. } => RecordType::SRV,
            Self::Caa { .. } => RecordType::CAA,
            Self::Soa(_) => RecordType::SOA,
        }
    }
}

/// The data as in a zone file.
impl fmt::Display for RecordData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = |name: &Name| if name.is_root() { ".".to_owned() } else { format!("{name}.") };
        match self {
            Self::A(address) => write!(f, "{address}"),
            Self::Aaaa(address) => write!(f, "{address}"),
            Self::Cname(name) | Self::Ns(name) | Self::Ptr(name) => f.write_str(&dot(name)),
            Self::Mx { preference, exchange } => write!(f, "{preference} {}", dot(exchange)),
            Self::Txt(strings) => {
                for (i, string) in strings.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { " " }, quoted(string))?;
                }
                Ok(())
            }
            Self::Srv { priority, weight, port, target } => write!(f, "{priority} {weight} {port} {}", dot(target)),
            Self::Caa { flags, tag, value } => write!(f, "{flags} {tag} {}", quoted(value)),
            Self::Soa(soa) => {
                let Soa { primary, contact, serial, refresh, retry, expire, minimum } = soa;
                write!(f, "{} {} {serial} {refresh} {retry} {expire} {minimum}", dot(primary), dot(contact))
            }
        }
    }
}

/// A character string in quotes, special octets escaped (RFC 1035 section 5.1).
fn quoted(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() + 2);
    text.push('"');
    for &octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(octet)]),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => text.push_str(&format!("\\{octet:03}")),
        }
    }
    text.push('"');
    text
}

/// One record of class IN.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The name that it belongs to.
    pub owner: Name,
    /// How long it may be cached.
    pub ttl: Ttl,
    /// Its data.
    pub data: RecordData,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The root prints as its dot alone.
        let dot = if self.owner.is_root() { "" } else { "." };
        write!(f, "{}{dot} {} IN {} {}", self.owner, self.ttl.secs(), self.data.record_type(), self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_go_there_and_back() {
        for text in ["A", "AAAA", "CAA", "TYPE4711"] {
            assert_eq!(text.parse::<RecordType>().map(|t| t.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("type1".parse(), Ok(RecordType::A));
        assert!("BOGUS".parse::<RecordType>().is_err());
    }
}

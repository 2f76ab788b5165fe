//! DNS zones and their static records.

use std::time::Duration;

use crate::{
    document::{PlainName, Secret, Text, days, hours, minutes, seconds},
    model::{name::Name, record::RecordType},
    section,
};

section! {
    /// A zone that is answered for.
    pub struct Zone {
        /// Its name servers, as names; one inside the zone needs its addresses among the records.
        nameservers: Vec<Name>,
        /// Who is in charge: a mailbox, or the same as a DNS name.
        contact: Contact,
        /// How long "no such name" and "no such data" may be cached.
        negative_ttl: Duration where (seconds(0)..=days(1)) = seconds(30),
        /// Time to live of the records that do not say otherwise, and of NS and SOA.
        ttl: Duration where (seconds(0)..=days(7)) = hours(1),
        /// How often a secondary looks.
        refresh: Duration where (minutes(1)..=days(7)) = hours(1),
        /// Signing; left out: unsigned.
        dnssec: Option<Dnssec> = None,
        /// A zone file with further records: a path, relative to the plan.
        file: Option<ZoneFile> = None,
        /// Static records, in the form of zone files.
        records: Vec<ZoneRecord> = Vec::new(),
    }
}

section! {
    /// Signing of a zone.
    pub struct Dnssec {
        /// The keys' name in secrets_dir.
        keys: Secret,
    }
}

section! {
    /// Records of one name and type.
    pub struct ZoneRecord {
        /// Relative to the zone; `@` is the zone itself; with a dot at the end it is absolute.
        name: Text,
        /// A AAAA CNAME NS MX TXT CAA SRV PTR.
        ["type"] kind: RecordType,
        /// Time to live; the zone's where nothing is said.
        ttl: Option<Duration> where (seconds(0)..=days(7)) = None,
        /// The data, as in a zone file. A TXT value is one string; it need not stand in quotes of its own.
        values: Vec<Text>,
    }
}

/// The person in charge of a zone: `hostmaster@example.com` or `hostmaster.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact(pub Name);

impl crate::document::Word for Contact {
    const WHAT: &'static str = "a mailbox";
    const EXAMPLES: &'static str = "for example hostmaster@example.com";

    fn read(text: &str) -> Result<Self, String> {
        let wrong = |problem| format!("is not a mailbox: {problem}");
        match text.split_once('@') {
            // The part before the at sign is one label (RFC 1035 section 8).
            Some((local, domain)) => {
                let domain: Name = domain.parse().map_err(wrong)?;
                domain.child(local.as_bytes()).map(Self).map_err(wrong)
            }
            None => text.parse().map(Self).map_err(wrong),
        }
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// The path of a zone file.
pub type ZoneFile = PlainName;

//! Which check is the same one in another topology, after a restart, or on another node.
//!
//! Positions change with every plan, so the state of a check is carried over by what it looks at: its address and its kind, not its
//! cadence. A calculated check is what it is calculated from, so its identity is made of theirs.
//!
//! Nodes of several builds and machines name checks to each other by it, so the form that is hashed is written out here, field by field: it
//! depends on no compiler, no word size and no order of declarations. A change to it makes every saved state and every peer of the other
//! version a stranger once; a test holds it.

use std::fmt;

use crate::model::check::{BodyMatch, Bound, Check, HttpExpect, HttpMethod, ProbeKind, ServerRole, TlsCheck};

/// What a check looks at, as one number. Equal for equal address and kind; differs in practice for all others (128 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::health) struct Identity(u128);

impl Identity {
    /// Of `check`; `of` gives those that it is calculated from, and is empty for all other kinds.
    pub(super) fn new(check: &Check, of: &[Self]) -> Self {
        let mut form = Fnv::default();
        form.some(check.address.as_ref().map(ToString::to_string).as_deref());
        write_kind(&mut form, &check.probe.kind, of);
        Self(form.0)
    }

    /// Of the `nth` check that looks at the same thing, by another cadence; the first is the identity itself.
    pub(in crate::health) fn nth(self, nth: usize) -> u128 {
        if nth == 0 {
            return self.0;
        }
        let mut form = Fnv(self.0);
        form.number(nth as u64);
        form.0
    }

    /// As it stands in saved states: readable first, then exact.
    pub(super) fn key(self, check: &Check) -> String {
        match &check.address {
            Some(address) => format!("{} {address} {self}", check.probe.kind.word()),
            None => format!("{} {self}", check.probe.kind.word()),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn write_kind(form: &mut Fnv, kind: &ProbeKind, of: &[Identity]) {
    form.text(kind.word());
    match kind {
        ProbeKind::None | ProbeKind::Tcp => {}
        ProbeKind::Http { tls, host, method, path, headers, expect } => {
            write_tls(form, tls.as_ref());
            form.some(host.as_deref());
            form.text(match method {
                HttpMethod::Get => "GET",
                HttpMethod::Head => "HEAD",
            });
            form.text(path);
            form.number(headers.len() as u64);
            for (name, value) in headers {
                form.text(name);
                form.text(value);
            }
            write_expect(form, expect);
        }
        ProbeKind::Tls { tls, valid_for } => {
            write_tls(form, Some(tls));
            form.number(valid_for.as_secs());
            form.number(valid_for.subsec_nanos().into());
        }
        ProbeKind::Grpc { tls, service } => {
            write_tls(form, tls.as_ref());
            form.text(service);
        }
        ProbeKind::Dns { name, record_type, expect } => {
            form.text(&name.to_string());
            form.text(&record_type.to_string());
            form.some(expect.as_deref());
        }
        ProbeKind::Prometheus { url, query, bound } => {
            form.text(url);
            form.text(query);
            let (word, decimal) = match bound {
                Bound::Below(decimal) => ("below", decimal),
                Bound::Above(decimal) => ("above", decimal),
            };
            form.text(word);
            form.octets(&decimal.0.to_le_bytes());
        }
        ProbeKind::Postgres { dsn } | ProbeKind::Mariadb { dsn } => form.text(dsn),
        ProbeKind::Redis { login } => form.text(login.as_deref().unwrap_or_default()),
        ProbeKind::Fake => {}
        ProbeKind::Server { engine: _, secret, tls, role } => {
            form.some(secret.as_deref());
            write_tls(form, tls.as_ref());
            form.some(role.map(ServerRole::word));
        }
        ProbeKind::Heartbeat { name } => form.text(name),
        ProbeKind::Calculated { of: _, at_least } => {
            // The order of positions is an accident of the plan.
            let mut of = of.to_vec();
            of.sort_unstable();
            form.number((*at_least).into());
            form.number(of.len() as u64);
            of.iter().for_each(|identity| form.octets(&identity.0.to_le_bytes()));
        }
    }
}

fn write_tls(form: &mut Fnv, tls: Option<&TlsCheck>) {
    form.number(u64::from(tls.is_some()));
    if let Some(TlsCheck { server_name, verify, ca_file }) = tls {
        form.some(server_name.as_deref());
        form.number(u64::from(*verify));
        form.some(ca_file.as_deref());
    }
}

fn write_expect(form: &mut Fnv, HttpExpect { status, body }: &HttpExpect) {
    form.number(status.len() as u64);
    for (from, to) in status {
        form.number((*from).into());
        form.number((*to).into());
    }
    match body {
        None => form.text("any"),
        Some(BodyMatch::Contains(text)) => {
            form.text("contains");
            form.text(text);
        }
        Some(BodyMatch::Json { pointer, equals }) => {
            form.text("json");
            form.text(pointer);
            form.text(equals);
        }
    }
}

/// FNV-1a with 128 bits (draft-eastlake-fnv section 5). The standard library's own hasher may change between releases.
struct Fnv(u128);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv {
    fn octets(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.0 = (self.0 ^ u128::from(octet)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }

    fn number(&mut self, number: u64) {
        self.octets(&number.to_le_bytes());
    }

    /// With its length, so that two texts never read as two others.
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.octets(text.as_bytes());
    }

    fn some(&mut self, text: Option<&str>) {
        self.number(u64::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Address, Host, Probe};

    #[test]
    fn fnv_matches_its_published_vectors() {
        let fnv = |text: &str| {
            let mut fnv = Fnv::default();
            fnv.octets(text.as_bytes());
            format!("{:032x}", fnv.0)
        };
        assert_eq!(fnv(""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(fnv("a"), "d228cb696f1a8caf78912b704e4a8964");
        assert_eq!(fnv("foobar"), "343e1662793c64bf6f0d3597ba446f18");
    }

    /// What other builds and machines must arrive at; a new value here parts old nodes from new ones.
    #[test]
    fn the_form_is_the_same_everywhere() {
        let check = |kind| Check {
            address: Some(Address { host: Host::Ip("192.0.2.1".parse().unwrap()), port: 443 }),
            probe: Probe { kind, cadence: crate::testing::cadence() }.into(),
        };
        let http = ProbeKind::Http {
            tls: Some(TlsCheck { server_name: None, verify: true, ca_file: None }),
            host: Some("api.example.org".to_owned()),
            method: HttpMethod::Get,
            path: "/health".to_owned(),
            headers: vec![("x-probe".to_owned(), "1".to_owned())],
            expect: HttpExpect { status: vec![(200, 299)], body: None },
        };
        assert_eq!(Identity::new(&check(ProbeKind::Tcp), &[]).to_string(), "67ca2b676eda3daffe1375f6328807df");
        assert_eq!(Identity::new(&check(http), &[]).to_string(), "a76884eb245c30dda65c6a9fe5b648f3");
    }
}

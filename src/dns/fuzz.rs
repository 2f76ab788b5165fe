//! A small fixed source of answers, and the fuzz target over it. For tests; the daemon uses neither.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use portolan_core::{
    answer::{Answer, ExtendedError, Query, Rcode},
    model::{
        ids::{RegionIdx, ServiceIdx},
        name::Name,
        record::{Record, RecordData, RecordType},
        topology::Zone,
        units::Ttl,
    },
    zone::{Found, ZoneIndex, file},
};

use super::{
    AnswerSource, DnsOptions,
    counters::Counters,
    ecs::Subnet,
    reply::{PAYLOAD_MAX, PAYLOAD_MIN},
    respond::{Transport, respond},
};

/// The zone of [`FixedSource`].
const ZONE: &str = r#"
$TTL 300
@        SOA    ns1 hostmaster 1 1h 15m 1w 60
@        NS     ns1
@        NS     ns2
ns1      A      192.0.2.53
ns1      AAAA   2001:db8::53
ns2      A      192.0.2.54
@        MX     10 mail
mail     A      192.0.2.25
txt      TXT    "one" "two; \"three\"" "\000\255"
www      CNAME  web
web      A      192.0.2.80
*.wild   A      192.0.2.99
_sip._tcp SRV   10 60 5060 mail
@        CAA    128 issue "ca.example"
ptr      PTR    mail
sub      NS     ns.sub
sub      NS     ns.example.net.
ns.sub   A      192.0.2.60
deep.ent A      192.0.2.61
"#;

/// Answers for `example.org`: a static zone, the service `api` whose region depends on the client's network, `big` and `huge` whose answers
/// do not fit, `fail` that has none, and `panic` that panics.
#[derive(Debug)]
pub struct FixedSource {
    index: ZoneIndex,
}

impl FixedSource {
    /// With names for tests only.
    #[must_use]
    pub fn new() -> Self {
        let apex: Name = "example.org".parse().expect("invariant: a valid name");
        let contents = file::read(ZONE.as_bytes(), &apex, &|_| false).expect("invariant: the zone above is valid");
        let zone = Zone { apex: apex.clone(), records: Arc::new(contents.records) };
        let services = ["api", "big", "huge", "fail", "panic"].into_iter().enumerate();
        let services = services.map(|(at, label)| (apex.child(label.as_bytes()).expect("invariant: short"), ServiceIdx::at(at)));
        Self { index: ZoneIndex::build(&[zone], services) }
    }
}

impl Default for FixedSource {
    fn default() -> Self {
        Self::new()
    }
}

fn plain(rcode: Rcode) -> Answer {
    let (answers, authority, additional) = (Vec::new(), Vec::new(), Vec::new());
    Answer { rcode, authoritative: true, answers, authority, additional, scope: 0, extended_error: None, steered: None }
}

fn steered(query: &Query, service: ServiceIdx, answer: &mut Answer) {
    let record = |data| Record { owner: query.name.clone(), ttl: Ttl::from_secs(30), data };
    match (service.0, query.record_type) {
        (0, RecordType::A | RecordType::AAAA) => {
            let (address, scope) = match query.client_subnet {
                Some(subnet) if subnet.source_prefix > 0 => (subnet.address, subnet.source_prefix.min(24)),
                _ => (query.source, 0),
            };
            let region = match address {
                IpAddr::V4(address) if address.octets()[0] == 198 => 1,
                IpAddr::V4(_) => 2,
                IpAddr::V6(_) => 3,
            };
            answer.answers = vec![record(match query.record_type {
                RecordType::A => RecordData::A([192, 0, 2, region].into()),
                _ => RecordData::Aaaa([0x2001, 0xdb8, 0, 0, 0, 0, 0, region.into()].into()),
            })];
            (answer.scope, answer.steered) = (scope, Some((service, Some(RegionIdx(region)))));
        }
        (1, RecordType::A) => answer.answers = (0..100).map(|last| record(RecordData::A([192, 0, 2, last].into()))).collect(),
        (1, RecordType::TXT) => answer.answers = (0..12_u8).map(|n| record(RecordData::Txt(vec![vec![b'a' + n; 250]]))).collect(),
        (2, RecordType::TXT) => answer.answers = (0..300_u16).map(|n| record(RecordData::Txt(vec![n.to_be_bytes().repeat(120)]))).collect(),
        (3, _) => {
            let text = "no region of api is usable; ".repeat(10);
            let extended_error = Some(ExtendedError { code: ExtendedError::NO_REACHABLE_AUTHORITY, text });
            *answer = Answer { extended_error, authoritative: false, ..plain(Rcode::ServFail) };
        }
        (4, RecordType::A) => panic!("a test asked for it"),
        _ => {}
    }
}

impl AnswerSource for FixedSource {
    fn answer(&self, query: &Query) -> Answer {
        let owned = |records: &[Record], wildcard: bool| -> Vec<Record> {
            let owner = |record: &Record| if wildcard { query.name.clone() } else { record.owner.clone() };
            records.iter().map(|record| Record { owner: owner(record), ..record.clone() }).collect()
        };
        let mut answer = plain(Rcode::NoError);
        let negative = match self.index.lookup(&query.name, query.record_type) {
            Found::OutsideZones => {
                let extended_error = Some(ExtendedError { code: ExtendedError::NOT_AUTHORITATIVE, text: String::new() });
                return Answer { authoritative: false, extended_error, ..plain(Rcode::Refused) };
            }
            Found::Referral { ns, glue, .. } => {
                answer.authoritative = false;
                answer.authority = ns.to_vec();
                answer.additional = glue.into_iter().cloned().collect();
                None
            }
            Found::Service { zone, service } => {
                steered(query, service, &mut answer);
                (answer.answers.is_empty() && answer.rcode == Rcode::NoError).then_some(zone)
            }
            Found::Records { records, wildcard, .. } => {
                answer.answers = owned(records, wildcard);
                None
            }
            Found::Alias { record, wildcard, .. } => {
                answer.answers = owned(std::slice::from_ref(record), wildcard);
                if let RecordData::Cname(target) = &record.data
                    && let Found::Records { records, .. } = self.index.lookup(target, query.record_type)
                {
                    answer.answers.extend_from_slice(records);
                }
                None
            }
            Found::NoData { zone } => Some(zone),
            Found::NxDomain { zone } => {
                answer.rcode = Rcode::NxDomain;
                Some(zone)
            }
        };
        answer.authority.extend(negative.map(portolan_core::zone::IndexedZone::negative_soa));
        answer
    }
}

/// Feeds any octets through decoding, the rules and encoding, as UDP and as a stream; for fuzzing.
///
/// # Panics
/// When an answer is larger than allowed, is no answer to the packet, or is not well-formed: that is a bug.
pub fn fuzz_packet(data: &[u8]) {
    static SOURCE: OnceLock<(FixedSource, DnsOptions, Counters)> = OnceLock::new();
    let (source, options, counters) = SOURCE.get_or_init(|| {
        let (nsid, text) = (Some(vec![b'n'; 300]), Some("x".repeat(300)));
        let options = DnsOptions { nsid, chaos_id: text.clone(), chaos_version: text, ..DnsOptions::default() };
        (FixedSource::new(), options, Counters::new(1))
    });
    // The one name that panics on purpose.
    if data.to_ascii_lowercase().windows(6).any(|octets| octets == b"\x05panic") {
        return;
    }
    let from = SocketAddr::from(([203, 0, 113, 1], 4711));
    for transport in [Transport::Udp, Transport::Stream] {
        let Some(answer) = respond(data, from, transport, source, options, 0, counters.shard(0)) else {
            continue;
        };
        let max = if transport == Transport::Udp { usize::from(PAYLOAD_MAX) } else { usize::from(u16::MAX) };
        assert!(answer.len() <= max, "{} octets", answer.len());
        assert_eq!(answer[..2], data[..2], "the id");
        assert_eq!(answer[2] & 0x80, 0x80, "QR");
        // As it is first: the octets that `readable` looks for may also stand in a question.
        let message = hickory_proto::op::Message::from_vec(&answer).or_else(|_| hickory_proto::op::Message::from_vec(&readable(&answer)));
        let message = message.expect("the answer is well-formed");
        if transport == Transport::Udp && message.edns.is_none() {
            assert!(answer.len() <= usize::from(PAYLOAD_MIN), "{} octets", answer.len());
        }
    }
}

/// Reads any octets as the client subnet option of a query; for fuzzing. What is taken comes back in the answer with nothing but the scope changed.
///
/// # Panics
/// When it does not, or when the scope is longer than the family's addresses: that is a bug.
pub fn fuzz_ecs(data: &[u8]) {
    let Ok(subnet) = Subnet::read(data) else { return };
    let client = subnet.client();
    let max = if client.address.is_ipv4() { 32 } else { 128 };
    assert!(client.source_prefix <= max, "{client:?}");
    for scope in [0, 24, u8::MAX] {
        let answered = subnet.answered(scope);
        assert!(answered[3] <= max && (client.source_prefix > 0 || answered[3] == 0), "scope {} for {client:?}", answered[3]);
        assert_eq!((&answered[..3], &answered[4..]), (&data[..3], &data[4..]), "the option");
    }
}

/// The answer with an opt-out of family 0 written as one of family 1: hickory-proto refuses messages that have the former.
fn readable(answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    if let Some(at) = answer.windows(8).rposition(|octets| octets == [0, 8, 0, 4, 0, 0, 0, 0]) {
        answer[at + 5] = 1;
    }
    answer
}

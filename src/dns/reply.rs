//! A message that answers a request, and its bytes.
//!
//! Whole RRsets or nothing: a resolver must not take half a set for the whole (RFC 2181 section 9). What does not fit is left out from the
//! end, and TC is set; the question and OPT always fit.

use hickory_proto::{
    rr::{Name as WireName, Record as WireRecord},
    serialize::binary::{BinEncodable, BinEncoder},
};
use portolan_core::model::{name::Name, record::Record};

use super::{
    request::{HEADER_LENGTH, Request},
    wire,
};

/// The payload size that we state, and the largest UDP answer that we send: it passes every network path without fragments (RFC 9715).
pub(super) const PAYLOAD_MAX: u16 = 1232;
/// The largest UDP message of an asker without EDNS (RFC 1035 section 4.2.1), and the least that one with EDNS takes (RFC 6891 section 6.2.3).
pub(super) const PAYLOAD_MIN: u16 = 512;
/// A TCP message has a length of 16 bits (RFC 1035 section 4.2.2).
pub(super) const STREAM_MAX: u16 = u16::MAX;

/// An answer before it has bytes.
pub(super) struct Reply<'r> {
    request: &'r Request<'r>,
    /// Twelve bits; more than four need OPT.
    pub(super) rcode: u16,
    pub(super) authoritative: bool,
    /// Answer, authority and additional section, without OPT.
    sections: [Vec<WireRecord>; 3],
    /// Code and data of each EDNS option.
    options: Vec<(u16, Vec<u8>)>,
}

/// The bytes of a reply.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) truncated: bool,
}

impl<'r> Reply<'r> {
    /// Without records.
    pub(super) const fn new(request: &'r Request<'r>, rcode: u16) -> Self {
        Self { request, rcode, authoritative: false, sections: [Vec::new(), Vec::new(), Vec::new()], options: Vec::new() }
    }

    /// Fills the three sections from the core's records.
    pub(super) fn fill(&mut self, sections: [&[Record]; 3], asked: &Name, asked_wire: &WireName) {
        self.sections = sections
            .map(|records| records.iter().map(|record| wire::record(wire::owner(&record.owner, asked, asked_wire), record)).collect());
    }

    /// Adds one record to the answer section.
    pub(super) fn push(&mut self, record: WireRecord) {
        self.sections[0].push(record);
    }

    /// Adds an EDNS option; it is sent only if the request had EDNS.
    pub(super) fn option(&mut self, code: u16, data: Vec<u8>) {
        self.options.push((code, data));
    }

    /// The octets that OPT takes.
    fn opt_length(&self) -> usize {
        match self.request.opt {
            Some(_) => 11 + self.options.iter().map(|(_, data)| 4 + data.len()).sum::<usize>(),
            None => 0,
        }
    }

    /// At most `limit` octets, which are at least 512.
    pub(super) fn encode(&self, limit: u16) -> Encoded {
        let room = usize::from(limit).saturating_sub(self.opt_length());
        let mut bytes = Vec::with_capacity(usize::from(PAYLOAD_MIN));
        let mut counts = [0_u16; 3];
        let mut truncated = false;
        let end = {
            let mut encoder = BinEncoder::new(&mut bytes);
            let _ = encoder.emit_vec(&[0; HEADER_LENGTH]);
            if let Some(question) = &self.request.question {
                let _ = encoder.emit_vec(question.wire);
                offer_labels(&mut encoder, question.wire);
            }
            let mut end = encoder.offset();
            'sections: for (section, count) in self.sections.iter().zip(&mut counts) {
                for set in section.chunk_by(|a, b| a.record_type() == b.record_type() && a.name == b.name) {
                    // An error means that the set does not fit into 65 535 octets.
                    if set.iter().any(|record| record.emit(&mut encoder).is_err()) || encoder.offset() > room {
                        truncated = true;
                        break 'sections;
                    }
                    end = encoder.offset();
                    // Fits: a record has 11 octets at least.
                    *count = count.saturating_add(u16::try_from(set.len()).unwrap_or(u16::MAX));
                }
            }
            end
        };
        // Names point backwards only, so what stays is complete.
        bytes.truncate(end);
        self.push_opt(&mut bytes);
        self.write_header(&mut bytes, counts, truncated);
        debug_assert!(bytes.len() <= usize::from(limit), "question and OPT always fit");
        Encoded { bytes, truncated }
    }

    fn write_header(&self, bytes: &mut [u8], [answers, authorities, additionals]: [u16; 3], truncated: bool) {
        let request = self.request;
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        bytes[..2].copy_from_slice(&request.id.to_be_bytes());
        bytes[2] =
            0x80 | request.opcode << 3 | flag(self.authoritative, 0x04) | flag(truncated, 0x02) | flag(request.recursion_desired, 0x01);
        // RA, AD and CD stay clear: nothing is resolved or validated here (RFC 4035 section 3.1.6).
        bytes[3] = self.rcode.to_be_bytes()[1] & 0x0f;
        let additionals = additionals + u16::from(request.opt.is_some());
        for (at, count) in [u16::from(request.question.is_some()), answers, authorities, additionals].into_iter().enumerate() {
            bytes[4 + 2 * at..6 + 2 * at].copy_from_slice(&count.to_be_bytes());
        }
    }

    fn push_opt(&self, bytes: &mut Vec<u8>) {
        let Some(opt) = &self.request.opt else {
            return;
        };
        let length = |n: usize| u16::try_from(n).expect("invariant: options are bounded far below 65 535 octets").to_be_bytes();
        bytes.extend_from_slice(&[0, 0, 41]);
        bytes.extend_from_slice(&PAYLOAD_MAX.to_be_bytes());
        let [high, low] = (self.rcode >> 4).to_be_bytes();
        debug_assert_eq!(high, 0, "response codes have twelve bits");
        bytes.extend_from_slice(&[low, 0, if opt.dnssec_ok { 0x80 } else { 0 }, 0]);
        bytes.extend_from_slice(&length(self.options.iter().map(|(_, data)| 4 + data.len()).sum()));
        for (code, data) in &self.options {
            bytes.extend_from_slice(&code.to_be_bytes());
            bytes.extend_from_slice(&length(data.len()));
            bytes.extend_from_slice(data);
        }
    }
}

/// Lets later names point to the labels of the question, which was written just now.
fn offer_labels(encoder: &mut BinEncoder<'_>, question: &[u8]) {
    let end = HEADER_LENGTH + question.len() - 5;
    let mut at = HEADER_LENGTH;
    while at < end {
        encoder.store_label_pointer(at, end);
        at += usize::from(question[at - HEADER_LENGTH]) + 1;
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;
    use portolan_core::model::{
        record::{RecordData, Soa},
        units::Ttl,
    };
    use proptest::prelude::*;

    use super::{
        super::request::{Opt, Question},
        *,
    };

    fn any_name() -> impl Strategy<Value = Name> {
        let label = prop_oneof![Just("a"), Just("b"), Just("example"), Just("\\000x"), Just("*")];
        proptest::collection::vec(label, 0..5).prop_map(|labels| labels.join(".").parse().unwrap_or_else(|_| Name::root()))
    }

    fn any_data() -> impl Strategy<Value = RecordData> {
        let string = || proptest::collection::vec(any::<u8>(), 0..100);
        prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| RecordData::A(octets.into())),
            any::<[u8; 16]>().prop_map(|octets| RecordData::Aaaa(octets.into())),
            any_name().prop_map(RecordData::Cname),
            any_name().prop_map(RecordData::Ns),
            any_name().prop_map(RecordData::Ptr),
            (any::<u16>(), any_name()).prop_map(|(preference, exchange)| RecordData::Mx { preference, exchange }),
            proptest::collection::vec(string(), 1..4).prop_map(RecordData::Txt),
            (any::<[u16; 3]>(), any_name()).prop_map(|([priority, weight, port], target)| RecordData::Srv {
                priority,
                weight,
                port,
                target
            }),
            (any::<u8>(), "[a-z0-9]{1,15}", string()).prop_map(|(flags, tag, value)| RecordData::Caa { flags, tag, value }),
            (any_name(), any_name(), any::<[u32; 5]>()).prop_map(|(primary, contact, [serial, refresh, retry, expire, minimum])| {
                RecordData::Soa(Soa { primary, contact, serial, refresh, retry, expire, minimum })
            }),
        ]
    }

    fn any_section() -> impl Strategy<Value = Vec<Record>> {
        // Records of one set beside one another, as the core gives them.
        let set = (any_name(), any_data(), 1..4_usize);
        proptest::collection::vec(set, 0..6).prop_map(|sets| {
            let record = |(owner, data, n): (Name, RecordData, usize)| vec![Record { owner, ttl: Ttl::from_secs(60), data }; n];
            sets.into_iter().flat_map(record).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 4, ..ProptestConfig::default() })]

        #[test]
        fn what_is_sent_is_what_was_given_up_to_a_whole_set(
            sections in [any_section(), any_section(), any_section()],
            asked in any_name(),
            upper in any::<bool>(),
            edns in any::<bool>(),
            limit in 512..2000_u16,
        ) {
            let mut wire = asked.wire().to_vec();
            if upper {
                wire.make_ascii_uppercase();
            }
            let asked_wire = wire::name_from(&wire);
            wire.extend_from_slice(&[0, 1, 0, 1]);
            let question = Question { wire: &wire, name: asked.clone(), record_type: 1, class: 1 };
            let opt = edns.then(Opt::default);
            let request = Request { id: 7, opcode: 0, recursion_desired: true, question: Some(question), opt };
            let mut reply = Reply::new(&request, 0);
            reply.fill([&sections[0], &sections[1], &sections[2]], &asked, &asked_wire);
            let encoded = reply.encode(limit);

            prop_assert!(encoded.bytes.len() <= usize::from(limit));
            let message = Message::from_vec(&encoded.bytes).unwrap();
            prop_assert_eq!(message.queries[0].name(), &asked_wire);
            prop_assert_eq!(message.edns.is_some(), edns);
            prop_assert_eq!(message.metadata.truncation, encoded.truncated);
            let sent = [&message.answers, &message.authorities, &message.additionals];
            let mut is_cut = false;
            for (sent, given) in sent.into_iter().zip(&reply.sections) {
                prop_assert_eq!(&sent[..], &given[..sent.len()]);
                prop_assert!(!is_cut || sent.is_empty(), "nothing stands after what was cut");
                if let (Some(last), Some(next)) = (sent.last(), given.get(sent.len())) {
                    prop_assert!(last.name != next.name || last.record_type() != next.record_type(), "half a set");
                }
                for (sent, record) in sent.iter().zip(&sections[0]).filter(|(_, record)| record.owner == asked) {
                    if std::ptr::eq(given, &reply.sections[0]) {
                        prop_assert!(sent.name.eq_case(&asked_wire), "{} {}", sent.name, record.owner);
                    }
                }
                is_cut |= sent.len() < given.len();
            }
            prop_assert_eq!(is_cut, encoded.truncated);
        }
    }
}

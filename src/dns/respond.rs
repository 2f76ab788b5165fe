//! From a packet to its answer, without sockets.

use std::net::SocketAddr;

use hickory_proto::rr::{DNSClass, RData, Record as WireRecord, rdata::TXT};
use portolan_core::{
    answer::{ExtendedError, Query, Rcode},
    model::record::RecordType,
};

use super::{
    AnswerSource, DnsOptions, NSID_LENGTH_MAX, chaos,
    counters::Shard,
    reply::{PAYLOAD_MAX, PAYLOAD_MIN, Reply, STREAM_MAX},
    request::{self, Question, Request, rcode},
    wire,
};

const CLASS_IN: u16 = 1;
const CLASS_CH: u16 = 3;
const OPTION_NSID: u16 = 3;
const OPTION_CLIENT_SUBNET: u16 = 8;
const OPTION_EXTENDED_ERROR: u16 = 15;
/// The text of an extended error is cut here: with it and the other options, the longest question still fits into 512 octets.
const ERROR_TEXT_MAX: usize = 120;

/// How a packet came, as far as the answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams: the asker limits the size, and its address may be forged.
    Udp,
    /// TCP, TLS, HTTPS, QUIC: messages up to 65 535 octets.
    Stream,
}

/// Answers one packet. `None`: silence.
///
/// Deterministic: the same packet, source, options and entropy give the same bytes, as long as `answers` does. `from` is the asker's address;
/// `entropy` a fresh random number.
///
/// A UDP answer has at most as many octets as the query's EDNS payload size, within 512 and 1232; a stream answer at most 65 535. What does
/// not fit is cut at whole RRsets with TC set; over a stream it is SERVFAIL.
pub fn respond(
    packet: &[u8],
    from: SocketAddr,
    transport: Transport,
    answers: &dyn AnswerSource,
    options: &DnsOptions,
    entropy: u64,
    counters: &Shard,
) -> Option<Vec<u8>> {
    // Nobody can receive on port 0: such a packet is forged.
    let read = if from.port() == 0 { None } else { request::read(packet) };
    counters.query(transport);
    let Some((request, status)) = read else {
        counters.silent();
        return None;
    };
    let reply = match (&status, &request.question) {
        (Ok(()), Some(question)) => reply(&request, question, from, answers, options, entropy, counters),
        (Ok(()), None) => Reply::new(&request, rcode::FORMERR),
        (Err(code), _) => Reply::new(&request, *code),
    };
    let limit = match (transport, &request.opt) {
        (Transport::Udp, Some(opt)) => opt.payload.clamp(PAYLOAD_MIN, PAYLOAD_MAX),
        (Transport::Udp, None) => PAYLOAD_MIN,
        (Transport::Stream, _) => STREAM_MAX,
    };
    let (mut code, mut encoded) = (reply.rcode, reply.encode(limit));
    if encoded.truncated && transport == Transport::Stream {
        // TC means "ask again over TCP", which is no way out here; an empty answer would be taken for "no data".
        let mut reply = Reply::new(&request, rcode::SERVFAIL);
        extended_error(&mut reply, ExtendedError::OTHER, "the answer does not fit into a message");
        (code, encoded) = (reply.rcode, reply.encode(limit));
    }
    counters.response(transport, code, encoded.truncated);
    Some(encoded.bytes)
}

fn reply<'r>(
    request: &'r Request<'r>,
    question: &Question<'_>,
    from: SocketAddr,
    answers: &dyn AnswerSource,
    options: &DnsOptions,
    entropy: u64,
    counters: &Shard,
) -> Reply<'r> {
    let mut reply = match (question.class, RecordType(question.record_type)) {
        (CLASS_CH, record_type) => chaos(request, question, record_type, options),
        (CLASS_IN, RecordType::AXFR | RecordType::IXFR) => {
            let mut reply = Reply::new(request, rcode::REFUSED);
            extended_error(&mut reply, ExtendedError::NOT_SUPPORTED, "zone transfer is not offered");
            reply
        }
        // OPT is no type to ask for, and NXNAME stands in answers only (RFC 9824 section 3.5).
        (CLASS_IN, RecordType(41 | 128)) => Reply::new(request, rcode::FORMERR),
        // TKEY, TSIG, MAILB, MAILA: meta types with protocols of their own.
        (CLASS_IN, RecordType(249 | 250 | 253 | 254)) => Reply::new(request, rcode::NOTIMP),
        (CLASS_IN, record_type) => resolved(request, question, record_type, from, answers, entropy, counters),
        _ => Reply::new(request, rcode::REFUSED),
    };
    if let (Some(nsid), Some(opt)) = (&options.nsid, &request.opt)
        && opt.nsid
    {
        reply.option(OPTION_NSID, nsid[..nsid.len().min(NSID_LENGTH_MAX)].to_vec());
    }
    reply
}

/// Asks the source.
fn resolved<'r>(
    request: &'r Request<'r>,
    question: &Question<'_>,
    record_type: RecordType,
    from: SocketAddr,
    answers: &dyn AnswerSource,
    entropy: u64,
    counters: &Shard,
) -> Reply<'r> {
    let subnet = request.opt.and_then(|opt| opt.subnet);
    if subnet.is_some() {
        counters.client_subnet();
    }
    let query = Query {
        name: question.name.clone(),
        record_type,
        // A dual-stack socket would show IPv4 askers as IPv6 ones.
        source: from.ip().to_canonical(),
        client_subnet: subnet.map(|subnet| subnet.client()),
        entropy,
    };
    let answer = answers.answer(&query);
    let mut reply = Reply::new(
        request,
        match answer.rcode {
            Rcode::NoError => 0,
            Rcode::ServFail => rcode::SERVFAIL,
            Rcode::NxDomain => rcode::NXDOMAIN,
            Rcode::Refused => rcode::REFUSED,
        },
    );
    reply.authoritative = answer.authoritative;
    let asked = wire::name_from(&question.wire[..question.wire.len() - 4]);
    reply.fill([&answer.answers, &answer.authority, &answer.additional], &question.name, &asked);
    if let Some(subnet) = subnet {
        reply.option(OPTION_CLIENT_SUBNET, subnet.answered(answer.scope));
    }
    if let Some(error) = &answer.extended_error {
        extended_error(&mut reply, error.code, &error.text);
    }
    reply
}

fn chaos<'r>(request: &'r Request<'r>, question: &Question<'_>, record_type: RecordType, options: &DnsOptions) -> Reply<'r> {
    let wanted = matches!(record_type, RecordType::TXT | RecordType::ANY);
    let Some(text) = chaos::text(&question.name, options).filter(|_| wanted) else {
        return Reply::new(request, rcode::REFUSED);
    };
    let mut reply = Reply::new(request, 0);
    reply.authoritative = true;
    let asked = wire::name_from(&question.wire[..question.wire.len() - 4]);
    let text = text.as_bytes();
    let mut record = WireRecord::from_rdata(asked, 0, RData::TXT(TXT::from_bytes(vec![&text[..text.len().min(255)]])));
    record.dns_class = DNSClass::CH;
    reply.push(record);
    reply
}

/// Adds an extended error (RFC 8914), its text cut to what always fits.
fn extended_error(reply: &mut Reply<'_>, code: u16, text: &str) {
    let mut data = code.to_be_bytes().to_vec();
    data.extend_from_slice(&text.as_bytes()[..text.floor_char_boundary(ERROR_TEXT_MAX)]);
    reply.option(OPTION_EXTENDED_ERROR, data);
}

//! DNS probes: one query over UDP, again over TCP when the answer is truncated (RFC 1035 section 4.2, RFC 7766).
//!
//! The socket is connected, so the kernel drops datagrams from elsewhere; the id is random, and answers with another id or question are passed
//! over (RFC 5452 section 9.1): a forged answer can at worst let the time run out.
//!
//! Absent on purpose: retransmission. A lost datagram is a failed probe, and thresholds are the core's.

use std::{
    fmt::{Display, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, RData, RecordType as HickoryType},
    serialize::binary::{BinDecodable, BinDecoder},
};
use portolan_core::model::{
    check::{Address, Failure, FailureCategory},
    name::Name,
    record::{RecordData, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
};

use super::{
    ProbeEnv, bare_host,
    open::{self, connect_failure, resolve_failure},
    watch::{End, Mark, Watch, plain},
};
use crate::net::tls::Alpn;

/// The largest answer asked for over UDP, in octets: no fragments on any path that matters (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;
/// The largest datagram that is read; longer ones are cut, and then not well-formed.
const DATAGRAM_MAX: usize = 4096;

/// One DNS probe.
pub(super) async fn probe(
    address: &Address,
    name: &Name,
    record_type: RecordType,
    expect: Option<&str>,
    env: &ProbeEnv,
    watch: &Watch,
) -> Result<(), Failure> {
    let unmade = |error: &dyn Display| Failure::new(FailureCategory::Protocol, &format!("the query cannot be made: {error}"));
    let query = question(name, record_type).map_err(|e| unmade(&e))?;
    let message = query.to_vec().map_err(|e| unmade(&e))?;
    let mut answer = over_udp(address, &query, &message, env, watch).await?;
    if answer.metadata.truncation {
        answer = over_tcp(address, &query, &message, env, watch).await?;
    }
    judge(&answer, record_type, expect)
}

fn question(name: &Name, record_type: RecordType) -> Result<Message, hickory_proto::serialize::binary::DecodeError> {
    let name = hickory_proto::rr::Name::read(&mut BinDecoder::new(name.wire()))?;
    // `query` draws a random id.
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, HickoryType::from(record_type.0)));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD);
    message.set_edns(edns);
    Ok(message)
}

/// All that an answer's octets go through.
pub(super) fn digest(octets: &[u8], expect: &str) {
    if let Ok(answer) = Message::from_vec(octets) {
        let _ = answers(&answer, &Message::query());
        let _ = judge(&answer, RecordType::ANY, Some(expect));
    }
}

async fn over_udp(address: &Address, query: &Message, message: &[u8], env: &ProbeEnv, watch: &Watch) -> Result<Message, Failure> {
    let resolved = env.resolver.resolve(&address.host, address.port).await;
    let target = resolved.map_err(|e| resolve_failure(&e))?;
    watch.mark(Mark::Resolved);
    let unconnected = |error: std::io::Error| connect_failure(&error, &target.to_string());
    let any = if target.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.map_err(unconnected)?;
    socket.connect(target).await.map_err(unconnected)?;
    watch.reachable();
    watch.mark(Mark::Asked);
    socket.send(message).await.map_err(unconnected)?;
    let mut datagram = vec![0; DATAGRAM_MAX];
    loop {
        // "Port unreachable" comes back as "connection refused".
        let length = socket.recv(&mut datagram).await.map_err(unconnected)?;
        if !datagram[..length].starts_with(&query.metadata.id.to_be_bytes()) {
            continue;
        }
        watch.read(&datagram[..length]);
        let answer = Message::from_vec(&datagram[..length]).map_err(|e| watch.nonsense("DNS", &e))?;
        if answers(&answer, query) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(address: &Address, query: &Message, message: &[u8], env: &ProbeEnv, watch: &Watch) -> Result<Message, Failure> {
    let mut stream = open::open(address, None, &bare_host(address), Alpn::None, env, watch).await?;
    let closed = |error: std::io::Error| {
        watch.ended(End::Error(plain(&error)));
        watch.broken("DNS", &error)
    };
    let length = u16::try_from(message.len()).expect("invariant: a query is one name and an OPT record, below 300 octets");
    // In one write: some servers take a length that comes alone for the whole message.
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await.map_err(closed)?;
    let length = stream.read_u16().await.map_err(closed)?;
    let mut octets = vec![0; usize::from(length)];
    stream.read_exact(&mut octets).await.map_err(closed)?;
    let answer = Message::from_vec(&octets).map_err(|e| watch.nonsense("DNS", &e))?;
    if answers(&answer, query) {
        Ok(answer)
    } else {
        Err(Failure::new(FailureCategory::Protocol, "the answer over TCP is not to the question that was asked"))
    }
}

/// Whether `answer` is one to `query`. An error may come without the question (RFC 1035 section 4.1.1, FORMERR).
fn answers(answer: &Message, query: &Message) -> bool {
    let (theirs, ours) = (&answer.metadata, &query.metadata);
    let same_question = answer.queries == query.queries || (answer.queries.is_empty() && theirs.response_code != ResponseCode::NoError);
    theirs.id == ours.id && theirs.message_type == MessageType::Response && theirs.op_code == OpCode::Query && same_question
}

fn judge(answer: &Message, record_type: RecordType, expect: Option<&str>) -> Result<(), Failure> {
    let code = answer.metadata.response_code;
    if code != ResponseCode::NoError {
        return Err(Failure::new(FailureCategory::Status, &format!("{} ({code})", rcode_word(code))));
    }
    let Some(expect) = expect else { return Ok(()) };
    let wanted_type = HickoryType::from(record_type.0);
    let of_type = |record: &&hickory_proto::rr::Record| {
        (record.record_type() == wanted_type || record_type == RecordType::ANY) && record.dns_class == DNSClass::IN
    };
    let found: Vec<&RData> = answer.answers.iter().filter(of_type).map(|record| &record.data).collect();
    if found.iter().any(|data| matches(data, expect)) {
        return Ok(());
    }
    let texts: Vec<String> = found.iter().map(|data| text(data)).collect();
    let seen = if texts.is_empty() { format!("no {record_type} record") } else { texts.join(", ") };
    Err(Failure::new(FailureCategory::Body, &format!("expected `{expect}`, the answer has {seen}")))
}

/// Whether the data is `expect` as in a zone file. Names compare without case and final dots, texts with or without their quotes.
fn matches(data: &RData, expect: &str) -> bool {
    let expect = expect.trim();
    match data {
        RData::A(address) => expect.parse() == Ok(address.0),
        RData::AAAA(address) => expect.parse() == Ok(address.0),
        RData::TXT(txt) => text(data) == expect || txt.txt_data.concat() == expect.as_bytes(),
        _ => {
            let words = |text: &str| text.split_whitespace().map(|word| undotted(word).to_ascii_lowercase()).collect::<Vec<_>>();
            words(&text(data)) == words(expect)
        }
    }
}

/// `a.example.` as `a.example`; the root stays.
fn undotted(word: &str) -> &str {
    match word.strip_suffix('.') {
        Some("") | None => word,
        Some(name) => name,
    }
}

/// The data as in a zone file.
fn text(data: &RData) -> String {
    match data {
        // hickory prints texts without quotes.
        RData::TXT(txt) => RecordData::Txt(txt.txt_data.iter().map(|string| string.to_vec()).collect()).to_string(),
        other => {
            let mut text = String::new();
            // hickory has no text form for some types, and says so by an error, at which `to_string` would panic.
            match write!(text, "{other}") {
                Ok(()) => text,
                Err(_) => format!("{} data", other.record_type()),
            }
        }
    }
}

/// The name of a response code as `dig` prints it.
fn rcode_word(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::NotAuth => "NOTAUTH",
        _ => "error",
    }
}

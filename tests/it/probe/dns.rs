//! DNS probes against a responder made of hickory's messages.

use std::net::SocketAddr;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType as HickoryType,
        rdata::{A, AAAA, CNAME, MX, TXT},
    },
};
use portolan_core::model::{
    check::{FailureCategory, ProbeKind},
    record::RecordType,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use super::{PATIENCE, TIMEOUT, check, failed, observe, passed, probe};

/// Serves UDP with `udp` and TCP on the same port with `tcp`; each turns a query into the datagrams or messages to send back.
async fn serve(udp: fn(Message) -> Vec<Vec<u8>>, tcp: fn(Message) -> Vec<Vec<u8>>) -> (SocketAddr, JoinSet<()>) {
    let (listener, socket) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // The same port may be taken for UDP by another test.
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            break (listener, socket);
        }
    };
    let address = socket.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut query = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            for answer in udp(Message::from_vec(&query[..length]).unwrap()) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut query).await.unwrap();
            for answer in tcp(Message::from_vec(&query).unwrap()) {
                stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    (address, tasks)
}

fn unused(_: Message) -> Vec<Vec<u8>> {
    panic!("not truncated, so TCP is not asked")
}

/// An answer from a small zone; `refused.test` and `fail.test` are errors, everything unknown is NXDOMAIN.
fn zone(query: Message) -> Message {
    let question = query.queries[0].clone();
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let mut answer = query.into_response();
    let mut add = |data| {
        answer.add_answer(Record::from_rdata(question.name().clone(), 60, data));
    };
    match (question.name().to_ascii().as_str(), question.query_type()) {
        ("a.test.", HickoryType::A) => {
            add(RData::CNAME(CNAME(name("b.test."))));
            add(RData::A(A::new(192, 0, 2, 1)));
            add(RData::A(A::new(192, 0, 2, 2)));
        }
        ("a.test.", HickoryType::AAAA) => add(RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
        ("a.test.", HickoryType::MX) => add(RData::MX(MX::new(10, name("Mail.test.")))),
        ("a.test.", HickoryType::TXT) => add(RData::TXT(TXT::new(vec!["v=ok; x".to_owned(), "y".to_owned()]))),
        ("a.test.", _) => {}
        ("fail.test.", _) => answer.metadata.response_code = ResponseCode::ServFail,
        ("refused.test.", _) => {
            // Some servers leave the question out of an error.
            answer.queries.clear();
            answer.metadata.response_code = ResponseCode::Refused;
        }
        _ => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer
}

fn whole(query: Message) -> Vec<Vec<u8>> {
    vec![zone(query).to_vec().unwrap()]
}

fn kind(name: &str, record_type: RecordType, expect: Option<&str>) -> ProbeKind {
    ProbeKind::Dns { name: name.parse().unwrap(), record_type, expect: expect.map(str::to_owned) }
}

#[tokio::test]
async fn data_compares_as_in_a_zone_file() {
    let (address, _server) = serve(whole, unused).await;
    for (record_type, expect) in [
        (RecordType::A, None),
        (RecordType::A, Some("192.0.2.2")),
        (RecordType::AAAA, Some("2001:DB8:0::1")),
        (RecordType::MX, Some("10 mail.test.")),
        (RecordType::MX, Some("10 mail.test")),
        (RecordType::TXT, Some("\"v=ok; x\" \"y\"")),
        (RecordType::TXT, Some("v=ok; xy")),
        (RecordType::SRV, None),
    ] {
        let seen = probe(address, kind("a.test", record_type, expect)).await;
        passed(&seen);
        assert!(seen.timings.connect.is_none() && seen.timings.first_byte.is_some(), "{:?}", seen.timings);
    }
    for (record_type, expect, detail) in [
        (RecordType::A, "192.0.2.3", "expected `192.0.2.3`, the answer has 192.0.2.1, 192.0.2.2"),
        (RecordType::MX, "10 mail2.test.", "expected `10 mail2.test.`, the answer has 10 Mail.test."),
        (RecordType::TXT, "V=OK; xy", "expected `V=OK; xy`, the answer has \"v=ok; x\" \"y\""),
        (RecordType::SRV, "0 0 1 a.test.", "expected `0 0 1 a.test.`, the answer has no SRV record"),
    ] {
        let failure = failed(&probe(address, kind("a.test", record_type, Some(expect))).await, FailureCategory::Body);
        assert_eq!(failure.detail, detail);
    }
}

#[tokio::test]
async fn error_codes_are_named() {
    let (address, _server) = serve(whole, unused).await;
    for (name, word) in [("none.test", "NXDOMAIN"), ("fail.test", "SERVFAIL"), ("refused.test", "REFUSED")] {
        let failure = failed(&probe(address, kind(name, RecordType::A, None)).await, FailureCategory::Status);
        assert!(failure.detail.starts_with(word), "{failure}");
    }
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let truncated = |query: Message| {
        let mut answer = query.into_response();
        answer.metadata.truncation = true;
        vec![answer.to_vec().unwrap()]
    };
    let (address, _server) = serve(truncated, whole).await;
    let seen = probe(address, kind("a.test", RecordType::A, Some("192.0.2.1"))).await;
    passed(&seen);
    assert!(seen.timings.connect.is_some());
    let (silent, _server) = serve(truncated, |_| Vec::new()).await;
    failed(&probe(silent, kind("a.test", RecordType::A, None)).await, FailureCategory::Closed);
    let (foreign, _server) = serve(truncated, |mut query| {
        query.metadata.id ^= 1;
        whole(query)
    })
    .await;
    failed(&probe(foreign, kind("a.test", RecordType::A, None)).await, FailureCategory::Protocol);
}

#[tokio::test]
async fn forged_answers_are_passed_over() {
    let (address, _server) = serve(
        |query| {
            let mut other_id = query.clone();
            other_id.metadata.id ^= 0x0100;
            other_id.metadata.response_code = ResponseCode::ServFail;
            let mut other_name = query.clone().into_response();
            other_name.queries[0].name = Name::from_ascii("evil.test.").unwrap();
            let echo = query.to_vec().unwrap();
            let mut datagrams = vec![vec![], vec![0], whole(other_id).remove(0), other_name.to_vec().unwrap(), echo];
            datagrams.extend(whole(query));
            datagrams
        },
        unused,
    )
    .await;
    passed(&probe(address, kind("a.test", RecordType::A, Some("192.0.2.1"))).await);
}

#[tokio::test]
async fn silence_garbage_and_closed_ports_are_told_apart() {
    let (silent, _server) = serve(|_| Vec::new(), unused).await;
    let seen = observe(&check(Some(silent), kind("a.test", RecordType::A, None), TIMEOUT)).await;
    assert_eq!(failed(&seen, FailureCategory::Timeout).detail, "no answer within 300ms");
    assert!(seen.timings.total < PATIENCE);
    let garbage = |query: Message| vec![[&query.metadata.id.to_be_bytes()[..], &[0xff; 40]].concat()];
    let (garbled, _server) = serve(garbage, unused).await;
    failed(&probe(garbled, kind("a.test", RecordType::A, None)).await, FailureCategory::Protocol);
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    failed(&probe(closed, kind("a.test", RecordType::A, None)).await, FailureCategory::Connect);
}

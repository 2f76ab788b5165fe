//! The DNS server over real sockets: scripts of packets and what comes back, bounds, streams, shutdown.
//!
//! A script (`tests/data/dns/*.txt`) is a list of blocks, parted by empty lines: a query, and the answer as hickory-proto reads it.
//! `UPDATE_EXPECT=1` writes the answers anew.
//!
//! ```text
//! query NAME TYPE [class=CH] [tcp] [edns[=PAYLOAD]] [version=N] [do] [nsid] [ecs=NETWORK] [ecs-hex=DATA] [option=CODE:HEX]
//!                 [rdata=HEX] [opt-twice] [opt-owner] [opt-answer] [opcode=N] [qr] [rd] [cd] [questions=N] [additional] [short=N]
//! packet HEX
//! ```
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops, and the line says where")]

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hickory_proto::{op::Message, rr::rdata::opt::EdnsOption};
use portolan::dns::{AnswerSource, Counters, DnsError, DnsOptions, DnsServer, Transport, fuzz::FixedSource, respond};
use portolan_core::{
    answer::{Answer, Query},
    model::{name::Name, record::RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::daemon::given;

/// Far above what any of these takes on a busy machine: only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> DnsOptions {
    DnsOptions {
        nsid: Some(b"node-a".to_vec()),
        chaos_id: Some("node-a.eu".to_owned()),
        chaos_version: Some("portolan 0.1.0".to_owned()),
        ..DnsOptions::default()
    }
}

fn local(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn start(options: DnsOptions) -> DnsServer {
    DnsServer::start(&[local("127.0.0.1:0")], Arc::new(FixedSource::new()), options).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter(|c| !c.is_whitespace()).map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The name as the client wrote it, letter case included.
fn wire(name: &str) -> Vec<u8> {
    let lower: Name = name.parse().unwrap();
    let mut wire = lower.wire().to_vec();
    let mut at = 0;
    for label in name.trim_end_matches('.').split('.').filter(|_| !name.contains('\\')) {
        wire[at + 1..at + 1 + label.len()].copy_from_slice(label.as_bytes());
        at += label.len() + 1;
    }
    wire
}

/// The packet of a script's line, and whether it goes over TCP.
fn packet(line: &str, id: u16) -> (Vec<u8>, bool) {
    if let Some(text) = line.strip_prefix("packet") {
        let mut packet = hex(text);
        if packet.len() >= 2 {
            packet[..2].copy_from_slice(&id.to_be_bytes());
        }
        return (packet, false);
    }
    let mut words = line.strip_prefix("query ").unwrap_or_else(|| panic!("{line}")).split_whitespace();
    let (name, record_type) = (words.next().unwrap(), words.next().unwrap());
    let record_type: RecordType = record_type.parse().unwrap();
    let (mut class, mut opcode, mut flags, mut questions, mut tcp, mut short) = (1_u16, 0_u8, [0_u8; 2], 1_u16, false, None);
    let (mut edns, mut payload, mut version, mut dnssec_ok, mut rdata) = (0_u16, 1232_u16, 0_u8, 0_u8, Vec::new());
    let (mut opt_owner, mut opt_answer, mut additional) = (vec![0], false, false);
    let push = |rdata: &mut Vec<u8>, code: u16, data: &[u8]| {
        rdata.extend_from_slice(&code.to_be_bytes());
        rdata.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        rdata.extend_from_slice(data);
    };
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "class" => class = if value == "CH" { 3 } else { value.parse().unwrap() },
            "tcp" => tcp = true,
            "opcode" => opcode = value.parse().unwrap(),
            "qr" => flags[0] |= 0x80,
            "rd" => flags[0] |= 0x01,
            "cd" => flags[1] |= 0x10,
            "questions" => questions = value.parse().unwrap(),
            "short" => short = Some(value.parse::<usize>().unwrap()),
            "additional" => additional = true,
            "opt-answer" => opt_answer = true,
            _ => edns = edns.max(1),
        }
        match key {
            "edns" if !value.is_empty() => payload = value.parse().unwrap(),
            "version" => version = value.parse().unwrap(),
            "do" => dnssec_ok = 0x80,
            "nsid" => push(&mut rdata, 3, &[]),
            "opt-twice" => edns = 2,
            "opt-owner" => opt_owner = wire("x"),
            "ecs-hex" => push(&mut rdata, 8, &hex(value)),
            "option" => {
                let (code, data) = value.split_once(':').unwrap();
                push(&mut rdata, code.parse().unwrap(), &hex(data));
            }
            "rdata" => rdata.extend_from_slice(&hex(value)),
            "ecs" => {
                let (address, prefix) = value.split_once('/').unwrap();
                let prefix: u8 = prefix.parse().unwrap();
                let (family, octets) = match address.parse().unwrap() {
                    IpAddr::V4(address) => (1, address.octets().to_vec()),
                    IpAddr::V6(address) => (2, address.octets().to_vec()),
                };
                let mut data = vec![0, family, prefix, 0];
                data.extend_from_slice(&octets[..usize::from(prefix.div_ceil(8))]);
                push(&mut rdata, 8, &data);
            }
            _ => {}
        }
    }
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend_from_slice(&[flags[0] | opcode << 3, flags[1]]);
    packet.extend_from_slice(&questions.to_be_bytes());
    let answers = u16::from(opt_answer);
    packet.extend_from_slice(&[0, u8::try_from(answers).unwrap(), 0, 0]);
    packet.extend_from_slice(&(edns - answers + u16::from(additional)).to_be_bytes());
    for _ in 0..questions {
        packet.extend_from_slice(&wire(name));
        packet.extend_from_slice(&record_type.0.to_be_bytes());
        packet.extend_from_slice(&class.to_be_bytes());
    }
    if additional {
        // An A record whose owner is a pointer to the question.
        packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
    }
    for _ in 0..edns {
        packet.extend_from_slice(&opt_owner);
        packet.extend_from_slice(&[0, 41]);
        packet.extend_from_slice(&payload.to_be_bytes());
        packet.extend_from_slice(&[0, version, dnssec_ok, 0]);
        packet.extend_from_slice(&u16::try_from(rdata.len()).unwrap().to_be_bytes());
        packet.extend_from_slice(&rdata);
    }
    packet.truncate(packet.len() - short.unwrap_or(0));
    (packet, tcp)
}

/// An answer as a script shows it.
fn shown(bytes: &[u8]) -> String {
    let mut bytes = bytes.to_vec();
    // hickory-proto refuses the whole message for an option of family 0.
    let family_0 = bytes.windows(8).position(|octets| octets == [0, 8, 0, 4, 0, 0, 0, 0]);
    if let Some(at) = family_0 {
        bytes[at + 5] = 1;
    }
    let message = Message::from_vec(&bytes).expect("a well-formed answer");
    let meta = message.metadata;
    let flag = |is_set: bool, text: &'static str| if is_set { text } else { "" };
    let code = match u16::from(meta.response_code) {
        16 => "BADVERS".to_owned(),
        _ => format!("{:?}", meta.response_code).to_uppercase(),
    };
    let mut text = format!(
        "{code}{}{}{}{}{}{}\n",
        flag(meta.authoritative, " aa"),
        flag(meta.truncation, " tc"),
        flag(meta.recursion_desired, " rd"),
        flag(meta.recursion_available, " ra"),
        flag(meta.authentic_data, " ad"),
        flag(meta.checking_disabled, " cd"),
    );
    for query in &message.queries {
        writeln!(text, "question {query}").unwrap();
    }
    for (section, records) in [("answer", &message.answers), ("authority", &message.authorities), ("additional", &message.additionals)] {
        for record in records.iter().take(20) {
            let line = record.to_string();
            let short: String = line.chars().take(120).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
            writeln!(text, "{section} {short}").unwrap();
        }
        if records.len() > 20 {
            writeln!(text, "{section} and {} more", records.len() - 20).unwrap();
        }
    }
    if let Some(edns) = &message.edns {
        write!(text, "opt version={} payload={}{}", edns.version(), edns.max_payload(), flag(edns.flags().dnssec_ok, " do")).unwrap();
        for (code, option) in &edns.options().options {
            match option {
                EdnsOption::Subnet(subnet) => {
                    let family = flag(family_0.is_some(), "family-0:");
                    write!(text, " ecs={family}{}/{}/{}", subnet.addr(), subnet.source_prefix(), subnet.scope_prefix()).unwrap();
                }
                EdnsOption::NSID(nsid) => write!(text, " nsid={}", String::from_utf8_lossy(nsid.as_ref())).unwrap(),
                EdnsOption::Unknown(15, data) => {
                    write!(text, " ede={} `{}`", u16::from_be_bytes([data[0], data[1]]), String::from_utf8_lossy(&data[2..])).unwrap();
                }
                other => write!(text, " {code:?}={other:?}").unwrap(),
            }
        }
        text.push('\n');
    }
    text
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut answer = vec![0; 65_536];
    let length = timeout(PATIENCE, socket.recv(&mut answer)).await.expect("an answer in time").unwrap();
    answer.truncate(length);
    answer
}

async fn client(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
    let socket = UdpSocket::bind(local(any)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket
}

async fn exchange(server: SocketAddr, packet: &[u8]) -> Vec<u8> {
    let socket = client(server).await;
    socket.send(packet).await.unwrap();
    receive(&socket).await
}

async fn send(stream: &mut TcpStream, packet: &[u8]) {
    let framed = [&u16::try_from(packet.len()).unwrap().to_be_bytes(), packet].concat();
    stream.write_all(&framed).await.unwrap();
}

/// `None`: the server closed the connection.
async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let work = async {
        let length = stream.read_u16().await.ok()?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer)
    };
    timeout(PATIENCE, work).await.expect("an answer or an end in time")
}

/// What comes back, by the script's rules.
async fn ask(server: SocketAddr, line: &str, id: u16) -> String {
    let (packet, tcp) = packet(line, id);
    let answer = if tcp {
        let mut stream = TcpStream::connect(server).await.unwrap();
        send(&mut stream, &packet).await;
        match read(&mut stream).await {
            Some(answer) => answer,
            None => return "closed\n".to_owned(),
        }
    } else {
        let socket = client(server).await;
        socket.send(&packet).await.unwrap();
        // Silence shows by the next query's answer coming first.
        let sentinel = self::packet("query web.example.org A", !id).0;
        socket.send(&sentinel).await.unwrap();
        let first = receive(&socket).await;
        if first[..2] == (!id).to_be_bytes() {
            return "silence\n".to_owned();
        }
        first
    };
    assert_eq!(answer[..2], id.to_be_bytes(), "{line}");
    shown(&answer)
}

async fn check_script(name: &str) {
    let server = start(options());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/dns").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut actual = String::new();
    for (number, block) in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()).enumerate() {
        let mut script: Vec<&str> = block.lines().take_while(|line| line.starts_with('#')).collect();
        let query = block.lines().nth(script.len()).unwrap_or("");
        if !query.is_empty() {
            script.push(query);
        }
        writeln!(actual, "{}", script.join("\n")).unwrap();
        if !query.is_empty() {
            actual.push_str(&ask(server.addresses()[0], query, u16::try_from(number).unwrap()).await);
        }
        actual.push('\n');
    }
    server.shutdown().await;
    let actual = format!("{}\n", actual.trim_end());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return fs::write(&path, &actual).unwrap();
    }
    assert!(text == actual, "{} differs; UPDATE_EXPECT=1 shows how. It is now:\n{actual}", path.display());
}

#[tokio::test]
async fn zones_and_services_answer_as_the_script_says() {
    check_script("answers.txt").await;
}

#[tokio::test]
async fn edns_is_answered_as_the_script_says() {
    check_script("edns.txt").await;
}

#[tokio::test]
async fn malformed_packets_are_answered_as_the_script_says() {
    check_script("malformed.txt").await;
}

#[tokio::test]
async fn client_subnets_are_strict() {
    check_script("ecs.txt").await;
}

#[tokio::test]
async fn answers_that_do_not_fit_are_cut_at_whole_sets() {
    check_script("truncation.txt").await;
}

#[tokio::test]
async fn an_answer_is_never_larger_than_allowed() {
    let server = start(options());
    for payload in [0_u16, 511, 512, 513, 600, 1000, 1231, 1232, 1233, 4096, 65_535] {
        for name in ["big.example.org A", "big.example.org TXT", "huge.example.org TXT", "sub.example.org A", "fail.example.org A"] {
            let line = format!("query {name} edns={payload} nsid do ecs=2001:db8::/56");
            let answer = exchange(server.addresses()[0], &packet(&line, 7).0).await;
            let allowed = usize::from(payload.clamp(512, 1232));
            assert!(answer.len() <= allowed, "{line}: {} octets", answer.len());
            shown(&answer);
        }
    }
    // The longest name, every option, the smallest message.
    let long = format!("{0}.{0}.{0}.{1}.fail.example.org", "l".repeat(63), "l".repeat(44));
    for line in [format!("query {long} A edns=512 nsid do ecs=2001:db8::1/128"), "query fail.example.org A edns=512 nsid".to_owned()] {
        let answer = exchange(server.addresses()[0], &packet(&line, 7).0).await;
        assert!(answer.len() <= 512, "{} octets", answer.len());
    }
    server.shutdown().await;
}

#[tokio::test]
async fn large_answers_come_over_tcp_whole() {
    let server = start(options());
    let mut stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
    // Several queries at once on one connection: answered in order.
    let lines =
        ["query big.example.org A tcp", "query huge.example.org TXT tcp", "query big.example.org TXT tcp", "query web.example.org A tcp"];
    for (id, line) in (0..).zip(lines) {
        send(&mut stream, &packet(line, id).0).await;
    }
    let mut counts = Vec::new();
    for id in 0..4_u16 {
        let answer = read(&mut stream).await.unwrap();
        assert_eq!(answer[..2], id.to_be_bytes());
        let message = Message::from_vec(&answer).unwrap();
        counts.push((message.answers.len(), message.metadata.truncation));
    }
    // 300 strings of 240 octets do not fit into any message: SERVFAIL.
    assert_eq!(counts, [(100, false), (0, false), (12, false), (1, false)]);
    server.shutdown().await;
}

#[tokio::test]
async fn letter_case_comes_back() {
    let server = start(options());
    let (query, _) = packet("query wEb.ExAmPlE.oRg A", 7);
    let answer = exchange(server.addresses()[0], &query).await;
    assert_eq!(answer[12..query.len()], query[12..], "the question");
    let message = Message::from_vec(&answer).unwrap();
    assert_eq!(message.answers[0].name.to_ascii(), "wEb.ExAmPlE.oRg.");
    // The owner is a pointer to the question.
    assert_eq!(answer[query.len()..query.len() + 2], [0xc0, 12]);
    server.shutdown().await;
}

#[tokio::test]
async fn ipv4_and_ipv6_stand_beside_each_other() {
    let (listen, source) = ([local("127.0.0.1:0"), local("[::1]:0")], Arc::new(FixedSource::new()));
    let server = DnsServer::start(&listen, source, options()).unwrap();
    for address in server.addresses() {
        let answer = exchange(*address, &packet("query web.example.org A", 7).0).await;
        assert!(shown(&answer).contains("answer web.example.org. 300 IN A 192.0.2.80"));
        let mut stream = TcpStream::connect(address).await.unwrap();
        send(&mut stream, &packet("query web.example.org A", 8).0).await;
        assert!(read(&mut stream).await.is_some());
    }
    // Both wildcards on one port: the IPv6 socket leaves IPv4 alone.
    let port = {
        let probe = DnsServer::start(&[local("0.0.0.0:0")], Arc::new(FixedSource::new()), options()).unwrap();
        let port = probe.addresses()[0].port();
        probe.shutdown().await;
        port
    };
    let both = [SocketAddr::from(([0, 0, 0, 0], port)), SocketAddr::from(([0_u16; 8], port))];
    let wild = DnsServer::start(&both, Arc::new(FixedSource::new()), options()).unwrap();
    assert_eq!(wild.addresses(), both);
    wild.shutdown().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_with_a_hint() {
    let server = start(options());
    let taken = server.addresses()[0];
    let error = DnsServer::start(&[local("127.0.0.1:0"), taken], Arc::new(FixedSource::new()), options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("listen for DNS over UDP on {taken}: another process listens there; stop it, or choose another address or port")
    );
    assert!(matches!(DnsServer::start(&[], Arc::new(FixedSource::new()), options()), Err(DnsError::NoAddress)));
    server.shutdown().await;
    // Free again, connections of the old server notwithstanding; a child that another test forked has it until it executes its program.
    given("it is free", async || DnsServer::start(&[taken], Arc::new(FixedSource::new()), options()).ok()).await.shutdown().await;
}

#[tokio::test]
async fn connections_are_bounded_and_idle_ones_are_closed() {
    let server = start(DnsOptions { tcp_connections_max: 2, tcp_idle: Duration::from_millis(100), ..options() });
    let address = server.addresses()[0];
    let query = packet("query web.example.org A", 7).0;
    let (mut first, mut second) = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    for stream in [&mut first, &mut second] {
        send(stream, &query).await;
        assert!(read(stream).await.is_some());
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    assert_eq!(read(&mut third).await, None);
    // Half a query is as good as none.
    first.write_all(&[0, 40, 1]).await.unwrap();
    assert_eq!(read(&mut first).await, None);
    assert_eq!(read(&mut second).await, None);
    // Their slots are free again; a closed connection may be seen before its slot is.
    loop {
        let mut next = TcpStream::connect(address).await.unwrap();
        send(&mut next, &query).await;
        if read(&mut next).await.is_some() {
            break;
        }
    }
    let counters = server.counters();
    assert_eq!(counters.tcp_timed_out, 2);
    assert!(counters.tcp_refused >= 1);
    server.shutdown().await;
}

#[tokio::test]
async fn shutdown_ends_idle_connections_at_once() {
    let server = start(DnsOptions { tcp_idle: PATIENCE * 10, ..options() });
    let mut stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
    send(&mut stream, &packet("query web.example.org A", 7).0).await;
    assert!(read(&mut stream).await.is_some());
    timeout(PATIENCE, server.shutdown()).await.expect("no wait for the idle time");
    assert_eq!(read(&mut stream).await, None);
}

#[tokio::test]
async fn a_panic_costs_one_servfail() {
    let server = start(options());
    let answer = exchange(server.addresses()[0], &packet("query panic.example.org A rd", 7).0).await;
    assert_eq!(answer, [0, 7, 0x81, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    for id in 0..32 {
        exchange(server.addresses()[0], &packet("query web.example.org A", id).0).await;
    }
    assert_eq!(server.counters().failed, 1);
    server.shutdown().await;
}

#[tokio::test]
async fn everything_is_counted_once() {
    let server = start(options());
    let address = server.addresses()[0];
    for line in [
        "query web.example.org A",
        "query api.example.org A ecs=198.51.100.0/24",
        "query none.example.org A",
        "query other.example.net A",
        "query web.example.org A opt-twice",
        "query web.example.org A version=1",
        "query big.example.org A",
    ] {
        exchange(address, &packet(line, 7).0).await;
    }
    assert_eq!(ask(address, "query web.example.org A qr", 7).await, "silence\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    send(&mut stream, &packet("query web.example.org A", 7).0).await;
    read(&mut stream).await.unwrap();
    let counters = server.counters();
    assert_eq!((counters.udp, counters.stream, counters.queries()), (9, 1, 10));
    // NOERROR: web, api, big, the sentinel after the silence, and web over TCP.
    assert_eq!([0, 1, 2, 3, 4, 5, 16].map(|code| counters.rcodes[0][code] + counters.rcodes[1][code]), [5, 1, 0, 1, 0, 1, 1]);
    assert_eq!((counters.formerr(), counters.truncated, counters.silent, counters.client_subnet), (1, 1, 1, 1));
    assert_eq!((counters.tcp_accepted, counters.io_errors), (1, 0));
    server.shutdown().await;
}

/// Remembers what it was asked.
struct Recorder(FixedSource, AtomicU64);

impl AnswerSource for Recorder {
    fn answer(&self, query: &Query) -> Answer {
        self.1.fetch_xor(query.entropy, Ordering::Relaxed);
        self.0.answer(query)
    }
}

#[tokio::test]
async fn each_query_gets_a_number_of_its_own() {
    let recorder = Arc::new(Recorder(FixedSource::new(), AtomicU64::new(0)));
    let server = DnsServer::start(&[local("127.0.0.1:0")], recorder.clone(), options()).unwrap();
    let mut seen = Vec::new();
    for id in 0..8 {
        exchange(server.addresses()[0], &packet("query web.example.org A", id).0).await;
        seen.push(recorder.1.swap(0, Ordering::Relaxed));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 8);
    server.shutdown().await;
}

#[tokio::test]
async fn hickory_server_gives_the_same_answers() {
    let server = start(options());
    let mut other = hickory_server::Server::new(server.handler());
    let socket = UdpSocket::bind(local("127.0.0.1:0")).await.unwrap();
    let address = socket.local_addr().unwrap();
    other.register_socket(socket);
    for line in [
        "query wEb.example.org A rd",
        "query www.example.org A",
        "query none.example.org A edns do nsid",
        "query api.example.org AAAA ecs=2001:db8::/56",
        "query api.example.org A ecs-hex=00011800c633",
        "query sub.example.org A edns=512",
        "query big.example.org A edns=512",
        "query huge.example.org TXT edns",
        "query version.bind TXT class=CH",
        "query web.example.org A version=1",
        "query fail.example.org A edns",
        "query web.example.org A opcode=4",
    ] {
        let query = packet(line, 7).0;
        let [ours, theirs] = [exchange(server.addresses()[0], &query).await, exchange(address, &query).await];
        // hickory-server refuses these before any handler sees them.
        if line.contains("ecs-hex") {
            assert!(shown(&theirs).starts_with("FORMERR"));
            continue;
        }
        // The header answers to what could not be read have no question; hickory-server adds it.
        let without_question = |text: String| text.lines().filter(|line| !line.starts_with("question")).collect::<Vec<_>>().join("\n");
        assert_eq!(without_question(shown(&theirs)), without_question(shown(&ours)), "{line}");
    }
    other.shutdown_gracefully().await.unwrap();
    server.shutdown().await;
}

#[test]
fn nobody_is_answered_on_port_0() {
    let (source, options, counters) = (FixedSource::new(), options(), Counters::new(1));
    let query = packet("query web.example.org A", 7).0;
    let from = |port| SocketAddr::from(([192, 0, 2, 1], port));
    assert!(respond(&query, from(53), Transport::Udp, &source, &options, 0, counters.shard(0)).is_some());
    assert!(respond(&query, from(0), Transport::Udp, &source, &options, 0, counters.shard(0)).is_none());
}

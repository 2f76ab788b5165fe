//! Links and calls between nodes over mutual TLS, with hosts that remember what they were asked.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use portolan::{
    mesh::{
        Address, CallError, Event, Far, FarRole, FollowStream, Followed, Greeting, Host, Lane, Mesh, MeshSetup, Parcel, Passport, Patience,
        Proposed, Route,
    },
    net::mutual::TlsFiles,
};
use portolan_core::{
    health::vantage::{CheckKey, Judgement, Report, Sight, Statement},
    model::{time::Timestamp, verdict::Health},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long something may take that takes a moment on an idle machine.
const LIMIT: Duration = Duration::from_secs(20);

/// An authority in a directory.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    ca_file: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), ca_file, directory }
    }

    /// A certificate with these names, by a file name of its own.
    fn issue(&self, file: &str, names: &[SanType]) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names.to_vec();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |end: &str| self.directory.path().join(format!("{file}.{end}"));
        std::fs::write(path("crt"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        TlsFiles { ca_file: self.ca_file.clone(), cert_file: path("crt"), key_file: path("key") }
    }

    fn node(&self, name: &str) -> TlsFiles {
        self.issue(name, &[dns(name)])
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

/// Remembers what it was asked.
struct Recorder {
    passport: Passport,
    refused: Option<u64>,
    asked: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl Host for Recorder {
    fn passport(&self) -> Passport {
        self.passport.clone()
    }

    fn refuses(&self, id: u64) -> Option<String> {
        (self.refused == Some(id)).then(|| "it was left behind".to_owned())
    }

    fn greeting(&self, founder: Option<&Passport>) -> Greeting {
        Greeting {
            passport: self.passport(),
            is_empty: true,
            is_persistent: true,
            peers: vec![1, 2],
            leader: Some(9),
            is_witness: false,
            feature_level: 1,
            wall_ms: 5,
            members: vec![9],
            word: founder.map(|founder| founder.id),
        }
    }

    async fn raft(&self, from: &Passport, call: u32, body: Bytes) -> Result<Vec<u8>, String> {
        self.asked.lock().unwrap().push(format!("{} {call}", from.node));
        Ok(body.iter().rev().copied().collect())
    }

    async fn propose(&self, entry: Bytes) -> Proposed {
        if entry.is_empty() { Proposed::NotLeader(Some(9)) } else { Proposed::Done(entry) }
    }

    async fn order(&self, _: Bytes) -> Result<Vec<u8>, String> {
        Err("not now".to_owned())
    }

    async fn ask(&self, question: Bytes) -> Result<Vec<u8>, String> {
        Ok(question.iter().rev().copied().collect())
    }

    fn follow(&self, _: &Passport, next: u64) -> Option<FollowStream> {
        let steps = [Followed::Snapshot { next, octets: vec![7; 700_000].into() }, Followed::Entry { index: next, octets: Bytes::new() }];
        Some(Box::pin(tokio_stream::iter(steps)))
    }
}

/// One node of the test.
struct Node {
    mesh: Mesh,
    events: mpsc::Receiver<Event>,
    host: Arc<Recorder>,
    address: Address,
    _introduction: watch::Sender<Far>,
}

fn passport(node: &str, id: u64, cluster: Option<&str>) -> Passport {
    Passport { cluster: cluster.map(str::to_owned), id, node: node.into(), region: "us".into(), generation: 0 }
}

async fn node(passport: Passport, role: FarRole, tls: Option<TlsFiles>) -> Node {
    refusing(passport, role, tls, None).await
}

async fn refusing(passport: Passport, role: FarRole, tls: Option<TlsFiles>, refused: Option<u64>) -> Node {
    let bound = Mesh::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), tls.is_some()).await.unwrap();
    let address = Address { node: passport.node.clone(), address: bound.address().to_string() };
    let far = Far { passport: passport.clone(), role, incarnation: 1, version: "1".to_owned(), heard: Vec::new(), plan_revision: None };
    let (introduction, introduced) = watch::channel(far);
    let (events, queue) = mpsc::channel(64);
    let host = Arc::new(Recorder { passport, refused, asked: Mutex::default() });
    let setup = MeshSetup {
        patience: Patience::default(),
        tls,
        peers: Vec::new(),
        detours: Default::default(),
        introduction: introduced,
        events,
        clock: Arc::new(Timestamp(1_000_000)),
        others: Default::default(),
        stop: CancellationToken::new(),
    };
    let mesh = Mesh::start(bound, setup, host.clone()).unwrap();
    Node { mesh, events: queue, host, address, _introduction: introduction }
}

impl Node {
    /// The next event that is wanted; clocks are passed over.
    async fn next<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let next = async {
            loop {
                if let Some(found) = wanted(self.events.recv().await.expect("the mesh lives")) {
                    return found;
                }
            }
        };
        timeout(LIMIT, next).await.expect("in time")
    }

    async fn raft(&self, to: &Self, body: &[u8]) -> Result<Vec<u8>, CallError> {
        self.mesh.raft(&to.address, to.host.passport.id, Lane::Log, 3, body.to_vec(), LIMIT).await
    }
}

fn report(observer: &str) -> Report {
    let judgement = Judgement { health: Health::Up, since: Some(Timestamp(5)), ..Judgement::default() };
    Report {
        observer: observer.into(),
        region: "us".into(),
        incarnation: 1,
        after: 0,
        sequence: 3,
        sight: Sight::Sighted,
        age: Duration::ZERO,
        statements: vec![Statement { check: CheckKey::from_number(7), sequence: 2, judgement }],
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
    match result {
        Err(CallError::Refused(why) | CallError::Unreachable(why) | CallError::LeftBehind(why)) => why,
        Ok(done) => panic!("done: {done:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_says_the_other_hears() {
    let authority = Authority::new();
    let mut one = node(passport("one", 1, Some("shop-1")), FarRole::Voter, Some(authority.node("one"))).await;
    let mut two = node(passport("two", 2, Some("shop-1")), FarRole::Observer, Some(authority.node("two"))).await;
    two.mesh.dial(vec![one.address.clone()]);
    let up = |event| if let Event::Up { link, far } = event { Some((link, far)) } else { None };
    let (at_one, far) = one.next(up).await;
    assert_eq!((far.passport.node.as_str(), far.role), ("two", FarRole::Observer));
    let (at_two, far) = two.next(up).await;
    assert_eq!((far.passport.node.as_str(), far.role), ("one", FarRole::Voter));

    two.mesh.activate(at_two);
    two.mesh.spread(Route::Own, Parcel::Reports(vec![report("two")]));
    let heard = one.next(|event| if let Event::Report { link, report, .. } = event { Some((link, report)) } else { None }).await;
    assert_eq!(heard, (at_one, report("two")));
    one.mesh.send(at_one, &Parcel::Confirm(CheckKey::from_number(9)));
    assert_eq!(two.next(|event| if let Event::Confirm { check, .. } = event { Some(check) } else { None }).await.number(), 9);
    one.mesh.send(at_one, &Parcel::Need("two".into()));
    assert_eq!(two.next(|event| if let Event::Need { observer, .. } = event { Some(observer) } else { None }).await.as_str(), "two");
    let ahead_ms = two.next(|event| if let Event::Clock { ahead_ms, .. } = event { Some(ahead_ms) } else { None }).await;
    assert!(ahead_ms.abs() < 60_000, "both have one clock");

    // An observer speaks for itself only.
    two.mesh.spread(Route::Own, Parcel::Reports(vec![report("three")]));
    let why = one.next(|event| if let Event::Down { why, .. } = event { Some(why) } else { None }).await;
    assert!(why.contains("speaks as `three`"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_arrive_whole_and_their_answers_too() {
    let one = node(passport("one", 1, Some("shop-1")), FarRole::Voter, None).await;
    let two = node(passport("two", 2, Some("shop-1")), FarRole::Voter, None).await;
    assert_eq!(one.raft(&two, b"abc").await, Ok(b"cba".to_vec()));
    assert_eq!(*two.host.asked.lock().unwrap(), ["one 3"]);
    assert_eq!(one.mesh.greet(&two.address, LIMIT).await, Ok(two.host.greeting(None)));
    let word = one.mesh.ask_word(&two.address, LIMIT).await.unwrap().word;
    assert_eq!(word, Some(one.host.passport().id), "who founds is told from who asks only");
    assert_eq!(one.mesh.propose(&two.address, b"x".to_vec(), LIMIT).await, Ok(Proposed::Done(Bytes::from_static(b"x"))));
    assert_eq!(one.mesh.propose(&two.address, Vec::new(), LIMIT).await, Ok(Proposed::NotLeader(Some(9))));
    assert_eq!(refusal(one.mesh.order(&two.address, Vec::new(), LIMIT).await), "not now");
    let (told, mut heard) = mpsc::channel(8);
    let ended = timeout(LIMIT, one.mesh.follow(&two.address, 4, told)).await.unwrap();
    assert!(matches!(ended, CallError::Unreachable(_)), "{ended}");
    assert!(matches!(heard.recv().await, Some(Followed::Snapshot { next: 4, octets }) if octets.len() == 700_000));
    assert_eq!(heard.recv().await, Some(Followed::Entry { index: 4, octets: Bytes::new() }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_with_a_reason_and_change_nothing() {
    let authority = Authority::new();
    let tls = |name: &str| Some(authority.node(name));
    let one = refusing(passport("one", 1, Some("shop-1")), FarRole::Voter, tls("one"), Some(66)).await;
    let call = async |passport: Passport, tls| {
        let stranger = node(passport, FarRole::Voter, tls).await;
        refusal(stranger.raft(&one, b"x").await)
    };
    let cases = [
        (call(passport("two", 2, Some("other-1")), tls("two")).await, "it belongs to cluster `other-1`, and this node to `shop-1`"),
        (call(passport("two", 2, None), tls("two")).await, "belongs to no cluster yet"),
        (call(passport("two", 66, Some("shop-1")), tls("two")).await, "it was left behind"),
        (call(passport("two", 1, Some("shop-1")), tls("two")).await, "this node's own id"),
        (call(passport("two", 2, Some("shop-1")), tls("three")).await, "the certificate is of three"),
        (
            call(passport("two", 2, Some("shop-1")), Some(authority.issue("sre", &[uri("spiffe://shop/operator/two")]))).await,
            "the certificate is of spiffe://shop/operator/two",
        ),
        (call(passport("two", 2, Some("shop-1")), Some(Authority::new().node("two"))).await, "invalid peer certificate"),
    ];
    for (given, wanted) in cases {
        assert!(given.contains(wanted), "`{given}` says nothing of `{wanted}`");
    }
    // Who was left behind knows it by more than a sentence.
    let left = node(passport("two", 66, Some("shop-1")), FarRole::Voter, tls("two")).await;
    assert!(matches!(left.raft(&one, b"x").await, Err(CallError::LeftBehind(_))));
    // Another one under the name that is meant, and another one under the id.
    let two = node(passport("two", 2, Some("shop-1")), FarRole::Voter, tls("two")).await;
    let to = Address { node: "three".into(), ..one.address.clone() };
    let given = refusal(two.mesh.raft(&to, 1, Lane::Log, 3, Vec::new(), LIMIT).await);
    assert!(given.contains("its certificate is of one, not of node `three`"), "{given}");
    let given = refusal(two.mesh.raft(&one.address, 3, Lane::Log, 3, Vec::new(), LIMIT).await);
    assert!(given.contains("its disk was replaced"), "{given}");
    assert_eq!(*one.host.asked.lock().unwrap(), [""; 0]);
    // A URI names a node as well as a host name does.
    let by_uri = authority.issue("four", &[uri("spiffe://shop-1/node/four")]);
    let four = node(passport("four", 4, Some("shop-1")), FarRole::Voter, Some(by_uri)).await;
    assert_eq!(four.raft(&one, b"x").await, Ok(b"x".to_vec()));
    assert_eq!(one.raft(&four, b"x").await, Ok(b"x".to_vec()));
}

#[tokio::test]
async fn without_certificates_peers_are_on_loopback_only() {
    let error = Mesh::bind("0.0.0.0:0".parse().unwrap(), false).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("loopback"), "{error}");
    let one = node(passport("one", 1, Some("shop-1")), FarRole::Voter, None).await;
    let to = Address { node: "two".into(), address: "192.0.2.1:9".to_owned() };
    // Either it cannot be reached at all from here, or it is refused before anything is said.
    let given = refusal(one.mesh.greet(&to, Duration::from_secs(1)).await);
    assert!(!given.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_certificates_are_taken_without_a_restart() {
    let authority = Authority::new();
    let files = authority.node("one");
    let one = node(passport("one", 1, Some("shop-1")), FarRole::Voter, Some(files.clone())).await;
    let two = node(passport("two", 2, Some("shop-1")), FarRole::Voter, Some(authority.node("two"))).await;
    assert!(two.raft(&one, b"x").await.is_ok());
    let another = Authority::new();
    let copy = |from: &Path, to: &Path| assert!(std::fs::copy(from, to).unwrap() > 0);
    let renewed = another.node("one");
    copy(&another.ca_file, &files.ca_file);
    copy(&renewed.cert_file, &files.cert_file);
    copy(&renewed.key_file, &files.key_file);
    // The old authority is none any more: who was signed by it is refused, who by the new one is not.
    let three = node(passport("three", 3, Some("shop-1")), FarRole::Voter, Some(another.node("three"))).await;
    let taken = async { while three.raft(&one, b"x").await.is_err() {} };
    timeout(LIMIT, taken).await.expect("the renewed files are in force");
    let ended = async { while two.raft(&one, b"x").await.is_ok() {} };
    timeout(LIMIT, ended).await.expect("a connection by the old authority does not last");
    let old = Authority { directory: tempfile::tempdir().unwrap(), issuer: authority.issuer, ca_file: another.ca_file.clone() };
    let four = node(passport("four", 4, Some("shop-1")), FarRole::Voter, Some(old.node("four"))).await;
    assert!(four.raft(&one, b"x").await.is_err());
}

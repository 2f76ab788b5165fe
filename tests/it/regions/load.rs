//! Clients who ask all the time, for addresses in the name of clients of every region in turn: in each region one who asks each node, and a
//! resolver that knows a node of every region.
//!
//! The former ask once, without a second try: who is not answered counts. What cannot be answered, because a test has killed the node or cut the
//! line, is excused, from before that is done until after it has ended. A resolver goes on to the next server after a while, as all do that know
//! several, also when one says that it is not ready; nothing excuses that none of them answers.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    ground::Atlas,
    place::{Place, REGIONS},
    process::Node,
};
use crate::daemon::{
    ask::{Question, Reply, read},
    eventually,
    plan::API,
};

/// Between two questions of one client to one node: with twelve of them some eighty questions a second.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long a client waits for the only one whom it asks: far above what an answer takes from another continent.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a resolver waits before it asks the next server.
const RESOLVER_PATIENCE: Duration = Duration::from_millis(1500);

/// What a node says that has not come up yet and has no table on disk (RFC 1035 section 4.1.1: server failure); as good as no answer.
const NOT_READY: &str = "SERVFAIL";

/// A look at what was answered waits for so many answers at each node, three seconds' worth, so that no look is at nothing.
const ASKED_MIN: u64 = 30;

/// Why questions are excused, as bits.
const NODE: u8 = 1;
const LINE: u8 = 2;

/// A client in one region.
#[derive(Debug)]
struct Client {
    from: usize,
    address: Ipv4Addr,
    /// The only node that it asks; `None`: a resolver, which knows several.
    node: Option<usize>,
    /// Where that node stands.
    at: usize,
    /// In the order in which they are asked.
    servers: Vec<SocketAddr>,
    excused: AtomicU8,
    /// How often excuses began: a fault may begin and end while one question waits.
    n_excuses: AtomicU64,
    /// How often what was seen was forgotten: a question that was asked before is answered by what held before.
    n_anew: AtomicU64,
    seen: Mutex<Seen>,
}

/// What became of questions.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Questions with an address as answer.
    pub(super) answered: u64,
    /// Without any answer.
    pub(super) unanswered: u64,
    /// Without any answer while none could be had.
    pub(super) excused: u64,
    /// With an answer that is none: a code of failure, or no address. Never excused.
    pub(super) failed: BTreeMap<String, u64>,
    /// Addresses given, by the region of the client in whose name it was asked.
    pub(super) addresses: BTreeMap<(usize, String), u64>,
    /// The longest that an answer took.
    pub(super) slowest: Duration,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.unanswered += other.unanswered;
        self.excused += other.excused;
        self.slowest = self.slowest.max(other.slowest);
        other.failed.iter().for_each(|(code, n)| *self.failed.entry(code.clone()).or_default() += n);
        other.addresses.iter().for_each(|(address, n)| *self.addresses.entry(address.clone()).or_default() += n);
    }
}

/// All clients.
#[derive(Default)]
pub(super) struct Load {
    clients: Vec<Arc<Client>>,
}

impl Load {
    /// Everybody begins to ask. They end with their region.
    pub(super) async fn begin(&mut self, atlas: &Atlas, places: &[Place], nodes: &[Node]) {
        for (from, place) in places.iter().enumerate() {
            let client = |node, at, servers| Client {
                from,
                address: atlas.client(from),
                node,
                at,
                servers,
                excused: AtomicU8::new(0),
                n_excuses: AtomicU64::new(0),
                n_anew: AtomicU64::new(0),
                seen: Mutex::default(),
            };
            let mut clients: Vec<Client> =
                nodes.iter().enumerate().map(|(n, node)| client(Some(n), node.named.region, vec![node.dns()])).collect();
            // Its own region's nodes first.
            let mut known: Vec<&Node> = nodes.iter().collect();
            known.sort_by_key(|node| node.named.region != from);
            clients.push(client(None, from, known.into_iter().map(Node::dns).collect()));
            for client in clients {
                let client = Arc::new(client);
                self.clients.push(client.clone());
                place.run(async move { drop(tokio::spawn(keep_asking(client))) }).await;
            }
        }
    }

    fn mark(&self, reason: u8, is_set: bool, of: impl Fn(&Client) -> bool) {
        for client in self.clients.iter().filter(|client| client.node.is_some() && of(client)) {
            if is_set {
                client.n_excuses.fetch_add(1, SeqCst);
                client.excused.fetch_or(reason, SeqCst);
            } else {
                client.excused.fetch_and(!reason, SeqCst);
            }
        }
    }

    /// Nothing is expected of a node from here on.
    pub(super) fn excuse_node(&self, node: usize) {
        self.mark(NODE, true, |client| client.node == Some(node));
    }

    /// The node answers again.
    pub(super) fn expect_of_node(&self, node: usize) {
        self.mark(NODE, false, |client| client.node == Some(node));
    }

    /// Nothing is expected over the line between two regions from here on.
    pub(super) fn excuse_between(&self, one: usize, other: usize) {
        self.mark(LINE, true, |client| [(one, other), (other, one)].contains(&(client.from, client.at)));
    }

    /// All lines carry everything again.
    pub(super) fn expect_all_lines(&self) {
        self.mark(LINE, false, |_| true);
    }

    /// Forgets what was seen.
    pub(super) fn begin_anew(&self) {
        for client in &self.clients {
            let mut seen = client.seen.lock().unwrap();
            client.n_anew.fetch_add(1, SeqCst);
            *seen = Seen::default();
        }
    }

    /// Nothing that could be answered was left without an address since [`Self::begin_anew`] and this were last called, and every one of these
    /// nodes was asked for a while. Gives what these nodes answered.
    pub(super) async fn nothing_was_lost(&self, what: &str, nodes: &[usize]) -> Seen {
        let is_of = |client: &Client| client.node.is_some_and(|node| nodes.contains(&node));
        let local = || self.clients.iter().filter(|client| is_of(client) && client.from == client.at);
        let asked = || async { local().map(|client| client.seen.lock().unwrap().answered).collect::<Vec<_>>() };
        eventually(&format!("{what}: clients ask on"), asked, |all| all.iter().all(|n| *n >= ASKED_MIN)).await;
        let text = self.text();
        let (mut all, mut of_nodes) = (Seen::default(), Seen::default());
        for client in &self.clients {
            let seen = std::mem::take(&mut *client.seen.lock().unwrap());
            all.add(&seen);
            if is_of(client) {
                of_nodes.add(&seen);
            }
        }
        println!("{what}: {} answers, {} questions excused, the slowest took {:?}", all.answered, all.excused, all.slowest);
        assert!(all.unanswered == 0 && all.failed.is_empty(), "{what}: answers were lost\n{text}");
        of_nodes
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for client in &self.clients {
            let (seen, from) = (client.seen.lock().unwrap(), client.from);
            let whom = client.node.map_or_else(|| "all nodes".to_owned(), |node| format!("node {node}"));
            writeln!(text, "clients in {from} of {whom}: {seen:?}").unwrap();
        }
        text
    }
}

/// A question in the name of a client of a region.
fn question(region: usize) -> Question {
    Question::a(API).subnet(&format!("198.18.{}.0/24", region + 1))
}

async fn keep_asking(who: Arc<Client>) {
    let socket = UdpSocket::bind((who.address, 0)).await.unwrap();
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let patience = if who.node.is_some() { PATIENCE } else { RESOLVER_PATIENCE };
    let mut id = 0_u16;
    for region in (0..REGIONS).cycle() {
        ticks.tick().await;
        let (before, n_before, start) = (who.excused.load(SeqCst), who.n_excuses.load(SeqCst), Instant::now());
        let n_anew = who.n_anew.load(SeqCst);
        let mut reply = None;
        for server in &who.servers {
            id = id.wrapping_add(1);
            reply = timeout(patience, ask(&socket, *server, region, id)).await.ok().flatten().filter(|reply| reply.code != NOT_READY);
            if reply.is_some() {
                break;
            }
        }
        let is_excused = before | who.excused.load(SeqCst) != 0 || who.n_excuses.load(SeqCst) != n_before;
        let mut seen = who.seen.lock().unwrap();
        match reply {
            None if is_excused => seen.excused += 1,
            None => seen.unanswered += 1,
            Some(reply) if reply.code != "NOERROR" || reply.data.len() != 1 => {
                *seen.failed.entry(format!("{} {:?}", reply.code, reply.data)).or_default() += 1;
            }
            Some(_) if who.n_anew.load(SeqCst) != n_anew => {}
            Some(reply) => {
                seen.answered += 1;
                seen.slowest = seen.slowest.max(start.elapsed());
                *seen.addresses.entry((region, reply.one().to_owned())).or_default() += 1;
            }
        }
    }
}

/// Asks once from where it runs; `None`: no answer in time.
pub(super) async fn ask_once(server: SocketAddr, region: usize) -> Option<Reply> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).await.unwrap();
    timeout(PATIENCE, ask(&socket, server, region, 7)).await.ok().flatten()
}

/// Asks, and waits until it is answered; `None`: the system refuses to send.
async fn ask(socket: &UdpSocket, server: SocketAddr, region: usize, id: u16) -> Option<Reply> {
    socket.send_to(&question(region).packet(id), server).await.ok()?;
    let mut answer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut answer).await.ok()?;
        // What else comes is late, and its question was given up.
        if from == server && answer[..2] == id.to_be_bytes() {
            return Some(read(&answer[..length]));
        }
    }
}

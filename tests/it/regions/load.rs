//! Clients who ask all the time: one in each region for each node, for addresses in the name of clients of every region in turn.
//!
//! A question is asked once, without a second try: who is not answered counts. What cannot be answered, because a test has killed the node or cut
//! the line, is excused, from before that is done until after it has ended.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    place::{Place, REGIONS, client},
    process::Node,
};
use crate::daemon::{
    ask::{Question, Reply, read},
    plan::API,
};

/// Between two questions of one client to one node: with twelve of them a hundred questions a second and more.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long a client waits: a resolver's patience, and far above what an answer takes from another continent.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why questions are excused, as bits.
const NODE: u8 = 1;
const LINE: u8 = 2;

/// Clients in one region who ask one node.
#[derive(Debug)]
struct Pair {
    from: usize,
    node: usize,
    at: usize,
    excused: AtomicU8,
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
    pairs: Vec<Arc<Pair>>,
}

impl Load {
    /// Everybody begins to ask. They end with their region.
    pub(super) async fn begin(&mut self, places: &[Place], nodes: &[Node]) {
        for (from, place) in places.iter().enumerate() {
            for (n, node) in nodes.iter().enumerate() {
                let pair = Pair { from, node: n, at: node.named.region, excused: AtomicU8::new(0), seen: Mutex::default() };
                let pair = Arc::new(pair);
                self.pairs.push(pair.clone());
                let dns = node.dns();
                place.run(async move { drop(tokio::spawn(keep_asking(dns, pair))) }).await;
            }
        }
    }

    fn mark(&self, reason: u8, is_set: bool, of: impl Fn(&Pair) -> bool) {
        for pair in self.pairs.iter().filter(|pair| of(pair)) {
            if is_set {
                pair.excused.fetch_or(reason, SeqCst)
            } else {
                pair.excused.fetch_and(!reason, SeqCst)
            };
        }
    }

    /// Nothing is expected of a node from here on.
    pub(super) fn excuse_node(&self, node: usize) {
        self.mark(NODE, true, |pair| pair.node == node);
    }

    /// The node answers again.
    pub(super) fn expect_of_node(&self, node: usize) {
        self.mark(NODE, false, |pair| pair.node == node);
    }

    /// Nothing is expected over the line between two regions from here on.
    pub(super) fn excuse_between(&self, one: usize, other: usize) {
        self.mark(LINE, true, |pair| [(one, other), (other, one)].contains(&(pair.from, pair.at)));
    }

    /// All lines carry everything again.
    pub(super) fn expect_all_lines(&self) {
        self.mark(LINE, false, |_| true);
    }

    /// What was seen since this was last called, of questions to these nodes.
    pub(super) fn take(&self, nodes: &[usize]) -> Seen {
        let mut all = Seen::default();
        for pair in &self.pairs {
            let seen = std::mem::take(&mut *pair.seen.lock().unwrap());
            if nodes.contains(&pair.node) {
                all.add(&seen);
            }
        }
        all
    }

    /// Nothing that could be answered was left without an address since the last look, and there was somebody who asked. Gives what was seen.
    pub(super) fn nothing_was_lost(&self, what: &str, nodes: &[usize]) -> Seen {
        let text = self.text();
        let seen = self.take(nodes);
        println!("{what}: {} answers, {} questions excused, the slowest took {:?}", seen.answered, seen.excused, seen.slowest);
        assert!(seen.answered > 0, "{what}: nobody asked\n{text}");
        assert!(seen.unanswered == 0 && seen.failed.is_empty(), "{what}: answers were lost\n{text}");
        seen
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for pair in &self.pairs {
            let seen = pair.seen.lock().unwrap();
            writeln!(text, "clients in {} of node {}: {seen:?}", pair.from, pair.node).unwrap();
        }
        text
    }
}

/// A question in the name of a client of a region.
fn question(region: usize) -> Question {
    Question::a(API).subnet(&format!("198.18.{}.0/24", region + 1))
}

async fn keep_asking(server: SocketAddr, pair: Arc<Pair>) {
    let socket = UdpSocket::bind((client(pair.from), 0)).await.unwrap();
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0_usize.. {
        ticks.tick().await;
        let region = n % REGIONS;
        let (before, start) = (pair.excused.load(SeqCst), Instant::now());
        let reply = ask(&socket, server, region, u16::try_from(n % 0xffff).unwrap()).await;
        let is_excused = before | pair.excused.load(SeqCst) != 0;
        let mut seen = pair.seen.lock().unwrap();
        match reply {
            None if is_excused => seen.excused += 1,
            None => seen.unanswered += 1,
            Some(reply) if reply.code != "NOERROR" || reply.data.len() != 1 => {
                *seen.failed.entry(format!("{} {:?}", reply.code, reply.data)).or_default() += 1;
            }
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
    ask(&socket, server, region, 7).await
}

async fn ask(socket: &UdpSocket, server: SocketAddr, region: usize, id: u16) -> Option<Reply> {
    let exchange = async {
        socket.send_to(&question(region).packet(id), server).await.ok()?;
        let mut answer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut answer).await.ok()?;
            // What else comes is late, and its question was given up.
            if from == server && answer[..2] == id.to_be_bytes() {
                return Some(read(&answer[..length]));
            }
        }
    };
    timeout(PATIENCE, exchange).await.ok().flatten()
}

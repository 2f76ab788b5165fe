//! Three voters in three regions, in this process, with relays between them that are as long as wanted.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use portolan::{
    client::{Client, Target},
    daemon::{Daemon, Detours, Listen, PeerEntry, Setup},
    demo::wan::{Path, Wan},
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::daemon;

pub(crate) const NODES: [(&str, &str); 3] = [("aps1-a", "ap-southeast-1"), ("euw1-a", "eu-west-1"), ("use1-a", "us-east-1")];

/// Nothing here takes longer, or it is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// They end when it is dropped.
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Daemon>,
    /// Where agents reach them.
    pub(crate) voters: Vec<PeerEntry>,
    _wan: Wan,
    _folder: TempDir,
}

impl Fleet {
    /// Starts them with one plan and waits until they have a leader and know each other. `delay` is one way between each two; `reached` says
    /// where a node reaches a target, besides its peers.
    pub(crate) async fn start(plan: &str, delay: Duration, reached: impl Fn(usize) -> Vec<(SocketAddr, SocketAddr)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secrets = folder.path().join("secrets");
        std::fs::create_dir(&secrets).unwrap();
        std::fs::write(secrets.join("database"), "user=postgres sslmode=disable").unwrap();
        let mut wan = Wan::new(1);
        let book: Vec<(PeerEntry, SocketAddr)> = NODES
            .iter()
            .map(|(node, region)| {
                let address = free();
                (entry(node, region, address), address)
            })
            .collect();
        for (at, (_, one)) in NODES.iter().enumerate() {
            NODES[at + 1..].iter().for_each(|(_, other)| wan.join(one, other, Path::of(delay)));
        }
        let mut nodes = Vec::new();
        for (at, (node, region)) in NODES.iter().enumerate() {
            let targets: Vec<(&str, SocketAddr)> = NODES.iter().zip(&book).map(|((_, place), (_, peer))| (*place, *peer)).collect();
            let peers = if delay.is_zero() { Detours::default() } else { wan.detours(region, &targets).await.unwrap() };
            let peers = targets.iter().map(|(_, target)| (*target, peers.of(*target)));
            let path = folder.path().join(format!("{node}.yaml"));
            std::fs::write(&path, plan).unwrap();
            let free = (Ipv4Addr::LOCALHOST, 0).into();
            let setup = Setup {
                node: (*node).to_owned(),
                region: (*region).to_owned(),
                data_dir: Some(folder.path().join(node)),
                // What probes of databases ask for.
                secrets_dir: Some(secrets.clone()),
                listen: Listen { dns: vec![free], control: Some(free), http: None, socket: None },
                cluster: Some(daemon::voter(
                    book[at].1,
                    book.iter().map(|(entry, _)| entry.clone()).collect(),
                    peers.chain(reached(at)).collect(),
                )),
                ..daemon::setup(path)
            };
            nodes.push(Daemon::start(setup).await.unwrap());
        }
        let voters = book.into_iter().map(|(entry, _)| entry).collect();
        let fleet = Self { nodes, voters, _wan: wan, _folder: folder };
        until("all nodes know each other, the plan and a leader", async || {
            let known = |node: &Daemon| node.agreed().nodes().len() == NODES.len() && node.agreed().plan().is_some();
            fleet.nodes.iter().all(known) && fleet.leader().await.is_some()
        })
        .await;
        fleet
    }

    /// A client of one node's API.
    pub(crate) async fn client(&self, node: usize) -> Client {
        Client::connect(&Target::of_listener(self.nodes[node].control().unwrap(), None)).await.unwrap()
    }

    /// Who leads, when all nodes say the same.
    pub(crate) async fn leader(&self) -> Option<usize> {
        let mut named = BTreeMap::new();
        for node in 0..NODES.len() {
            let answer = self.client(node).await.get_cluster(Default::default()).await.unwrap();
            *named.entry(answer.freshness.unwrap().leader?).or_insert(0) += 1;
        }
        let (leader, n) = named.pop_first()?;
        if n == NODES.len() { NODES.iter().position(|(node, _)| *node == leader) } else { None }
    }

    pub(crate) async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

/// A place for a peer listener; taken by the daemon a moment later.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A line of the address book.
pub(crate) fn entry(node: &str, region: &str, address: SocketAddr) -> PeerEntry {
    PeerEntry { node: node.into(), region: region.into(), address: address.to_string() }
}

/// Waits for a level.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not seen within {PATIENCE:?}: {what}"));
}

/// The time below which so many of a thousand lie, in milliseconds.
pub(crate) fn quantile_ms(times: &mut [Duration], permille: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * permille / 1000].as_secs_f64() * 1e3
}

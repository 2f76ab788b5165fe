//! Asks nodes over UDP for many client networks, as resolvers that send the client subnet do (RFC 7871).
//!
//! Some dozens of questions are under way at a time. A node that answers none of them is passed over for a while, and the next one is asked, as
//! resolvers do with the nameservers of a zone: first the nodes of their own region, then the others.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, RecordType,
        rdata::opt::{ClientSubnet, EdnsOption},
    },
};
use portolan_core::model::time::{Now, Tick};
use tokio::{net::UdpSocket, sync::watch, time::timeout};

use crate::{daemon::Clock, latest::Latest};

/// Questions under way at a time: their datagrams fit into the socket buffers of both sides many times over.
const WINDOW: usize = 50;
/// Until a question is asked again: unbound's first guess for a server that it does not know (376 ms), with room for a busy machine.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often one is asked: each node once, and three times again.
const TRIES: usize = 8;
/// A node that answered nothing is not asked for so long, unless no other answers either.
const PASSED_OVER: Duration = Duration::from_secs(5);
/// What resolvers commonly send.
pub(super) const CLIENT_PREFIX: u8 = 24;
/// No answer of ours is larger.
const DATAGRAM_MAX: usize = 1232;

/// A node that is asked, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Its region.
    pub(super) region: usize,
}

/// An answer as a resolver sees it.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
    /// When it was asked for: the answer is not older.
    pub(super) asked: Now,
    /// When it came.
    pub(super) heard: Now,
}

/// A node with a socket of its own.
struct Asked {
    socket: UdpSocket,
    region: usize,
    /// It is passed over until then.
    silent_until: Tick,
}

/// One resolver that asks for the clients of one region.
pub(super) struct Asker {
    servers: Vec<Asked>,
    /// Where it stands.
    home: usize,
    /// The region without an uplink; `None`: all have theirs.
    cut_off: watch::Receiver<Option<usize>>,
    clock: Arc<Clock>,
    name: Name,
    id: u16,
    /// Questions sent, those asked again included.
    pub(super) n_asked: u64,
}

impl Asker {
    /// `name`: what it asks for. `servers` in the order in which they are asked.
    pub(super) async fn new(
        name: &str,
        home: usize,
        servers: &[Server],
        cut_off: watch::Receiver<Option<usize>>,
        clock: Arc<Clock>,
    ) -> io::Result<Self> {
        let mut asked = Vec::new();
        for server in servers {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            socket.connect(server.address).await?;
            asked.push(Asked { socket, region: server.region, silent_until: Tick::default() });
        }
        let name = Name::from_ascii(format!("{name}.")).map_err(io::Error::other)?;
        Ok(Self { servers: asked, home, cut_off, clock, name, id: 0, n_asked: 0 })
    }

    /// Asks for each of these /24 networks. `None`: no answer with an address came, however often it was asked.
    pub(super) async fn ask(&mut self, clients: &[Ipv4Addr]) -> io::Result<Vec<Option<Heard>>> {
        let mut heard: Vec<Option<Heard>> = vec![None; clients.len()];
        for from in (0..clients.len()).step_by(WINDOW) {
            let until = (from + WINDOW).min(clients.len());
            for _ in 0..TRIES {
                let open: Vec<usize> = (from..until).filter(|&position| heard[position].is_none()).collect();
                if open.is_empty() {
                    break;
                }
                let server = self.choose();
                self.ask_once(server, clients, &open, &mut heard).await?;
                let is_silent = open.iter().all(|&position| heard[position].is_none());
                self.servers[server].silent_until = if is_silent { self.clock.tick() + PASSED_OVER } else { Tick::default() };
            }
        }
        Ok(heard)
    }

    /// The first one that is not passed over, else the one that is so for longest.
    fn choose(&self) -> usize {
        let (now, cut_off) = (self.clock.tick(), self.cut_off.latest());
        // Who is cut off reaches its own side only, and nobody else reaches it.
        let is_reached = |server: &Asked| cut_off.is_none_or(|region| (server.region == region) == (self.home == region));
        let reached = || self.servers.iter().enumerate().filter(|(_, server)| is_reached(server));
        let first = reached().find(|(_, server)| server.silent_until <= now);
        first.or_else(|| reached().min_by_key(|(_, server)| server.silent_until)).map_or(0, |(at, _)| at)
    }

    async fn ask_once(&mut self, server: usize, clients: &[Ipv4Addr], open: &[usize], heard: &mut [Option<Heard>]) -> io::Result<()> {
        // Answers to former tries have other ids and are passed over.
        let mut waiting: BTreeMap<u16, (usize, Now)> = BTreeMap::new();
        for &position in open {
            self.id = self.id.wrapping_add(1);
            let question = self.question(clients[position])?;
            waiting.insert(self.id, (position, self.clock.now()));
            // Refused by this very machine: far away that would be silence.
            let _ = self.servers[server].socket.send(&question).await;
            self.n_asked += 1;
        }
        let deadline = self.clock.instant(self.clock.tick() + PATIENCE);
        let mut datagram = vec![0; DATAGRAM_MAX];
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(self.clock.instant(self.clock.tick()));
            let Ok(received) = timeout(left, self.servers[server].socket.recv(&mut datagram)).await else { break };
            let Ok(length) = received else { continue };
            let Ok(answer) = Message::from_vec(&datagram[..length]) else { continue };
            let Some((position, asked)) = waiting.remove(&answer.metadata.id) else { continue };
            heard[position] = read(&answer, asked, self.clock.now());
        }
        Ok(())
    }

    fn question(&self, client: Ipv4Addr) -> io::Result<Vec<u8>> {
        let mut message = Message::query();
        (message.metadata.id, message.metadata.op_code) = (self.id, OpCode::Query);
        message.add_query(Query::query(self.name.clone(), RecordType::A));
        let mut edns = Edns::new();
        edns.set_max_payload(u16::try_from(DATAGRAM_MAX).unwrap_or(u16::MAX));
        edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new(IpAddr::V4(client), CLIENT_PREFIX, 0)));
        message.set_edns(edns);
        message.to_vec().map_err(io::Error::other)
    }
}

/// The addresses of an answer; `None`: it has none.
fn read(answer: &Message, asked: Now, heard: Now) -> Option<Heard> {
    if answer.metadata.response_code != ResponseCode::NoError {
        return None;
    }
    let mut addresses = Vec::new();
    let mut ttl = u32::MAX;
    for record in &answer.answers {
        if let RData::A(address) = &record.data {
            addresses.push(IpAddr::V4(address.0));
            ttl = ttl.min(record.ttl);
        }
    }
    (!addresses.is_empty()).then(|| Heard { addresses, ttl: Duration::from_secs(ttl.into()), asked, heard })
}

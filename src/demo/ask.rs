//! Asks the daemon over UDP for many client networks, as resolvers that send the client subnet do (RFC 7871).
//!
//! Some dozens of questions are under way at a time; what is not answered is asked again a few times, since UDP promises nothing.

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
use portolan_core::model::time::Now;
use tokio::{net::UdpSocket, time::timeout};

use super::plan::HOSTNAME;
use crate::daemon::Clock;

/// Questions under way at a time: their datagrams fit into the socket buffers of both sides many times over.
const WINDOW: usize = 50;
/// Until a question is asked again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often one is asked.
const TRIES: usize = 3;
/// What resolvers commonly send.
pub(super) const CLIENT_PREFIX: u8 = 24;
/// No answer of ours is larger.
const DATAGRAM_MAX: usize = 1232;

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

/// One socket that asks.
pub(super) struct Asker {
    socket: UdpSocket,
    clock: Arc<Clock>,
    name: Name,
    id: u16,
    /// Questions sent, those asked again included.
    pub(super) n_asked: u64,
}

impl Asker {
    pub(super) async fn new(server: SocketAddr, clock: Arc<Clock>) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(server).await?;
        let name = Name::from_ascii(format!("{HOSTNAME}.")).map_err(io::Error::other)?;
        Ok(Self { socket, clock, name, id: 0, n_asked: 0 })
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
                self.ask_once(clients, &open, &mut heard).await?;
            }
        }
        Ok(heard)
    }

    async fn ask_once(&mut self, clients: &[Ipv4Addr], open: &[usize], heard: &mut [Option<Heard>]) -> io::Result<()> {
        // Answers to former tries have other ids and are passed over.
        let mut waiting: BTreeMap<u16, (usize, Now)> = BTreeMap::new();
        for &position in open {
            self.id = self.id.wrapping_add(1);
            let question = self.question(clients[position])?;
            waiting.insert(self.id, (position, self.clock.now()));
            self.socket.send(&question).await?;
            self.n_asked += 1;
        }
        let deadline = self.clock.instant(self.clock.tick() + PATIENCE);
        let mut datagram = vec![0; DATAGRAM_MAX];
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(self.clock.instant(self.clock.tick()));
            let Ok(received) = timeout(left, self.socket.recv(&mut datagram)).await else { break };
            let Ok(answer) = Message::from_vec(&datagram[..received?]) else { continue };
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

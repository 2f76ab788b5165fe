//! A port that stands for a place far away.
//!
//! While a direction of its way is cut, connections hang as they do before a black hole. The kernel completes handshakes by itself, so the relay
//! lets it run out of room: the queue of connections that nobody accepts is made as short as can be and filled, and the kernel then passes over
//! whoever asks to connect (listen(2); tcp(7), `tcp_abort_on_overflow`), who asks again after one, two, four seconds.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Way, carry::carry};

/// Connections at a time; more wait in the kernel's queue. A node takes four lanes to each peer, probes a few more.
const CONNECTIONS_MAX: usize = 256;
/// Connections that the kernel may hold until they are accepted,
const BACKLOG: i32 = 128;
/// and while the way is cut: the least that it takes without suspecting a flood.
const BACKLOG_CUT: i32 = 1;
/// Linux takes one more than it was told.
const FILLERS: usize = 2;
/// A filler that does not stand after this time found the queue full already, which is as good.
const FILL_TIME_MAX: Duration = Duration::from_millis(100);
/// Until the next try when a connection cannot be accepted, for example because descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Relays from a free port on loopback to one target, along a way. It and its connections end when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Relay {
    /// Listens. `way` is seen from who dials; `seed` is what jitter and losses are drawn from.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn open(way: Way, to: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let gate = Gate { listener, address, is_closed: false, fillers: Vec::new(), filled: BTreeSet::new() };
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(gate, way, to, seed)));
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// Where to dial.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(mut gate: Gate, way: Way, to: SocketAddr, seed: u64) {
    let (mut there, mut back) = (way.there.subscribe(), way.back.subscribe());
    // Ends with this task, so that dropping the relay drops its connections.
    let mut connections = JoinSet::new();
    let mut n: u64 = 0;
    loop {
        let is_closed = way.is_closed();
        gate.set(is_closed).await;
        tokio::select! {
            stream = gate.accept(), if !is_closed && connections.len() < CONNECTIONS_MAX => {
                n += 1;
                connections.spawn(carry(stream, Instant::now(), way.clone(), to, seed ^ n.rotate_left(32)));
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            // The way lives as long as this task has it.
            _ = there.changed() => {}
            _ = back.changed() => {}
        }
    }
}

/// Takes connections, or lets them hang.
struct Gate {
    listener: TcpListener,
    address: SocketAddr,
    is_closed: bool,
    /// Connections of its own that nobody accepts while it is closed.
    fillers: Vec<TcpStream>,
    /// From where fillers came that still have to be taken out of the queue.
    filled: BTreeSet<SocketAddr>,
}

impl Gate {
    async fn set(&mut self, is_closed: bool) {
        if std::mem::replace(&mut self.is_closed, is_closed) == is_closed {
            return;
        }
        // Only fails on what is no listening socket.
        let _ = SockRef::from(&self.listener).listen(if is_closed { BACKLOG_CUT } else { BACKLOG });
        self.fillers.clear();
        while is_closed && self.fillers.len() < FILLERS {
            let Ok(Ok(filler)) = timeout(FILL_TIME_MAX, TcpStream::connect(self.address)).await else { break };
            self.filled.extend(filler.local_addr());
            self.fillers.push(filler);
        }
    }

    /// The next connection of somebody else.
    async fn accept(&mut self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((_, from)) if self.filled.remove(&from) => {}
                Ok((stream, _)) => return stream,
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

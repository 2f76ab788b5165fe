//! Binds the sockets, starts the workers, and ends them in order.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use portolan_core::model::mix::{SplitMix64, mix};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::{
    net::{TcpListener, UdpSocket},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    AnswerSource, DnsOptions, Handler,
    counters::{Counters, Shard, Snapshot},
    request::{HEADER_LENGTH, rcode},
    respond::{Transport, respond},
    tcp, udp,
};

/// The largest query that is read: with every option and the longest name one has less than 1 KiB, and signed ones stay far below this.
pub(super) const QUERY_LENGTH_MAX: usize = 4096;
/// Room for bursts in the kernel: some 15 ms of queries at a million per second. The kernel may give less.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// Connections that wait to be accepted; the kernel's own limit is 4096 as a rule.
const BACKLOG: i32 = 1024;
/// With port 0 the free port of UDP may be taken for TCP; so many others are tried.
const PORT_ATTEMPTS_MAX: usize = 32;
/// After this, workers that still run at shutdown are left to the runtime: an answer that was begun takes far less.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum DnsError {
    /// Nothing to listen on.
    #[error("no address for the DNS server to listen on: give at least one, such as 0.0.0.0:53")]
    NoAddress,
    /// A socket could not be bound.
    #[error("listen for DNS over {transport} on {address}: {hint}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// `UDP` or `TCP`.
        transport: &'static str,
        /// What would help.
        hint: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl DnsError {
    fn bind(address: SocketAddr, transport: &'static str, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => "another process listens there; stop it, or choose another address or port",
            io::ErrorKind::PermissionDenied => "not allowed; ports below 1024 need CAP_NET_BIND_SERVICE",
            io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
            _ => "the system refused",
        };
        Self::Bind { address, transport, hint, source }
    }
}

/// A running DNS server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct DnsServer {
    addresses: Vec<SocketAddr>,
    engine: Arc<Engine>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl DnsServer {
    /// Binds UDP and TCP on every address and starts to answer. Port 0 takes a free port, the same for both. Needs a tokio runtime around it.
    ///
    /// IPv6 sockets take IPv6 only, so that `0.0.0.0:53` and `[::]:53` stand beside each other. A wildcard address answers from the address
    /// that the system's routes choose: on a machine with several, list each.
    ///
    /// # Errors
    /// When there is no address, or one cannot be bound; then none is listened on.
    pub fn start(listen: &[SocketAddr], source: Arc<dyn AnswerSource>, options: DnsOptions) -> Result<Self, DnsError> {
        if listen.is_empty() {
            return Err(DnsError::NoAddress);
        }
        let sockets = listen.iter().map(|address| bind(*address)).collect::<Result<Vec<_>, _>>()?;
        let addresses = sockets.iter().map(|(address, ..)| *address).collect();
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let connections = tcp::Slots::new(options.tcp_connections_max);
        let engine = Arc::new(Engine { source, options, counters: Counters::new(workers) });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for (_, udp, tcp) in sockets {
            let udp = Arc::new(udp);
            for index in 0..workers {
                tasks.spawn(udp::serve(udp.clone(), Worker::new(engine.clone(), index), stop.clone()));
            }
            tasks.spawn(tcp::accept(tcp, engine.clone(), connections.clone(), stop.clone(), tasks.clone()));
        }
        Ok(Self { addresses, engine, stop, tasks })
    }

    /// Where it listens, with the ports that were taken, in the order asked for.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What was counted until now, over all transports and [handlers](Self::handler).
    #[must_use]
    pub fn counters(&self) -> Snapshot {
        self.engine.counters.snapshot()
    }

    /// The same answers behind hickory-server's trait.
    #[must_use]
    pub fn handler(&self) -> Handler {
        Handler::new(self.engine.clone())
    }

    /// Stops to listen, ends what was begun, and waits for it: at most five seconds.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = timeout(SHUTDOWN_MAX, self.tasks.wait()).await;
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What every worker shares.
pub(super) struct Engine {
    pub(super) source: Arc<dyn AnswerSource>,
    pub(super) options: DnsOptions,
    pub(super) counters: Counters,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Engine {
    /// Answers one packet; `None`: silence. A panic on the way is a bug, and costs one SERVFAIL instead of the worker.
    pub(super) fn handle(&self, packet: &[u8], from: SocketAddr, transport: Transport, entropy: u64, shard: &Shard) -> Option<Vec<u8>> {
        let answered = AssertUnwindSafe(|| respond(packet, from, transport, &*self.source, &self.options, entropy, shard));
        catch_unwind(answered).unwrap_or_else(|_| {
            shard.failed();
            let header = packet.first_chunk::<HEADER_LENGTH>()?;
            let mut bytes = vec![0; HEADER_LENGTH];
            bytes[..2].copy_from_slice(&header[..2]);
            bytes[2] = 0x80 | header[2] & 0x79;
            bytes[3] = rcode::SERVFAIL.to_be_bytes()[1];
            Some(bytes)
        })
    }
}

/// One sequence of packets, one after the other: a UDP worker, or a TCP connection.
pub(super) struct Worker {
    engine: Arc<Engine>,
    index: usize,
    entropy: Entropy,
}

impl Worker {
    pub(super) fn new(engine: Arc<Engine>, index: usize) -> Self {
        let entropy = Entropy::new(engine.options.seed, index as u64);
        Self { engine, index, entropy }
    }

    pub(super) fn handle(&mut self, packet: &[u8], from: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        self.engine.handle(packet, from, transport, self.entropy.draw(), self.shard())
    }

    pub(super) fn shard(&self) -> &Shard {
        self.engine.counters.shard(self.index)
    }

    pub(super) fn options(&self) -> &DnsOptions {
        &self.engine.options
    }
}

/// Spreads choices evenly, and need not be secret.
#[derive(Debug)]
pub(super) struct Entropy(SplitMix64);

impl Entropy {
    /// Of one seed, each stream is another sequence.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(SplitMix64(mix(seed ^ stream.rotate_left(32))))
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0.draw()
    }
}

/// UDP and TCP on one address and one port.
fn bind(address: SocketAddr) -> Result<(SocketAddr, UdpSocket, TcpListener), DnsError> {
    let mut attempts = 1;
    loop {
        let udp = bind_udp(address).map_err(|source| DnsError::bind(address, "UDP", source))?;
        let bound = udp.local_addr().map_err(|source| DnsError::bind(address, "UDP", source))?;
        match bind_tcp(bound) {
            Ok(tcp) => return Ok((bound, udp, tcp)),
            Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && attempts < PORT_ATTEMPTS_MAX => attempts += 1,
            Err(source) => return Err(DnsError::bind(bound, "TCP", source)),
        }
    }
}

/// Without SO_REUSEADDR: for UDP it would let a second daemon take the port away from the first one unseen.
fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP)?;
    // Best effort: the kernel caps it at net.core.rmem_max.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// With SO_REUSEADDR: a restarted daemon must not wait for the old one's connections to be forgotten.
fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(!is_mapped(address))?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// `::ffff:192.0.2.1` is an IPv4 address on an IPv6 socket.
fn is_mapped(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if Ipv6Addr::to_ipv4_mapped(v6.ip()).is_some())
}

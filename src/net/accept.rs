//! Accepts connections of listeners that strangers reach: bounded in number, with TLS already done when tonic sees them.
//!
//! TLS is ours, not tonic's, so that the certificate can change between two connections and each request knows who calls. The break-glass
//! socket feeds the same server, and has places of its own: who floods the port must not lock out the person on the machine.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Sleep, sleep},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// People at the machine itself, and their scripts.
const SOCKET_CONNECTIONS_MAX: usize = 16;
/// A handshake takes two round trips; who needs longer holds a connection for nothing.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// A client speaks first, with the preface of HTTP/2 or a request of HTTP/1, which is no shorter; who needs longer for it holds a connection
/// for nothing. Later silence is for keepalive to end, and in HTTP/1 for the time that the framework gives the next request.
const PREFACE_TIME_MAX: Duration = Duration::from_secs(5);
/// Octets of the connection preface (RFC 9113 section 3.4).
const PREFACE_OCTETS: usize = 24;
/// Connections that are ready before tonic takes them; it takes them at once.
pub const READY_MAX: usize = 16;
/// After a failed accept, as a rule for want of descriptors: lets others close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end; an extension of each request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where the connection comes from.
    pub origin: Origin,
    /// The verified client certificate; `None` without TLS, and where tokens are taken and the client showed none.
    pub certificate: Option<Arc<CertificateDer<'static>>>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The listener with TLS.
    Tls(SocketAddr),
    /// The listener without, which takes loopback addresses only.
    Loopback(SocketAddr),
    /// The break-glass socket; the kernel says which user is at the other end.
    Socket {
        /// The user's id.
        uid: u32,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(address) | Self::Loopback(address) => address.fmt(f),
            Self::Socket { uid } => write!(f, "the socket, as user {uid}"),
        }
    }
}

/// One connection with its place in the count.
pub struct Connection {
    stream: Stream,
    peer: Peer,
    /// Until when the preface must be there, and how much of it is; `None`: it is.
    preface: Option<(Pin<Box<Sleep>>, usize)>,
    /// When its authorities are in force no more; `None`: it has none.
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _place: OwnedSemaphorePermit,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Socket(UnixStream),
}

/// What a listener hands over.
pub type Ready = mpsc::Sender<io::Result<Connection>>;

/// What a listener is for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose {
    /// In logs: `control`.
    pub name: &'static str,
    /// The most connections at once.
    pub connections_max: usize,
}

/// The certificates in force, and the connections that rely on them.
#[derive(Debug)]
pub struct InForce {
    /// For the next connection; `None`: plain text.
    config: ArcSwapOption<ServerConfig>,
    /// Cancelled when other authorities come in force.
    authorities: ArcSwap<CancellationToken>,
}

impl InForce {
    /// For connections from now on.
    #[must_use]
    pub fn new(config: Option<Arc<ServerConfig>>) -> Self {
        Self { config: ArcSwapOption::new(config), authorities: ArcSwap::default() }
    }

    /// Takes a configuration for connections from now on; those that stand keep theirs.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.config.store(Some(config));
    }

    /// Ends the connections that rely on other authorities than those in force: who is trusted no more must not stay in by not hanging up.
    pub fn end_former(&self) {
        self.authorities.swap(Arc::default()).cancel();
    }

    /// For one connection. The authorities come first: one that gets the new configuration may be ended in vain, and none that got the former
    /// one stays.
    fn load(&self) -> (CancellationToken, Option<Arc<ServerConfig>>) {
        let authorities = (**self.authorities.load()).clone();
        (authorities, self.config.load_full())
    }
}

/// Accepts until `stop`; `tls` is read for each connection anew.
pub fn accept(listener: TcpListener, purpose: Purpose, tls: Arc<InForce>, ready: Ready, stop: CancellationToken) {
    tokio::spawn(async move {
        let Purpose { name, connections_max } = purpose;
        let places = Arc::new(Semaphore::new(connections_max));
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "{name} connection not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Closed at once when full: the caller learns of it now instead of waiting in the backlog.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::warn!(%address, max = connections_max, "{name} connection closed: too many are open");
                continue;
            };
            let ((authorities, config), ready, stop) = (tls.load(), ready.clone(), stop.clone());
            tokio::spawn(stop.run_until_cancelled_owned(async move {
                match establish(stream, address, config).await {
                    // Fails only when the server is gone, and then the connection shall close.
                    Ok((stream, peer)) => {
                        let ended = matches!(peer.origin, Origin::Tls(_)).then(|| Box::pin(authorities.cancelled_owned()));
                        drop(ready.send(Ok(Connection::new(stream, peer, ended, place))).await);
                    }
                    // Peers and balancers look whether somebody listens, every few seconds, and leave without a word.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        tracing::debug!(%address, %error, "{name} connection closed before it stood");
                    }
                    Err(error) => tracing::info!(%address, %error, "{name} connection refused"),
                }
            }));
        }
    });
}

/// Accepts on the break-glass socket until `stop`: root and the daemon's own user only, whatever the file's mode has become.
pub fn accept_socket(listener: UnixListener, ready: Ready, stop: CancellationToken) {
    tokio::spawn(async move {
        let own = rustix::process::geteuid().as_raw();
        let places = Arc::new(Semaphore::new(SOCKET_CONNECTIONS_MAX));
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let credentials = accepted.and_then(|(stream, _)| stream.peer_cred().map(|found| (stream, found.uid())));
            let (stream, uid) = match credentials {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "connection on the break-glass socket not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if uid != 0 && uid != own {
                tracing::warn!(uid, "connection on the break-glass socket refused: it is for root and the daemon's own user");
                continue;
            }
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::warn!(uid, max = SOCKET_CONNECTIONS_MAX, "connection on the break-glass socket closed: too many are open");
                continue;
            };
            let peer = Peer { origin: Origin::Socket { uid }, certificate: None };
            if ready.send(Ok(Connection::new(Stream::Socket(stream), peer, None, place))).await.is_err() {
                break;
            }
        }
    });
}

async fn establish(stream: TcpStream, address: SocketAddr, config: Option<Arc<ServerConfig>>) -> io::Result<(Stream, Peer)> {
    stream.set_nodelay(true)?;
    let Some(config) = config else {
        return Ok((Stream::Plain(stream), Peer { origin: Origin::Loopback(address), certificate: None }));
    };
    let handshake = tokio::time::timeout(HANDSHAKE_TIME_MAX, TlsAcceptor::from(config).accept(stream)).await;
    let stream = handshake.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time"))??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|first| Arc::new(first.clone().into_owned()));
    Ok((Stream::Tls(Box::new(stream)), Peer { origin: Origin::Tls(address), certificate }))
}

impl Connection {
    fn new(stream: Stream, peer: Peer, ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>, place: OwnedSemaphorePermit) -> Self {
        Self { stream, peer, preface: Some((Box::pin(sleep(PREFACE_TIME_MAX)), 0)), ended, _place: place }
    }

    fn check_ended(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let is_ended = self.ended.as_mut().is_some_and(|ended| ended.as_mut().poll(cx).is_ready());
        let error = || io::Error::new(io::ErrorKind::ConnectionAborted, "its authorities are in force no more");
        if is_ended { Err(error()) } else { Ok(()) }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_ended(cx)?;
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Socket(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        if let Some((deadline, octets)) = &mut self.preface {
            *octets += buffer.filled().len() - before;
            if *octets >= PREFACE_OCTETS {
                self.preface = None;
            } else if read.is_pending() && deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no preface or request in time")));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.check_ended(cx)?;
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, octets),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, octets),
            Stream::Socket(stream) => Pin::new(stream).poll_write(cx, octets),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Socket(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Socket(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

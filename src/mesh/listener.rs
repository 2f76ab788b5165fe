//! The peer listener, with its limits.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};

use super::{
    Address, Host, Mesh, Patience,
    dial::Dialer,
    proto::peer_service_server::PeerServiceServer,
    service::{MESSAGE_OCTETS_MAX, PeerApi},
    stream::{Event, Far},
};
use crate::net::{
    accept::{InForce, Purpose, READY_MAX, accept},
    clock::WallClock,
    detour::Detours,
    dial::host,
    mutual::{TlsError, TlsFiles},
    rotate::{self, Certificates},
};

/// Four lanes of each of four other voters, an observation and a state lane of 200 observers, and three agents of each of a thousand groups.
const PURPOSE: Purpose = Purpose { name: "peer", connections_max: 4096 };
/// HTTP/2 streams per connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// Octets of headers of one call.
const HEADER_OCTETS_MAX: u32 = 16 * 1024;
/// A connection that is silent for this long is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// What a mesh is started with.
pub struct MeshSetup {
    /// How long an answer may be on its way.
    pub patience: Patience,
    /// Certificates; `None`: plain text, on loopback only.
    pub tls: Option<TlsFiles>,
    /// The address book.
    pub peers: Vec<Address>,
    /// Where peers are dialed in place of their addresses.
    pub detours: Detours,
    /// How this node introduces itself on links. Its passport is asked of the host each time.
    pub introduction: watch::Receiver<Far>,
    /// Where what happens on links goes.
    pub events: mpsc::Sender<Event>,
    /// Tells peers the time.
    pub clock: Arc<dyn WallClock>,
    /// What else is answered on the same port, to callers whose certificates are of the same authority.
    pub others: Routes,
    /// Ends it, as dropping the last clone does.
    pub stop: CancellationToken,
}

/// Why there is no mesh.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// Without TLS the address must be a loopback one.
    #[error(
        "listen for peers on `{address}`: without tls only loopback addresses are allowed, since anybody who reaches the port could speak for a \
         node; add `tls` to the node config, or listen on 127.0.0.1 or [::1]"
    )]
    NotLoopback {
        /// The address in the node config.
        address: SocketAddr,
    },
    /// The port cannot be taken.
    #[error("listen for peers on `{address}`: {cause}; choose another `listen.peer` or stop what holds the port")]
    Bind {
        /// The address in the node config.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The TLS files are not usable.
    #[error("set up tls of the peer listener: {0}")]
    Tls(TlsError),
}

/// A bound port that does not speak yet: who a node is may depend on where it listens.
pub struct PeerListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl PeerListener {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Mesh {
    /// Takes the port.
    ///
    /// # Errors
    /// [`MeshError`]: the address is not allowed or not free.
    pub async fn bind(listen: SocketAddr, has_tls: bool) -> Result<PeerListener, MeshError> {
        if !has_tls && !listen.ip().to_canonical().is_loopback() {
            return Err(MeshError::NotLoopback { address: listen });
        }
        let bound = match TcpListener::bind(listen).await {
            Ok(listener) => listener.local_addr().map(|address| PeerListener { listener, address }),
            Err(cause) => Err(cause),
        };
        bound.map_err(|cause| MeshError::Bind { address: listen, cause })
    }

    /// Answers peers, and dials those that [`Mesh::dial`] names. It ends when the last clone is dropped.
    ///
    /// # Errors
    /// [`MeshError::Tls`].
    pub fn start(bound: PeerListener, setup: MeshSetup, host_of: Arc<dyn Host>) -> Result<Self, MeshError> {
        let MeshSetup { patience, tls: files, peers, detours, introduction, events, clock, others, stop } = setup;
        let tls = Arc::new(InForce::new(files.as_ref().map(|files| files.server(false)).transpose().map_err(MeshError::Tls)?));
        let stop = stop.child_token();
        if let Some(files) = files.clone() {
            // The node on the other side is always asked for its certificate.
            let certificates = Certificates { listener: PURPOSE.name, files, or_none: false, in_force: Arc::clone(&tls) };
            rotate::watch(certificates, stop.clone());
        }
        let mesh = Self::new(host_of, clock, patience, introduction, Dialer::new(patience, files, detours), events, stop.clone());
        let hosts: BTreeMap<_, _> = peers.into_iter().map(|peer| (peer.node, host(&peer.address).to_owned())).collect();
        let api = PeerApi { inner: Arc::clone(&mesh.inner), hosts, complaints: std::sync::Mutex::default() };
        let service =
            PeerServiceServer::new(api).max_decoding_message_size(MESSAGE_OCTETS_MAX).max_encoding_message_size(MESSAGE_OCTETS_MAX);
        let router = Server::builder()
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .http2_max_header_list_size(HEADER_OCTETS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(patience.taken()))
            .add_routes(others)
            .add_service(service);
        let (ready, connections) = mpsc::channel(READY_MAX);
        accept(bound.listener, PURPOSE, tls, ready, stop.clone());
        tokio::spawn(async move {
            if let Err(error) = router.serve_with_incoming_shutdown(ReceiverStream::new(connections), stop.cancelled_owned()).await {
                tracing::error!(%error, "the peer listener ended");
            }
        });
        Ok(mesh)
    }
}

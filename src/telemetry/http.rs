//! The `http` listener: `/livez`, `/readyz`, `/startupz`, `/metrics`, and nothing else.
//!
//! It is open to the network without roles, so it takes GET and HEAD only, shows nothing that names a client, and bounds connections,
//! headers and time. `/livez` never depends on peers: a restart would not bring them back.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Metrics;

/// Scrapers and probes of one node are a handful.
const CONNECTIONS_MAX: usize = 64;
/// From the first octet, or the last answer, to the end of a request's headers.
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// Request line and headers in octets; also the buffer for answers, which are written in pieces.
const BUFFER_OCTETS_MAX: usize = 16 * 1024;
/// A connection is told to end after this time, so that a reader that takes nothing cannot hold its place for ever,
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);
/// and is cut when it has not ended after this time. The same at shutdown.
const GRACE: Duration = Duration::from_secs(3);
/// After a failed accept, as a rule for want of descriptors: lets others close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whether the node may be sent work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It may.
    Ready,
    /// It may not, because of this.
    NotReady(String),
}

/// What the probes ask. The closures answer at once.
pub struct Probes {
    /// Whether the main loop turns. `false` asks for a restart.
    pub live: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether answers may be asked for here.
    pub ready: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// Whether the start is over; once ready, always ready.
    pub started: Box<dyn Fn() -> Readiness + Send + Sync>,
}

/// Why the listener cannot start.
#[derive(Debug, thiserror::Error)]
#[error("listen for probes and metrics on `{address}`: {cause}; choose another `listen.http` or stop what holds the port")]
pub struct HttpError {
    address: SocketAddr,
    cause: io::Error,
}

/// A running listener. Dropped, it stops at once.
pub struct HttpServer {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Shared {
    probes: Probes,
    metrics: Arc<Metrics>,
}

impl HttpServer {
    /// Listens on `listen`; port 0: any free port, see [`HttpServer::address`].
    ///
    /// # Errors
    /// [`HttpError`]: the address is not free.
    pub async fn start(listen: SocketAddr, probes: Probes, metrics: Arc<Metrics>) -> Result<Self, HttpError> {
        let bound = match TcpListener::bind(listen).await {
            Ok(listener) => listener.local_addr().map(|address| (listener, address)),
            Err(cause) => Err(cause),
        };
        let (listener, address) = bound.map_err(|cause| HttpError { address: listen, cause })?;
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/startupz", get(startupz))
            .route("/metrics", get(scrape))
            .with_state(Arc::new(Shared { probes, metrics }));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, router, stop.clone(), tasks.clone()));
        tasks.close();
        Ok(Self { address, stop, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections and lets requests under way end, for up to three seconds.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, router: Router, stop: CancellationToken, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            // Closed at once when full: the prober learns of it now instead of waiting in the backlog.
            Ok((stream, _)) => {
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    tasks.spawn(serve(stream, router.clone(), stop.clone(), place));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "probe connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, stop: CancellationToken, _place: OwnedSemaphorePermit) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX).max_buf_size(BUFFER_OCTETS_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    tokio::select! {
        // A client that breaks off is its own affair.
        _ = &mut connection => return,
        () = sleep(CONNECTION_TIME_MAX) => {}
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}

async fn livez(State(shared): State<Arc<Shared>>) -> Response {
    if (shared.probes.live)() { say(StatusCode::OK, "ok") } else { say(StatusCode::SERVICE_UNAVAILABLE, "the main loop does not turn") }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    tell((shared.probes.ready)())
}

async fn startupz(State(shared): State<Arc<Shared>>) -> Response {
    tell((shared.probes.started)())
}

async fn scrape(State(shared): State<Arc<Shared>>) -> Response {
    match shared.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => say(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn tell(readiness: Readiness) -> Response {
    match readiness {
        Readiness::Ready => say(StatusCode::OK, "ok"),
        Readiness::NotReady(reason) => say(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

fn say(code: StatusCode, text: &str) -> Response {
    (code, format!("{text}\n")).into_response()
}

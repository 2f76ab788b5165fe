//! The control listener: all services on one port, with its limits, health and reflection.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{
    dns::DnsApi,
    explain::ExplainApi,
    heartbeat::HeartbeatApi,
    proto::{
        self, dns_service_server::DnsServiceServer, explain_service_server::ExplainServiceServer,
        heartbeat_service_server::HeartbeatServiceServer, status_service_server::StatusServiceServer,
    },
    source::ControlSource,
    status::StatusApi,
};
use crate::net::{
    accept::{Purpose, accept},
    mutual::{TlsError, TlsFiles},
};

/// The largest request in octets: ours are a name and a few options, a plan document will be some hundred KiB.
pub const REQUEST_OCTETS_MAX: usize = 1024 * 1024;
/// Operators, runbooks and dashboards of one node; each connection costs up to about 100 KiB.
const PURPOSE: Purpose = Purpose { name: "control", connections_max: 256 };
/// Calls under way per connection; further ones wait.
const CALLS_PER_CONNECTION_MAX: usize = 32;
/// HTTP/2 streams per connection, watchers included.
const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// Octets of headers of one call: a bearer token and tracing fit many times.
const HEADER_OCTETS_MAX: u32 = 16 * 1024;
/// A call answers from memory; what takes longer is stuck. Streams may last.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// A connection that is silent for this long is asked whether it lives,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// and closed when it does not say so within this time.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls under way may still run at shutdown.
const GRACE: Duration = Duration::from_secs(3);

/// A running control listener. Dropped, it stops at once; [`ApiServer::shutdown`] lets calls end.
pub struct ApiServer {
    address: SocketAddr,
    tls: Arc<ArcSwapOption<ServerConfig>>,
    health: HealthReporter,
    stop: CancellationToken,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// Why the control listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Without TLS the address must be a loopback one.
    #[error(
        "listen for control on `{address}`: without tls only loopback addresses are allowed, since anybody who reaches the port could read \
         and steer; add `tls: {{ ca_file, cert_file, key_file }}` to the node config, or set `listen.control: 127.0.0.1:{}`", .address.port()
    )]
    NotLoopback {
        /// The address in the node config.
        address: SocketAddr,
    },
    /// The port cannot be taken.
    #[error("listen for control on `{address}`: {cause}; choose another `listen.control` or stop what holds the port")]
    Bind {
        /// The address in the node config.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The TLS files are not usable.
    #[error("set up tls of the control listener: {0}")]
    Tls(TlsError),
}

impl ApiServer {
    /// Listens on `listen` (port 0: any free port, see [`ApiServer::address`]) and serves `source`.
    ///
    /// With `tls`, callers must show a certificate signed by its `ca_file`. The health service says NOT_SERVING until
    /// [`ApiServer::set_serving`].
    ///
    /// # Errors
    /// [`ApiError`]: the address is not allowed or not free, or the TLS files are not usable.
    pub async fn start(listen: SocketAddr, tls: Option<&TlsFiles>, source: Arc<dyn ControlSource>) -> Result<Self, ApiError> {
        if tls.is_none() && !listen.ip().is_loopback() {
            return Err(ApiError::NotLoopback { address: listen });
        }
        let tls = Arc::new(ArcSwapOption::new(tls.map(TlsFiles::server).transpose().map_err(ApiError::Tls)?));
        let bound = match TcpListener::bind(listen).await {
            Ok(listener) => listener.local_addr().map(|address| (listener, address)),
            Err(cause) => Err(cause),
        };
        let (listener, address) = bound.map_err(|cause| ApiError::Bind { address: listen, cause })?;
        let stop = CancellationToken::new();
        let connections = accept(listener, PURPOSE, Arc::clone(&tls), stop.clone());
        let (health, health_service) = tonic_health::server::health_reporter();
        set_all(&health, ServingStatus::NotServing).await;

        let limited = REQUEST_OCTETS_MAX;
        let router = Server::builder()
            .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .http2_max_header_list_size(HEADER_OCTETS_MAX)
            .timeout(CALL_TIME_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(health_service.max_decoding_message_size(limited))
            .add_service(
                reflection().build_v1().expect("invariant: descriptors are written by our own build").max_decoding_message_size(limited),
            )
            .add_service(
                reflection()
                    .build_v1alpha()
                    .expect("invariant: descriptors are written by our own build")
                    .max_decoding_message_size(limited),
            )
            .add_service(StatusServiceServer::new(StatusApi::new(Arc::clone(&source), stop.clone())).max_decoding_message_size(limited))
            .add_service(ExplainServiceServer::new(ExplainApi::new(Arc::clone(&source))).max_decoding_message_size(limited))
            .add_service(DnsServiceServer::new(DnsApi::new(Arc::clone(&source))).max_decoding_message_size(limited))
            .add_service(HeartbeatServiceServer::new(HeartbeatApi::new(source)).max_decoding_message_size(limited));
        let task = tokio::spawn(router.serve_with_incoming_shutdown(ReceiverStream::new(connections), stop.clone().cancelled_owned()));
        Ok(Self { address, tls, health, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the health service says of the node and of each service: whether there is a table to speak of.
    pub async fn set_serving(&self, serving: bool) {
        set_all(&self.health, if serving { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
    }

    /// Reads the TLS files anew for connections from now on; those that stand keep theirs.
    ///
    /// # Errors
    /// [`TlsError`]: the files are not usable, and the old ones stay in force.
    pub fn replace_tls(&self, files: &TlsFiles) -> Result<(), TlsError> {
        self.tls.store(Some(files.server()?));
        Ok(())
    }

    /// Takes no more calls, ends watchers, waits up to three seconds for calls under way.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            tracing::warn!(grace = ?GRACE, "control calls were cut at shutdown");
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

async fn set_all(health: &HealthReporter, status: ServingStatus) {
    let names = [
        "",
        StatusServiceServer::<StatusApi>::NAME,
        ExplainServiceServer::<ExplainApi>::NAME,
        DnsServiceServer::<DnsApi>::NAME,
        HeartbeatServiceServer::<HeartbeatApi>::NAME,
    ];
    for name in names {
        health.set_service_status(name, status).await;
    }
}

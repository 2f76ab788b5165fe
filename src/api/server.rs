//! The control listener: all services on one port, with its limits, health and reflection.

use std::{collections::BTreeSet, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use portolan_core::model::time::Timestamp;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{
    access::AccessApi,
    acknowledgements::AcknowledgementApi,
    audit::AuditApi,
    auth::{AuthOptions, Guard, Tokens, methods::METHODS},
    cluster::ClusterApi,
    dns::DnsApi,
    drills::DrillApi,
    evacuations::EvacuationApi,
    events::EventApi,
    explain::ExplainApi,
    freezes::FreezeApi,
    front::FrontLayer,
    heartbeat::HeartbeatApi,
    json::Mirror,
    operations::OperationApi,
    overrides::OverrideApi,
    plan::{PLAN_OCTETS_MAX, PlanApi},
    proto::{
        self, access_service_server::AccessServiceServer, acknowledgement_service_server::AcknowledgementServiceServer,
        audit_service_server::AuditServiceServer, cluster_service_server::ClusterServiceServer, dns_service_server::DnsServiceServer,
        drill_service_server::DrillServiceServer, evacuation_service_server::EvacuationServiceServer,
        event_service_server::EventServiceServer, explain_service_server::ExplainServiceServer, freeze_service_server::FreezeServiceServer,
        heartbeat_service_server::HeartbeatServiceServer, operation_service_server::OperationServiceServer,
        override_service_server::OverrideServiceServer, plan_service_server::PlanServiceServer,
        recovery_service_server::RecoveryServiceServer, return_service_server::ReturnServiceServer,
        simulate_service_server::SimulateServiceServer, status_service_server::StatusServiceServer,
        traffic_service_server::TrafficServiceServer,
    },
    recovery::RecoveryApi,
    returns::ReturnApi,
    rotate,
    simulate::SimulateApi,
    socket::{self, SocketError, SocketFile},
    source::{
        ControlSource,
        cluster::{Alone, ClusterSource},
    },
    status::StatusApi,
    traffic::TrafficApi,
};
use crate::net::clock::WallClock;
use crate::net::{
    accept::{InForce, Purpose, READY_MAX, accept, accept_socket},
    mutual::{TlsError, TlsFiles},
    rotate::Certificates,
};

/// The largest request in octets, plans apart: ours are a name and a few options.
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

/// What a control listener is started with.
pub struct ApiOptions {
    /// Where to listen (port 0: any free port, see [`ApiServer::address`]).
    pub listen: SocketAddr,
    /// Certificates, re-read when they change; `None`: plain text, on loopback only, where everybody is admin.
    pub tls: Option<TlsFiles>,
    /// The break-glass socket; `None`: none.
    pub socket: Option<PathBuf>,
    /// Who may do what.
    pub auth: AuthOptions,
    /// By which tokens are judged.
    pub clock: Arc<dyn WallClock>,
}

impl ApiOptions {
    /// A listener without socket, tokens and bindings.
    #[must_use]
    pub fn new(listen: SocketAddr, tls: Option<TlsFiles>) -> Self {
        // Without tokens there is no time to judge.
        Self { listen, tls, socket: None, auth: AuthOptions::default(), clock: Arc::new(Timestamp(0)) }
    }
}

/// A running control listener. Dropped, it stops at once; [`ApiServer::shutdown`] lets calls end.
pub struct ApiServer {
    address: SocketAddr,
    tls: Arc<InForce>,
    /// Whether a client may show a token in place of a certificate.
    or_none: bool,
    health: HealthReporter,
    stop: CancellationToken,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    _socket: Option<SocketFile>,
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
    /// The issuer's keys are not usable.
    #[error("set up `auth.jwt`: {0}")]
    Tokens(String),
    /// The break-glass socket cannot be had.
    #[error("listen on the break-glass socket `{}`: {problem}", .path.display())]
    Socket {
        /// `listen.socket` in the node config.
        path: PathBuf,
        /// What is wrong.
        problem: SocketError,
    },
}

impl ApiServer {
    /// Listens on `listen` and serves `source` as a node on its own, with neither socket nor tokens.
    ///
    /// # Errors
    /// As [`ApiServer::start_with`].
    pub async fn start(listen: SocketAddr, tls: Option<&TlsFiles>, source: Arc<dyn ControlSource>) -> Result<Self, ApiError> {
        Self::start_with(ApiOptions::new(listen, tls.cloned()), source, Arc::new(Alone)).await
    }

    /// Listens and serves.
    ///
    /// With `tls`, callers must show a certificate signed by its `ca_file`, or a token where `auth.jwt` is set. The health service says
    /// NOT_SERVING until [`ApiServer::set_serving`].
    ///
    /// # Errors
    /// [`ApiError`]: the address is not allowed or not free, or a file is not usable.
    pub async fn start_with(
        options: ApiOptions,
        source: Arc<dyn ControlSource>,
        cluster: Arc<dyn ClusterSource>,
    ) -> Result<Self, ApiError> {
        let ApiOptions { listen, tls: files, socket, auth, clock } = options;
        if files.is_none() && !listen.ip().is_loopback() {
            return Err(ApiError::NotLoopback { address: listen });
        }
        let or_none = auth.jwt.is_some();
        let config = files.as_ref().map(|files| files.server(or_none)).transpose().map_err(ApiError::Tls)?;
        let tls = Arc::new(InForce::new(config));
        let tokens = auth.jwt.clone().map(Tokens::open).transpose().map_err(ApiError::Tokens)?.map(Arc::new);
        let bound = match TcpListener::bind(listen).await {
            Ok(listener) => listener.local_addr().map(|address| (listener, address)),
            Err(cause) => Err(cause),
        };
        let (listener, address) = bound.map_err(|cause| ApiError::Bind { address: listen, cause })?;
        let stop = CancellationToken::new();
        let (ready, connections) = mpsc::channel(READY_MAX);
        let socket_file = match socket {
            None => None,
            Some(path) => {
                let (listener, file) = socket::listen(&path).map_err(|problem| ApiError::Socket { path, problem })?;
                accept_socket(listener, ready.clone(), stop.clone());
                Some(file)
            }
        };
        accept(listener, PURPOSE, Arc::clone(&tls), ready, stop.clone());
        let certificates = files.map(|files| Certificates { listener: PURPOSE.name, files, or_none, in_force: Arc::clone(&tls) });
        rotate::watch(certificates, tokens.clone(), stop.clone());
        let (health, health_service) = tonic_health::server::health_reporter();
        set_all(&health, ServingStatus::NotServing).await;

        let front = FrontLayer::new(Guard::new(&auth, tokens, clock), Mirror::shared());
        let limited = REQUEST_OCTETS_MAX;
        // Requests are limited alike by all services but the one that takes plans.
        macro_rules! service {
            ($server:ident, $api:expr) => {
                $server::new($api).max_decoding_message_size(limited)
            };
        }
        let broken = "invariant: descriptors are written by our own build";
        let router = Server::builder()
            .accept_http1(true)
            .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .http2_max_header_list_size(HEADER_OCTETS_MAX)
            .timeout(CALL_TIME_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(front)
            .add_service(health_service.max_decoding_message_size(limited))
            .add_service(reflection().build_v1().expect(broken).max_decoding_message_size(limited))
            .add_service(reflection().build_v1alpha().expect(broken).max_decoding_message_size(limited))
            .add_service(service!(AccessServiceServer, AccessApi))
            .add_service(service!(AcknowledgementServiceServer, AcknowledgementApi::new(Arc::clone(&cluster))))
            .add_service(service!(AuditServiceServer, AuditApi::new(Arc::clone(&cluster))))
            .add_service(service!(ClusterServiceServer, ClusterApi::new(Arc::clone(&cluster))))
            .add_service(service!(DrillServiceServer, DrillApi::new(Arc::clone(&cluster))))
            .add_service(service!(EvacuationServiceServer, EvacuationApi::new(Arc::clone(&cluster), stop.clone())))
            .add_service(service!(EventServiceServer, EventApi::new(Arc::clone(&cluster), stop.clone())))
            .add_service(service!(FreezeServiceServer, FreezeApi::new(Arc::clone(&cluster))))
            .add_service(service!(OperationServiceServer, OperationApi::new(Arc::clone(&cluster), stop.clone())))
            .add_service(service!(OverrideServiceServer, OverrideApi::new(Arc::clone(&cluster))))
            .add_service(service!(RecoveryServiceServer, RecoveryApi::new(Arc::clone(&cluster))))
            .add_service(service!(ReturnServiceServer, ReturnApi::new(Arc::clone(&cluster), stop.clone())))
            .add_service(PlanServiceServer::new(PlanApi::new(cluster)).max_decoding_message_size(PLAN_OCTETS_MAX))
            .add_service(service!(StatusServiceServer, StatusApi::new(Arc::clone(&source), stop.clone())))
            .add_service(service!(ExplainServiceServer, ExplainApi::new(Arc::clone(&source))))
            .add_service(service!(DnsServiceServer, DnsApi::new(Arc::clone(&source))))
            .add_service(service!(SimulateServiceServer, SimulateApi::new(Arc::clone(&source))))
            .add_service(service!(TrafficServiceServer, TrafficApi::new(Arc::clone(&source))))
            .add_service(service!(HeartbeatServiceServer, HeartbeatApi::new(source)));
        let task = tokio::spawn(router.serve_with_incoming_shutdown(ReceiverStream::new(connections), stop.clone().cancelled_owned()));
        Ok(Self { address, tls, or_none, health, stop, task, _socket: socket_file })
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

    /// Reads TLS files for connections from now on; those that stand keep theirs. The files that it was started with are re-read without
    /// being asked, and win when they change.
    ///
    /// # Errors
    /// [`TlsError`]: the files are not usable, and the old ones stay in force.
    pub fn replace_tls(&self, files: &TlsFiles) -> Result<(), TlsError> {
        self.tls.replace(files.server(self.or_none)?);
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
    let ours = METHODS.iter().filter_map(|method| method.name.split_once('/')).map(|(service, _)| service);
    let names: BTreeSet<&str> = ours.filter(|service| service.starts_with("portolan.")).chain([""]).collect();
    for name in names {
        health.set_service_status(name, status).await;
    }
}

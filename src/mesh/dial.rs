//! Connections to peers: one per peer and lane, made when first needed and made anew when they break.
//!
//! Certificates are read for each new connection, so that renewed ones need no restart.

use std::{
    collections::BTreeMap,
    error::Error,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use portolan_core::model::ids::Label;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{
    CallError, Lane,
    certificate::IsNode,
    proto::peer_service_client::PeerServiceClient,
    service::{LEFT_BEHIND, MESSAGE_OCTETS_MAX, OBSERVE_OCTETS_MAX},
};
use crate::net::{detour::Detours, mutual::TlsFiles};

/// For a name, TCP and TLS together. Around the world and back takes a third of a second.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// A connection that is silent for this long is asked whether it lives,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// and is taken for dead after this time: heartbeats and observations shall go over another one before an election is due.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that are kept. Five voters take sixteen; more are peers that moved.
const CHANNELS_MAX: usize = 64;
/// Octets under way at most on a stream of [`Lane::Observe`]: on a line of 10 Mbit/s they take 0.2 s, and 200 ms away a snapshot of four megabytes
/// takes as many seconds.
const OBSERVE_WINDOW: u32 = 256 * 1024;
/// The longest list of causes in a message.
const CAUSES_MAX: usize = 6;

/// Whom to reach, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The node's name; its certificate must bear it.
    pub node: Label,
    /// `host:port`.
    pub address: String,
}

/// Makes connections.
pub(super) struct Dialer {
    tls: Option<TlsFiles>,
    detours: Detours,
    channels: Mutex<BTreeMap<(Address, Lane), Channel>>,
}

impl Dialer {
    pub(super) const fn new(tls: Option<TlsFiles>, detours: Detours) -> Self {
        Self { tls, detours, channels: Mutex::new(BTreeMap::new()) }
    }

    /// A client on a connection of its own lane. It connects with its first call.
    pub(super) fn client(&self, to: &Address, lane: Lane) -> PeerServiceClient<Channel> {
        let limit = if lane == Lane::Observe { OBSERVE_OCTETS_MAX } else { MESSAGE_OCTETS_MAX };
        PeerServiceClient::new(self.channel(to, lane)).max_decoding_message_size(limit).max_encoding_message_size(limit)
    }

    fn channel(&self, to: &Address, lane: Lane) -> Channel {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (to.clone(), lane);
        if let Some(channel) = channels.get(&key) {
            return channel.clone();
        }
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        let channel = self.connect_later(to, lane);
        channels.insert(key, channel.clone());
        channel
    }

    fn connect_later(&self, to: &Address, lane: Lane) -> Channel {
        let (tls, detours, to) = (self.tls.clone(), self.detours.clone(), to.clone());
        // The scheme only fills the :scheme field; encryption is the connector's.
        let endpoint = Endpoint::from_static("http://peer")
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        // What nodes see must not wait long behind a snapshot on the same connection.
        let endpoint = if lane == Lane::Observe { endpoint.initial_stream_window_size(OBSERVE_WINDOW) } else { endpoint };
        let connector = tower::service_fn(move |_| {
            let (tls, detours, to) = (tls.clone(), detours.clone(), to.clone());
            async move {
                let late =
                    || io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {} within {CONNECT_TIME_MAX:?}", to.address));
                timeout(CONNECT_TIME_MAX, open(tls, &detours, &to)).await.unwrap_or_else(|_| Err(late())).map(TokioIo::new)
            }
        });
        endpoint.connect_with_connector_lazy(connector)
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn open(tls: Option<TlsFiles>, detours: &Detours, to: &Address) -> io::Result<Box<dyn Io>> {
    let stream = connect(&to.address, detours).await?;
    // Without it small calls wait for the other side's delayed acknowledgement; a failure costs time only.
    let _ = stream.set_nodelay(true);
    let Some(files) = tls else {
        if !stream.peer_addr()?.ip().to_canonical().is_loopback() {
            let problem = format!("{} is no loopback address, and without `tls` peers are reached on loopback only", to.address);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
        return Ok(Box::new(stream));
    };
    let node = to.node.to_string();
    let config = tokio::task::spawn_blocking(move || files.client_judging(|chain| Arc::new(IsNode { chain, node }))).await?;
    let config = config.map_err(io::Error::other)?;
    let host = host(&to.address).to_owned();
    let name =
        ServerName::try_from(host).map_err(|_| io::Error::other(format!("`{}` has no host that can be in a certificate", to.address)))?;
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}

/// Tries all addresses of the name, in the system's order.
async fn connect(address: &str, detours: &Detours) -> io::Result<TcpStream> {
    let mut last = None;
    for found in lookup_host(address).await? {
        match TcpStream::connect(detours.of(found)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("`{address}` has no address"))))
}

/// The host of `host:port`, without brackets.
pub(super) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// What a failed call means.
pub(super) fn failure(status: &Status) -> CallError {
    if status.metadata().contains_key(LEFT_BEHIND) {
        return CallError::LeftBehind(status.message().to_owned());
    }
    match status.code() {
        Code::FailedPrecondition | Code::PermissionDenied | Code::InvalidArgument | Code::Unauthenticated | Code::OutOfRange => {
            CallError::Refused(status.message().to_owned())
        }
        _ => CallError::Unreachable(causes(status)),
    }
}

/// The framework's message says little; what it wraps says what happened.
fn causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut next = status.source();
    for _ in 0..CAUSES_MAX {
        let Some(error) = next else { break };
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_without_port_and_brackets() {
        assert_eq!(host("portolan-0.use1.example.net:8444"), "portolan-0.use1.example.net");
        assert_eq!(host("[2001:db8::1]:8444"), "2001:db8::1");
        assert_eq!(host("127.0.0.1:1"), "127.0.0.1");
    }
}

//! Connections to peers: one per peer and lane, made when first needed and made anew when they break.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use portolan_core::model::ids::Label;
use tokio::time::timeout;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{
    CallError, Lane, Patience,
    proto::peer_service_client::PeerServiceClient,
    service::{LEFT_BEHIND, MESSAGE_OCTETS_MAX, OBSERVE_OCTETS_MAX},
};
use crate::net::{
    detour::Detours,
    dial::{causes, open},
    mutual::TlsFiles,
};

/// A connection that is silent for this long is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Connections that are kept. Five voters take sixteen; more are peers that moved.
const CHANNELS_MAX: usize = 64;
/// Octets under way at most on a stream of [`Lane::Observe`]: on a line of 10 Mbit/s they take 0.2 s, and 200 ms away a snapshot of four megabytes
/// takes as many seconds.
const OBSERVE_WINDOW: u32 = 256 * 1024;

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
    patience: Patience,
    tls: Option<TlsFiles>,
    detours: Detours,
    channels: Mutex<BTreeMap<(Address, Lane), Channel>>,
}

impl Dialer {
    pub(super) const fn new(patience: Patience, tls: Option<TlsFiles>, detours: Detours) -> Self {
        Self { patience, tls, detours, channels: Mutex::new(BTreeMap::new()) }
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
        let within = self.patience.connect();
        // The scheme only fills the :scheme field; encryption is the connector's.
        let endpoint = Endpoint::from_static("http://peer")
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(self.patience.dialed())
            .keep_alive_while_idle(true);
        // What nodes see must not wait long behind a snapshot on the same connection.
        let endpoint = if lane == Lane::Observe { endpoint.initial_stream_window_size(OBSERVE_WINDOW) } else { endpoint };
        let connector = tower::service_fn(move |_| {
            let (tls, detours, to) = (tls.clone(), detours.clone(), to.clone());
            async move {
                let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {} within {within:?}", to.address));
                timeout(within, open(tls, &detours, to.node.as_str(), &to.address)).await.unwrap_or_else(|_| Err(late())).map(TokioIo::new)
            }
        });
        endpoint.connect_with_connector_lazy(connector)
    }
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

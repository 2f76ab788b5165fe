//! The client of the control API: what the command line and the demo talk through.
//!
//! It tries every address that it was given, says of each why it failed, and retries only what the protocol calls UNAVAILABLE (AIP-194),
//! within a bounded time. A connection counts when the other side has shown that it is Portolan: one health call proves TLS, HTTP/2 and
//! the API in one round trip, so that a wrong port is told apart from a daemon that is down.

mod connect;
mod control;
mod error;

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use backoff::{BackoffBuilder as _, ExponentialBuilder, Retryable as _};
use ipnet::IpNet;
use portolan_core::{
    model::{name::Name, record::RecordType, time::Timestamp},
    node::report::{Status, Why},
};
use tonic::{Code, Request, Streaming, service::interceptor::InterceptedService, transport::Channel};

use control::Bearer;
pub use control::{BearerToken, Messages, new_request_id};
pub use error::{Attempt, Cause, ClientError};

use crate::api::{
    PreviewReport, TlsFiles,
    convert::time_out,
    proto::{
        BeatRequest, GetStatusRequest, PreviewAnswerRequest, StatusView, WatchStatusRequest, WatchStatusResponse, WhyRequest, beat_request,
        dns_service_client::DnsServiceClient, explain_service_client::ExplainServiceClient,
        heartbeat_service_client::HeartbeatServiceClient, status_service_client::StatusServiceClient, watch_status_response,
    },
    refusal::Refusal,
};

/// The port of the control listener where an address names none.
pub const PORT: u16 = 8443;
/// The longest answer taken in: a full picture of the largest plans has some ten megabytes.
const ANSWER_OCTETS_MAX: usize = 64 * 1024 * 1024;
/// A call answers from memory; a path that takes longer is broken.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// One about the past reads files and makes a plan of that time again: seconds, with a large geo database.
const PAST_CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// First pause before a retry,
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// the longest pause,
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// and how many retries: with jitter, one to two seconds in all. Who waits at three in the morning wants to know soon.
const RETRIES_MAX: usize = 4;

/// Where the daemon is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// `host:port`, `host`, `http://host:port`, `https://host:port` or `unix:/path` of a break-glass socket, tried in
    /// order, sockets first. Empty: the default port on loopback.
    pub addresses: Vec<String>,
    /// Mutual TLS; `None`: plaintext, which is for loopback only. A socket needs none.
    pub tls: Option<TlsFiles>,
    /// The authority to trust, for a caller that shows a token and has no certificate; not looked at where `tls` is set.
    pub ca_file: Option<std::path::PathBuf>,
    /// Who calls, in place of the certificate's holder; `None`: the certificate decides.
    pub token: Option<BearerToken>,
}

impl Target {
    /// The target that a node's own `listen.control` and `tls` mean for a client on the same machine: an unspecified address is loopback.
    #[must_use]
    pub fn of_listener(listen: std::net::SocketAddr, tls: Option<TlsFiles>) -> Self {
        let mut address = listen;
        if listen.ip().is_unspecified() {
            address.set_ip(if listen.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(std::net::Ipv6Addr::LOCALHOST) });
        }
        Self { addresses: vec![address.to_string()], tls, ca_file: None, token: None }
    }
}

/// A connection to a daemon that has shown to be one.
pub struct Client {
    channel: InterceptedService<Channel, Bearer>,
    address: String,
}

/// Why a picture came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureCause {
    /// The first of the stream.
    Snapshot,
    /// The table changed.
    Change,
    /// Nothing changed for a while.
    Heartbeat,
}

/// Pictures as they come.
pub struct Pictures(Streaming<WatchStatusResponse>, String);

impl Client {
    /// Connects to the first address that answers as Portolan does.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] with the cause at each address; [`ClientError::Target`] when what was asked for cannot be tried.
    pub async fn connect(target: &Target) -> Result<Self, ClientError> {
        let attempt = || async {
            let (channel, address) = connect::connect(target).await?;
            let channel = InterceptedService::new(channel, Bearer(target.token.clone()));
            Ok(Self { channel, address })
        };
        attempt.retry(pauses()).when(ClientError::is_worth_another_try).await
    }

    /// The address that answered.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The picture now; `endpoints`: with every endpoint.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls.
    pub async fn status(&self, endpoints: bool) -> Result<Status, ClientError> {
        let view = view(endpoints).into();
        let client = StatusServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_OCTETS_MAX);
        let answer = self.call(|| {
            let mut client = client.clone();
            async move { client.get_status(timed(GetStatusRequest { view })).await }
        });
        answer.await?.status.map(Status::try_from).transpose()?.ok_or_else(|| absent("status"))
    }

    /// Pictures from now on.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls.
    pub async fn watch(&self, endpoints: bool) -> Result<Pictures, ClientError> {
        let view = view(endpoints).into();
        let client = StatusServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_OCTETS_MAX);
        let stream = self.call(|| {
            let mut client = client.clone();
            async move { client.watch_status(WatchStatusRequest { view }).await }
        });
        Ok(Pictures(stream.await?, self.address.clone()))
    }

    /// Why an object is as it is; with `at`, as it was then by the node's history.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the names that are near it, when nothing has that name.
    pub async fn why(&self, object: &str, at: Option<Timestamp>) -> Result<Why, ClientError> {
        let client = ExplainServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_OCTETS_MAX);
        let answer = self.call(|| {
            let (mut client, object) = (client.clone(), object.to_owned());
            async move { client.why(timed_at(at, WhyRequest { object, at: at.map(time_out) })).await }
        });
        Ok(answer.await?.try_into()?)
    }

    /// The answer that a client would get, and why; with `at`, that it got then by the node's history. `client` without a prefix length means
    /// what resolvers commonly send.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls.
    pub async fn preview(
        &self,
        name: &Name,
        record_type: RecordType,
        client: Option<ClientNetwork>,
        resolver: Option<IpAddr>,
        at: Option<Timestamp>,
    ) -> Result<PreviewReport, ClientError> {
        let text = |value: Option<&dyn Display>| value.map(ToString::to_string).unwrap_or_default();
        let request = PreviewAnswerRequest {
            name: name.to_string(),
            r#type: record_type.to_string(),
            client: text(client.as_ref().map(|network| network as &dyn Display)),
            resolver: text(resolver.as_ref().map(|address| address as &dyn Display)),
            at: at.map(time_out),
        };
        let service = DnsServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_OCTETS_MAX);
        let answer = self.call(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.preview_answer(timed_at(at, request)).await }
        });
        Ok(answer.await?.try_into()?)
    }

    /// Reports that a heartbeat check passed or failed just now.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the plan has no such check.
    pub async fn beat(&self, name: &str, ok: bool, note: &str) -> Result<(), ClientError> {
        let outcome = if ok { beat_request::Outcome::Ok } else { beat_request::Outcome::Failed };
        let request = BeatRequest { name: name.to_owned(), outcome: outcome.into(), note: note.to_owned() };
        let service = HeartbeatServiceClient::new(self.channel.clone());
        let answer = self.call(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.beat(timed(request)).await }
        });
        answer.await.map(drop)
    }

    /// Calls until it answers anything but UNAVAILABLE, within the bound. All calls so far may be repeated without harm.
    async fn call<T, F>(&self, once: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let answer = once.retry(pauses()).when(|status| status.code() == Code::Unavailable).await;
        answer.map(tonic::Response::into_inner).map_err(|status| ClientError::from_status(&self.address, &status))
    }
}

impl Pictures {
    /// The next picture; `None`: the daemon ended the stream.
    ///
    /// # Errors
    /// [`ClientError`]: the connection is lost, or the daemon stops.
    pub async fn next(&mut self) -> Result<Option<(PictureCause, Status)>, ClientError> {
        let message = self.0.message().await.map_err(|status| ClientError::from_status(&self.1, &status))?;
        let Some(message) = message else { return Ok(None) };
        let cause = match message.cause() {
            watch_status_response::Cause::Change | watch_status_response::Cause::Unspecified => PictureCause::Change,
            watch_status_response::Cause::Snapshot => PictureCause::Snapshot,
            watch_status_response::Cause::Heartbeat => PictureCause::Heartbeat,
        };
        let status = message.status.map(Status::try_from).transpose()?.ok_or_else(|| absent("status"))?;
        Ok(Some((cause, status)))
    }
}

/// A client address, or a network of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientNetwork {
    /// The daemon takes the /24 or /56 around it, as resolvers commonly send.
    Address(IpAddr),
    /// Exactly this network.
    Network(IpNet),
}

impl Display for ClientNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl std::str::FromStr for ClientNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = || text.parse().map(Self::Network);
        let either = text.parse().map(Self::Address).or_else(|_| network());
        either.map_err(|_| format!("`{text}` is no address or network; write 203.0.113.9, 203.0.113.0/24 or 2001:db8::/40"))
    }
}

fn view(endpoints: bool) -> StatusView {
    if endpoints { StatusView::Full } else { StatusView::Basic }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIME_MAX);
    request
}

/// The same for a question that may be of the past.
fn timed_at<T>(at: Option<Timestamp>, message: T) -> Request<T> {
    let mut request = timed(message);
    if at.is_some() {
        request.set_timeout(PAST_CALL_TIME_MAX);
    }
    request
}

fn absent(field: &'static str) -> ClientError {
    ClientError::Unreadable(crate::api::convert::Unreadable { field, problem: "is missing".to_owned() })
}

fn pauses() -> backoff::ExponentialBackoff {
    ExponentialBuilder::default().with_min_delay(PAUSE_MIN).with_max_delay(PAUSE_MAX).with_max_times(RETRIES_MAX).with_jitter().build()
}

impl ClientError {
    fn from_status(address: &str, status: &tonic::Status) -> Self {
        let refusal = Refusal::from(status);
        // A refusal with a reason was worded by the daemon; one without was made on the way.
        if refusal.reason.is_empty()
            && matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
        {
            return Self::Unreachable(vec![Attempt { address: address.to_owned(), cause: Cause::of_status(status) }]);
        }
        Self::Refused(refusal)
    }
}

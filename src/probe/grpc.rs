//! gRPC health probes: `grpc.health.v1.Health/Check`, the unary call that every gRPC server's health service has.
//!
//! tonic-health's generated client over one hyper HTTP/2 connection of our own, instead of a tonic channel: the channel reconnects, buffers
//! and keeps tasks of its own, while a probe is one connection, and all that runs for it must end with it. hyper needs a task for the
//! connection; [`Tasks`] ends it with the probe.
//!
//! Source: the gRPC health checking protocol (grpc/doc/health-checking.md): a service that the server does not know is NOT_FOUND.

use std::{
    error::Error,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::Uri;
use hyper::{body::Incoming, client::conn::http2, rt::Executor};
use hyper_util::rt::TokioIo;
use portolan_core::model::check::{ANSWER_OCTETS_MAX, Address, Failure, FailureCategory, TlsCheck};
use tokio::task::AbortHandle;
use tonic::{Code, Status, body::Body, client::GrpcService};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{
    GOODBYE_MAX, ProbeEnv, bare_host, open,
    watch::{Mark, Watch},
};
use crate::net::tls::Alpn;

/// The largest list of headers or trailers taken (RFC 9113 section 6.5.2), in octets.
const HEADER_LIST_MAX: u32 = 16 * 1024;
/// The receive window: what the server may send before the probe takes it. All that a probe reads.
const WINDOW: u32 = 64 * 1024;

/// One gRPC health probe.
pub(super) async fn probe(address: &Address, tls: Option<&TlsCheck>, service: &str, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    let stream = open::open(address, tls, &bare_host(address), Alpn::Http2, env, watch).await?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let origin = Uri::try_from(format!("{scheme}://{address}/"))
        .map_err(|e| Failure::new(FailureCategory::Protocol, &format!("the request cannot be made: {e}")))?;
    watch.mark(Mark::Asked);
    watch.framed();
    let tasks = Tasks::default();
    let _ending = AbortAll(tasks.clone());
    let broken = |error: hyper::Error| watch.broken("HTTP/2", &error);
    let mut builder = http2::Builder::new(tasks.clone());
    builder.max_header_list_size(HEADER_LIST_MAX).initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = tokio::spawn(connection);
    tasks.keep(connection.abort_handle());
    let mut client =
        HealthClient::with_origin(Sender { sender, watch: watch.clone() }, origin).max_decoding_message_size(ANSWER_OCTETS_MAX);
    let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await;
    let verdict = match answer {
        Ok(answer) => judge(answer.into_inner().status),
        Err(status) => Err(refusal(&status, service, watch)),
    };
    watch.judged(&verdict);
    // Without a sender the connection says goodbye (GOAWAY) and closes.
    drop(client);
    let _ = tokio::time::timeout(GOODBYE_MAX, connection).await;
    verdict
}

fn judge(status: i32) -> Result<(), Failure> {
    match ServingStatus::try_from(status) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(other) => Err(Failure::new(FailureCategory::Status, &format!("the service is {}", other.as_str_name()))),
        Err(_) => Err(Failure::new(FailureCategory::Status, &format!("the service has status {status}, which the protocol does not know"))),
    }
}

/// The failure behind a status: said by the server, or made by the client library out of a broken exchange.
fn refusal(status: &Status, service: &str, watch: &Watch) -> Failure {
    if let Some(error) = connection_error(status) {
        return watch.broken("HTTP/2", error);
    }
    let (code, message) = (status.code(), status.message());
    let detail = match code {
        Code::Unimplemented => format!("the server has no grpc.health.v1.Health: {message}"),
        Code::NotFound => format!("the server does not know the service `{service}`: {message}"),
        // What tonic says of a message that is too large; no server answers a health check with it.
        Code::OutOfRange => return Failure::new(FailureCategory::Protocol, &format!("larger than a probe reads: {message}")),
        _ => format!("{code:?}: {message}"),
    };
    Failure::new(FailureCategory::Status, &detail)
}

/// The transport's error inside a status, if that is where it came from.
fn connection_error(status: &Status) -> Option<&hyper::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// hyper's sender in the shape that tonic calls.
struct Sender {
    sender: http2::SendRequest<Body>,
    watch: Watch,
}

type Answer = Result<http::Response<Incoming>, hyper::Error>;

impl GrpcService<Body> for Sender {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (answer, watch) = (self.sender.send_request(request), self.watch.clone());
        Box::pin(async move { answer.await.inspect(|_headers| watch.mark(Mark::Answered)) })
    }
}

/// The tasks that one probe's connection runs in. hyper starts three at most: the connection, its background part, and the request's body.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<AbortHandle>>>);

impl Tasks {
    fn keep(&self, task: AbortHandle) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.keep(tokio::spawn(future).abort_handle());
    }
}

/// Ends the tasks when the probe ends, in whatever way. hyper ends them by itself once nobody waits for an answer, provided that the server takes
/// its goodbye; this does not depend on the server.
struct AbortAll(Tasks);

impl Drop for AbortAll {
    fn drop(&mut self) {
        for task in self.0.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

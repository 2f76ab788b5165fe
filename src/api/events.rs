//! `EventService`: what happened lately on this node, from a token on.

use std::{sync::Arc, time::Duration};

use portolan_core::node::report::Severity;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    convert::time_out,
    event_log::{Event, EventLog, Token},
    page::PAGE_SIZE_MAX,
    proto::{self, ListEventsRequest, ListEventsResponse, WatchEventsRequest, WatchEventsResponse, event_service_server::EventService},
    refusal::{self, Reason, bad_field},
    source::cluster::ClusterSource,
};
use crate::latest::LatestSeen;

/// Streams over all connections.
pub const WATCHERS_MAX: usize = 64;
/// Events in one message of a stream.
const BATCH_MAX: usize = 100;
/// Most time between two messages of one stream: a silent stream is a dead one.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// One message waits for a slow reader; more wait in the ring.
const WAITING_MAX: usize = 1;

/// The service over a source.
pub struct EventApi {
    source: Arc<dyn ClusterSource>,
    stop: CancellationToken,
    places: Arc<Semaphore>,
}

impl EventApi {
    /// Streams end when `stop` is cancelled.
    pub(super) fn new(source: Arc<dyn ClusterSource>, stop: CancellationToken) -> Self {
        Self { source, stop, places: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }

    fn log(&self) -> Result<Arc<EventLog>, Status> {
        self.source.events().map_err(|error| refusal::cluster(&error))
    }
}

fn token_in(text: &str) -> Result<Token, Status> {
    text.parse().map_err(|()| bad_field("token", "is none that a node gave; leave it empty to begin"))
}

#[tonic::async_trait]
impl EventService for EventApi {
    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        let request = request.get_ref();
        let n = match usize::try_from(request.page_size).unwrap_or(usize::MAX) {
            0 => PAGE_SIZE_MAX,
            n if n <= PAGE_SIZE_MAX => n,
            n => return Err(bad_field("page_size", format!("is {n}; at most {PAGE_SIZE_MAX}"))),
        };
        let log = self.log()?;
        let token = if request.token.is_empty() { log.before_newest(n) } else { token_in(&request.token)? };
        let (events, token) = log.after(&token, n).map_err(|error| refusal::out_of_range(&error))?;
        let more = token != log.end();
        let events = events.into_iter().map(event_out).collect();
        Ok(Response::new(ListEventsResponse { events, token: token.to_string(), more, node: log.node().to_owned() }))
    }

    type WatchEventsStream = ReceiverStream<Result<WatchEventsResponse, Status>>;

    async fn watch_events(&self, request: Request<WatchEventsRequest>) -> Result<Response<Self::WatchEventsStream>, Status> {
        let log = self.log()?;
        let text = &request.get_ref().token;
        let token = if text.is_empty() { log.end() } else { token_in(text)? };
        // What is wrong with the token is said at once.
        log.after(&token, 0).map_err(|error| refusal::out_of_range(&error))?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = format!("{WATCHERS_MAX} event watchers are open, as many as one node serves");
            Reason::TooManyWatchers.status(message, "", &[])
        })?;
        let (messages, stream) = mpsc::channel(WAITING_MAX);
        tokio::spawn(watch(log, token, messages, self.stop.clone(), place));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Sends events until the reader leaves or falls out of the ring, or the daemon stops. `_place` is given back at the end.
async fn watch(
    log: Arc<EventLog>,
    mut token: Token,
    messages: mpsc::Sender<Result<WatchEventsResponse, Status>>,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let mut newest = log.newest();
    loop {
        let slot = tokio::select! {
            slot = messages.reserve() => slot,
            () = stop.cancelled() => break,
        };
        let Ok(slot) = slot else { return };
        newest.latest_seen();
        match log.after(&token, BATCH_MAX) {
            // The first message, and those after silence, carry the token alone.
            Ok((events, after)) => {
                token = after;
                slot.send(Ok(WatchEventsResponse { events: events.into_iter().map(event_out).collect(), token: token.to_string() }));
            }
            Err(error) => {
                slot.send(Err(refusal::out_of_range(&error)));
                return;
            }
        }
        if token != log.end() {
            continue;
        }
        let sent = Instant::now();
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { break },
            () = sleep_until(sent + HEARTBEAT_INTERVAL) => {}
            () = stop.cancelled() => break,
            () = messages.closed() => return,
        }
    }
    // The last word, if the reader has room for it; else it sees the connection close.
    let _ = messages.try_send(Err(refusal::stopping()));
}

fn event_out(event: Event) -> proto::Event {
    let severity = match event.news.severity {
        Severity::Info => proto::event::Severity::Info,
        Severity::Warning => proto::event::Severity::Warning,
        Severity::Critical => proto::event::Severity::Critical,
    };
    proto::Event {
        sequence: event.sequence,
        time: Some(time_out(event.news.at)),
        kind: event.news.kind.to_owned(),
        object: event.news.object,
        severity: severity.into(),
        text: event.news.text,
        index: event.news.index,
    }
}

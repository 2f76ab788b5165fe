//! `StatusService`: the picture now, and the picture as it changes.

use std::{sync::Arc, time::Duration};

use portolan_core::node::report;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    proto::{
        GetStatusRequest, GetStatusResponse, StatusView, WatchStatusRequest, WatchStatusResponse, status_service_server::StatusService,
        watch_status_response::Cause,
    },
    refusal::{self, Reason},
    source::ControlSource,
};
use crate::latest::LatestSeen;

/// Streams over all connections. Each makes at most one picture a second, up to megabytes on the largest plans.
pub const WATCHERS_MAX: usize = 64;
/// Least time between two pictures of one stream: people and dashboards need no more, and a flapping plan must not cost more.
pub const PICTURE_INTERVAL: Duration = Duration::from_secs(1);
/// Most time between two pictures of one stream: a silent stream is a dead one.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// One picture waits for a slow reader; what changes meanwhile is in the next one.
const WAITING_MAX: usize = 1;

/// The service over a source.
pub struct StatusApi {
    source: Arc<dyn ControlSource>,
    stop: CancellationToken,
    places: Arc<Semaphore>,
}

impl StatusApi {
    /// Streams end when `stop` is cancelled.
    pub(super) fn new(source: Arc<dyn ControlSource>, stop: CancellationToken) -> Self {
        Self { source, stop, places: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }
}

#[tonic::async_trait]
impl StatusService for StatusApi {
    async fn get_status(&self, request: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let status = picture(&*self.source, request.get_ref().view()).await?;
        Ok(Response::new(GetStatusResponse { status: Some((&status).into()) }))
    }

    type WatchStatusStream = ReceiverStream<Result<WatchStatusResponse, Status>>;

    async fn watch_status(&self, request: Request<WatchStatusRequest>) -> Result<Response<Self::WatchStatusStream>, Status> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = format!("{WATCHERS_MAX} status watchers are open, as many as one node serves");
            Reason::TooManyWatchers.status(message, "", &[])
        })?;
        let (pictures, stream) = mpsc::channel(WAITING_MAX);
        let (source, stop, view) = (Arc::clone(&self.source), self.stop.clone(), request.get_ref().view());
        tokio::spawn(watch(source, view, pictures, stop, place));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

type Pictures = mpsc::Sender<Result<WatchStatusResponse, Status>>;

/// Sends pictures until the reader leaves or the daemon stops. `_place` is given back at the end.
async fn watch(
    source: Arc<dyn ControlSource>,
    view: StatusView,
    pictures: Pictures,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let mut generation = source.generation();
    let mut cause = Cause::Snapshot;
    loop {
        // A slow reader is waited for first, so that it gets the latest picture and not one that waited with it.
        let slot = tokio::select! {
            slot = pictures.reserve() => slot,
            () = stop.cancelled() => break,
        };
        let Ok(slot) = slot else { return };
        generation.latest_seen();
        let picture = picture(&*source, view).await;
        let failed = picture.is_err();
        slot.send(picture.map(|status| WatchStatusResponse { status: Some((&status).into()), cause: cause.into() }));
        if failed {
            return;
        }
        let sent = Instant::now();
        cause = tokio::select! {
            changed = generation.changed() => match changed {
                Ok(()) => Cause::Change,
                Err(_) => break,
            },
            () = sleep_until(sent + HEARTBEAT_INTERVAL) => Cause::Heartbeat,
            () = stop.cancelled() => break,
            () = pictures.closed() => return,
        };
        tokio::select! {
            () = sleep_until(sent + PICTURE_INTERVAL) => {}
            () = stop.cancelled() => break,
            () = pictures.closed() => return,
        }
    }
    // The last word, if the reader has room for it; else it sees the connection close.
    let _ = pictures.try_send(Err(refusal::stopping()));
}

async fn picture(source: &dyn ControlSource, view: StatusView) -> Result<report::Status, Status> {
    let mut status = source.status().await.map_err(|error| refusal::report(&error))?;
    if view != StatusView::Full {
        for service in &mut status.services {
            service.endpoints = Vec::new();
        }
    }
    Ok(status)
}

//! The stream of one evacuation: as it is, whenever something of it is new, until it ends.
//!
//! Nothing is queued for a slow reader: each message is made of what is agreed when there is room for it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::told;
use crate::api::{proto::WatchEvacuationResponse, refusal, source::cluster::ClusterSource};

/// Most time between two messages of one stream: a silent stream is a dead one.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// One message waits for a slow reader.
const WAITING_MAX: usize = 1;

/// `place` is given back at the end.
pub(super) fn start(
    source: Arc<dyn ClusterSource>,
    id: u64,
    stop: CancellationToken,
    place: OwnedSemaphorePermit,
) -> ReceiverStream<Result<WatchEvacuationResponse, Status>> {
    let (messages, stream) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let _place = place;
        let end = tokio::select! {
            end = follow(&*source, id, &messages) => end,
            () = stop.cancelled() => Some(refusal::stopping()),
        };
        if let Some(status) = end {
            // The last word, if the reader has room for it; else it sees the connection close.
            let _ = messages.try_send(Err(status));
        }
    });
    ReceiverStream::new(stream)
}

/// Until it ends or the reader leaves: `None`; or until it cannot be told any more: why.
async fn follow(source: &dyn ClusterSource, id: u64, messages: &mpsc::Sender<Result<WatchEvacuationResponse, Status>>) -> Option<Status> {
    let mut last = None;
    let mut sent = Instant::now();
    loop {
        let slot = messages.reserve().await.ok()?;
        let standing = match source.standing() {
            Ok(standing) => standing,
            Err(error) => return Some(refusal::cluster(&error)),
        };
        let evacuation = match told(&standing, id) {
            Ok(evacuation) => Some(evacuation),
            Err(status) => return Some(status),
        };
        let is_over = evacuation.as_ref().is_some_and(|it| it.end_time.is_some());
        if last != evacuation || sent.elapsed() >= HEARTBEAT_INTERVAL {
            slot.send(Ok(WatchEvacuationResponse { evacuation: evacuation.clone() }));
            (last, sent) = (evacuation, Instant::now());
        } else {
            drop(slot);
        }
        if is_over {
            return None;
        }
        tokio::select! {
            () = source.advanced(standing.applied) => {}
            () = sleep_until(sent + HEARTBEAT_INTERVAL) => {}
            () = messages.closed() => return None,
        }
    }
}

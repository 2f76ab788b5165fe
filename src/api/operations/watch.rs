//! The stream of one operation: what was committed since the reader's last mark, until it ends.
//!
//! Nothing is queued for a slow reader: each message is made of what is agreed when there is room for it, so that whoever reads slowly gets more
//! marks at once. A reader that comes again says which mark it had last.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::told;
use crate::api::{proto::WatchOperationResponse, refusal, source::cluster::ClusterSource};

/// Streams over all connections.
pub const WATCHERS_MAX: usize = 64;
/// Most time between two messages of one stream: a silent stream is a dead one.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// One message waits for a slow reader.
const WAITING_MAX: usize = 1;

/// Begins after the mark of index `after`. `place` is given back at the end.
pub(super) fn start(
    source: Arc<dyn ClusterSource>,
    id: u64,
    after: u64,
    stop: CancellationToken,
    place: OwnedSemaphorePermit,
) -> ReceiverStream<Result<WatchOperationResponse, Status>> {
    let (messages, stream) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let _place = place;
        let end = tokio::select! {
            end = follow(&*source, id, after, &messages) => end,
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
async fn follow(
    source: &dyn ClusterSource,
    id: u64,
    mut after: u64,
    messages: &mpsc::Sender<Result<WatchOperationResponse, Status>>,
) -> Option<Status> {
    let mut last: Option<WatchOperationResponse> = None;
    let mut sent = Instant::now();
    loop {
        let slot = messages.reserve().await.ok()?;
        let standing = match source.standing() {
            Ok(standing) => standing,
            Err(error) => return Some(refusal::cluster(&error)),
        };
        // It was known when the stream began: what is forgotten meanwhile was followed by fifteen others.
        let mut operation = match told(&standing, id) {
            Ok(operation) => operation,
            Err(status) => return Some(status),
        };
        let mut marks = std::mem::take(&mut operation.marks);
        marks.retain(|mark| mark.index > after);
        after = marks.last().map_or(after, |mark| mark.index);
        let is_over = !operation.ending.is_empty();
        let is_news = last.as_ref().is_none_or(|last| last.operation.as_ref() != Some(&operation)) || !marks.is_empty();
        if is_news || sent.elapsed() >= HEARTBEAT_INTERVAL {
            let message = WatchOperationResponse { marks, operation: Some(operation) };
            last = Some(message.clone());
            slot.send(Ok(message));
            sent = Instant::now();
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

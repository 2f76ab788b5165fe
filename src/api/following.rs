//! The stream of one thing that is agreed: as it is, whenever something of it is new, until it ends.
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

use super::{
    refusal,
    source::cluster::{ClusterSource, Standing},
};

/// Most time between two messages of one stream: a silent stream is a dead one.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// One message waits for a slow reader.
const WAITING_MAX: usize = 1;

/// `tell`: the message of how it stands, and whether it is over. `place` is given back at the end.
pub(super) fn start<M: Clone + PartialEq + Send + Sync + 'static>(
    source: Arc<dyn ClusterSource>,
    stop: CancellationToken,
    place: OwnedSemaphorePermit,
    tell: impl Fn(&Standing) -> Result<(M, bool), Status> + Send + Sync + 'static,
) -> ReceiverStream<Result<M, Status>> {
    let (messages, stream) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let _place = place;
        let end = tokio::select! {
            end = follow(&*source, &tell, &messages) => end,
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
async fn follow<M: Clone + PartialEq>(
    source: &dyn ClusterSource,
    tell: &(impl Fn(&Standing) -> Result<(M, bool), Status> + Sync),
    messages: &mpsc::Sender<Result<M, Status>>,
) -> Option<Status> {
    let mut last = None;
    let mut sent = Instant::now();
    loop {
        let slot = messages.reserve().await.ok()?;
        let standing = match source.standing() {
            Ok(standing) => standing,
            Err(error) => return Some(refusal::cluster(&error)),
        };
        let (message, is_over) = match tell(&standing) {
            Ok(told) => told,
            Err(status) => return Some(status),
        };
        if last.as_ref() != Some(&message) || sent.elapsed() >= HEARTBEAT_INTERVAL {
            slot.send(Ok(message.clone()));
            (last, sent) = (Some(message), Instant::now());
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

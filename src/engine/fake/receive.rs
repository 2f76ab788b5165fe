//! A standby: takes what its upstream streams, for as long as it is not told otherwise.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::{
    super::Trouble,
    files::Upstream,
    server::Shared,
    wire::{Ask, Client, Told},
};

/// Before the upstream is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// A stream that is silent for so long has ended: the other end says something twice in a second.
const SILENT_MAX: Duration = Duration::from_secs(10);

pub(super) async fn receive(shared: Arc<Shared>, upstream: Upstream) {
    loop {
        if let Err(trouble) = stream(&shared, &upstream).await {
            debug!("receive from {}: {trouble}", upstream.region);
        }
        shared.state().heard = None;
        sleep(AGAIN).await;
    }
}

async fn stream(shared: &Shared, upstream: &Upstream) -> Result<(), Trouble> {
    let mut client = Client::connect(&upstream.address).await?;
    let head = shared.state().log.head.clone();
    client.say(&Ask::Stream(upstream.named.clone(), Box::new(head))).await?;
    loop {
        let told = timeout(SILENT_MAX, client.hear::<Told>()).await.map_err(|_| Trouble(format!("silent for {SILENT_MAX:?}")))??;
        match told {
            Some(Told::Records(at, lines)) => {
                let end = {
                    let mut state = shared.state();
                    state.log.take(at, lines.as_bytes())?;
                    state.heard = Some(Instant::now());
                    state.log.head.end
                };
                shared.grew(end);
                client.say(&Ask::Flushed(end)).await?;
            }
            Some(Told::Refused(why)) => return Err(Trouble(why)),
            Some(_) => return Err(Trouble("it sent something else than records".to_owned())),
            None => return Err(Trouble("it closed the connection".to_owned())),
        }
    }
}

//! The verbs of the contract, as changes of a region's object. Each returns when the API server has taken the change; a look shows what came of it.

use std::sync::atomic::Ordering::Relaxed;

use portolan_core::failover::engine::RECLONE_REQUIRED;
use tracing::info;

use super::{
    super::{
        Trouble,
        managed::{Key, Source, Verb},
        postgres::remote,
    },
    Cnpg,
    api::{Api, Changed},
    change::Change,
};

/// The operator writes what it sees into the same object, so a change may be outrun; so often in a row no operator does it.
const TRIES: usize = 8;

impl Cnpg {
    pub(super) async fn make(&self, verb: &Verb, key: &Key) -> Result<(), Trouble> {
        let change = match verb {
            // One that is a standby still is not kept down: its operator would have nothing to make of it, and not let it up again.
            Verb::Fence => Change::Fence { down: !self.is_standby.load(Relaxed) },
            Verb::Seal => Change::Seal,
            // The server replays what there is by itself.
            Verb::Drain(_) => return Ok(()),
            Verb::Unseal => Change::Unseal,
            Verb::Promote { above } => {
                self.above.store(*above, Relaxed);
                Change::Promote
            }
            Verb::Verify => return self.sign(key).await,
            Verb::Rejoin(source) => {
                self.compare(source).await?;
                Change::Follow(source.host.clone(), source.port)
            }
        };
        self.change(key, change).await
    }

    async fn change(&self, key: &Key, change: Change) -> Result<(), Trouble> {
        let (api, key) = (self.api.clone(), key.clone());
        self.changes.make(async move { made(&api, &change, &key).await }).await
    }

    /// Writes the token into the primary. One whose timeline another region may have begun, too, is promoted once more first: nobody could tell the
    /// two apart.
    async fn sign(&self, key: &Key) -> Result<(), Trouble> {
        let cluster = self.api.get().await?;
        let info = self.info(&cluster, &cluster.current).ok_or_else(|| Trouble("its object names no primary".to_owned()))?;
        let (server, above) = (remote::look(&info).await?, self.above.load(Relaxed));
        if let Some(timeline) = server.timeline.filter(|timeline| !server.is_standby && *timeline <= above) {
            self.change(key, Change::Seal).await?;
            return Err(Trouble(format!(
                "timeline {timeline} of {} may be another region's, too: it is promoted again, above {above}",
                cluster.current
            )));
        }
        remote::sign(&info, key.token, None).await
    }

    /// The operator rewinds nothing to another region's line, and the server would wait for what never comes.
    async fn compare(&self, source: &Source) -> Result<(), Trouble> {
        let cluster = self.api.get().await?;
        let Some(info) = self.info(&cluster, &cluster.current) else { return Ok(()) };
        let there = self.own.clone().with("host", &source.host).with("port", &source.port.to_string());
        let Some((own, other)) = remote::pair(&info, &there, &source.region).await? else { return Ok(()) };
        let Some(timelines) = own.timeline.zip(other.timeline) else { return Ok(()) };
        let (line, of_other) = (remote::history(&info, timelines.0).await?, remote::history(&there, timelines.1).await?);
        let ends = if own.is_standby { own.replayed } else { own.position };
        match line.parted(ends, &of_other) {
            None => Ok(()),
            Some(parted) => Err(Trouble(format!(
                "{RECLONE_REQUIRED}: it has what {} has not, from {} of timeline {} on, and CloudNativePG rewinds no region: save what is wanted, \
                 delete the Cluster with its volumes, and make it anew from {}",
                source.region, parted.at, parted.timeline, source.region
            ))),
        }
    }
}

/// Reads, decides, changes, and once more if somebody else changed it meanwhile: so no lower token ever changes what a higher one has.
async fn made(api: &Api, change: &Change, key: &Key) -> Result<(), Trouble> {
    for _ in 0..TRIES {
        let cluster = api.get().await?;
        let highest = cluster.noted.token();
        if key.token < highest {
            return Err(Trouble(format!("{key} is refused: {highest} was there before")));
        }
        let Some(patch) = change.patch(&cluster, key.token)? else { return Ok(()) };
        if api.patch(&patch).await? == Changed::Done {
            info!(%key, "the API server has taken it");
            return Ok(());
        }
    }
    Err(Trouble(format!("its object was changed by somebody else {TRIES} times in a row")))
}

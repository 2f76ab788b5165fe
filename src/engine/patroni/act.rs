//! The single things that are done to a region's cluster. Each is a change of its configuration, and over when its members show it.

use std::{fs, io::ErrorKind, time::Duration};

use portolan_core::model::ids::Label;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::{super::Trouble, Patroni, Role, Seen, Wanted};

/// A place at which nobody listens, so that whoever follows it receives nothing: port 1 of this machine.
const NOBODY: (&str, u16) = ("127.0.0.1", 1);

/// Until the members show a change: Patroni looks every `loop_wait`, ten seconds by default, and stops and starts a server in between.
const SHOWN: Duration = Duration::from_secs(60);

/// So long a cluster finds a leader by itself; then one is named to it.
const LEADERLESS: Duration = Duration::from_secs(5);

/// Between two looks at that.
const LOOK: Duration = Duration::from_millis(50);

fn standby_of((host, port): (&str, u16)) -> Value {
    json!({ "standby_cluster": { "host": host, "port": port } })
}

impl Patroni {
    /// Nobody in the region takes writes, and nobody will before [`Self::promote`].
    ///
    /// # Errors
    /// It is not proven: somebody may still write.
    pub async fn fence(&self) -> Result<(), Trouble> {
        let forbidden = self.forbid();
        self.rest.patch(&self.base, &standby_of(NOBODY)).await?;
        self.shown("fence the region", false, |seen| match &seen.wanted {
            Wanted::Primary => Some("its configuration was changed by somebody".to_owned()),
            Wanted::StandbyOf(..) | Wanted::StandbyOfArchive => seen.unproven(),
        })
        .await?;
        forbidden
    }

    /// Its copy grows no more, and is replayed to its end. Gives that end.
    ///
    /// # Errors
    /// It is not so yet, or nobody knows.
    pub async fn seal(&self) -> Result<u64, Trouble> {
        self.forbid()?;
        self.rest.patch(&self.base, &standby_of(NOBODY)).await?;
        let is_nobody = |(host, port): &(String, u16)| (host.as_str(), *port) == NOBODY;
        let sealed = self.shown("seal the copy", true, |seen| match &seen.received {
            _ if seen.writes() != Some(false) => seen.unproven(),
            None => Some("it has no standby leader".to_owned()),
            Some(it) if !it.from.as_ref().is_some_and(is_nobody) => Some("its standby leader is still set to receive".to_owned()),
            Some(it) if it.streams => Some("its standby leader still receives".to_owned()),
            Some(it) if !it.is_exhausted => Some("it has not replayed all that it has".to_owned()),
            Some(_) => None,
        });
        let seen = sealed.await?;
        seen.received.map(|it| it.replayed).ok_or_else(|| Trouble("its end was not told".to_owned()))
    }

    /// Its leader takes writes, on a timeline of its own.
    ///
    /// # Errors
    /// Nobody knows whether it does: a look shows.
    pub async fn promote(&self) -> Result<(), Trouble> {
        self.allow()?;
        self.rest.patch(&self.base, &json!({ "standby_cluster": null })).await?;
        let open = self.shown("promote the region", true, |seen| match seen.writes() {
            Some(true) if seen.is_primary => None,
            Some(true) => Some("who takes writes is not whom its Patroni calls the primary".to_owned()),
            _ => Some("no member takes writes yet".to_owned()),
        });
        open.await.map(|_| ())
    }

    /// Its cluster follows that region. Where the lines parted on another timeline, Patroni rewinds by itself.
    ///
    /// # Errors
    /// It does not stream from there yet.
    pub async fn follow(&self, region: &Label) -> Result<(), Trouble> {
        self.forbid()?;
        let (host, port) = self.address(region)?;
        self.rest.patch(&self.base, &standby_of((&host, port))).await?;
        let what = format!("follow {region}");
        let follows = self.shown(&what, true, |seen| match &seen.received {
            _ if seen.follows.as_ref() != Some(region) => Some("its configuration was changed by somebody".to_owned()),
            _ if seen.writes() != Some(false) => seen.unproven(),
            Some(it) if it.streams && it.from.as_ref() == Some(&(host.clone(), port)) => None,
            Some(_) => Some("its standby leader does not stream from there".to_owned()),
            None => Some("it has no standby leader".to_owned()),
        });
        follows.await.map(|_| ())
    }

    /// From now on its Patroni may promote.
    pub(super) fn allow(&self) -> Result<(), Trouble> {
        let Some(permit) = &self.permit else { return Ok(()) };
        fs::write(permit, "").map_err(|error| Trouble(format!("write the permit `{}`: {error}", permit.display())))
    }

    /// From now on its Patroni promotes nothing by itself.
    pub(super) fn forbid(&self) -> Result<(), Trouble> {
        let Some(permit) = &self.permit else { return Ok(()) };
        match fs::remove_file(permit) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Trouble(format!("take the permit `{}` away: {error}", permit.display())))
            }
            _ => Ok(()),
        }
    }

    /// Looks until nothing is missing; what is missing at the end is told. `is_led`: somebody has to lead the cluster for that.
    async fn shown(&self, what: &str, is_led: bool, missing: impl Fn(&Seen) -> Option<String>) -> Result<Seen, Trouble> {
        let began = Instant::now();
        let mut leaderless_since = None;
        loop {
            let mut why = match self.look().await {
                Ok(seen) => match missing(&seen) {
                    None => {
                        info!(region = %self.region, "done through Patroni: {what}");
                        return Ok(seen);
                    }
                    Some(why) => {
                        let since = *leaderless_since.get_or_insert_with(Instant::now);
                        if seen.leader.is_some() || !is_led {
                            leaderless_since = None;
                        } else if since.elapsed() >= LEADERLESS {
                            leaderless_since = None;
                            self.name_leader(&seen).await;
                        }
                        why
                    }
                },
                Err(trouble) => trouble.0,
            };
            if began.elapsed() >= SHOWN {
                why.insert_str(0, &format!("{what}: "));
                return Err(Trouble(why));
            }
            sleep(LOOK).await;
        }
    }

    /// Patroni elects nobody who is behind the last position that it noted, as a server that was rewound is: so it is told whom to take.
    async fn name_leader(&self, seen: &Seen) {
        let standbys = seen.members.iter().filter(|(_, status)| status.role == Role::Standby);
        let Some((name, _)) = standbys.max_by_key(|(_, status)| (status.timeline, status.position)) else { return };
        match self.rest.name_leader(&self.base, name).await {
            Ok(()) => info!(region = %self.region, "nobody led the cluster, and {name} does now"),
            Err(trouble) => debug!("{trouble}"),
        }
    }
}

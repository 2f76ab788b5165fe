//! The single things that are done to a server.

use std::{pin::pin, time::Duration};

use portolan_core::{
    failover::engine::redis::{Divergence, Info, Note, Ran, Verb},
    model::ids::Label,
    recovery::aside::Aside,
};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::{super::Trouble, Client, Redis, files::NOWHERE};

/// Until a server that was asked for a copy counts.
const COUNT: Duration = Duration::from_secs(3);

/// Between two looks at that.
const LOOK: Duration = Duration::from_millis(20);

impl Redis {
    /// Does one thing; the supervisor does [`Verb::Start`] and [`Verb::Stop`].
    pub(super) async fn make(&self, verb: &Verb) -> Result<(), Trouble> {
        match verb {
            Verb::Mark => self.files.write_mark(NOWHERE, self.setup.login.as_ref()),
            Verb::Claim => {
                let opening = self.kept(true)?.opening();
                self.change_note(|_| opening)
            }
            Verb::Point(to) => self.point(to.as_ref()).await,
            Verb::Quiesce => self.quiesce().await,
            Verb::Promote => {
                let mut client = self.own().await?;
                let promoting = self.kept(false)?.promoting(&self.server(&client.status().await?));
                self.change_note(|_| promoting)?;
                client.promote().await
            }
            Verb::Count => self.count().await,
            Verb::Sign(line) => {
                // It writes again: a snapshot that comes later is none of a clean end.
                self.change_note(|note| Note { stopping: None, ..note.clone() })?;
                let mut client = self.own().await?;
                self.lift_floor(&mut client).await?;
                client.sign(line).await
            }
            Verb::PutAside(parted) => self.put_aside(*parted).await,
            Verb::Start | Verb::Stop => Err(Trouble("the supervisor starts and stops it".to_owned())),
        }
    }

    /// Writes that it takes writes.
    pub(super) async fn write_heartbeat(&self) -> Result<(), Trouble> {
        let mut client = self.own().await?;
        let status = client.status().await?;
        let position = self.position(&status).ok_or_else(|| Trouble("its position is not known".to_owned()))?;
        client.beat(status.info.time_us, position).await?;
        self.restore_floor(&mut client, &status.info).await
    }

    /// Nobody follows a primary that bears no token, so it is not asked to have replicas before somebody does. What is noted first is done again.
    async fn lift_floor(&self, client: &mut Client) -> Result<(), Trouble> {
        let (floor, _) = client.floor().await?;
        if floor == 0 {
            return Ok(());
        }
        let id = client.status().await?.info.id;
        self.change_note(|note| Note { lifted: Some((id, floor)), ..note.clone() })?;
        client.set_floor(0).await
    }

    /// From then on it refuses writes while fewer follow, as its operator wants it.
    async fn restore_floor(&self, client: &mut Client, info: &Info) -> Result<(), Trouble> {
        let lifted = self.files.note()?.lifted.filter(|(id, floor)| *id == info.id && info.n_following >= *floor);
        let Some((_, floor)) = lifted else { return Ok(()) };
        client.set_floor(floor).await?;
        info!(floor, "as many replicas follow as min-replicas-to-write says: it is in force again");
        self.change_note(|note| Note { lifted: None, ..note.clone() })
    }

    /// While nothing runs, the next start reads the file.
    async fn point(&self, to: Option<&Label>) -> Result<(), Trouble> {
        let address = to.map(|region| self.address(region)).transpose()?;
        let (host, port) = address.as_ref().map_or(NOWHERE, |(host, port)| (host.as_str(), *port));
        let login = self.setup.login.as_ref();
        self.files.write_mark((host, port), login)?;
        match self.own().await {
            Ok(mut client) => client.follow(host, port, login).await,
            Err(_) => Ok(()),
        }
    }

    async fn quiesce(&self) -> Result<(), Trouble> {
        let mut client = self.own().await?;
        client.keep_when_stopped().await?;
        if client.status().await?.info.is_replica {
            return Ok(());
        }
        client.pause().await?;
        let info = client.status().await?.info;
        self.change_note(|note| Note { stopping: Some((info.id, info.offset)), ..note.clone() })
    }

    /// A backlog is made for the first replica and stays; so one asks to be it, and is gone before it is given anything.
    async fn count(&self) -> Result<(), Trouble> {
        let (mut client, mut replica) = (self.own().await?, self.own().await?);
        client.keep_counting().await?;
        let mut asking = pin!(replica.ask_for_copy());
        let (began, mut is_asking) = (Instant::now(), true);
        while began.elapsed() < COUNT {
            tokio::select! {
                () = &mut asking, if is_asking => is_asking = false,
                () = sleep(LOOK) => {}
            }
            if client.status().await?.info.counts {
                return Ok(());
            }
        }
        Err(Trouble("its offset does not count what is written: it refuses to be synchronised with".to_owned()))
    }

    async fn put_aside(&self, parted: Option<Divergence>) -> Result<(), Trouble> {
        let name = parted.map_or_else(|| "end-unknown".to_owned(), |it| format!("timeline-{}-from-{}", it.timeline, it.at));
        // One that is done again, after a crash in the middle, is the same; another one's is not written over.
        let kept = self.kept(true)?;
        let of = kept.note.line.as_ref().map_or(0, |line| line.last().timeline);
        let folder = self.setup.evidence.join(format!("{name}-of-{of}"));
        let (files, to) = (self.files.clone(), folder.clone());
        let copied = tokio::task::spawn_blocking(move || files.copy_to(&to)).await;
        let octets = copied.map_err(|error| Trouble(format!("put aside: {error}")))??;
        info!(octets, folder = %folder.display(), "what the primary does not have, or may not have, is put aside");
        // The files hold everything; how far they go beyond is known only of a snapshot that was written after the last write.
        let end = kept.position().filter(|_| kept.is_clean());
        let beyond = end.zip(parted).and_then(|(end, parted)| end.checked_sub(parted.at));
        self.shelf.put(Aside { parted: parted.map(|it| (it.timeline, it.at)), octets: beyond, ..Aside::default() });
        self.change_note(|note| Note { ran: Some(Ran::Replica), ..note.clone() })
    }
}

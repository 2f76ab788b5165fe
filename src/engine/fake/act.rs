//! The single things that are done to a fake database.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
};

use async_trait::async_trait;
use portolan_core::{
    failover::{
        engine::postgres::{Course, Divergence, Seen, Source, Verb},
        order::{Isolate, Restored, Say},
    },
    model::ids::Label,
    recovery::aside::Aside,
};

use super::{
    super::{Members, Server, Shelf, Trouble},
    Fake,
    files::{Settings, Upstream},
    log,
    wire::{Ask, RECORDS_OCTETS_MAX},
};

#[async_trait]
impl Server for Fake {
    type Course = Course;

    fn set_members(&self, members: Members) {
        *self.members.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = members;
    }

    async fn look(&self, vessel: Option<(u64, bool)>) -> Result<Seen, Trouble> {
        self.seen(vessel).await
    }

    async fn source(&self, region: &Label) -> Result<Source, Trouble> {
        self.other(region).await
    }

    fn shelf(&self) -> Option<&Shelf> {
        Some(&self.shelf)
    }

    async fn act(&self, verb: &Verb) -> Result<(), Trouble> {
        match verb {
            Verb::Mark => self.files.write_mark(),
            Verb::Unmark => self.files.remove_mark(),
            Verb::Point(to) => self.point(to.as_ref()).await,
            Verb::Synchronise(names) => self.set(|settings| settings.synchronous.clone_from(names)).await,
            Verb::Reserve(above) => self.ask(&Ask::Reserve(*above)).await,
            Verb::Promote => self.ask(&Ask::Promote).await,
            Verb::Sign(token) => self.ask(&Ask::Sign(token.generation, token.epoch)).await,
            Verb::PutAside(parted) => self.put_aside(*parted),
            // Nothing of it is ever half done, so that a copy is what a rewind leaves.
            Verb::Rewind(upstream) | Verb::Reclone(upstream) => self.rewind(upstream).await,
            // What is received is shown at once, and what is on disk is known at once.
            Verb::Resume | Verb::Checkpoint => Ok(()),
            Verb::Start | Verb::Stop => Err(Trouble("the supervisor starts and stops it".to_owned())),
        }
    }

    async fn beat(&self) -> Result<(), Trouble> {
        self.ask(&Ask::Beat).await
    }

    fn opens_copies(&self) -> bool {
        true
    }

    async fn isolate(&self, wanted: &Isolate, say: &Say) -> Result<Restored, Trouble> {
        self.isolated(wanted, say).await
    }

    async fn clear_sandboxes(&self) -> Result<(), Trouble> {
        self.clear_all_sandboxes().await
    }
}

impl Fake {
    async fn ask(&self, ask: &Ask) -> Result<(), Trouble> {
        self.client().await?.done(ask).await.map(|_| ())
    }

    async fn point(&self, to: Option<&Label>) -> Result<(), Trouble> {
        let upstream = match to {
            Some(region) => Some(Upstream { region: region.clone(), address: self.address(region)?, named: self.setup.region.clone() }),
            None => None,
        };
        self.set(|settings| settings.upstream = upstream).await
    }

    /// While nothing runs, the next start reads the file.
    async fn set(&self, change: impl FnOnce(&mut Settings)) -> Result<(), Trouble> {
        let mut settings = self.files.settings()?;
        change(&mut settings);
        self.files.set(&settings)?;
        match self.client().await {
            Ok(mut client) => client.done(&Ask::Reload).await.map(|_| ()),
            Err(_) => Ok(()),
        }
    }

    /// Keeps the records behind where the lines parted.
    fn put_aside(&self, parted: Divergence) -> Result<(), Trouble> {
        let path = self.setup.evidence.join(format!("timeline-{}-from-{}.jsonl", parted.timeline, parted.at));
        let end = log::read(&self.files.log())?.end;
        let copied = || {
            fs::create_dir_all(&self.setup.evidence)?;
            let (mut file, mut at, mut commits) = (File::create(&path)?, parted.at, 0);
            while at < end {
                let lines = log::lines_from(&self.files.log(), at, end, RECORDS_OCTETS_MAX)?;
                file.write_all(&lines)?;
                at += lines.len() as u64;
                commits += lines.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()).count() as u64;
            }
            file.sync_all()?;
            Ok::<_, std::io::Error>((commits, at - parted.at))
        };
        let (commits, octets) = copied().map_err(|error| Trouble(format!("put aside into `{}`: {error}", path.display())))?;
        let parted = Some((parted.timeline, parted.at));
        self.shelf.put(Aside { parted, commits: Some(commits), octets: Some(octets), ..Aside::default() });
        Ok(())
    }

    /// Takes away what the other one does not have: a log is as long as it is, before and after, so nothing is half done.
    async fn rewind(&self, upstream: &Label) -> Result<(), Trouble> {
        let (own, other) = (log::read(&self.files.log())?, self.other(upstream).await?);
        if own.system != other.system {
            return Err(Trouble(format!("RECLONE_REQUIRED: {upstream} is another database")));
        }
        self.files.write_mark()?;
        if let Some(parted) = own.history.parted(own.end, &other.history) {
            let cut = || {
                let file = OpenOptions::new().write(true).open(self.files.log())?;
                file.set_len(parted.at)?;
                file.sync_all()
            };
            cut().map_err(|error| Trouble(format!("rewind to {}: {error}", parted.at)))?;
        }
        self.point(Some(upstream)).await
    }
}

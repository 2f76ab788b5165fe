//! A copy of the log that is opened, shown to be one, and thrown away. Nothing listens there: whoever holds the file is alone with it.
//!
//! Invariants: as of PostgreSQL's (`super::super::postgres`): a standby's, and nothing of it is left, whatever becomes of its agent.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use portolan_core::{
    failover::order::{Isolate, Restored, Say},
    model::time::Human,
};
use tokio::time::Instant;
use tracing::info;

use super::{
    super::{
        Trouble,
        beside::{all_sandboxes, coarse, own_name, remove_all, sandboxes},
    },
    Fake,
    log::{self, Log, What},
    wire::RECORDS_OCTETS_MAX,
};

impl Fake {
    /// Copies the log of this standby, and goes on in the copy. What it leaves is removed by [`Self::clear_all_sandboxes`].
    pub(super) async fn isolated(&self, wanted: &Isolate, say: &Say) -> Result<Restored, Trouble> {
        self.clear_all_sandboxes().await?;
        let status = self.own().await?;
        if !status.is_standby() {
            return Err(Trouble("it is no standby, and a primary is not copied for a drill".to_owned()));
        }
        if wanted.restore.is_some() {
            return Err(Trouble("of a fake database there are no backups".to_owned()));
        }
        if let Some((name, _)) = wanted.queries.first() {
            return Err(Trouble(format!("{name} in the copy: a fake database knows no SQL")));
        }
        let (parent, prefix) = sandboxes(&self.setup.directory)?;
        let place = parent.join(format!("{prefix}{}", own_name()?));
        fs::create_dir(&place).map_err(|error| Trouble(format!("make `{}`: {error}", place.display())))?;
        say("a copy is made");
        let began = Instant::now();
        let (from, to, end) = (self.files.log(), place.join("log.jsonl"), status.position());
        let into = to.clone();
        let done = tokio::task::spawn_blocking(move || copy(&from, &into, end)).await.map_err(|error| error.to_string());
        let done = done.and_then(|done| done.map_err(|error| error.to_string()));
        done.map_err(|why| Trouble(format!("copy the log into `{}`: {why}", place.display())))?;
        let copied = began.elapsed();
        say("the copy is opened");
        let began = Instant::now();
        let mut copy = Log::open(&to)?;
        if copy.head != status.head {
            return Err(Trouble("the copy does not say what was copied".to_owned()));
        }
        copy.begin_timeline(status.reserved)?;
        copy.append(What::Write("shown by a drill".to_owned()))?;
        if log::read(&to)? != copy.head {
            return Err(Trouble("the copy does not keep what is written to it".to_owned()));
        }
        let opened = began.elapsed();
        let lines = vec![
            format!("{end} octets were copied in {}", Human(coarse(copied))),
            format!("the copy was promoted {} after its start, and takes writes", Human(coarse(opened))),
            "each record was read again".to_owned(),
        ];
        Ok(Restored { copied, opened, behind: status.beat_age(), lines })
    }

    /// Removes whatever stands in sandboxes beside the directory.
    pub(super) async fn clear_all_sandboxes(&self) -> Result<(), Trouble> {
        for place in all_sandboxes(&self.setup.directory)? {
            remove_all(&place).await?;
            info!(was = %place.display(), "a copy of a drill is removed");
        }
        Ok(())
    }
}

/// The log up to a position: what is written meanwhile is not in it.
fn copy(from: &Path, to: &Path, end: u64) -> std::io::Result<()> {
    let (mut file, mut at) = (File::create_new(to)?, 0);
    while at < end {
        let lines = log::lines_from(from, at, end, RECORDS_OCTETS_MAX)?;
        if lines.is_empty() {
            return Err(std::io::Error::other(format!("it has no whole record at octet {at}")));
        }
        file.write_all(&lines)?;
        at += lines.len() as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        path::PathBuf,
        sync::{Arc, Mutex},
    };

    use portolan_core::model::{ids::Label, time::Tick};
    use tokio::sync::oneshot;

    use super::{
        super::{Serving, Setup, create, serve},
        *,
    };

    /// Asked of a fake in this directory while it runs; what was said of it on the way.
    async fn isolated(directory: &Path, wanted: &Isolate) -> (Result<Restored, Trouble>, Vec<String>) {
        let listen: SocketAddr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Serving { directory: directory.to_owned(), listen, clock: || Tick(5_000_000) };
        let server = tokio::spawn(serve(serving, async move {
            let _ = stopped.await;
        }));
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            tokio::task::yield_now().await;
        }
        let (region, evidence) = (Label::new("eu"), PathBuf::from("/nowhere"));
        let fake = Fake::new(Setup { region, directory: directory.to_owned(), listen, owner: None, evidence });
        let said = Arc::<Mutex<Vec<String>>>::default();
        let hears = Arc::clone(&said);
        let shown = fake.isolated(wanted, &move |what: &str| hears.lock().unwrap().push(what.to_owned())).await;
        fake.clear_all_sandboxes().await.unwrap();
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        let said = said.lock().unwrap().clone();
        (shown, said)
    }

    fn nothing() -> Isolate {
        Isolate { drill: 7, ..Isolate::default() }
    }

    #[tokio::test]
    async fn a_copy_of_a_standby_takes_writes_and_nothing_of_it_is_left() {
        let around = tempfile::tempdir().unwrap();
        let directory = around.path().join("data");
        fs::create_dir(&directory).unwrap();
        fs::create_dir(around.path().join(".data.sandbox-of-one-that-was-lost")).unwrap();
        create(&directory, 7, true, None).unwrap();
        let before = fs::read(directory.join("log.jsonl")).unwrap();
        let (shown, said) = isolated(&directory, &nothing()).await;
        let shown = shown.unwrap();
        assert!(shown.behind.is_none() && shown.lines[1].contains("takes writes"), "{shown:#?}");
        assert_eq!(said, ["a copy is made", "the copy is opened"]);
        assert_eq!(fs::read(directory.join("log.jsonl")).unwrap(), before);
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 1, "nothing stands beside it");
    }

    #[tokio::test]
    async fn a_primary_is_not_copied_and_what_cannot_be_asked_is_not_passed_over() {
        let around = tempfile::tempdir().unwrap();
        let (primary, standby) = (around.path().join("primary"), around.path().join("standby"));
        for (directory, is_standby) in [(&primary, false), (&standby, true)] {
            fs::create_dir(directory).unwrap();
            create(directory, 7, is_standby, None).unwrap();
        }
        assert!(isolated(&primary, &nothing()).await.0.unwrap_err().0.contains("a primary is not copied"));
        let wanted = Isolate { queries: vec![("verify".to_owned(), "select true".to_owned())], ..nothing() };
        assert!(isolated(&standby, &wanted).await.0.unwrap_err().0.contains("knows no SQL"));
    }
}

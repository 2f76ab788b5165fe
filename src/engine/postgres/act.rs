//! The single things that are done to a server.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    sync::PoisonError,
    time::Duration,
};

use portolan_core::{
    failover::{
        engine::postgres::{Divergence, Verb, to_name},
        token::Token,
    },
    model::{ids::Label, time::Timestamp},
    recovery::aside::Aside,
};
use tokio::time::timeout;
use tracing::info;

use super::{
    Postgres, Trouble,
    connect::{connect, told},
    files::copy,
    lease,
    look::show,
    program::output,
    wal,
};

/// For a setting, a reload or a row.
const ANSWER: Duration = Duration::from_secs(10);

/// For a checkpoint, or a promotion, which has one.
const CHECKPOINT: Duration = Duration::from_secs(300);

/// What `pg_rewind` says when both stand on one timeline by their control files (PostgreSQL 15 does not look further).
const NOTHING_TO_REWIND: &str = "no rewind required";

/// For a rewind: it reads the log since the lines parted, and copies what changed since.
const REWIND: Duration = Duration::from_secs(6 * 3600);

/// More log is not put aside; a person decides then.
const EVIDENCE_OCTETS_MAX: u64 = 64 << 30;

impl Postgres {
    pub(super) async fn make(&self, verb: &Verb) -> Result<(), Trouble> {
        match verb {
            Verb::Mark => self.files.write_mark(),
            Verb::Unmark => self.files.remove_mark(),
            Verb::Point(to) => self.point(to.as_ref()).await,
            Verb::Resume => self.run("select pg_wal_replay_resume()", ANSWER).await,
            Verb::Synchronise(names) => {
                self.set(&[("synchronous_standby_names", names)])?;
                self.reload().await
            }
            Verb::Reserve(above) => {
                let own = self.server().await?.history.timeline;
                self.files.reserve(own, *above)
            }
            Verb::Promote => self.run("select pg_promote(true, 300)", CHECKPOINT).await,
            Verb::Sign(token) => self.sign(*token).await,
            Verb::Checkpoint => self.run("checkpoint", CHECKPOINT).await,
            Verb::PutAside(parted) => self.put_aside(*parted).await,
            Verb::Rewind(upstream) => self.rewind(upstream).await,
            Verb::Reclone(upstream) => self.reclone(upstream).await,
            Verb::Start | Verb::Stop => Err(Trouble("the supervisor starts and stops it".to_owned())),
        }
    }

    async fn run(&self, sql: &str, patience: Duration) -> Result<(), Trouble> {
        let run = async { connect(&self.setup.own).await?.batch_execute(sql).await.map_err(|error| told(&error)) };
        timeout(patience, run).await.map_err(|_| Trouble(format!("`{sql}`: no answer in time")))?
    }

    pub(super) async fn point(&self, to: Option<&Label>) -> Result<(), Trouble> {
        let (conninfo, slot) = match to {
            Some(region) => {
                let info = self.conninfo(region)?.without("dbname").with("application_name", self.setup.region.as_str());
                let named = self.files.setting("primary_slot_name")?.unwrap_or_default();
                (info.text(), to_name(&self.setup.region, &named, self.has_slot(region).await))
            }
            None => (String::new(), None),
        };
        let mut settings = vec![("primary_conninfo", conninfo.as_str()), ("recovery_target_timeline", "latest")];
        settings.extend(slot.as_deref().map(|slot| ("primary_slot_name", slot)));
        self.set(&settings)?;
        self.reload().await
    }

    /// Over the connection of the last look.
    pub(super) async fn write_heartbeat(&self) -> Result<(), Trouble> {
        let mut kept = self.client.lock().await;
        let Some(client) = kept.take().filter(|client| !client.is_closed()) else { return Ok(()) };
        // What waits inside the server is not waited for again.
        let beat = lease::beat(&client).await;
        let mut wrote = self.wrote.lock().unwrap_or_else(PoisonError::into_inner);
        match &beat {
            Ok(()) => wrote.beat(),
            Err(_) => wrote.unsure(),
        }
        drop(wrote);
        beat?;
        *kept = Some(client);
        Ok(())
    }

    /// While nothing runs, the next start reads the files.
    async fn reload(&self) -> Result<(), Trouble> {
        if self.files.path("postmaster.pid").exists() { self.run("select pg_reload_conf()", ANSWER).await } else { Ok(()) }
    }

    async fn sign(&self, token: Token) -> Result<(), Trouble> {
        let server = self.server().await?;
        self.wrote.lock().unwrap_or_else(PoisonError::into_inner).unsure();
        let sign = async {
            let client = connect(&self.setup.own).await?;
            lease::sign(&client, token, server.history.timeline, server.history.began()).await
        };
        timeout(ANSWER, sign).await.map_err(|_| Trouble("write the token: no answer in time".to_owned()))?
    }

    /// Keeps the log from where the lines parted, and a list of its records: what a rewind takes away, for whoever wants it back.
    async fn put_aside(&self, parted: Divergence) -> Result<(), Trouble> {
        let name = format!("timeline-{}-from-{}", parted.timeline, show(parted.at).replace('/', "-"));
        let folder = self.setup.evidence.join(name);
        let problem = |error: std::io::Error| Trouble(format!("put aside into `{}`: {error}", folder.display()));
        fs::create_dir_all(&folder).map_err(problem)?;
        let mut command = self.program("pg_controldata");
        command.arg("-D").arg(&self.setup.data_directory);
        let data = super::files::control_data(&output(command, "pg_controldata", ANSWER).await?)?;
        let segments = self.files.segments(data.segment).map_err(problem)?;
        let wanted = segments.iter().filter(|(timeline, number, _)| *timeline >= parted.timeline && *number >= parted.at / data.segment);
        let (mut octets, mut is_whole) = (0, true);
        for (timeline, _, path) in wanted {
            is_whole &= *timeline == parted.timeline;
            octets += fs::metadata(path).map_err(problem)?.len();
            if octets > EVIDENCE_OCTETS_MAX {
                return Err(Trouble(format!(
                    "more than {} GiB of log would be put aside: move it away by hand",
                    EVIDENCE_OCTETS_MAX >> 30
                )));
            }
            copy(path, &folder.join(path.file_name().unwrap_or_default()))?;
        }
        let listed = self.list(parted, data.segment, &folder.join("records.txt")).await?;
        // What it wrote on later timelines is kept, and not in the list.
        let aside = if is_whole { listed } else { Aside { parted: listed.parted, ..Aside::default() } };
        info!(octets, folder = %folder.display(), "what the primary does not have is put aside: {aside}");
        self.shelf.put(aside);
        Ok(())
    }

    /// Lists the records behind where the lines parted; what they are.
    async fn list(&self, parted: Divergence, segment: u64, to: &std::path::Path) -> Result<Aside, Trouble> {
        use tokio::io::{AsyncBufReadExt as _, BufReader};
        let problem = |error: std::io::Error| Trouble(format!("list records in `{}`: {error}", to.display()));
        let mut command = self.waldump(parted.timeline);
        // Times of commits are printed in the zone of the environment.
        command.args(["-s", &show(parted.at)]).env("TZ", "UTC");
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().map_err(problem)?;
        let aside = Aside { parted: Some((parted.timeline, parted.at)), ..Aside::default() };
        let Some(out) = child.stdout.take() else { return Ok(aside) };
        let (mut lines, mut file) = (BufReader::new(out).lines(), File::create(to).map_err(problem)?);
        let (mut commits, mut end, mut span) = (0, parted.at, None);
        while let Some(line) = lines.next_line().await.map_err(problem)? {
            if let Some(record) = wal::record(&line) {
                end = end.max(record.end(segment));
                commits += u64::from(record.is_commit);
                let at = wal::committed(&line).filter(|_| record.is_commit);
                span = at.map(|at| span.map_or((at, at), |(first, last): (Timestamp, Timestamp)| (first.min(at), last.max(at)))).or(span);
            }
            writeln!(file, "{line}").map_err(problem)?;
        }
        // It ends with an error, which is the end of the log.
        child.wait().await.map_err(problem)?;
        file.sync_all().map_err(problem)?;
        // There is something, or the lines had not parted: who reads nothing does not know what.
        Ok(if end > parted.at { Aside { commits: Some(commits), octets: Some(end - parted.at), span, ..aside } } else { aside })
    }

    /// Where it stands that a rewind is under way.
    pub(super) fn rewinding(&self) -> PathBuf {
        self.setup.evidence.join("rewinding")
    }

    /// First as a rehearsal, which changes nothing; from then on a failure leaves a directory that nobody starts.
    async fn rewind(&self, upstream: &Label) -> Result<(), Trouble> {
        let info = self.conninfo(upstream)?;
        let password = info.get("password").unwrap_or_default().to_owned();
        let info = if info.get("dbname").is_none() { info.with("dbname", "postgres") } else { info };
        let server = info.without("password").text();
        let command = |is_rehearsal: bool| {
            let mut command = self.program("pg_rewind");
            command.arg("-D").arg(&self.setup.data_directory).arg(format!("--source-server={server}")).env("PGPASSWORD", &password);
            if is_rehearsal {
                command.arg("--dry-run");
            }
            command
        };
        if output(command(true), "pg_rewind", REWIND).await?.contains(NOTHING_TO_REWIND) {
            // Its control file does not know the timeline that it is on: it was promoted, and ended before a checkpoint.
            self.settle_timeline().await?;
            if output(command(true), "pg_rewind", REWIND).await?.contains(NOTHING_TO_REWIND) {
                let why = "pg_rewind does not see what it would take away";
                self.condemn(why)?;
                return Err(Trouble(format!("RECLONE_REQUIRED: {why}")));
            }
        }
        self.note_rewind(upstream)?;
        self.change(command(false), "pg_rewind", REWIND).await?;
        self.files.write_mark()?;
        self.point(Some(upstream)).await?;
        let done = fs::remove_file(self.rewinding());
        done.map_err(|error| Trouble(format!("remove `{}`: {error}", self.rewinding().display())))
    }

    /// Lets the server recover and end in single-user mode, which no client can reach, as `pg_rewind` itself does after a crash. The mark is away
    /// meanwhile, because a standby cannot run so; nobody starts anything without it.
    async fn settle_timeline(&self) -> Result<(), Trouble> {
        self.files.remove_mark()?;
        let mut command = self.program("postgres");
        command.arg("--single").arg("-D").arg(&self.setup.data_directory).args(&self.setup.arguments).arg("template1");
        let settled = self.change(command, "postgres --single", CHECKPOINT).await;
        self.files.write_mark()?;
        settled.map(|_| ())
    }

    fn note_rewind(&self, upstream: &Label) -> Result<(), Trouble> {
        self.condemn(&format!("a rewind to {upstream} began in `{}` and did not end", self.setup.data_directory.display()))
    }

    /// From now on nobody starts the directory as it is.
    fn condemn(&self, why: &str) -> Result<(), Trouble> {
        let path = self.rewinding();
        let written = || {
            let mut file = File::create(&path)?;
            writeln!(file, "{why}")?;
            file.sync_all()?;
            File::open(&self.setup.evidence)?.sync_all()
        };
        written().map_err(|error| Trouble(format!("write `{}`: {error}", path.display())))
    }
}

//! A copy of the server that is opened, shown to work, and thrown away: nobody reaches it.
//!
//! ```text
//!  data                    runs on, and is read as any standby of it would read it
//!  .data.sandbox-N/data    pg_basebackup --> pg_verifybackup --> started, promoted, asked --> ended, removed
//!                          or a program of the operator, which restores a backup
//!  .data.sandbox-N/        what the server may read, and not change: its rules of who gets in, and its log
//!  .data.sandbox-N/socket  the only way in, for the owner of the files and for root
//! ```
//!
//! Invariants: it listens on no address, archives nowhere, follows nobody and is followed by nobody, runs no library that is loaded at the start and
//! no subscription, each said on the command line, which beats all files; it never starts on the real directory, which is said there, too, since a
//! settings file elsewhere may name that one. Nothing is asked or promoted before the process that answers is seen to work in the copy. While
//! it is there, the database itself keeps [`LEFT_OCTETS`] of room, or the copy goes. However this ends, nothing of it is left: what an agent that
//! was lost leaves is ended and removed before the next one, and when the agent starts.
//!
//! Contract of that program: it lies where hooks of this agent do and is as little anybody else's (`crate::hook`). It runs as the database does, at
//! work in the copy's place, with no input, and finds in its environment PORTOLAN_VERB (`restore`), PORTOLAN_DIRECTORY (empty: it makes a data
//! directory of the newest backup there), PORTOLAN_CLASS and PORTOLAN_REGION. Exit code 0: it is there. The log that the copy needs lies in it, or
//! is fetched by the `restore_command` that it comes with, which only reads.
//!
//! Absent on purpose: a grant, a token, a mark. No word of it is a word about the group. And what queries of the plan reach out for by themselves
//! (foreign tables, dblink) is not cut: they are the plan's.
//!
//! Source: PostgreSQL, `pg_basebackup`, `pg_verifybackup`, section 20.1.3 (parameters on the command line); proc(5), `oom_score_adj`.

mod opened;
mod place;
mod room;

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use nix::unistd::geteuid;
use portolan_core::{
    failover::order::{Isolate, Restore, Restored, Say},
    model::time::Human,
};
use tokio::{
    process::Command,
    time::{Instant, timeout},
};
use tracing::info;

use super::{
    super::beside::{all_sandboxes, coarse, own_name, remove_all, sandboxes},
    Postgres, Trouble,
    connect::{connect, told},
    files::control_data,
    program::output,
};
use crate::hook;
use opened::{ask, behind, check_pages, promote};
use place::{DIRECTORY, Place, end_all_in};
use room::{LEFT_OCTETS, free, full};

/// For a copy: within the time that a drill may take.
const COPY: Duration = Duration::from_hours(24);

/// For one question. A query of the plan has no longer one.
const ASK: Duration = Duration::from_secs(60);

/// Until it has replayed its log and answers.
const START: Duration = Duration::from_hours(1);

/// For its promotion.
const PROMOTE: Duration = Duration::from_mins(5);

/// Where a program of the operator finds others, as all of them do.
const HOOKS_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Whether it is a standby, how large its databases are, and what of it lies outside its directory.
const COPYABLE: &str = "select pg_is_in_recovery(), (select sum(pg_database_size(oid))::bigint from pg_database), \
    (select count(*) from pg_tablespace where spcname not in ('pg_default', 'pg_global'))";

impl Postgres {
    /// Copies this server, opens the copy and asks it. `say`: how far it is. What it leaves is removed by [`Self::clear_all_sandboxes`].
    pub(super) async fn isolated(&self, wanted: &Isolate, say: &Say) -> Result<Restored, Trouble> {
        self.clear_all_sandboxes().await?;
        let (parent, prefix) = sandboxes(&self.setup.data_directory)?;
        self.check_copyable(&parent).await?;
        let place = Place::make(parent.join(format!("{prefix}{}", own_name()?)), self.setup.owner)?;
        info!(into = %place.around.display(), "a copy is made to be opened and thrown away");
        tokio::select! {
            shown = self.shown(&place, wanted, say) => shown,
            full = full(&parent) => Err(full),
        }
    }

    async fn shown(&self, place: &Place, wanted: &Isolate, say: &Say) -> Result<Restored, Trouble> {
        let began = Instant::now();
        let from = match &wanted.restore {
            None => self.copy(place, say).await?,
            Some(restore) => self.restore(place, restore, say).await?,
        };
        let is_compared = self.compare(place, wanted.restore.is_some(), say).await?;
        let copied = began.elapsed();
        let data = place.data.clone();
        let octets = tokio::task::spawn_blocking(move || octets_in(&data)).await;
        let octets = octets.map_err(|error| Trouble(format!("look at the copy: {error}")))??;
        say("the copy is opened");
        let began = Instant::now();
        let is_restored = wanted.restore.is_some();
        // A backup may have the log of days behind it, which is replayed first.
        let patience = |usual| if is_restored { COPY } else { usual };
        let mut sandbox = self.open(place, is_restored)?;
        let client = sandbox.client(patience(START)).await?;
        promote(&client, patience(PROMOTE)).await?;
        let opened = began.elapsed();
        let behind = behind(&client).await.map(|behind| behind.saturating_sub(from.elapsed()));
        say("the copy is asked");
        let compared = if is_compared { "each file is as it was sent" } else { "it has no list of its files to compare them with" };
        let mut lines = vec![
            format!("{} MiB were made in {}: {compared}", octets >> 20, Human(coarse(copied))),
            format!("the copy was promoted {} after its start, and takes writes", Human(coarse(opened))),
        ];
        if !wanted.queries.is_empty() {
            let mut info = sandbox.info.clone();
            for (key, value) in [("dbname", &wanted.database), ("user", &wanted.user)] {
                info = value.iter().fold(info, |info, value| info.with(key, value));
            }
            let client = connect(&info).await.map_err(|trouble| Trouble(format!("ask the copy as the plan does: {}", trouble.0)))?;
            for (name, sql) in &wanted.queries {
                ask(&client, name, sql).await?;
                lines.push(format!("{name} is shown"));
            }
        }
        lines.push(check_pages(&client).await?);
        Ok(Restored { copied, opened, behind, lines })
    }

    /// Copies this server. From when on it is behind.
    async fn copy(&self, place: &Place, say: &Say) -> Result<Instant, Trouble> {
        say("a copy is made");
        // By its socket, as the agent asks it: no other member has a part in this.
        let info = self.setup.own.clone().without("dbname");
        let password = info.get("password").unwrap_or_default().to_owned();
        let mut command = self.beside(place, "pg_basebackup");
        command.arg("-D").arg(&place.data).arg("-d").arg(info.without("password").text());
        command.args(["--wal-method=stream", "--checkpoint=fast", "--no-password"]).env("PGPASSWORD", &password);
        output(command, "pg_basebackup", COPY).await?;
        Ok(Instant::now())
    }

    /// Has the operator's program restore a backup. From when on it is behind: what was written since could not be in it.
    async fn restore(&self, place: &Place, restore: &Restore, say: &Say) -> Result<Instant, Trouble> {
        let Restore { class, hook: name } = restore;
        say("a backup is restored");
        let began = Instant::now();
        let program = hook::find(&self.setup.hooks, name.as_str()).map_err(|why| Trouble(format!("hook {name}: {why}")))?;
        let mut command = self.run_as_server(&program);
        command.current_dir(&place.around).env("PORTOLAN_VERB", "restore").env(DIRECTORY, &place.data);
        command.env("PORTOLAN_CLASS", class.as_str()).env("PORTOLAN_REGION", self.setup.region.as_str()).env("PATH", HOOKS_PATH);
        place.run(command, &format!("hook {name}"), COPY).await?;
        fs::set_permissions(&place.data, fs::Permissions::from_mode(0o700)).map_err(|error| Trouble(format!("close the copy: {error}")))?;
        let (own, other) = (self.system_of(&self.setup.data_directory).await?, self.system_of(&place.data).await?);
        if own != other {
            return Err(Trouble(format!("hook {name} restored another database: its identifier is {other}, this one's {own}")));
        }
        Ok(began)
    }

    /// The database's identifier, by its control file.
    async fn system_of(&self, data: &Path) -> Result<u64, Trouble> {
        let mut command = self.program("pg_controldata");
        command.arg("-D").arg(data);
        Ok(control_data(&output(command, "pg_controldata", ASK).await?)?.system)
    }

    /// Compares each file with what was sent or kept, where the copy has a list of them. `false`: it has none.
    async fn compare(&self, place: &Place, is_restored: bool, say: &Say) -> Result<bool, Trouble> {
        if is_restored && !place.data.join("backup_manifest").exists() {
            return Ok(false);
        }
        say("each file of the copy is compared with what was sent");
        let mut command = self.beside(place, "pg_verifybackup");
        command.arg("--quiet");
        if is_restored {
            // It may come from an archive, as the copy needs it.
            command.arg("--no-parse-wal");
        }
        command.arg(&place.data);
        output(command, "pg_verifybackup", COPY).await?;
        Ok(true)
    }

    /// Ends and removes whatever stands in sandboxes beside the directory, and whatever a program that was to fill one started.
    pub(super) async fn clear_all_sandboxes(&self) -> Result<(), Trouble> {
        let user = self.setup.owner.map_or_else(|| geteuid().as_raw(), |(user, _)| user);
        for place in all_sandboxes(&self.setup.data_directory)? {
            end_all_in(&place, user).await?;
            remove_all(&place).await?;
            info!(was = %place.display(), "a copy of a drill is removed");
        }
        Ok(())
    }

    /// It is a standby, all of it is in its directory, and there is room for another one beside it.
    async fn check_copyable(&self, parent: &Path) -> Result<(), Trouble> {
        let question = async {
            let row = connect(&self.setup.own).await?.query_one(COPYABLE, &[]).await.map_err(|error| told(&error))?;
            let get = |error: tokio_postgres::Error| told(&error);
            let (is_standby, size, spaces) = (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?, row.try_get(2).map_err(get)?);
            Ok::<(bool, i64, i64), Trouble>((is_standby, size, spaces))
        };
        let late = |_| Trouble("ask the standby for its size: no answer in time".to_owned());
        let (is_standby, size, spaces) = timeout(ASK, question).await.map_err(late)??;
        if !is_standby {
            return Err(Trouble("it is no standby, and a primary is not copied for a drill".to_owned()));
        }
        if spaces > 0 {
            return Err(Trouble(format!("it has {spaces} tablespaces, which lie outside its directory: try a restore by hand")));
        }
        let (needed, free) = (u64::try_from(size).unwrap_or(u64::MAX).saturating_add(LEFT_OCTETS), free(parent)?);
        if needed > free {
            return Err(Trouble(format!(
                "a copy takes {} MiB with what must stay free beside it, and {} MiB are free in `{}`: make room there",
                needed >> 20,
                free >> 20,
                parent.display()
            )));
        }
        Ok(())
    }

    /// A program of the server's that works in a sandbox, by which it is found when its agent is lost.
    fn beside(&self, place: &Place, name: &str) -> Command {
        let mut command = self.program(name);
        command.current_dir(&place.around);
        command
    }
}

/// All that lies there. A link leads out of the copy, to the data itself maybe: none is opened but those beside the first files, which are read only.
/// A file that has another name is somebody else's, too, and is written to when the copy is opened.
fn octets_in(data: &Path) -> Result<u64, Trouble> {
    let problem = |path: &Path, error: io::Error| Trouble(format!("look at `{}`: {error}", path.display()));
    let (mut folders, mut octets) = (vec![data.to_owned()], 0_u64);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| problem(&folder, error))? {
            let path = entry.map_err(|error| problem(&folder, error))?.path();
            let meta = fs::symlink_metadata(&path).map_err(|error| problem(&path, error))?;
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_symlink() && (folder.as_path() != data || path.is_dir()) {
                return Err(Trouble(format!("`{}` leads out of the copy, which is not opened: try a restore by hand", path.display())));
            } else if meta.is_file() && meta.nlink() > 1 {
                return Err(Trouble(format!(
                    "`{}` has {} names, so it may be a file of the backup itself, and is not written to: restore by copying (`cp -a`), not by hard \
                     links",
                    path.display(),
                    meta.nlink()
                )));
            } else {
                octets = octets.saturating_add(meta.len());
            }
        }
    }
    if data.join("tablespace_map").exists() {
        return Err(Trouble("the copy has tablespaces, which lie outside its directory: try a restore by hand".to_owned()));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_of_a_copy_is_not_opened() {
        let around = tempfile::tempdir().unwrap();
        let data = around.path().join("data");
        fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        fs::write(data.join("base"), "1234").unwrap();
        fs::write(around.path().join("key"), "12").unwrap();
        std::os::unix::fs::symlink(around.path().join("key"), data.join("server.key")).unwrap();
        assert!(octets_in(&data).unwrap() > 4);
        for link in ["pg_wal", "pg_tblspc/16384"] {
            std::os::unix::fs::symlink(around.path(), data.join(link)).unwrap();
            assert!(octets_in(&data).unwrap_err().0.contains("leads out of the copy"), "{link}");
            fs::remove_file(data.join(link)).unwrap();
        }
        fs::hard_link(around.path().join("key"), data.join("pg_tblspc/1259")).unwrap();
        assert!(octets_in(&data).unwrap_err().0.contains("has 2 names"));
        fs::remove_file(data.join("pg_tblspc/1259")).unwrap();
        assert!(octets_in(&data).is_ok());
        fs::write(data.join("tablespace_map"), "16384 /mnt/fast\n").unwrap();
        assert!(octets_in(&data).unwrap_err().0.contains("has tablespaces"));
    }
}

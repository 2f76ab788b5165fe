//! A copy that runs: how it is kept apart, and what it is asked.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portolan_core::model::time::Human;
use tokio::{
    process::Child,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{Client, SimpleQueryMessage};
use tracing::debug;

use super::{
    super::{
        Postgres, Trouble,
        connect::{connect, told},
        conninfo::ConnInfo,
        files::Files,
    },
    ASK, LOOK,
    place::{LOG, PORT, Place, said_last},
};

/// How it fetches its log from an archive.
const FETCHES: &str = "restore_command";

/// What keeps it apart, on the command line behind everything that the server is started with otherwise.
const APART: [(&str, &str); 25] = [
    ("listen_addresses", ""),
    ("port", PORT),
    ("unix_socket_permissions", "0700"),
    ("unix_socket_group", ""),
    ("bonjour", "off"),
    ("ssl", "off"),
    ("hot_standby", "on"),
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    (FETCHES, ""),
    ("archive_cleanup_command", ""),
    ("recovery_end_command", ""),
    ("recovery_target", ""),
    ("recovery_target_name", ""),
    ("recovery_target_time", ""),
    ("recovery_target_xid", ""),
    ("recovery_target_lsn", ""),
    ("recovery_min_apply_delay", "0"),
    ("archive_mode", "off"),
    ("synchronous_standby_names", ""),
    ("shared_preload_libraries", ""),
    ("session_preload_libraries", ""),
    ("local_preload_libraries", ""),
    ("max_logical_replication_workers", "0"),
    ("autovacuum", "off"),
];

/// What keeps it small beside the server whose machine it is, and its log in one file.
const SMALL: [(&str, &str); 7] = [
    ("shared_buffers", "128MB"),
    ("huge_pages", "off"),
    ("wal_buffers", "-1"),
    ("work_mem", "16MB"),
    ("maintenance_work_mem", "64MB"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
];

/// Before release 15 it writes its statistics there, which a settings file may put beside those of the real server.
const STATISTICS: (&str, &str) = ("stats_temp_directory", "pg_stat_tmp");

/// Who answers, and whether it is as [`APART`] says where anybody may look.
const WHO: &str = "select pg_backend_pid(), current_setting('listen_addresses') = '' and current_setting('archive_mode') = 'off' \
    and current_setting('max_logical_replication_workers') = '0'";

/// How long ago the primary last showed that it takes writes, as far as the copy goes.
const BEHIND: &str = "select (extract(epoch from clock_timestamp() - at) * 1000)::bigint from portolan.heartbeat";

/// It takes a write, and gives it back.
const WRITE: &str =
    "create schema portolan_drill; create table portolan_drill.shown as select 1 as one; drop schema portolan_drill cascade";

/// Whether pages bear checksums, and how many were wrong when they were read.
const PAGES: &str = "select current_setting('data_checksums'), (select coalesce(sum(checksum_failures), 0)::bigint from pg_stat_database)";

impl Postgres {
    /// Starts the copy as a standby of nobody.
    /// `is_restored`: what it needs of the log it fetches as the backup says, which only reads.
    pub(super) fn open(&self, place: &Place, is_restored: bool) -> Result<Sandbox, Trouble> {
        let problem = |what: &str, error: &dyn std::fmt::Display| Trouble(format!("{what} of the copy: {error}"));
        let files = Files { directory: place.data.clone(), owner: self.setup.owner };
        files.release()?;
        files.write_mark()?;
        let both = place.log.try_clone().map_err(|error| problem("share the log", &error))?;
        let to = place.log.try_clone().map_err(|error| problem("share the log", &error))?;
        let mut command = self.beside(place, "postgres");
        command.arg("-D").arg(&place.data).args(&self.setup.arguments);
        let mut say = |name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        let as_it_is = |name: &str| is_restored && name == FETCHES;
        APART.iter().chain(&SMALL).filter(|(name, _)| !as_it_is(name)).for_each(|(name, value)| say(name, value));
        say("recovery_target_timeline", if is_restored { "latest" } else { "current" });
        let release = fs::read_to_string(place.data.join("PG_VERSION")).ok().and_then(|text| text.trim().parse::<u32>().ok());
        if release.is_some_and(|release| release < 15) {
            say(STATISTICS.0, STATISTICS.1);
        }
        let process = place.socket.join("server.pid");
        for (name, path) in [("data_directory", &place.data), ("hba_file", &place.rules), ("external_pid_file", &process)] {
            say(name, &path.display().to_string());
        }
        // A list, whose members may be quoted.
        say("unix_socket_directories", &format!("\"{}\"", place.socket.display().to_string().replace('"', "\"\"")));
        // Told to end, it takes its shared memory with it; what hangs is killed by whoever clears.
        command.stdin(Stdio::null()).stdout(to).stderr(both).kill_on_drop(false);
        let child = command.spawn().map_err(|error| problem("start the server", &error))?;
        if let Some(process) = child.id()
            && let Err(error) = fs::write(format!("/proc/{process}/oom_score_adj"), "1000")
        {
            debug!("where memory is short the copy is not the first to go: {error}");
        }
        let info = self.setup.own.clone().without("sslmode").with("host", &place.socket.display().to_string()).with("port", PORT);
        Ok(Sandbox { child, info, data: place.data.clone(), log: place.around.join(LOG) })
    }
}

/// A copy that runs. Dropped, it is told to end at once.
pub(super) struct Sandbox {
    child: Child,
    pub(super) info: ConnInfo,
    data: PathBuf,
    log: PathBuf,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(process) = self.child.id().and_then(|process| i32::try_from(process).ok()) {
            // It may have ended meanwhile; its number is not given away before it is waited for.
            let _ = kill(Pid::from_raw(process), Signal::SIGQUIT);
        }
    }
}

impl Sandbox {
    /// Its first answer, when it is seen to be its own.
    pub(super) async fn client(&mut self, patience: Duration) -> Result<Client, Trouble> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().map_err(|error| Trouble(format!("look after the copy: {error}")))? {
                return Err(Trouble(format!("the copy does not start ({status}): {}", said_last(&self.log))));
            }
            match connect(&self.info).await {
                Ok(client) => {
                    self.check(&client).await?;
                    return Ok(client);
                }
                Err(why) if began.elapsed() >= patience => {
                    return Err(Trouble(format!(
                        "the copy does not answer within {}: {}; {}",
                        Human(patience),
                        why.0,
                        said_last(&self.log)
                    )));
                }
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    /// Nothing but the copy is promoted.
    async fn check(&self, client: &Client) -> Result<(), Trouble> {
        let row =
            timeout(ASK, client.query_one(WHO, &[])).await.map_err(|_| Trouble("ask the copy who it is: no answer in time".to_owned()))?;
        let row = row.map_err(|error| told(&error))?;
        let (process, is_apart): (i32, bool) =
            (row.try_get(0).map_err(|error| told(&error))?, row.try_get(1).map_err(|error| told(&error))?);
        let works_in = fs::read_link(format!("/proc/{process}/cwd")).ok();
        if works_in.is_none() || works_in != fs::canonicalize(&self.data).ok() {
            return Err(Trouble("another server answers in the copy's place: nothing is asked of it".to_owned()));
        }
        if is_apart {
            Ok(())
        } else {
            Err(Trouble("the copy is not as it was told to be, so that it may be reached: it is not promoted".to_owned()))
        }
    }
}

/// `None`: the copy does not say, which is not now.
pub(super) async fn behind(client: &Client) -> Option<Duration> {
    let row = timeout(ASK, client.query_opt(BEHIND, &[])).await.ok()?.ok()??;
    // A clock that is behind the primary's makes it young.
    row.try_get::<_, i64>(0).ok().map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

pub(super) async fn promote(client: &Client, patience: Duration) -> Result<(), Trouble> {
    let problem = |why: String| Trouble(format!("promote the copy: {why}"));
    let promoted = async {
        client.query_one("select pg_promote(false)", &[]).await.map_err(|error| told(&error))?;
        loop {
            let row = client.query_one("select pg_is_in_recovery()", &[]).await.map_err(|error| told(&error))?;
            if !row.try_get::<_, bool>(0).map_err(|error| told(&error))? {
                break;
            }
            sleep(LOOK).await;
        }
        client.batch_execute(WRITE).await.map_err(|error| told(&error))
    };
    let done = timeout(patience, promoted).await.map_err(|_| problem(format!("it did not end within {}", Human(patience))))?;
    done.map_err(|trouble| problem(trouble.0))
}

/// No page failed its checksum while all that was read.
pub(super) async fn check_pages(client: &Client) -> Result<String, Trouble> {
    let row = timeout(ASK, client.query_one(PAGES, &[])).await;
    let row = row.map_err(|_| Trouble("ask the copy for its checksums: no answer in time".to_owned()))?.map_err(|error| told(&error))?;
    let (checksums, failed): (String, i64) = (row.try_get(0).map_err(|error| told(&error))?, row.try_get(1).map_err(|error| told(&error))?);
    if failed > 0 {
        return Err(Trouble(format!("pages of the copy whose checksum failed: {failed}")));
    }
    Ok(match checksums.as_str() {
        "on" => "no page failed its checksum".to_owned(),
        _ => "pages bear no checksums here (data_checksums), so that what is read cannot be judged".to_owned(),
    })
}

/// A query of the plan, which is to say `true`; it writes nothing, as elsewhere.
pub(super) async fn ask(client: &Client, name: &str, sql: &str) -> Result<(), Trouble> {
    let problem = |why: String| Trouble(format!("{name} in the copy: {why}"));
    let asked = timeout(ASK, client.simple_query(&format!("begin read only; {sql}; rollback"))).await;
    let said = asked.map_err(|_| problem(format!("no answer within {}", Human(ASK))))?.map_err(|error| problem(told(&error).0))?;
    let first = said.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
        _ => None,
    });
    match first {
        Some(Some(text)) if matches!(text.as_str(), "t" | "true") => Ok(()),
        Some(Some(text)) => Err(problem(format!("the query says {}, and `true` is wanted", text.chars().take(100).collect::<String>()))),
        Some(None) => Err(problem("the query says null, and `true` is wanted".to_owned())),
        None => Err(problem("the query found no row, and `true` is wanted".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_it_apart_and_small_is_said_once_each() {
        let of_place = ["recovery_target_timeline", "data_directory", "hba_file", "external_pid_file", "unix_socket_directories"];
        let all = APART.iter().chain(&SMALL).map(|(name, _)| *name).chain([STATISTICS.0]).chain(of_place);
        let mut names: Vec<&str> = all.collect();
        names.sort_unstable();
        let n = names.len();
        names.dedup();
        assert_eq!(names.len(), n);
    }
}

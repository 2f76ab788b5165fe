//! One look at a server, and at the one that it is to follow.

use std::{io::ErrorKind, sync::PoisonError, time::Duration};

use portolan_core::{
    failover::{
        engine::postgres::{Archiver, Control, History, Process, Seen, Server, Source, Upstream, position},
        evidence::Stream,
    },
    model::ids::Label,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};
use tokio_postgres::{Client, Row};
use tracing::{debug, info};

use super::{
    Postgres, Trouble,
    connect::{connect, told},
    conninfo::ConnInfo,
    files::{control_data, history_name},
    lease,
    program::output,
    settings::settings,
    slots::{Scene, slots},
    wal::{self, Record},
};

/// For one question to a server.
const ANSWER: Duration = Duration::from_secs(5);

/// For a program that reads a few pages.
const PROGRAM: Duration = Duration::from_secs(10);

const LOOK: &str = "select (select system_identifier from pg_control_system())::text, pg_is_in_recovery(), \
    coalesce(current_setting('primary_conninfo', true), ''), \
    (select status from pg_stat_wal_receiver limit 1), \
    case when pg_is_in_recovery() then pg_last_wal_receive_lsn()::text end, \
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end::text, \
    case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() <> 'not paused' else false end, \
    current_setting('recovery_min_apply_delay') <> '0', \
    current_setting('synchronous_standby_names'), \
    (select setting::bigint from pg_settings where name = 'wal_segment_size'), \
    case when not pg_is_in_recovery() then substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end, \
    to_regclass('portolan.lease') is not null, \
    (select extract(epoch from clock_timestamp() - last_msg_receipt_time)::float8 from pg_stat_wal_receiver limit 1), \
    case when not pg_is_in_recovery() then pg_snapshot_xmin(pg_current_snapshot())::text end";

/// The startup process waits for more when it has replayed everything (`xlogrecovery.c`, `WaitForWALToBecomeAvailable`).
const WAITS: &str = "select wait_event in ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream') \
    from pg_stat_activity where backend_type = 'startup'";

const ARCHIVER: &str = "select current_setting('archive_mode') <> 'off', last_archived_wal, \
    extract(epoch from clock_timestamp() - last_archived_time)::float8, failed_count, \
    case when last_failed_time > coalesce(last_archived_time, '-infinity') then last_failed_wal end from pg_stat_archiver";

impl Postgres {
    /// Looks. `vessel`: the supervisor's incarnation, and whether something runs in it; `None`: no supervisor answers.
    pub(super) async fn seen(&self, vessel: Option<(u64, bool)>) -> Result<Seen, Trouble> {
        let problem = |error: std::io::Error| Trouble(format!("look into `{}`: {error}", self.setup.data_directory.display()));
        let is_marked = self.files.is_marked().map_err(problem)?;
        let upstream = self.files.setting("primary_conninfo")?.map_or(Upstream::Nobody, |text| self.upstream(&text));
        let synchronous = self.files.setting("synchronous_standby_names")?.unwrap_or_default();
        let mut seen = Seen { is_marked, upstream, synchronous, broken: self.broken()?, n_others: self.n_others(), ..Seen::default() };
        let is_empty = matches!(vessel, Some((_, false)));
        let has_pid_file = self.files.path("postmaster.pid").try_exists().map_err(problem)?;
        if !is_empty || has_pid_file {
            match self.server().await {
                Ok(server) => {
                    (seen.server, seen.others) = (Some(server), self.others());
                    *self.silence.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                Err(error) => {
                    self.note_silence(&error);
                    seen.silence = Some(error.0);
                }
            }
        }
        seen.process = match vessel {
            Some((incarnation, true)) => Process::Ours(incarnation),
            // Hung or not: whoever it is may take writes.
            _ if seen.server.is_some() || self.files.has_foreign_server() => Process::Foreign,
            Some((_, false)) => Process::Down,
            None => Process::Unknown,
        };
        if seen.process == Process::Down {
            seen.control = self.control().await.inspect_err(|error| debug!("no control data: {error}")).ok();
        }
        Ok(seen)
    }

    /// What the member in that region says of itself.
    pub(super) async fn other(&self, region: &Label) -> Result<Source, Trouble> {
        let look = async {
            let client = connect(&self.conninfo(region)?).await?;
            let row = client.query_one(LOOK, &[]).await.map_err(|error| told(&error))?;
            let system = system(&row)?;
            let is_standby: bool = get(&row, 1)?;
            if is_standby {
                return Ok(Source { system, history: History::default(), is_standby });
            }
            let timeline = timeline(&row)?;
            let history = if timeline == 1 {
                History { left: Vec::new(), timeline }
            } else {
                let file = format!("pg_wal/{}", history_name(timeline));
                let read = client.query_one("select convert_from(pg_read_binary_file($1), 'UTF8')", &[&file]).await;
                let text: String = get(&read.map_err(|error| told(&error))?, 0)?;
                History::parse(&text, timeline).map_err(|error| Trouble(error.to_string()))?
            };
            Ok(Source { system, history, is_standby })
        };
        timeout(ANSWER, look).await.map_err(|_| Trouble(format!("ask the member in {region}: no answer in time")))?
    }

    /// Each reason once, until there is another one.
    fn note_silence(&self, why: &Trouble) {
        let mut told = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != Some(why) {
            info!("the server does not answer: {why}");
            *told = Some(why.clone());
        }
    }

    fn upstream(&self, text: &str) -> Upstream {
        match ConnInfo::parse(text) {
            Ok(_) if text.trim().is_empty() => Upstream::Nobody,
            Ok(info) => self.member_at(&info).map_or(Upstream::Elsewhere, Upstream::Member),
            Err(_) => Upstream::Elsewhere,
        }
    }

    /// What the server says of itself, whatever the supervisor does.
    pub(super) async fn server(&self) -> Result<Server, Trouble> {
        let mut kept = self.client.lock().await;
        let client = match kept.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => connect(&self.setup.own).await?,
        };
        let server = timeout(ANSWER, self.ask(&client)).await.map_err(|_| Trouble("ask the server: no answer in time".to_owned()))??;
        *kept = Some(client);
        Ok(server)
    }

    async fn ask(&self, client: &Client) -> Result<Server, Trouble> {
        let row = client.query_one(LOOK, &[]).await.map_err(|error| told(&error))?;
        let is_standby: bool = get(&row, 1)?;
        let receiver: Option<String> = get(&row, 3)?;
        let set: String = get(&row, 2)?;
        let segment = u64::try_from(get::<i64>(&row, 9)?).unwrap_or(0);
        let mut at = position_in(get(&row, 5)?)?.unwrap_or(0);
        let (mut upstream, mut end) = (Upstream::Nobody, None);
        if is_standby {
            upstream = match self.upstream(&set) {
                Upstream::Nobody if receiver.is_some() => Upstream::Leaving,
                upstream => upstream,
            };
            let received = position_in(get(&row, 4)?)?.unwrap_or(0).max(at);
            end = Some(received);
            if upstream == Upstream::Nobody {
                // Nothing more comes. Whoever waits for more then has replayed everything; the position is read after that.
                let waits = client.query_opt(WAITS, &[]).await.map_err(|error| told(&error))?;
                let row = client.query_one("select pg_last_wal_replay_lsn()::text", &[]).await.map_err(|error| told(&error))?;
                at = position_in(get(&row, 0)?)?.unwrap_or(0);
                let is_exhausted = waits.and_then(|row| get::<Option<bool>>(&row, 0).ok()?).unwrap_or(false);
                end = if is_exhausted { Some(at) } else { self.last_record_from(at, segment).await.map(|record| record.end(segment)) };
            }
        }
        let own = if is_standby {
            let of = end.unwrap_or(at).max(1) - 1;
            self.files.newest_timeline(of / segment.max(1), segment).ok_or_else(|| Trouble("no log is there where it ends".to_owned()))?
        } else {
            timeline(&row)?
        };
        let stream = if receiver.as_deref() == Some("streaming") {
            // Nothing was heard yet of a stream that has just begun.
            let silent_for = get::<Option<f64>>(&row, 12)?.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            Stream::Up { silent_for: silent_for.unwrap_or_default() }
        } else {
            Stream::Down
        };
        let opening = if get::<bool>(&row, 11)? { lease::opening(client).await? } else { None };
        let archive = if is_standby { None } else { archiver(client).await.map(|archiver| archiver.told(own, segment)) };
        let lowest = get::<Option<String>>(&row, 13)?.and_then(|number| number.parse().ok());
        let wrote = lowest.map(|lowest| self.wrote.lock().unwrap_or_else(PoisonError::into_inner).saw(lowest));
        // What it does not tell of these is nothing that a look fails for.
        let settings = settings(client).await.inspect_err(|error| debug!("nothing of its settings: {error}")).ok();
        let slots = slots(client).await.inspect_err(|error| debug!("nothing of its slots: {error}")).unwrap_or_default();
        let leads = if is_standby { Some(false) } else { opening.map(|_| true) };
        self.tend_slots(client, Scene { leads, upstream: &upstream, settings: settings.as_ref(), slots: &slots }).await;
        Ok(Server {
            system: system(&row)?,
            history: self.files.history(own)?,
            is_standby,
            upstream,
            stream,
            position: at,
            end,
            is_paused: get(&row, 6)?,
            is_delayed: get(&row, 7)?,
            reserved: self.files.reserved(own),
            synchronous: get(&row, 8)?,
            opening,
            archive,
            wrote,
            settings,
            slots,
        })
    }

    async fn control(&self) -> Result<Control, Trouble> {
        let mut command = self.program("pg_controldata");
        command.arg("-D").arg(&self.setup.data_directory);
        let data = control_data(&output(command, "pg_controldata", PROGRAM).await?)?;
        let end = if data.state == "shut down" {
            let mut command = self.waldump(data.timeline);
            command.args(["-n", "1", "-s", &data.checkpoint]);
            let text = output(command, "pg_waldump", PROGRAM).await?;
            text.lines().find_map(wal::record).map(|record| record.end(data.segment))
        } else {
            None
        };
        Ok(Control { ran: data.ran(end), system: data.system, timeline: data.timeline })
    }

    pub(super) fn waldump(&self, timeline: u32) -> tokio::process::Command {
        let mut command = self.program("pg_waldump");
        command.arg("-p").arg(self.files.path("pg_wal")).args(["-t", &timeline.to_string()]);
        command
    }

    /// The last whole record from this one on; `None`: it could not be told in time.
    async fn last_record_from(&self, at: u64, segment: u64) -> Option<Record> {
        let timeline = self.files.newest_timeline(at / segment.max(1), segment)?;
        let mut command = self.waldump(timeline);
        command.args(["-s", &show(at)]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let read = async {
            let mut child = command.spawn().ok()?;
            let mut lines = BufReader::new(child.stdout.take()?).lines();
            let mut last = None;
            while let Some(line) = lines.next_line().await.ok()? {
                last = wal::record(&line).or(last);
            }
            // It ends with an error, which is the end of the log.
            let _ = child.wait().await;
            last
        };
        timeout(ANSWER / 2, read).await.ok()?
    }
}

/// What it says of its archive; `None`: it does not, which is nothing that a look at it fails for.
async fn archiver(client: &Client) -> Option<Archiver> {
    let read = async {
        let row = client.query_one(ARCHIVER, &[]).await.map_err(|error| told(&error))?;
        let succeeded = get::<Option<f64>>(&row, 2)?.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let n_failed = u64::try_from(get::<i64>(&row, 3)?).unwrap_or(0);
        Ok::<_, Trouble>(Archiver { is_on: get(&row, 0)?, last: get(&row, 1)?, succeeded, n_failed, failing: get(&row, 4)? })
    };
    read.await.inspect_err(|error| debug!("nothing of its archive: {error}")).ok()
}

fn system(row: &Row) -> Result<u64, Trouble> {
    get::<String>(row, 0)?.parse().map_err(|_| Trouble("the system identifier is no number".to_owned()))
}

fn timeline(row: &Row) -> Result<u32, Trouble> {
    let name: Option<String> = get(row, 10)?;
    let timeline = name.and_then(|name| u32::from_str_radix(&name, 16).ok());
    timeline.ok_or_else(|| Trouble("its timeline is no number".to_owned()))
}

pub(super) fn position_in(text: Option<String>) -> Result<Option<u64>, Trouble> {
    let Some(text) = text else { return Ok(None) };
    position(&text).map(Some).ok_or_else(|| Trouble(format!("`{text}` is no position")))
}

pub(super) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Trouble> {
    row.try_get(column).map_err(|error| told(&error))
}

/// As PostgreSQL writes it.
pub(super) fn show(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xFFFF_FFFF)
}

impl Postgres {
    /// Why the directory must not be started: a rewind began in it and did not end.
    fn broken(&self) -> Result<Option<String>, Trouble> {
        match std::fs::read_to_string(self.rewinding()) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Trouble(format!("read `{}`: {error}", self.rewinding().display()))),
        }
    }
}

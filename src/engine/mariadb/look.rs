//! One look at a server, and at the one that it is to follow.

use std::{sync::PoisonError, time::Duration};

use mysql_async::Conn;
use portolan_core::{
    failover::{
        engine::mariadb::{Gtid, History, Line, Process, Refusal, Seen, Server, Source, Upstream, in_domain, parse},
        evidence::Stream,
        token::Token,
    },
    model::ids::Label,
};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::{
    super::Trouble,
    Account, Mariadb,
    connect::{Row, connect, first, rows},
    files::Note,
};

/// For one look at a server.
const ANSWER: Duration = Duration::from_secs(5);

/// More openings of standbys than that are no history of a database.
const LINES_MAX: usize = 4096;

const LOOK: &str = "select @@global.gtid_binlog_pos, @@global.gtid_slave_pos, @@global.read_only, @@global.server_id, \
    @@global.gtid_strict_mode, @@global.log_bin, @@global.log_slave_updates, @@global.gtid_domain_id, @@global.sync_binlog, \
    @@global.innodb_flush_log_at_trx_commit, @@global.rpl_semi_sync_master_enabled";

const TABLES: &str = "select count(*) from information_schema.tables where table_schema = 'portolan' and table_name in ('lease', 'line')";

/// What stands in the database of who opened it.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) history: History,
    /// The token, the system, and on which server it was written; `None`: nobody has led this database yet.
    pub(super) lease: Option<(Token, u64, u32)>,
}

/// Where a server's log is, and what it was given by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Positions {
    pub(super) own_log: Option<Gtid>,
    pub(super) given: Option<Gtid>,
}

impl Positions {
    /// The last transaction that it has.
    pub(super) fn applied(&self) -> u64 {
        self.last().map_or(0, |gtid| gtid.sequence)
    }

    /// Its id.
    pub(super) fn last(&self) -> Option<Gtid> {
        self.own_log.into_iter().chain(self.given).max_by_key(|gtid| gtid.sequence)
    }
}

impl Mariadb {
    /// Looks. `vessel`: the supervisor's incarnation, and whether something runs in it; `None`: no supervisor answers.
    pub(super) async fn seen(&self, vessel: Option<(u64, bool)>) -> Result<Seen, Trouble> {
        let mut seen = Seen { is_marked: self.files.is_marked()?, broken: self.files.condemned()?, ..Seen::default() };
        let is_held = self.files.is_held();
        if !matches!(vessel, Some((_, false))) || is_held {
            match self.server().await {
                Ok(server) => seen.server = Some(server),
                Err(trouble) => seen.silence = Some(trouble.0),
            }
            self.tell_silence(seen.silence.as_deref());
        }
        seen.process = match vessel {
            Some((incarnation, true)) => Process::Ours(incarnation),
            // Hung or not: whoever it is may take writes.
            _ if seen.server.is_some() || is_held => Process::Foreign,
            Some((_, false)) => Process::Down,
            None => Process::Unknown,
        };
        if seen.process == Process::Down {
            let control = self.files.control(&self.setup.log_bin, self.setup.domain, self.setup.system);
            seen.control = control.inspect_err(|trouble| debug!("no files to go by: {trouble}")).ok();
        }
        Ok(seen)
    }

    /// What the member in that region says of itself.
    pub(super) async fn other(&self, region: &Label) -> Result<Source, Trouble> {
        let look = async {
            let mut conn = connect(&self.account(region)?).await?;
            let row = one(&mut conn, "select @@global.read_only").await?;
            let standing = standing(&mut conn).await?;
            let system = standing.lease.map_or(self.setup.system, |(_, system, _)| system);
            Ok(Source { system, history: standing.history, writes: row.at(0).as_deref() == Some("0") })
        };
        let asked = timeout(ANSWER, look).await.map_err(|_| Trouble("no answer in time".to_owned()))?;
        asked.map_err(|trouble: Trouble| Trouble(format!("ask the member in {region}: {trouble}")))
    }

    /// Each reason once, until there is another one.
    fn tell_silence(&self, why: Option<&str>) {
        let mut told = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = why.filter(|why| told.as_deref() != Some(*why)) {
            info!("the server does not answer: {why}");
        }
        *told = why.map(str::to_owned);
    }

    async fn server(&self) -> Result<Server, Trouble> {
        let mut kept = self.conn.lock().await;
        let answered = async {
            let mut conn = match kept.take() {
                Some(conn) => conn,
                None => connect(&Account::new(&self.setup.own)?).await?,
            };
            let server = self.ask(&mut conn).await?;
            *kept = Some(conn);
            Ok(server)
        };
        let server = timeout(ANSWER, answered).await.map_err(|_| Trouble("ask the server: no answer in time".to_owned()))??;
        self.keep_note(Note { system: server.system, timeline: server.history.timeline() });
        Ok(server)
    }

    /// For when it does not run. What is missing there is only older.
    fn keep_note(&self, note: Note) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted != Some(note) {
            match self.files.note(note) {
                Ok(()) => *noted = Some(note),
                Err(trouble) => warn!("{trouble}"),
            }
        }
    }

    async fn ask(&self, conn: &mut Conn) -> Result<Server, Trouble> {
        // Positions first: a line that is seen after them is at most ahead of them.
        let row = one(conn, LOOK).await?;
        let (positions, other_domain) = self.positions(&row)?;
        let mut connections = rows(conn, "show all slaves status").await?;
        let standing = standing(conn).await?;
        let (n_connections, connection) = (connections.len(), connections.pop());
        let own_id: u32 = row.number(3)?;
        let unfit = unfit(&row, self.setup.domain).or(other_domain).or_else(|| {
            (n_connections > 1)
                .then(|| "it has more than one replication connection: keep one, without a name (RESET SLAVE 'name' ALL)".to_owned())
        });
        let (token, system) = standing.lease.map_or((None, self.setup.system), |(token, system, _)| (Some(token), system));
        let base = Server {
            system,
            is_own_line: standing.lease.is_none_or(|(_, _, server)| server == own_id),
            history: standing.history,
            token,
            writes: row.at(2).as_deref() == Some("0"),
            upstream: Upstream::Nobody,
            receives: false,
            applies: false,
            stream: Stream::Down,
            applied: positions.applied(),
            received: None,
            errant_from: None,
            io_error: None,
            sql_error: None,
            is_delayed: false,
            unfit,
        };
        let Some(connection) = connection else { return Ok(base) };
        let word = |name: &str| connection.get(name).unwrap_or_default();
        let (io, sql) = (word("Slave_IO_Running"), word("Slave_SQL_Running"));
        let (receives, applies) = (io != "No", sql == "Yes");
        let stream = if io == "Yes" && applies { Stream::Up { silent_for: self.silent_for(&connection) } } else { Stream::Down };
        let received = parse(&word("Gtid_IO_Pos")).map_err(|error| Trouble(error.to_string()))?;
        let received = received.iter().filter(|gtid| gtid.domain == self.setup.domain).map(|gtid| gtid.sequence).max();
        // What it was given bears the number of who wrote it first.
        let given = positions.given.map_or(0, |gtid| gtid.sequence);
        let is_errant = positions.own_log.is_some_and(|gtid| gtid.server == own_id && gtid.sequence > given);
        Ok(Server {
            upstream: self.upstream(&connection),
            receives,
            applies,
            stream,
            received,
            errant_from: is_errant.then_some(given),
            io_error: refusal(&connection, "Last_IO_Errno", "Last_IO_Error"),
            sql_error: refusal(&connection, "Last_SQL_Errno", "Last_SQL_Error"),
            is_delayed: word("SQL_Delay").parse().is_ok_and(|seconds: u64| seconds > 0),
            ..base
        })
    }

    /// Of a row that begins with log and given. The second: why they cannot be told; nothing of another domain counts.
    pub(super) fn positions(&self, row: &Row) -> Result<(Positions, Option<String>), Trouble> {
        let domain = self.setup.domain;
        let mut other = None;
        let mut read = |place| {
            let list = parse(&row.at(place).unwrap_or_default()).map_err(|error| Trouble(error.to_string()))?;
            other = other.take().or_else(|| in_domain(&list, domain).err().map(|error| error.to_string()));
            Ok::<_, Trouble>(list.into_iter().filter(|gtid| gtid.domain == domain).max_by_key(|gtid| gtid.sequence))
        };
        let positions = Positions { own_log: read(0)?, given: read(1)? };
        Ok((positions, other))
    }

    fn upstream(&self, connection: &Row) -> Upstream {
        let word = |name: &str| connection.get(name).unwrap_or_default();
        let port = word("Master_Port").parse().unwrap_or(0);
        let is_plain = word("Connection_name").is_empty() && word("Using_Gtid") == "Slave_Pos";
        self.member_at(&word("Master_Host"), port).filter(|_| is_plain).map_or(Upstream::Elsewhere, Upstream::Member)
    }

    /// MariaDB does not say when it heard last; what it counts of what it hears stands still since then. Heartbeats come every second.
    fn silent_for(&self, connection: &Row) -> Duration {
        let counts = ["Master_Log_File", "Read_Master_Log_Pos", "Gtid_IO_Pos", "Slave_received_heartbeats", "Master_Host", "Master_Port"];
        let now: String = counts.map(|name| connection.get(name).unwrap_or_default()).join(" ");
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match &*heard {
            Some((was, since)) if *was == now => since.elapsed(),
            _ => {
                *heard = Some((now, Instant::now()));
                Duration::ZERO
            }
        }
    }
}

/// Why a server with these settings cannot be led: which one, and what to set.
fn unfit(row: &Row, domain: u32) -> Option<String> {
    let is_on = |place| row.at(place).as_deref() == Some("1");
    let own: Option<u32> = row.number(7).ok();
    let why = if !is_on(5) {
        "log_bin is OFF: a standby needs a binary log to follow; start it with --log-bin".to_owned()
    } else if !is_on(6) {
        "log_slave_updates is OFF: what was promoted could not be followed; start it with --log-slave-updates=ON".to_owned()
    } else if !is_on(4) {
        "gtid_strict_mode is OFF: sequence numbers prove no order without it; SET GLOBAL gtid_strict_mode = ON".to_owned()
    } else if own != Some(domain) {
        format!("gtid_domain_id is {}, and the group's domain is {domain}: set one of them", row.at(7).unwrap_or_default())
    } else if row.at(8).as_deref() != Some("1") {
        "sync_binlog is not 1: what was shipped could be lost here; SET GLOBAL sync_binlog = 1".to_owned()
    } else if row.at(9).as_deref() != Some("1") {
        "innodb_flush_log_at_trx_commit is not 1: what was acknowledged could be lost; SET GLOBAL innodb_flush_log_at_trx_commit = 1"
            .to_owned()
    } else if is_on(10) {
        "rpl_semi_sync_master_enabled is ON: after a promotion nobody acknowledges; SET GLOBAL rpl_semi_sync_master_enabled = OFF"
            .to_owned()
    } else {
        return None;
    };
    Some(why)
}

fn refusal(connection: &Row, number: &str, text: &str) -> Option<Refusal> {
    let number = connection.get(number)?.parse().ok().filter(|number| *number != 0)?;
    let text = connection.get(text).unwrap_or_default();
    Some(Refusal { number, text: text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect() })
}

pub(super) async fn one(conn: &mut Conn, sql: &str) -> Result<Row, Trouble> {
    first(conn, sql).await?.ok_or_else(|| Trouble(format!("`{sql}`: no row")))
}

/// Who opened this database, in order.
pub(super) async fn standing(conn: &mut Conn) -> Result<Standing, Trouble> {
    if one(conn, TABLES).await?.number::<u32>(0)? < 2 {
        return Ok(Standing { history: History::default(), lease: None });
    }
    let lease = match first(conn, "select generation, epoch, system, server from portolan.lease").await? {
        Some(row) => Some((Token { generation: row.number(0)?, epoch: row.number(1)? }, row.number(2)?, row.number(3)?)),
        None => None,
    };
    let sql = format!("select timeline, began, generation, epoch, server from portolan.line order by timeline limit {}", LINES_MAX + 1);
    let line = |row: &Row| {
        let token = Token { generation: row.number(2)?, epoch: row.number(3)? };
        Ok::<_, Trouble>(Line { timeline: row.number(0)?, began: row.number(1)?, token, server: row.number(4)? })
    };
    let lines = rows(conn, &sql).await?.iter().map(line).collect::<Result<Vec<_>, _>>()?;
    let history = History::new(lines).ok_or_else(|| Trouble("`portolan.line` has rows that no opening wrote".to_owned()))?;
    Ok(Standing { history, lease })
}

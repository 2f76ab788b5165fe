//! The single things that are done to a server.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use mysql_async::Conn;
use portolan_core::failover::{
    engine::mariadb::{Verb, parse},
    token::Token,
};
use tokio::{process::Command, time::timeout};
use tracing::{info, warn};

use super::{
    super::Trouble,
    Account, Mariadb,
    connect::{connect, first, quoted, rows, run},
    files::takes_mark,
    look::{Positions, one, standing},
};

/// For one verb: threads that start or stop, a table that is made, a row.
const ANSWER: Duration = Duration::from_secs(20);

/// For the program to print its options.
const PRINT: Duration = Duration::from_secs(10);

/// For standbys to be sent what there is, before a clean stop. Who has not got it then makes the switchover go back.
const SHIP: Duration = Duration::from_secs(10);

/// Between two looks at that. Twice the same says that nobody was about to send.
const LOOK: Duration = Duration::from_millis(100);

/// For a statement that was given up to end.
const SETTLE: Duration = Duration::from_secs(10);

/// For a heartbeat: the next one is due then.
const BEAT_TIME: Duration = Duration::from_secs(1);

/// Bare of what only some versions know. A heartbeat is no part of the history, so each member has its own.
const TABLES: [&str; 4] = [
    "create database if not exists portolan",
    "create table if not exists portolan.line (timeline int unsigned primary key, began bigint unsigned not null, \
        generation bigint unsigned not null, epoch bigint unsigned not null, server int unsigned not null, \
        at timestamp(6) not null default current_timestamp(6)) engine=InnoDB",
    "create table if not exists portolan.lease (one tinyint primary key, system bigint unsigned not null, \
        generation bigint unsigned not null, epoch bigint unsigned not null, server int unsigned not null, \
        at timestamp(6) not null default current_timestamp(6)) engine=InnoDB",
    "create table if not exists portolan.heartbeat (one tinyint primary key, at datetime(6) not null) engine=InnoDB",
];

const COUNT: &str =
    "select count(*) from information_schema.tables where table_schema = 'portolan' and table_name in ('line', 'lease', 'heartbeat')";

const POSITIONS: &str = "select @@global.gtid_binlog_pos, @@global.gtid_slave_pos, @@global.server_id";

/// It takes no GTID and waits for nobody: it is not in the binary log.
const BEAT: [&str; 2] = [
    "set session sql_log_bin = 0",
    "insert into portolan.heartbeat (one, at) values (1, utc_timestamp(6)) on duplicate key update at = utc_timestamp(6)",
];

const SENT: &str = "Master has sent all binlog to slave";

impl Mariadb {
    pub(super) async fn make(&self, verb: &Verb) -> Result<(), Trouble> {
        match verb {
            Verb::Mark => self.files.write_mark(),
            Verb::Seal => self.run("stop slave io_thread").await,
            Verb::Apply => self.run("start slave sql_thread").await,
            Verb::Close => self.close().await,
            Verb::Follow(upstream) => {
                let to = self.account(upstream)?;
                self.with(async |conn| self.follow(conn, &to).await, ANSWER).await
            }
            Verb::Open { token, timeline } => self.with(async |conn| self.open(conn, *token, *timeline).await, ANSWER).await,
            Verb::Sign(token) => self.with(async |conn| self.sign(conn, *token, None).await, ANSWER).await,
            Verb::Condemn(parted, why) => {
                let kept = self.keep_tail(*parted).await?;
                self.files.condemn(&format!("{why}; they are kept in {}; make a new copy in an empty data directory", kept.display()))
            }
            Verb::Start | Verb::Stop => Err(Trouble("the supervisor starts and stops it".to_owned())),
        }
    }

    /// Before it is started: it starts read-only.
    ///
    /// # Errors
    /// What its options would make of the mark, and what is to be written where.
    pub(super) async fn proves_the_mark(&self) -> Result<(), Trouble> {
        let mut command = Command::new(&self.setup.program);
        // It is heard right behind the option file only.
        let (option_file, others) = self.setup.arguments.split_at(1.min(self.setup.arguments.len()));
        command.args(option_file).arg("--print-defaults").args(others).env_clear().env("LC_ALL", "C").kill_on_drop(true);
        command.current_dir("/").stdin(std::process::Stdio::null());
        if let Some((user, group)) = self.setup.owner {
            command.uid(user).gid(group);
        }
        let problem = |why: &dyn std::fmt::Display| Trouble(format!("ask `{}` for its options: {why}", self.setup.program.display()));
        let printed =
            timeout(PRINT, command.output()).await.map_err(|_| problem(&"no answer in time"))?.map_err(|error| problem(&error))?;
        if !printed.status.success() {
            let words =
                String::from_utf8_lossy(&printed.stderr).lines().last().unwrap_or("it failed").chars().take(200).collect::<String>();
            return Err(problem(&words));
        }
        let option_file = option_file.iter().find_map(|it| it.strip_prefix("--defaults-file=")).unwrap_or("my.cnf");
        takes_mark(&String::from_utf8_lossy(&printed.stdout), option_file, &Self::mark_in(&self.setup.data_directory))
    }

    /// Writes the row that shows that it takes writes, over the connection of the last look.
    ///
    /// # Errors
    /// It was not written, or nobody knows.
    pub(super) async fn write_heartbeat(&self) -> Result<(), Trouble> {
        let mut kept = self.conn.lock().await;
        let Some(mut conn) = kept.take() else { return Ok(()) };
        let beat = async {
            for sql in BEAT {
                run(&mut conn, sql).await?;
            }
            Ok(conn)
        };
        // What waits inside the server is not waited for again.
        *kept = Some(timeout(BEAT_TIME, beat).await.map_err(|_| Trouble("write the heartbeat: no answer in time".to_owned()))??);
        Ok(())
    }

    /// Returns when nothing of an act that was given up changes anything any more: its connection is gone from the server, or the server is.
    pub(super) async fn is_settled(&self) {
        let acting = self.acting.swap(0, Relaxed);
        if acting == 0 {
            return;
        }
        let gone = async {
            let Ok(mut conn) = connect(&Account::new(&self.setup.own)?).await else { return Ok(()) };
            // It may have ended by itself.
            let _ = run(&mut conn, &format!("kill hard connection {acting}")).await;
            let sql = format!("select 1 from information_schema.processlist where id = {acting}");
            while first(&mut conn, &sql).await?.is_some() {
                tokio::time::sleep(LOOK).await;
            }
            Ok::<_, Trouble>(())
        };
        if !matches!(timeout(SETTLE, gone).await, Ok(Ok(()))) {
            warn!("whether what was given up has ended is not known");
        }
    }

    /// Over a connection of its own, which `settled` ends when this is dropped.
    async fn with<T>(&self, act: impl AsyncFnOnce(&mut Conn) -> Result<T, Trouble>, patience: Duration) -> Result<T, Trouble> {
        let mut conn = connect(&Account::new(&self.setup.own)?).await?;
        self.acting.store(conn.id(), Relaxed);
        let done = timeout(patience, act(&mut conn)).await.map_err(|_| Trouble("no answer in time".to_owned()))?;
        self.acting.store(0, Relaxed);
        done
    }

    async fn run(&self, sql: &str) -> Result<(), Trouble> {
        let done = self.with(async |conn| run(conn, sql).await, ANSWER).await;
        done.map_err(|trouble| Trouble(format!("`{sql}`: {trouble}")))
    }

    async fn positions_of(&self, conn: &mut Conn) -> Result<(Positions, u32), Trouble> {
        let row = one(conn, POSITIONS).await?;
        match self.positions(&row)? {
            (_, Some(other_domain)) => Err(Trouble(other_domain)),
            (positions, None) => Ok((positions, row.number(2)?)),
        }
    }

    /// What was its own log's end is where it asks for more from.
    async fn follow(&self, conn: &mut Conn, to: &Account) -> Result<(), Trouble> {
        run(conn, "stop slave").await?;
        let (positions, _) = self.positions_of(conn).await?;
        if let Some(last) = positions.last().filter(|last| Some(*last) != positions.given) {
            run(conn, &format!("set global gtid_slave_pos = '{last}'")).await?;
        }
        let tls = match &to.authorities {
            Some(path) => {
                format!("master_ssl = 1, master_ssl_verify_server_cert = 1, master_ssl_ca = {}", quoted(&path.display().to_string()))
            }
            None => "master_ssl = 0, master_ssl_verify_server_cert = 0".to_owned(),
        };
        let sql = format!(
            "change master to master_host = {}, master_port = {}, master_user = {}, master_password = {}, {tls}, \
             master_use_gtid = slave_pos, master_heartbeat_period = 1, master_connect_retry = 1",
            quoted(&to.host),
            to.port,
            quoted(&to.user),
            quoted(&to.password),
        );
        run(conn, &sql).await?;
        run(conn, "start slave").await
    }

    /// What it had received is applied, or it is not opened. Whoever may write reads the token there first.
    async fn open(&self, conn: &mut Conn, token: Token, timeline: Option<u32>) -> Result<(), Trouble> {
        let connections = rows(conn, "show all slaves status").await?;
        if !connections.is_empty() {
            let (positions, _) = self.positions_of(conn).await?;
            for row in &connections {
                let received = parse(&row.get("Gtid_IO_Pos").unwrap_or_default());
                let received = received.map_err(|error| Trouble(error.to_string()))?;
                let is_behind = received.iter().any(|gtid| gtid.domain == self.setup.domain && gtid.sequence > positions.applied());
                let applies = row.get("Slave_SQL_Running").as_deref() == Some("Yes");
                if row.get("Slave_IO_Running").as_deref() != Some("No") || is_behind && applies {
                    return Err(Trouble("it receives, or has not applied what it received".to_owned()));
                }
            }
            run(conn, "stop slave").await?;
            run(conn, "reset slave all").await?;
        }
        self.sign(conn, token, timeline).await?;
        run(conn, "set global read_only = OFF").await
    }

    /// One transaction: the line that begins, if one does, and the token.
    async fn sign(&self, conn: &mut Conn, token: Token, timeline: Option<u32>) -> Result<(), Trouble> {
        if one(conn, COUNT).await?.number::<u32>(0)? < 3 {
            for sql in TABLES {
                run(conn, sql).await?;
            }
        }
        let (positions, server) = self.positions_of(conn).await?;
        let Token { generation, epoch } = token;
        run(conn, "start transaction").await?;
        if let Some(row) = first(conn, "select generation, epoch from portolan.lease for update").await? {
            let there = Token { generation: row.number(0)?, epoch: row.number(1)? };
            if there > token {
                return Err(Trouble("a higher token is in the database already".to_owned()));
            }
        }
        if let Some(timeline) = timeline {
            let began = positions.applied();
            let values = format!("({timeline}, {began}, {generation}, {epoch}, {server})");
            run(conn, &format!("insert into portolan.line (timeline, began, generation, epoch, server) values {values}")).await?;
        }
        let values = format!("(1, {}, {generation}, {epoch}, {server})", self.setup.system);
        let update = "generation = values(generation), epoch = values(epoch), server = values(server), at = current_timestamp(6)";
        let sql =
            format!("insert into portolan.lease (one, system, generation, epoch, server) values {values} on duplicate key update {update}");
        run(conn, &sql).await?;
        run(conn, "commit").await?;
        let standing = standing(conn).await?;
        match standing.lease {
            Some((there, _, _)) if there == token => Ok(()),
            _ => Err(Trouble("the token that was written is not there".to_owned())),
        }
    }

    /// Whatever comes of it, a clean stop comes next: what was not shipped is seen by its position.
    async fn close(&self) -> Result<(), Trouble> {
        if let Err(trouble) = self.run("set global read_only = ON").await {
            info!("it is stopped while clients write: {trouble}");
        }
        let shipped = self.with(
            async |conn| {
                let mut n_quiet = 0;
                while n_quiet < 2 {
                    let threads = rows(conn, "select state from information_schema.processlist where command like 'Binlog Dump%'").await?;
                    let all_sent = threads.iter().all(|row| row.at(0).is_some_and(|state| state.starts_with(SENT)));
                    n_quiet = if all_sent { n_quiet + 1 } else { 0 };
                    tokio::time::sleep(LOOK).await;
                }
                Ok(())
            },
            SHIP,
        );
        if let Err(trouble) = shipped.await {
            info!("it is stopped before all standbys are known to have what it has: {trouble}");
        }
        Ok(())
    }
}

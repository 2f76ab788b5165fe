//! MariaDB, as its agent sees and handles it: the files of its data directory, SQL, and its own program that reads binary logs.
//!
//! ```text
//!  Mariadb::look   --> the mark, master.info, the binary log's state file, SQL --> core: Seen
//!  Mariadb::source --> SQL to the member that is to be followed                --> core: Source
//!  Mariadb::act    <-- core: Verb (but for starting and stopping, which the supervisor does)
//! ```
//!
//! The *mark* is [`MARK`] in the data directory, an option file that the user's own option file includes at its end (`!include`); before each start
//! it is looked whether the server would take it. It sets `read_only`, which users with READ ONLY ADMIN (SUPER) pass, so such users must not be the
//! application's; the *fence* that an agent confirms is that the server is dead. The server never starts its replication threads by itself.
//!
//! What the agent's own account (`dsn`) needs: READ ONLY ADMIN, REPLICATION SLAVE ADMIN, REPLICA MONITOR, BINLOG ADMIN, PROCESS, RELOAD, and all on
//! `portolan.*`. The members' (`replication`): REPLICATION SLAVE, and SELECT on `portolan.*`. A probe's: SELECT on `portolan.*`.
//!
//! Invariants: no password stands in an argument, a log line or an error; every question has a bound in time; nothing is written on a standby;
//! a heartbeat is not in the binary log, so it takes no GTID and waits for nobody.
//!
//! Events: `event_scheduler` is OFF by the mark, on every member, so that none runs on a standby; nothing turns it on again yet.
//!
//! Absent on purpose: when what is done (`portolan_core::failover::engine::mariadb`), processes of the server, and flashback: `mariadb-binlog
//! --flashback` takes back rows, not definitions, and nothing proves that the copy is what it was.

mod account;
mod act;
mod connect;
mod evidence;
mod files;
mod look;
mod primary;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, atomic::AtomicU32},
};

use async_trait::async_trait;
use mysql_async::Conn;
use portolan_core::{failover::engine::mariadb::Source, model::ids::Label};
use tokio::time::Instant;

use super::{Members, Server, Shelf, Trouble, postgres::ConnInfo};
use files::{Files, Note};

pub use account::Account;
pub use files::MARK;
pub use portolan_core::failover::engine::mariadb::{Course, Process, Seen, Verb};
pub use primary::{Row, Unwell, inquire, primary};

/// How to reach and handle one server.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which member of the group it is.
    pub region: Label,
    /// Of the database: [`system_of`] the group, equal on all members.
    pub system: u64,
    /// The server's program.
    pub program: PathBuf,
    /// Where `mariadb-binlog` is.
    pub bin_dir: PathBuf,
    /// What the server is started with ([`arguments`]).
    pub arguments: Vec<String>,
    /// Its data directory.
    pub data_directory: PathBuf,
    /// The binary log's base name, in the data directory.
    pub log_bin: String,
    /// The group's one GTID domain.
    pub domain: u32,
    /// User and group that its files belong to; `None`: those of this process.
    pub owner: Option<(u32, u32)>,
    /// The agent's own connection. `host` is the path of the socket, or an address.
    pub own: ConnInfo,
    /// What is added to a member's address: user, password and what TLS needs.
    pub replication: ConnInfo,
    /// Where logs of what a member had alone are kept. Outside the data directory.
    pub evidence: PathBuf,
}

/// What stands for the identifier of a group's database: MariaDB has none that a copy keeps.
#[must_use]
pub fn system_of(group: &Label) -> u64 {
    // FNV-1a: the same on every member and in every version.
    group.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

/// What a server is started with, so that it can be led, before what the user adds.
#[must_use]
pub fn arguments(option_file: &Path, data_directory: &Path, log_bin: &str, domain: u32) -> Vec<String> {
    let (option_file, data_directory) = (option_file.display(), data_directory.display());
    vec![
        format!("--defaults-file={option_file}"),
        format!("--datadir={data_directory}"),
        format!("--log-bin={log_bin}"),
        format!("--gtid-domain-id={domain}"),
        "--gtid-strict-mode=ON".to_owned(),
        "--log-slave-updates=ON".to_owned(),
        "--skip-slave-start".to_owned(),
        "--sync-binlog=1".to_owned(),
        "--innodb-flush-log-at-trx-commit=1".to_owned(),
        // A primary that says nothing for so long is connected to anew.
        "--slave-net-timeout=10".to_owned(),
    ]
}

/// One server, and what is known of the others.
#[derive(Debug)]
pub struct Mariadb {
    setup: Setup,
    files: Files,
    /// Host and port of each member.
    members: Mutex<Members>,
    /// Of the last look. A verb has one of its own.
    conn: tokio::sync::Mutex<Option<Conn>>,
    /// Why the server did not answer the last look; `None`: it did.
    silence: Mutex<Option<String>>,
    /// How far the receiver was when it was seen to get on, and when.
    heard: Mutex<Option<(String, Instant)>>,
    /// What was noted last in the data directory.
    noted: Mutex<Option<Note>>,
    /// The connection over which something is done now; zero: none.
    acting: AtomicU32,
    /// What was put aside.
    shelf: Shelf,
}

impl Mariadb {
    /// Nothing is opened or read yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let files = Files { directory: setup.data_directory.clone(), owner: setup.owner };
        Self {
            shelf: Shelf::new(&setup.evidence),
            setup,
            files,
            members: Mutex::default(),
            conn: tokio::sync::Mutex::default(),
            silence: Mutex::default(),
            heard: Mutex::default(),
            noted: Mutex::default(),
            acting: AtomicU32::new(0),
        }
    }

    /// Where the mark of a standby is in a data directory.
    #[must_use]
    pub fn mark_in(data_directory: &Path) -> PathBuf {
        data_directory.join(MARK)
    }

    fn address(&self, region: &Label) -> Result<(String, u16), Trouble> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.get(region).cloned().ok_or_else(|| Trouble(format!("the plan has no member in {region}")))
    }

    /// How a member is reached from here, by a standby or by this process.
    fn account(&self, region: &Label) -> Result<Account, Trouble> {
        let (host, port) = self.address(region)?;
        Account::new(&self.setup.replication.clone().with("host", &host).with("port", &port.to_string()))
    }

    fn member_at(&self, host: &str, port: u16) -> Option<Label> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().find(|(_, (known, at))| known == host && *at == port).map(|(region, _)| region.clone())
    }
}

#[async_trait]
impl Server for Mariadb {
    type Course = Course;

    fn set_members(&self, members: Members) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    async fn look(&self, vessel: Option<(u64, bool)>) -> Result<Seen, Trouble> {
        self.seen(vessel).await
    }

    async fn source(&self, region: &Label) -> Result<Source, Trouble> {
        self.other(region).await
    }

    /// It starts read-only.
    async fn prepare(&self) -> Result<(), Trouble> {
        self.proves_the_mark().await
    }

    async fn act(&self, verb: &Verb) -> Result<(), Trouble> {
        self.make(verb).await
    }

    fn shelf(&self) -> Option<&Shelf> {
        Some(&self.shelf)
    }

    async fn beat(&self) -> Result<(), Trouble> {
        self.write_heartbeat().await
    }

    /// Its connection is gone from the server, or the server is.
    async fn settled(&self) {
        self.is_settled().await;
    }
}

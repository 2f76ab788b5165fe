//! PostgreSQL, as its agent sees and handles it: the files of its data directory, its own programs, and SQL.
//!
//! ```text
//!  Postgres::look   --> pg_controldata, standby.signal, postgresql.auto.conf, SQL --> core: Seen
//!  Postgres::source --> SQL to the member that is to be followed                  --> core: Source
//!  Postgres::act    <-- core: Verb (but for starting and stopping, which the supervisor does)
//! ```
//!
//! Invariants: no password stands in an argument, a log line or an error; every question has a bound in time; a directory in which `pg_rewind` did
//! not end is marked outside it before it begins.
//!
//! Absent on purpose: when what is done (`portolan_core::failover::engine::postgres`), and processes of the server.

mod act;
mod connect;
mod conninfo;
mod files;
mod lease;
mod look;
mod primary;
mod program;
mod reclone;
pub(in crate::engine) mod remote;
mod sandbox;
mod settings;
mod slots;
mod wal;
mod wrote;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use portolan_core::{
    failover::order::{Isolate, Restored, Say},
    model::ids::Label,
};
use tokio::sync::Mutex;
use tokio_postgres::Client;

use super::{Members, Server, Shelf, Trouble};
use files::{Files, MARK};
use wrote::Wrote;

pub(in crate::engine) use conninfo::Trust;
pub use conninfo::{ConnInfo, ConnInfoError};
pub use portolan_core::failover::engine::postgres::{Course, Process, Seen, Source, Verb};
pub use primary::{HEARTBEAT_STALE, Row, Unwell, inquire, primary};

/// Between two looks whether a program has ended.
const LOOK: Duration = Duration::from_millis(5);

/// How to reach and handle one server.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which member of the group it is.
    pub region: Label,
    /// Where the server's programs are.
    pub bin_dir: PathBuf,
    /// Its data directory.
    pub data_directory: PathBuf,
    /// What the server is started with beside it.
    pub arguments: Vec<String>,
    /// User and group that its files belong to and its programs run as; `None`: those of this process.
    pub owner: Option<(u32, u32)>,
    /// The agent's own connection.
    pub own: ConnInfo,
    /// What is added to a member's address: user, password and what TLS needs.
    pub replication: ConnInfo,
    /// Where programs lie that restore backups, for drills.
    pub hooks: PathBuf,
    /// Where logs of what a rewind takes away are kept, and the mark of a rewind under way. Outside the data directory.
    pub evidence: PathBuf,
}

/// One server, and what is known of the others.
#[derive(Debug)]
pub struct Postgres {
    setup: Setup,
    files: Files,
    /// Host and port of each member.
    members: std::sync::Mutex<Members>,
    /// Of the last look. A verb has one of its own.
    client: Mutex<Option<Client>>,
    /// Why the server did not answer the last look; `None`: it did.
    silence: std::sync::Mutex<Option<Trouble>>,
    /// What was put aside.
    shelf: Shelf,
    /// Whether clients write.
    wrote: std::sync::Mutex<Wrote>,
    /// The program that changes the directory now; zero: none.
    changing: AtomicU32,
    /// What the other members say when this one logs in there.
    others: settings::Others,
    /// Held while a setting is changed: looks and tasks go on side by side.
    setting: std::sync::Mutex<()>,
}

impl Postgres {
    /// Nothing is opened or read yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let files = Files { directory: setup.data_directory.clone(), owner: setup.owner };
        Self {
            shelf: Shelf::new(&setup.evidence),
            setup,
            files,
            members: Default::default(),
            client: Mutex::default(),
            silence: Default::default(),
            wrote: Default::default(),
            changing: AtomicU32::new(0),
            others: settings::Others::default(),
            setting: std::sync::Mutex::default(),
        }
    }

    /// Where the mark of a standby is in a data directory.
    #[must_use]
    pub fn mark_in(data_directory: &Path) -> PathBuf {
        data_directory.join(MARK)
    }

    fn address(&self, region: &Label) -> Result<(String, u16), Trouble> {
        let members = self.members.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        members.get(region).cloned().ok_or_else(|| Trouble(format!("the plan has no member in {region}")))
    }

    /// Sets settings of the server.
    fn set(&self, settings: &[(&str, &str)]) -> Result<(), Trouble> {
        let _setting = self.setting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.files.set(settings)
    }

    /// Members of the plan beside this one.
    fn n_others(&self) -> usize {
        let members = self.members.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        members.keys().filter(|region| **region != self.setup.region).count()
    }

    /// How a standby here, or one of its programs, reaches a member.
    fn conninfo(&self, region: &Label) -> Result<ConnInfo, Trouble> {
        let (host, port) = self.address(region)?;
        Ok(self.setup.replication.clone().with("host", &host).with("port", &port.to_string()))
    }

    /// Which member a connection string leads to.
    fn member_at(&self, info: &ConnInfo) -> Option<Label> {
        let port = info.get("port").and_then(|port| port.parse().ok()).unwrap_or(5432);
        let members = self.members.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_there = |(_, (host, at)): &(&Label, &(String, u16))| info.get("host") == Some(host.as_str()) && *at == port;
        members.iter().find(is_there).map(|(region, _)| region.clone())
    }
}

#[async_trait]
impl Server for Postgres {
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

    /// No timeline stands in its way that nobody took.
    async fn prepare(&self) -> Result<(), Trouble> {
        self.remove_replaced();
        self.files.release()
    }

    async fn act(&self, verb: &Verb) -> Result<(), Trouble> {
        self.make(verb).await
    }

    async fn beat(&self) -> Result<(), Trouble> {
        self.write_heartbeat().await
    }

    fn shelf(&self) -> Option<&Shelf> {
        Some(&self.shelf)
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

    /// Until a program that was given up has ended it may still change the directory.
    async fn settled(&self) {
        let process = self.changing.swap(0, Relaxed);
        let path = PathBuf::from(format!("/proc/{process}"));
        while process > 0 && path.exists() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

//! Redis 7 and Valkey: single servers with replicas.
//!
//! ```text
//!  Redis (beside the agent) --commands--> server          its files: snapshot, append-only files, our mark and note
//!                           --files-----> directory
//! ```
//!
//! The server is started with its own configuration and, behind it, what must be so: its directory, the names of its files, and one more file to be
//! included *if it is there*: the mark (`portolan.conf`), which makes a replica of it. So no start is one for writes, whoever starts it.
//!
//! Two keys in database 0 are ours: `portolan:line`, the openings of the database with the token of each, and `portolan:heartbeat`, when its agent
//! wrote to it last and where that was.
//!
//! `min-replicas-to-write` is the operator's: an agent lifts it while a new primary has nobody who follows, and says in readiness what it costs to have
//! it, and not to.
//!
//! Invariants: a password is in no argument and in no log; every question has a bound in time and in octets; the files that are placed are whole
//! or as before.
//!
//! Absent on purpose: TLS to the server; Sentinel and Cluster, which manage their servers themselves: such a server is refused.

mod act;
mod client;
mod files;
mod login;
mod look;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use portolan_core::{
    failover::engine::redis::{Course, Kept, Seen, Source, Verb},
    model::ids::Label,
};

use super::{Members, Server, Shelf, Trouble};
use files::{Files, reads_log};

pub use client::{Client, Status};
pub use login::Login;

/// The openings of the database: JSON.
pub const LINE_KEY: &str = "portolan:line";

/// When its agent wrote to it last, in microseconds since 1970 by the server's own clock, and the position there.
pub const HEARTBEAT_KEY: &str = "portolan:heartbeat";

/// How to reach and handle one server.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which member of the group it is.
    pub region: Label,
    /// Its own configuration.
    pub config: PathBuf,
    /// The arguments that the user adds.
    pub arguments: Vec<String>,
    /// Its directory.
    pub directory: PathBuf,
    /// Host and port at which the agent reaches it.
    pub address: (String, u16),
    /// Who the agent and replicas say that they are, on every member; `None`: no password is asked for.
    pub login: Option<Login>,
    /// User and group that its files belong to; `None`: those of this process.
    pub owner: Option<(u32, u32)>,
    /// Where is kept what following another one takes away. Outside the directory.
    pub evidence: PathBuf,
}

/// One server, and what is known of the others.
#[derive(Debug)]
pub struct Redis {
    setup: Setup,
    files: Files,
    /// Host and port of each member.
    members: Mutex<Members>,
    /// Held while the note is read and written again.
    noting: Mutex<()>,
    /// What was put aside.
    shelf: Shelf,
}

impl Redis {
    /// Nothing is opened or read yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let files = Files { directory: setup.directory.clone(), owner: setup.owner };
        Self { shelf: Shelf::new(&setup.evidence), setup, files, members: Mutex::default(), noting: Mutex::default() }
    }

    /// Where the mark of a replica is in its directory.
    #[must_use]
    pub fn mark_in(directory: &Path) -> PathBuf {
        directory.join(files::MARK)
    }

    /// What `redis-server` is started with. `own`: what the user adds; what must be so stands behind it.
    #[must_use]
    pub fn arguments(config: &str, directory: &str, own: &[String]) -> Vec<String> {
        // A pattern that matches nothing is passed over; a name of a file that is not there ends the server.
        let include = format!("{directory}/{}", files::MARK.replace('.', "[.]"));
        let musts = [
            ("--daemonize", "no"),
            ("--dir", directory),
            ("--dbfilename", files::SNAPSHOT),
            ("--appenddirname", files::LOGS),
            ("--include", &include),
        ];
        let musts = musts.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]);
        [config.to_owned()].into_iter().chain(own.iter().cloned()).chain(musts).collect()
    }

    fn address(&self, region: &Label) -> Result<(String, u16), Trouble> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.get(region).cloned().ok_or_else(|| Trouble(format!("the plan has no member in {region}")))
    }

    /// What the directory tells. `is_down`: nothing writes to it.
    fn kept(&self, is_down: bool) -> Result<Kept, Trouble> {
        let config = if is_down { fs::read_to_string(&self.setup.config).unwrap_or_default() } else { String::new() };
        let arguments = self.setup.arguments.join(" ").replace(" --", "\n--");
        self.files.kept(is_down, reads_log(&[&config, &arguments]))
    }

    async fn own(&self) -> Result<Client, Trouble> {
        let (host, port) = &self.setup.address;
        Client::connect(host, *port, self.setup.login.as_ref()).await
    }
}

#[async_trait]
impl Server for Redis {
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

    async fn act(&self, verb: &Verb) -> Result<(), Trouble> {
        self.make(verb).await
    }

    async fn beat(&self) -> Result<(), Trouble> {
        self.write_heartbeat().await
    }

    fn shelf(&self) -> Option<&Shelf> {
        Some(&self.shelf)
    }

    /// What was sent is carried out before any look that begins later: a server reads what has arrived on one connection before it answers on another
    /// that was made after. Beside that nothing outlives its question but the copying of evidence, which touches no database.
    async fn settled(&self) {}
}

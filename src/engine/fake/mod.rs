//! A fake database, for drills and the demo: a log that is replicated as PostgreSQL's is, and nothing else.
//!
//! ```text
//!  Fake (beside the agent) --files, one line of JSON each way--> server: log on disk, readers, standbys that stream it
//! ```
//!
//! It has everything that a failover of PostgreSQL turns on: a log that is on disk before a write is acknowledged, positions, timelines that part,
//! standbys that are waited for, a mark that makes every start one of a standby, a token in the data. So the same course leads it
//! (`portolan_core::failover::engine::postgres`), and what is shown with it is shown of the code that leads a real one. It has no indexes, no
//! transactions and no users, and listens on loopback addresses only: it keeps nothing that anybody would miss.
//!
//! Invariants: an acknowledged write is on disk here, and on as many standbys as were to be waited for; a line that was written in part when the
//! power went is cut off at the next start; every line that a stranger sends has a bound.

mod act;
mod files;
mod log;
mod look;
mod receive;
mod sandbox;
mod server;
mod wire;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use portolan_core::model::ids::Label;

use super::{Members, Shelf, Trouble};
use files::Files;

pub use files::create;
pub use log::TEXT_OCTETS_MAX;
pub use server::{Serving, serve};
pub use wire::{Client, Status};

/// How to reach and handle one server.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which member of the group it is.
    pub region: Label,
    /// Its directory.
    pub directory: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// User and group that its files belong to; `None`: those of this process.
    pub owner: Option<(u32, u32)>,
    /// Where is kept what a rewind takes away. Outside the directory.
    pub evidence: PathBuf,
}

/// One server, and what is known of the others.
#[derive(Debug)]
pub struct Fake {
    setup: Setup,
    files: Files,
    /// Host and port of each member.
    members: Mutex<Members>,
    /// What was put aside.
    shelf: Shelf,
}

impl Fake {
    /// Nothing is opened or read yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let files = Files { directory: setup.directory.clone(), owner: setup.owner };
        Self { shelf: Shelf::new(&setup.evidence), setup, files, members: Mutex::default() }
    }

    /// Where the mark of a standby is in its directory.
    #[must_use]
    pub fn mark_in(directory: &std::path::Path) -> PathBuf {
        directory.join(files::MARK)
    }

    fn address(&self, region: &Label) -> Result<String, Trouble> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let (host, port) = members.get(region).ok_or_else(|| Trouble(format!("the plan has no member in {region}")))?;
        Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
    }
}

//! One file on disk for all that a node must not forget: vote, log, snapshot, and who it is.
//!
//! A transaction that is reported as done has been synced to disk, except where [`Disk::write_lazily`] says otherwise. A torn or foreign file is
//! refused with its name and what to do; it is never mended by guessing, because a voter that forgets its vote can elect two leaders.

use std::{io, path::Path, sync::Arc};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase as _, StorageBackend, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// Single values by name.
pub(super) const VALUES: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("values");

/// Log entries by index.
pub(super) const LOG: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("log");

/// Memory that redb may keep pages in. The whole state is some megabytes at most.
const CACHE_OCTETS: usize = 4 * 1024 * 1024;

/// Why the disk cannot be used.
#[derive(Debug, Error)]
pub enum DiskError {
    /// Another process has it.
    #[error("open `{path}`: another process has it open; stop that one, or give this node a `data_dir` of its own")]
    InUse {
        /// The file.
        path: String,
    },
    /// It cannot be read.
    #[error(
        "open `{path}`: {source}; if the file is damaged, stop this node, move its `data_dir` away and start it again: it then joins as a new node"
    )]
    Open {
        /// The file.
        path: String,
        /// What redb said.
        source: Box<redb::Error>,
    },
}

/// The disk of one node. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Disk {
    database: Arc<Database>,
    calls: Calls,
}

/// Where blocking calls run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// On the runtime's threads for blocking calls: syncing takes milliseconds, which heartbeats must not wait for.
    Apart,
    /// In place: for simulations, whose time stands still meanwhile.
    InPlace,
}

impl Disk {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let shown = || path.display().to_string();
        let opened = Database::builder().set_cache_size(CACHE_OCTETS).create(path);
        let database = opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => DiskError::InUse { path: shown() },
            other => DiskError::Open { path: shown(), source: Box::new(other.into()) },
        })?;
        Self::with(database, Calls::Apart).map_err(|source| DiskError::Open { path: shown(), source: Box::new(source) })
    }

    /// A disk that is gone with the process: for a node without a data directory.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn in_memory() -> Result<Self, DiskError> {
        Self::on(redb::backends::InMemoryBackend::new(), Calls::Apart)
    }

    /// A disk on any storage: for tests that lose power.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn on(storage: impl StorageBackend, calls: Calls) -> Result<Self, DiskError> {
        let failed = |source: redb::Error| DiskError::Open { path: "(in memory)".to_owned(), source: Box::new(source) };
        let database = Database::builder().set_cache_size(CACHE_OCTETS).create_with_backend(storage).map_err(|e| failed(e.into()))?;
        Self::with(database, calls).map_err(failed)
    }

    fn with(database: Database, calls: Calls) -> Result<Self, redb::Error> {
        // Tables exist from here on, so that reading never has to tell "no table" from "no value".
        let transaction = database.begin_write()?;
        transaction.open_table(VALUES)?;
        transaction.open_table(LOG)?;
        transaction.commit()?;
        Ok(Self { database: Arc::new(database), calls })
    }

    /// Reads. `doing` names the attempt in errors.
    pub(super) async fn read<R: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<R, Fault> + Send + 'static,
    ) -> io::Result<R> {
        self.call(doing, move |database| work(&database.begin_read()?)).await
    }

    /// Writes all or nothing, synced to disk when it returns.
    pub(super) async fn write<R: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<R, Fault> + Send + 'static,
    ) -> io::Result<R> {
        self.commit(doing, Durability::Immediate, work).await
    }

    /// Writes all or nothing; it may be forgotten in a crash until the next [`Self::write`].
    pub(super) async fn write_lazily<R: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<R, Fault> + Send + 'static,
    ) -> io::Result<R> {
        self.commit(doing, Durability::None, work).await
    }

    async fn commit<R: Send + 'static>(
        &self,
        doing: &'static str,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<R, Fault> + Send + 'static,
    ) -> io::Result<R> {
        self.call(doing, move |database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(durability)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
        .await
    }

    async fn call<R: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Database) -> Result<R, Fault> + Send + 'static,
    ) -> io::Result<R> {
        let done = match self.calls {
            Calls::InPlace => work(&self.database),
            Calls::Apart => {
                let database = Arc::clone(&self.database);
                tokio::task::spawn_blocking(move || work(&database)).await.map_err(io::Error::other)?
            }
        };
        done.map_err(|fault| io::Error::other(format!("{doing}: {fault}")))
    }
}

/// Why a piece of work on the disk failed.
#[derive(Debug, Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Redb(#[source] Box<redb::Error>),
    #[error("what is stored cannot be read: {0}")]
    Form(#[source] serde_json::Error),
    #[error("{0}")]
    Hole(String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

/// The octets of this name; `None`: never written.
pub(super) fn octets(transaction: &ReadTransaction, name: &'static str) -> Result<Option<Vec<u8>>, Fault> {
    let table = transaction.open_table(VALUES)?;
    let found = table.get(name)?;
    Ok(found.map(|octets| octets.value().to_vec()))
}

/// Sets the octets of this name.
pub(super) fn set_octets(transaction: &WriteTransaction, name: &'static str, octets: &[u8]) -> Result<(), Fault> {
    transaction.open_table(VALUES)?.insert(name, octets)?;
    Ok(())
}

/// The value of this name; `None`: never written.
pub(super) fn value<T: DeserializeOwned>(transaction: &ReadTransaction, name: &'static str) -> Result<Option<T>, Fault> {
    octets(transaction, name)?.map(|octets| serde_json::from_slice(&octets)).transpose().map_err(Fault::Form)
}

/// Sets the value of this name.
pub(super) fn set_value<T: Serialize + ?Sized>(transaction: &WriteTransaction, name: &'static str, value: &T) -> Result<(), Fault> {
    set_octets(transaction, name, &serde_json::to_vec(value).map_err(Fault::Form)?)
}

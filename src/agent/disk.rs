//! What must outlive the agent: the highest token, the grant, the fence.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use portolan_core::failover::agent::Disk;

/// The file, and where it is written before it takes its place.
const FILE: &str = "agent.json";
const FRESH_FILE: &str = "agent.json.new";

/// A larger file is not ours.
const FILE_OCTETS_MAX: u64 = 1024 * 1024;

/// Why the agent has no memory, and must not go on.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} `{}`: {problem}", path.display())]
pub struct DiskError {
    attempt: &'static str,
    path: PathBuf,
    problem: String,
}

/// The directory. One agent at a time has it.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    /// Locked while this lives.
    _lock: File,
}

impl Store {
    /// Opens the directory, which is made where it is missing, and reads what is there; counts a start.
    ///
    /// # Errors
    /// Another agent has it, or what is there cannot be read: an agent without memory might obey what it refused before.
    pub fn open(directory: &Path) -> Result<(Self, Disk), DiskError> {
        let problem = |attempt, path: &Path, problem: &dyn std::fmt::Display| DiskError {
            attempt,
            path: path.to_owned(),
            problem: problem.to_string(),
        };
        fs::create_dir_all(directory).map_err(|error| problem("make", directory, &error))?;
        let lock = directory.join("lock");
        let file = File::create(&lock).map_err(|error| problem("open", &lock, &error))?;
        file.try_lock().map_err(|_| problem("lock", &lock, &"another agent runs with this directory"))?;
        let path = directory.join(FILE);
        let mut disk: Disk = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Disk::default(),
            Err(error) => return Err(problem("look at", &path, &error)),
            Ok(meta) if meta.len() > FILE_OCTETS_MAX => return Err(problem("read", &path, &"it is too long to be an agent's")),
            Ok(_) => {
                let text = fs::read(&path).map_err(|error| problem("read", &path, &error))?;
                serde_json::from_slice(&text).map_err(|error| problem("understand", &path, &error))?
            }
        };
        disk.starts += 1;
        let store = Self { directory: directory.to_owned(), _lock: file };
        store.save(&disk)?;
        Ok((store, disk))
    }

    /// Writes it, and syncs it.
    ///
    /// # Errors
    /// It is not on disk, so nothing that follows from it may be done.
    pub fn save(&self, disk: &Disk) -> Result<(), DiskError> {
        let (path, fresh) = (self.directory.join(FILE), self.directory.join(FRESH_FILE));
        let written = || {
            let mut file = File::create(&fresh)?;
            file.write_all(&serde_json::to_vec(disk)?)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        written().map_err(|error: std::io::Error| DiskError { attempt: "write", path, problem: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::failover::token::Token;

    use super::*;

    #[test]
    fn what_was_saved_is_there_after_a_start_and_a_second_agent_or_a_broken_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let (store, disk) = Store::open(&path).unwrap();
        assert_eq!((disk.starts, disk.highest), (1, Token::default()));
        let disk = Disk { highest: Token { generation: 1, epoch: 7 }, ..disk };
        store.save(&disk).unwrap();
        assert!(Store::open(&path).unwrap_err().to_string().contains("another agent runs"));
        drop(store);
        let (store, again) = Store::open(&path).unwrap();
        assert_eq!(again, Disk { starts: 2, ..disk });
        drop(store);
        fs::write(path.join(FILE), "{\"starts\":").unwrap();
        assert!(Store::open(&path).unwrap_err().to_string().starts_with("understand"));
    }
}

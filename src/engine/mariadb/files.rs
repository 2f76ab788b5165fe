//! What stands in the data directory, read and written while the server may run or not.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::PathBuf,
};

use portolan_core::failover::engine::mariadb::{Control, Ran, in_domain, parse};
use serde::{Deserialize, Serialize};

use super::super::Trouble;

/// While it is there, every start is one of a server that is read-only.
pub const MARK: &str = "portolan-standby.cnf";

const MARK_TEXT: &str = "# Written by portolan, whose agent opens this server for writes while it holds the lease. Leave it.\n\
    [mariadbd]\nread_only=ON\nevent_scheduler=OFF\n";

/// Why nobody starts this directory again. It goes with the directory, when a new copy is made.
const CONDEMNED: &str = "portolan-reclone-required";

/// What was seen of the server when it ran.
const NOTE: &str = "portolan-state.json";

/// Where MariaDB keeps whom it follows; not there: nobody.
const FOLLOWS: &str = "master.info";

/// A server locks it while it runs.
const LOCKED: &str = "ibdata1";

/// A larger file of these is none.
const OCTETS_MAX: u64 = 64 * 1024;

/// What cannot be read while the server does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) system: u64,
    pub(super) timeline: u32,
}

/// The data directory, and to whom its files belong.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) directory: PathBuf,
    /// User and group; `None`: those of this process.
    pub(super) owner: Option<(u32, u32)>,
}

impl Files {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn is_marked(&self) -> Result<bool, Trouble> {
        self.has(MARK)
    }

    pub(super) fn write_mark(&self) -> Result<(), Trouble> {
        self.place(MARK, MARK_TEXT)
    }

    /// Why the directory must not be started; `None`: it may.
    pub(super) fn condemned(&self) -> Result<Option<String>, Trouble> {
        Ok(self.read(CONDEMNED)?.map(|text| text.trim().to_owned()))
    }

    pub(super) fn condemn(&self, why: &str) -> Result<(), Trouble> {
        self.place(CONDEMNED, &format!("{why}\n"))
    }

    pub(super) fn note(&self, note: Note) -> Result<(), Trouble> {
        let text = serde_json::to_string(&note).map_err(|error| Trouble(format!("write JSON: {error}")))?;
        self.place(NOTE, &text)
    }

    /// What the files say while nothing runs. The server writes its binary log's state when it stops cleanly, and takes it away when it starts.
    pub(super) fn control(&self, log_bin: &str, domain: u32, system: u64) -> Result<Control, Trouble> {
        let note = self.read(NOTE)?.and_then(|text| serde_json::from_str(&text).ok());
        let Note { system, timeline } = note.unwrap_or(Note { system, timeline: 1 });
        let ran = if self.has(FOLLOWS)? {
            Ran::Standby
        } else if let Some(text) = self.read(&format!("{log_bin}.state"))? {
            let list = text.split_whitespace().collect::<Vec<_>>().join(",");
            let last = parse(&list).and_then(|list| in_domain(&list, domain)).map_err(|error| Trouble(error.to_string()))?;
            Ran::Stopped(last.map_or(0, |gtid| gtid.sequence))
        } else {
            Ran::Primary
        };
        Ok(Control { ran, system, timeline })
    }

    /// Its binary logs, the oldest first, by the index that it keeps.
    pub(super) fn logs(&self, log_bin: &str) -> Result<Vec<PathBuf>, Trouble> {
        let index = self.path(&format!("{log_bin}.index"));
        let text = fs::read_to_string(&index).map_err(|error| Trouble(format!("read `{}`: {error}", index.display())))?;
        Ok(text.lines().filter(|line| !line.is_empty()).map(|line| self.directory.join(line)).collect())
    }

    /// Whether a server holds the directory: whoever it is, it may take writes.
    pub(super) fn is_held(&self) -> bool {
        let Ok(meta) = fs::metadata(self.path(LOCKED)) else { return false };
        let (device, inode) = (meta.dev(), meta.ino());
        let at = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
        fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.lines().any(|line| line.split_whitespace().any(|word| word == at)))
    }

    fn has(&self, name: &str) -> Result<bool, Trouble> {
        let path = self.path(name);
        path.try_exists().map_err(|error| Trouble(format!("look for `{}`: {error}", path.display())))
    }

    /// `None`: there is none.
    fn read(&self, name: &str) -> Result<Option<String>, Trouble> {
        let path = self.path(name);
        let problem = |error: std::io::Error| Trouble(format!("read `{}`: {error}", path.display()));
        match fs::metadata(&path) {
            Ok(meta) if meta.len() > OCTETS_MAX => Err(Trouble(format!("`{}` is longer than such a file can be", path.display()))),
            Ok(_) => fs::read_to_string(&path).map(Some).map_err(problem),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(problem(error)),
        }
    }

    /// Writes a file of the directory so that after a crash it is there whole or as before.
    fn place(&self, name: &str, text: &str) -> Result<(), Trouble> {
        let (path, fresh) = (self.path(name), self.path(&format!("{name}.new")));
        let placed = || {
            let mut file = File::create(&fresh)?;
            // The server reads no option file that others may write.
            fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644))?;
            if let Some((user, group)) = self.owner {
                chown(&fresh, Some(user), Some(group))?;
            }
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        placed().map_err(|error: std::io::Error| Trouble(format!("write `{}`: {error}", path.display())))
    }
}

/// Whether a server with these options starts read-only: `printed` is what its program says that it would be started with. What comes last counts.
///
/// # Errors
/// Which option is missing, and what is to be written where.
pub(super) fn takes_mark(printed: &str, option_file: &str, mark: &std::path::Path) -> Result<(), Trouble> {
    for (option, wanted) in [("read_only", "ON"), ("event_scheduler", "OFF")] {
        let is_it = |word: &&str| word.strip_prefix("--").is_some_and(|word| bare(word) == option);
        if printed.split_whitespace().rfind(is_it) != Some(format!("--{option}={wanted}").as_str()) {
            return Err(Trouble(format!(
                "a standby would start without {option}={wanted}: write `!include {}` as the last line of `{option_file}`, and no {option} behind it or in `arguments`",
                mark.display()
            )));
        }
    }
    Ok(())
}

/// The name of an option as it is written in any of its ways.
fn bare(word: &str) -> String {
    let name = word.split_once('=').map_or(word, |(name, _)| name).replace('-', "_");
    let prefixes = ["loose_", "skip_", "disable_", "enable_"];
    prefixes.iter().fold(name.as_str(), |name, prefix| name.strip_prefix(prefix).unwrap_or(name)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_last_makes_a_start_one_of_a_standby() {
        let says = |printed: &str| takes_mark(printed, "/etc/my.cnf", std::path::Path::new("/data/mark.cnf")).map_err(|it| it.0);
        assert_eq!(says("mariadbd would have been started with:\n--server_id=7 --read_only=ON --event_scheduler=OFF --datadir=/d"), Ok(()));
        assert_eq!(says("--read_only=OFF --event-scheduler=ON --tx_read_only=1 --read_only=ON --event_scheduler=OFF"), Ok(()));
        let missing = says("--server_id=7").unwrap_err();
        assert!(missing.contains("without read_only=ON: write `!include /data/mark.cnf` as the last line of `/etc/my.cnf`"), "{missing}");
        for later in ["--read_only=OFF", "--read-only=0", "--loose-skip-read-only", "--event-scheduler=ON"] {
            assert!(says(&format!("--read_only=ON --event_scheduler=OFF {later}")).is_err(), "{later}");
        }
    }

    #[test]
    fn the_files_say_what_a_server_was_when_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files { directory: directory.path().to_owned(), owner: None };
        let ran = || files.control("bin", 0, 7).map(|control| control.ran).map_err(|trouble| trouble.0);
        assert_eq!(ran(), Ok(Ran::Primary), "it did not stop cleanly");
        fs::write(files.path("bin.state"), "0-1-7\n0-2-9\n").unwrap();
        assert_eq!(ran(), Ok(Ran::Stopped(9)));
        fs::write(files.path("bin.state"), "0-1-7\n1-2-9\n").unwrap();
        assert!(ran().unwrap_err().contains("domain 1"));
        fs::write(files.path("bin.state"), "nonsense").unwrap();
        assert!(ran().unwrap_err().contains("`nonsense` is no GTID"));
        fs::write(files.path("master.info"), "").unwrap();
        assert_eq!(ran(), Ok(Ran::Standby));
        files.note(Note { system: 9, timeline: 4 }).unwrap();
        let control = files.control("bin", 0, 7).unwrap();
        assert_eq!((control.system, control.timeline), (9, 4));
        assert_eq!(files.condemned().unwrap(), None);
        files.condemn("it parted").unwrap();
        assert_eq!(files.condemned().unwrap().as_deref(), Some("it parted"));
    }
}

//! The directory of a server: its data, the mark, and the note.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use portolan_core::failover::engine::redis::{HEAD_OCTETS, Kept, LINE_OCTETS_MAX, Note, end_of};

use super::{super::Trouble, Login};

/// While it is there, every start is one of a replica.
pub(super) const MARK: &str = "portolan.conf";
/// The server's snapshot.
pub(super) const SNAPSHOT: &str = "dump.rdb";
/// Its append-only files.
pub(super) const LOGS: &str = "appendonlydir";
const NOTE: &str = "portolan.json";

/// Where nothing can listen: a connection is refused at once.
pub(super) const NOWHERE: (&str, u16) = ("127.0.0.1", 0);

/// The most that is put aside: what does not fit is moved by hand.
const EVIDENCE_OCTETS_MAX: u64 = 64 << 30;

#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) directory: PathBuf,
    /// Numbers of the user and group that they belong to; `None`: those of this process.
    pub(super) owner: Option<(u32, u32)>,
}

impl Files {
    /// Where a start as a replica receives from; `None`: there is no mark, or one that makes no replica.
    pub(super) fn mark(&self) -> Result<Option<(String, u16)>, Trouble> {
        Ok(self.read(MARK)?.as_deref().and_then(upstream_in))
    }

    /// From now on it starts as a replica that receives from there.
    pub(super) fn write_mark(&self, (host, port): (&str, u16), login: Option<&Login>) -> Result<(), Trouble> {
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
            return Err(Trouble(format!("`{}` is no host that a configuration can name", host.escape_debug())));
        }
        let mut text = format!(
            "# Written by the agent of Portolan: while this file is there, the server starts as a replica.\nreplicaof {host} {port}\n\
             replica-read-only yes\nreplica-serve-stale-data yes\n"
        );
        if let Some(login) = login {
            if let Some(user) = &login.user {
                text.push_str(&format!("masteruser {}\n", quoted(user)));
            }
            text.push_str(&format!("masterauth {}\n", quoted(&login.password)));
        }
        if self.read(MARK)?.is_some_and(|before| before == text) { Ok(()) } else { self.place(MARK, text.as_bytes()) }
    }

    pub(super) fn note(&self) -> Result<Note, Trouble> {
        let Some(text) = self.read(NOTE)? else { return Ok(Note::default()) };
        serde_json::from_str(&text).map_err(|error| Trouble(format!("read `{}`: {error}", self.directory.join(NOTE).display())))
    }

    pub(super) fn set_note(&self, note: &Note) -> Result<(), Trouble> {
        let text = serde_json::to_vec(note).map_err(|error| Trouble(format!("write JSON: {error}")))?;
        self.place(NOTE, &text)
    }

    /// What the directory tells. `is_down`: nothing writes to it, so the snapshot can be read. `reads_log`: the server is configured to read an
    /// append-only file.
    pub(super) fn kept(&self, is_down: bool, reads_log: bool) -> Result<Kept, Trouble> {
        let (snapshot, log) = (self.directory.join(SNAPSHOT), self.directory.join(LOGS));
        let looked = || {
            let has_log = match fs::read_dir(&log) {
                Ok(mut entries) => entries.any(|entry| entry.is_ok_and(|it| it.path().extension().is_some_and(|end| end == "manifest"))),
                Err(error) if error.kind() == ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
            let has_snapshot = snapshot.try_exists()?;
            let end = if is_down && has_snapshot { head(&snapshot)? } else { Vec::new() };
            Ok((has_log, has_snapshot, end_of(&end)))
        };
        let (has_log, has_snapshot, snapshot) =
            looked().map_err(|error| Trouble(format!("look into `{}`: {error}", self.directory.display())))?;
        let is_passed_over = has_snapshot && !has_log && reads_log;
        Ok(Kept { note: self.note()?, snapshot, has_log, has_data: has_log || has_snapshot, is_passed_over })
    }

    /// Copies the data into a folder, which is made or filled anew; how many octets.
    pub(super) fn copy_to(&self, folder: &Path) -> Result<u64, Trouble> {
        let problem = |error: std::io::Error| Trouble(format!("put aside into `{}`: {error}", folder.display()));
        let mut wanted = vec![(self.directory.join(SNAPSHOT), folder.join(SNAPSHOT))];
        if let Ok(entries) = fs::read_dir(self.directory.join(LOGS)) {
            for entry in entries {
                let entry = entry.map_err(problem)?;
                wanted.push((entry.path(), folder.join(LOGS).join(entry.file_name())));
            }
        }
        wanted.retain(|(from, _)| from.is_file());
        let octets = wanted.iter().map(|(from, _)| Ok(fs::metadata(from)?.len())).sum::<std::io::Result<u64>>().map_err(problem)?;
        if octets > EVIDENCE_OCTETS_MAX {
            let most = EVIDENCE_OCTETS_MAX >> 30;
            return Err(Trouble(format!("more than {most} GiB would be put aside: move `{}` away by hand", self.directory.display())));
        }
        fs::create_dir_all(folder.join(LOGS)).map_err(problem)?;
        for (from, to) in wanted {
            fs::copy(&from, &to).and_then(|_| File::open(&to)?.sync_all()).map_err(problem)?;
        }
        Ok(octets)
    }

    fn read(&self, name: &str) -> Result<Option<String>, Trouble> {
        let path = self.directory.join(name);
        let problem = |error: &dyn std::fmt::Display| Trouble(format!("read `{}`: {error}", path.display()));
        match fs::metadata(&path) {
            Ok(meta) if meta.len() > 2 * LINE_OCTETS_MAX as u64 => Err(problem(&"it is longer than what is written there")),
            Ok(_) => fs::read_to_string(&path).map(Some).map_err(|error| problem(&error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(problem(&error)),
        }
    }

    /// Whole, or as it was. The mark has a password in it, so nobody else reads these.
    fn place(&self, name: &str, content: &[u8]) -> Result<(), Trouble> {
        let (path, fresh) = (self.directory.join(name), self.directory.join(format!("{name}.new")));
        let written = || {
            let mut file = File::create(&fresh)?;
            fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
            if let Some((user, group)) = self.owner {
                chown(&fresh, Some(user), Some(group))?;
            }
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        written().map_err(|error: std::io::Error| Trouble(format!("write `{}`: {error}", path.display())))
    }
}

fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_OCTETS);
    File::open(path)?.take(HEAD_OCTETS as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether a configuration, or arguments in its form, switch the append-only file on. What it includes is not looked into.
pub(super) fn reads_log(texts: &[&str]) -> bool {
    let lines = texts.iter().flat_map(|text| text.lines());
    let mut said = lines.filter_map(|line| match line.split_ascii_whitespace().collect::<Vec<_>>().as_slice() {
        [name, value] if name.trim_start_matches("--").eq_ignore_ascii_case("appendonly") => {
            Some(value.trim_matches('"').eq_ignore_ascii_case("yes"))
        }
        _ => None,
    });
    said.next_back().unwrap_or(false)
}

/// The `replicaof` in a fragment of configuration.
fn upstream_in(text: &str) -> Option<(String, u16)> {
    let words = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|words| match words.as_slice() {
            [verb, host, port] if verb.eq_ignore_ascii_case("replicaof") => Some(((*host).to_owned(), port.parse().ok()?)),
            _ => None,
        })
        .next_back()
}

/// As a configuration of Redis takes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> Files {
        Files { directory: directory.to_owned(), owner: None }
    }

    #[test]
    fn the_mark_is_a_fragment_that_nobody_else_reads_and_one_that_makes_no_replica_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        assert_eq!(files.mark().unwrap(), None);
        let login = Login::parse("portolan\na\"b\\c").unwrap();
        files.write_mark(("10.0.0.1", 6379), Some(&login)).unwrap();
        assert_eq!(files.mark().unwrap(), Some(("10.0.0.1".to_owned(), 6379)));
        let path = directory.path().join(MARK);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().contains("masteruser \"portolan\"\nmasterauth \"a\\\"b\\\\c\"\n"));
        for text in ["", "# replicaof 10.0.0.1 6379\n", "replicaof 10.0.0.1\n", "replicaof a b\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(files.mark().unwrap(), None, "{text:?}");
        }
        assert!(files.write_mark(("a\nb", 1), None).is_err());
    }

    #[test]
    fn a_configuration_says_whether_the_snapshot_is_passed_over() {
        assert!(reads_log(&["port 1\nappendonly yes\n"]) && reads_log(&["", "--appendonly yes"]));
        assert!(!reads_log(&["# appendonly yes\n"]) && !reads_log(&["appendonly yes\n", "--appendonly no"]) && !reads_log(&[]));
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        assert_eq!(files.kept(true, true).unwrap(), Kept::default(), "an empty directory");
        fs::write(directory.path().join(SNAPSHOT), "REDIS0010").unwrap();
        assert!(files.kept(true, true).unwrap().is_passed_over && !files.kept(true, false).unwrap().is_passed_over);
        fs::create_dir(directory.path().join(LOGS)).unwrap();
        fs::write(directory.path().join(LOGS).join("appendonly.aof.manifest"), "").unwrap();
        let kept = files.kept(true, true).unwrap();
        assert!(kept.has_log && kept.has_data && !kept.is_passed_over);
    }

    #[test]
    fn a_note_is_read_back_and_a_broken_one_is_no_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        assert_eq!(files.note().unwrap(), Note::default());
        let note = Note { system: Some(7), ..Note::default() };
        files.set_note(&note).unwrap();
        assert_eq!(files.note().unwrap(), note);
        fs::write(directory.path().join(NOTE), "{").unwrap();
        assert!(files.note().unwrap_err().0.contains(NOTE));
    }
}

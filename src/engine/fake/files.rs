//! The directory of a fake database: its log, the mark, what it is set to, and what it was when it ended.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use portolan_core::model::ids::Label;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{super::Trouble, log::Log};

/// While it is there, every start is one of a standby.
pub(super) const MARK: &str = "standby.signal";
const LOG: &str = "log.jsonl";
const SETTINGS: &str = "settings.json";
const RAN: &str = "ran.json";

/// What it is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Whom a standby receives from; `None`: from nobody.
    pub(super) upstream: Option<Upstream>,
    /// Whom a primary waits for: `ANY n ("region", …)`, or nothing.
    pub(super) synchronous: String,
}

/// A member, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstream {
    pub(super) region: Label,
    /// `host:port`.
    pub(super) address: String,
    /// What this standby is known as there.
    pub(super) named: Label,
}

/// What it was when it ended; while it runs, what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ran {
    /// A primary that stopped cleanly, here.
    Stopped(u64),
    /// A primary that did not.
    Primary,
    /// A standby.
    Standby,
}

#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) directory: PathBuf,
    /// Numbers of the user and group that they belong to; `None`: those of this process.
    pub(super) owner: Option<(u32, u32)>,
}

/// Makes a fake database in a directory that is there and empty. Those with one system identifier are copies of each other.
///
/// # Errors
/// It cannot be written, or there is one.
pub fn create(directory: &Path, system: u64, is_standby: bool, owner: Option<(u32, u32)>) -> Result<(), Trouble> {
    let files = Files { directory: directory.to_owned(), owner };
    Log::create(&files.log(), system)?;
    files.own(&files.log())?;
    files.note(if is_standby { Ran::Standby } else { Ran::Primary })?;
    files.set(&Settings::default())?;
    if is_standby { files.write_mark() } else { Ok(()) }
}

impl Files {
    pub(super) fn log(&self) -> PathBuf {
        self.directory.join(LOG)
    }

    pub(super) fn is_marked(&self) -> Result<bool, Trouble> {
        self.mark().try_exists().map_err(|error| Trouble(format!("look for `{}`: {error}", self.mark().display())))
    }

    pub(super) fn write_mark(&self) -> Result<(), Trouble> {
        self.place(MARK, b"")
    }

    pub(super) fn remove_mark(&self) -> Result<(), Trouble> {
        match fs::remove_file(self.mark()).and_then(|()| File::open(&self.directory)?.sync_all()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Trouble(format!("remove `{}`: {error}", self.mark().display()))),
            _ => Ok(()),
        }
    }

    fn mark(&self) -> PathBuf {
        self.directory.join(MARK)
    }

    pub(super) fn settings(&self) -> Result<Settings, Trouble> {
        self.read(SETTINGS)
    }

    pub(super) fn set(&self, settings: &Settings) -> Result<(), Trouble> {
        self.place(SETTINGS, &json(settings)?)
    }

    pub(super) fn ran(&self) -> Result<Ran, Trouble> {
        self.read(RAN)
    }

    pub(super) fn note(&self, ran: Ran) -> Result<(), Trouble> {
        self.place(RAN, &json(&ran)?)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, Trouble> {
        let path = self.directory.join(name);
        let problem = |error: &dyn std::fmt::Display| Trouble(format!("read `{}`: {error}", path.display()));
        serde_json::from_slice(&fs::read(&path).map_err(|error| problem(&error))?).map_err(|error| problem(&error))
    }

    /// Whole, or as it was.
    fn place(&self, name: &str, content: &[u8]) -> Result<(), Trouble> {
        let (path, fresh) = (self.directory.join(name), self.directory.join(format!("{name}.new")));
        let written = || {
            let mut file = File::create(&fresh)?;
            file.write_all(content)?;
            file.sync_all()?;
            if let Some((user, group)) = self.owner {
                chown(&fresh, Some(user), Some(group))?;
            }
            fs::rename(&fresh, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        written().map_err(|error: std::io::Error| Trouble(format!("write `{}`: {error}", path.display())))
    }

    fn own(&self, path: &Path) -> Result<(), Trouble> {
        let Some((user, group)) = self.owner else { return Ok(()) };
        chown(path, Some(user), Some(group)).map_err(|error| Trouble(format!("give `{}` to its owner: {error}", path.display())))
    }
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Trouble> {
    serde_json::to_vec(value).map_err(|error| Trouble(format!("write JSON: {error}")))
}

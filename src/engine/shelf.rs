//! What an engine put aside last, where it outlives the agent: its agent tells of it until another one takes its place.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use portolan_core::{failover::token::Token, recovery::aside::Aside};
use tracing::warn;

use super::Trouble;

/// The file, beside what was put aside.
const FILE: &str = "aside.json";

/// A larger one is not ours.
const OCTETS_MAX: u64 = 64 * 1024;

/// One per member.
#[derive(Debug)]
pub struct Shelf {
    directory: PathBuf,
    /// What was put aside by a verb that has just been done, and is on no disk yet.
    fresh: Mutex<Option<Aside>>,
    /// What is on disk; outer `None`: nobody has looked.
    known: Mutex<Option<Option<Aside>>>,
}

impl Shelf {
    /// In the directory in which evidence is kept. Nothing is read yet.
    #[must_use]
    pub fn new(evidence: &Path) -> Self {
        Self { directory: evidence.to_owned(), fresh: Mutex::default(), known: Mutex::default() }
    }

    /// This was put aside. By whose order, [`Self::keep`] says.
    pub(super) fn put(&self, aside: Aside) {
        *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = Some(aside);
    }

    /// Writes and syncs what was put aside since this was called last, if anything was.
    ///
    /// # Errors
    /// It is not on disk, so nothing that follows from it may be done.
    pub fn keep(&self, by: Token) -> Result<(), Trouble> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(aside) = fresh.map(|aside| Aside { by, ..aside }) else { return Ok(()) };
        let path = self.directory.join(FILE);
        let written = || {
            let new = self.directory.join(format!("{FILE}.new"));
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(&aside)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        written().map_err(|error: std::io::Error| Trouble(format!("note in `{}` what is put aside: {error}", path.display())))?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Some(aside));
        *fresh = None;
        Ok(())
    }

    /// What was put aside last; `None`: nothing, or nobody knows.
    #[must_use]
    pub fn told(&self) -> Option<Aside> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| self.read())
    }

    fn read(&self) -> Option<Aside> {
        let path = self.directory.join(FILE);
        let read = fs::metadata(&path).and_then(|meta| match meta.len() {
            0..=OCTETS_MAX => fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?)),
            _ => Err(std::io::Error::other("it is too long to be an agent's")),
        });
        match read {
            Ok(aside) => Some(aside),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                warn!("what was put aside is not told: read `{}`: {error}", path.display());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_aside_outlives_the_agent_and_what_cannot_be_read_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(directory.path());
        assert_eq!(shelf.told(), None);
        let (by, aside) = (Token { generation: 1, epoch: 9 }, Aside { commits: Some(3), ..Aside::default() });
        shelf.keep(by).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was put aside");
        shelf.put(aside);
        assert_eq!(shelf.told(), None, "it is not on disk yet");
        shelf.keep(by).unwrap();
        for shelf in [shelf, Shelf::new(directory.path())] {
            assert_eq!(shelf.told(), Some(Aside { by, ..aside }));
            // A later order puts nothing aside.
            shelf.keep(Token { epoch: 12, ..by }).unwrap();
            assert_eq!(shelf.told(), Some(Aside { by, ..aside }));
        }
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert_eq!(Shelf::new(directory.path()).told(), None);
        let nowhere = Shelf::new(&directory.path().join("gone"));
        nowhere.put(aside);
        assert!(nowhere.keep(by).unwrap_err().0.contains(FILE));
    }
}

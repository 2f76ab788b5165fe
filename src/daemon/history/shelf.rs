//! The folder: which segments there are, how large, and which of them go.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use portolan_core::model::time::Timestamp;
use tracing::info;

use super::Limits;

/// How names end. A file of another name is none of ours.
const ENDING: &str = ".pages";

/// A segment as its name tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    /// Grows with each segment; the order in which they were written, also when a clock was set back.
    pub(super) sequence: u64,
    /// The moment of its first page.
    pub(super) first: Timestamp,
    pub(super) octets: u64,
    pub(super) path: PathBuf,
}

impl Volume {
    fn of(path: PathBuf, octets: u64) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?;
        let (sequence, first) = name.split_once('-')?;
        Some(Self { sequence: sequence.parse().ok()?, first: Timestamp(first.parse().ok()?), octets, path })
    }
}

/// All segments of a folder in the order in which they were written; a folder that is missing has none.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Volume>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut volumes = Vec::new();
    for entry in entries {
        let entry = entry?;
        // One that goes meanwhile is gone.
        let octets = entry.metadata().map_or(0, |metadata| metadata.len());
        volumes.extend(Volume::of(entry.path(), octets));
    }
    volumes.sort_by_key(|volume| volume.sequence);
    Ok(volumes)
}

/// The segments as the writer keeps them.
pub(super) struct Shelf {
    folder: PathBuf,
    limits: Limits,
    /// The last one may be open.
    volumes: Vec<Volume>,
}

impl Shelf {
    /// # Errors
    /// The folder can be neither read nor made.
    pub(super) fn open(folder: &Path, limits: Limits) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), limits, volumes: list(folder)? })
    }

    pub(super) fn newest(&self) -> Option<&Volume> {
        self.volumes.last()
    }

    /// A name for the next segment.
    pub(super) fn next(&self, first: Timestamp) -> Volume {
        let sequence = self.volumes.last().map_or(1, |last| last.sequence.saturating_add(1));
        let path = self.folder.join(format!("{sequence:010}-{}{ENDING}", first.0));
        Volume { sequence, first, octets: 0, path }
    }

    pub(super) fn add(&mut self, volume: Volume) {
        self.volumes.push(volume);
    }

    /// The newest segment has so many octets now.
    pub(super) fn resized(&mut self, octets: u64) {
        if let Some(last) = self.volumes.last_mut() {
            last.octets = octets;
        }
    }

    /// Lets the oldest go until `more` octets find room and nothing is too old. `keep_newest`: it is open, and stays.
    ///
    /// # Errors
    /// One cannot be removed, or there is no room even without all of them.
    pub(super) fn make_room(&mut self, more: u64, now: Timestamp, keep_newest: bool) -> io::Result<()> {
        loop {
            let octets: u64 = self.volumes.iter().map(|volume| volume.octets).sum();
            let is_full = octets.saturating_add(more) > self.limits.octets;
            // One is as old as its end, which is the beginning of the next.
            let is_old = self.volumes.get(1).is_some_and(|next| now.since(next.first) > self.limits.age);
            if !is_full && !is_old {
                return Ok(());
            }
            if self.volumes.len() <= usize::from(keep_newest) {
                let problem = format!("{more} octets more than the {octets} there are find no room in {}", self.limits.octets);
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
            }
            let oldest = self.volumes.first().map(|volume| volume.path.clone()).unwrap_or_default();
            match fs::remove_file(&oldest) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => info!("history: `{}` went, the oldest", oldest.display()),
            }
            self.volumes.remove(0);
        }
    }
}

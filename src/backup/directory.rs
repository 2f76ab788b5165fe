//! A directory and what lies below it.
//!
//! Every name is opened relative to its directory, without following links, so that whoever writes there can lead nobody elsewhere, also while it is
//! being listed. Blocks as long as the file system does: a network file system may hang for ever, so a look belongs on a thread of its own.

use std::{
    ffi::CStr,
    os::fd::{AsFd as _, OwnedFd},
};

use portolan_core::{
    model::time::Timestamp,
    recovery::backups::{Listing, Pattern, Proof, Seen},
};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, open, openat, statat},
    io::Errno,
};

use super::LookError;

/// Names that are looked at in one look: a hundred thousand take seconds on a disk, and a minute over a network.
const NAMES_MAX: u64 = 100_000;

/// Directories within each other: what tools for backups make is four deep, and each costs a descriptor.
const DEPTH_MAX: usize = 16;

/// What every file system of its kind has at its root, for its owner only.
const LOST_AND_FOUND: &str = "lost+found";

/// Looks once. `complete`: as in [`Listing::add`].
///
/// # Errors
/// Which directory cannot be read, and why.
pub fn look(path: &str, complete: Option<&Pattern>, now: Timestamp) -> Result<Seen, LookError> {
    look_within(path, complete, now, NAMES_MAX)
}

/// With a bound for names of one's own.
///
/// # Errors
/// As [`look`].
pub fn look_within(path: &str, complete: Option<&Pattern>, now: Timestamp, names_max: u64) -> Result<Seen, LookError> {
    let mut walk = Walk { root: path, complete, now, names_left: names_max, listing: Listing::default() };
    // The plan may name a link on purpose; nothing below is followed.
    let root = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|error| walk.failed("", error))?;
    walk.directory(root, "", 0)?;
    let silent = |what: &str| Proof::Unknown(format!("a directory does not show {what}"));
    Ok(Seen {
        at: now,
        listing: walk.listing,
        encryption: silent("how its files are encrypted"),
        versioning: silent("older versions of its files"),
    })
}

struct Walk<'a> {
    root: &'a str,
    complete: Option<&'a Pattern>,
    now: Timestamp,
    names_left: u64,
    listing: Listing,
}

impl Walk<'_> {
    fn failed(&self, below: &str, error: Errno) -> LookError {
        let path = if below.is_empty() { self.root.to_owned() } else { format!("{}/{below}", self.root.trim_end_matches('/')) };
        LookError::Directory { path, problem: std::io::Error::from(error).to_string() }
    }

    /// `below`: its path from the root, with a slash at its end; empty: the root.
    fn directory(&mut self, directory: OwnedFd, below: &str, depth: usize) -> Result<(), LookError> {
        let entries = Dir::read_from(&directory).map_err(|error| self.failed(below, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| self.failed(below, error))?;
            let name = entry.file_name();
            if name == c"." || name == c".." || (depth == 0 && name.to_bytes() == LOST_AND_FOUND.as_bytes()) {
                continue;
            }
            let Some(left) = self.names_left.checked_sub(1) else {
                self.listing.is_whole = false;
                return Ok(());
            };
            self.names_left = left;
            self.entry(&directory, name, below, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, directory: &OwnedFd, name: &CStr, below: &str, depth: usize) -> Result<(), LookError> {
        let path = format!("{below}{}", name.to_string_lossy());
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed meanwhile.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.failed(&path, error)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let octets = u64::try_from(stat.st_size).unwrap_or(0);
                self.listing.add(&path, written(&stat), octets, self.complete, self.now);
                Ok(())
            }
            FileType::Directory if depth + 1 >= DEPTH_MAX => {
                self.listing.is_whole = false;
                Ok(())
            }
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match openat(directory.as_fd(), name, flags, Mode::empty()) {
                    Ok(inner) => self.directory(inner, &format!("{path}/"), depth + 1),
                    // Removed meanwhile, or something else in its place.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                    Err(error) => Err(self.failed(&path, error)),
                }
            }
            // Links, sockets, pipes, devices: no backup.
            _ => Ok(()),
        }
    }
}

/// When a file was written last.
fn written(stat: &Stat) -> Timestamp {
    let millis = i64::try_from(stat.st_mtime_nsec / 1_000_000).unwrap_or(0);
    Timestamp(stat.st_mtime.saturating_mul(1000).saturating_add(millis))
}

//! What lies at a place, folded name by name, so that a place with a hundred thousand names costs no more memory than one with three.

use std::time::Duration;

use super::Pattern;
use crate::model::time::Timestamp;

/// Clocks of stores and nodes may be so far apart. What is dated further ahead would look fresh for too long, and does not count.
const AHEAD_MAX: Duration = Duration::from_secs(300);

/// How the names of files in the making end, by the habits of those who rename what is complete: rsync, curl, browsers, editors.
const IN_THE_MAKING: [&str; 6] = [".tmp", ".temp", ".part", ".partial", ".incomplete", "~"];

/// A complete backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Below the place.
    pub name: String,
    /// When it was complete.
    pub at: Timestamp,
}

/// What lies at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The newest that is complete; `None`: none was seen.
    pub newest: Option<Backup>,
    /// When the oldest was complete; `None`: none was seen.
    pub oldest: Option<Timestamp>,
    /// Complete backups.
    pub n_complete: u64,
    /// Octets of everything that was seen, complete or not.
    pub octets: u64,
    /// Names that would count, were they not dated in the future.
    pub n_ahead: u64,
    /// Everything was listed. Else there may be newer, older and more.
    pub is_whole: bool,
}

impl Default for Listing {
    fn default() -> Self {
        Self { newest: None, oldest: None, n_complete: 0, octets: 0, n_ahead: 0, is_whole: true }
    }
}

impl Listing {
    /// Takes in one name below the place, written last at `at`. `complete`: which names are there only when a backup is complete: its end mark
    /// (`*_backup_stop_sentinel.json` of WAL-G, `*/backup.manifest` of pgBackRest, `*/backup.info` of Barman), or the backup itself where it
    /// appears whole, as objects of S3 do. `None`: every file but for those in the making, which are hidden, empty, or end in `.tmp`, `.temp`,
    /// `.part`, `.partial`, `.incomplete` or `~`.
    pub fn add(&mut self, name: &str, at: Timestamp, octets: u64, complete: Option<&Pattern>, now: Timestamp) {
        self.octets = self.octets.saturating_add(octets);
        let counts = complete.map_or_else(|| octets > 0 && !is_in_the_making(name), |pattern| pattern.fits(name));
        if !counts {
            return;
        }
        if at > now + AHEAD_MAX {
            self.n_ahead += 1;
            return;
        }
        self.n_complete += 1;
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        // Of two of one moment the name decides, so that the order of listing does not.
        if self.newest.as_ref().is_none_or(|newest| (newest.at, newest.name.as_str()) < (at, name)) {
            self.newest = Some(Backup { name: name.to_owned(), at });
        }
    }
}

fn is_in_the_making(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.')) || IN_THE_MAKING.iter().any(|end| name.ends_with(end))
}

//! The highest token that was seen of each group, on disk: names that follow a role are never answered by a lower one, also after a restart.
//!
//! Written as soon as one rises, which is with each grant, and before a name is answered by it. A disk that is slow is not waited for long: whoever
//! crashes then goes back by one token at most, to a holder whose database is fenced.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use portolan_core::{failover::holding::Seen, model::ids::Label};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::store::swap;

/// The file's name inside the data directory.
pub(super) const FILE: &str = "roles.json";

/// Where it is written before it takes the place of the old one.
pub(super) const FRESH_FILE: &str = "roles.json.new";

/// A larger file is not read: four thousand groups with long names make one MiB.
const FILE_OCTETS_MAX: u64 = 4 * 1024 * 1024;

#[derive(Default, Serialize, Deserialize)]
struct Written {
    /// Whose tokens these are: those of another cluster say nothing.
    cluster: String,
    seen: BTreeMap<Label, Seen>,
}

/// Where tokens go. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct SeenStore {
    /// `None`: nowhere. With the number of what was written last.
    place: Option<Arc<Mutex<(PathBuf, u64)>>>,
}

impl SeenStore {
    /// Of a directory that is there.
    pub(super) fn new(directory: Option<&Path>) -> Self {
        Self { place: directory.map(|directory| Arc::new(Mutex::new((directory.to_owned(), 0)))) }
    }

    /// What a former run of a node of this cluster has seen. What cannot be read is passed over with a warning.
    pub(super) fn read(&self, cluster: Option<&str>) -> BTreeMap<Label, Seen> {
        let Some(place) = &self.place else { return BTreeMap::new() };
        let path = place.lock().unwrap_or_else(PoisonError::into_inner).0.join(FILE);
        let written = read(&path).unwrap_or_else(|error| {
            warn!("{error:#}; names that follow a role begin without the tokens of the former run");
            Written::default()
        });
        if Some(written.cluster.as_str()) == cluster { written.seen } else { BTreeMap::new() }
    }

    /// Writes what was seen, unless a later state is there. Blocks until it is on disk. `number`: grows with each state of this run, from 1.
    pub(super) fn write(&self, number: u64, cluster: &str, seen: BTreeMap<Label, Seen>) -> anyhow::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= place.1 {
            return Ok(());
        }
        let octets = serde_json::to_vec(&Written { cluster: cluster.to_owned(), seen })?;
        swap(&place.0, FILE, FRESH_FILE, &octets)?;
        place.1 = number;
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Written> {
    let what = || format!("read `{}`", path.display());
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Written::default()),
        Err(error) => return Err(error).with_context(what),
        Ok(metadata) => anyhow::ensure!(metadata.len() <= FILE_OCTETS_MAX, "{}: it has {} octets", what(), metadata.len()),
    }
    serde_json::from_slice(&fs::read(path).with_context(what)?).with_context(what)
}

#[cfg(test)]
mod tests {
    use portolan_core::failover::token::Token;

    use super::*;

    fn seen(epoch: u64) -> BTreeMap<Label, Seen> {
        BTreeMap::from([("orders".into(), Seen { token: Token { generation: 1, epoch }, holder: Some("eu".into()) })])
    }

    #[test]
    fn the_latest_state_is_kept_whichever_is_written_last_and_for_its_cluster_only() {
        let directory = tempfile::tempdir().unwrap();
        let store = SeenStore::new(Some(directory.path()));
        assert!(store.read(Some("shop-1")).is_empty());
        store.write(2, "shop-1", seen(9)).unwrap();
        store.write(1, "shop-1", seen(5)).unwrap();
        let again = SeenStore::new(Some(directory.path()));
        assert_eq!(again.read(Some("shop-1")), seen(9));
        assert!(again.read(Some("shop-2")).is_empty() && again.read(None).is_empty());
        again.write(1, "shop-1", seen(12)).unwrap();
        assert_eq!(SeenStore::new(Some(directory.path())).read(Some("shop-1")), seen(12));
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(again.read(Some("shop-1")).is_empty());
    }
}

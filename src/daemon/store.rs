//! State between runs: the last judgements, and the last plan that could be used.
//!
//! One file, written whole and swapped by rename, so that a crash leaves the old one or the new one. What cannot be read is passed over
//! with a warning: a start without state is a start with a round of probes.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use portolan_core::node::saved::SavedNode;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// The file's name inside the data directory.
const FILE: &str = "node.json";

/// Where it is written before it takes the place of the old one.
const FRESH_FILE: &str = "node.json.new";

/// A larger file is not read: 60,000 checks make some 20 MiB.
const FILE_OCTETS_MAX: u64 = 256 * 1024 * 1024;

/// A plan as it was read: enough to load it again when its file has been broken since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSource {
    /// The document.
    pub text: String,
    /// Zone files by name as the plan has it.
    pub zone_files: BTreeMap<String, String>,
}

/// Where the world in force came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) source: PlanSource,
    /// Fingerprints of the geo database and the latency table; empty: neither.
    pub(super) geo: String,
}

#[derive(Serialize)]
struct Written<'a> {
    node: &'a SavedNode,
    plan: &'a PlanSource,
}

/// What a former run left.
#[derive(Default, Deserialize)]
pub(super) struct Left {
    pub(super) node: Option<SavedNode>,
    pub(super) plan: Option<PlanSource>,
}

/// Where state goes. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Store {
    /// `None`: nowhere. Locked while the file is written, so that writes follow one another.
    directory: Option<Arc<Mutex<PathBuf>>>,
}

impl Store {
    /// Opens the directory, which is made when it is missing, and reads what is there.
    pub(super) fn open(directory: Option<&Path>) -> anyhow::Result<(Self, Left)> {
        let Some(directory) = directory else { return Ok((Self::default(), Left::default())) };
        make(directory)?;
        let left = match read(&directory.join(FILE)) {
            Ok(left) => left,
            Err(error) => {
                warn!("{error:#}; starting without the state of the former run");
                Left::default()
            }
        };
        Ok((Self { directory: Some(Arc::new(Mutex::new(directory.to_owned()))) }, left))
    }

    /// Writes the state. Blocks until it is on disk.
    pub(super) fn write(&self, node: &SavedNode, plan: &PlanSource) -> anyhow::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
        let octets = serde_json::to_vec(&Written { node, plan }).with_context(|| format!("write `{FILE}`"))?;
        swap(&directory, FILE, FRESH_FILE, &octets)
    }
}

/// Writes a file beside the one of this name, then lets it take its place. Blocks until both are on disk.
pub(super) fn swap(directory: &Path, name: &str, fresh_name: &str, octets: &[u8]) -> anyhow::Result<()> {
    let (path, fresh) = (directory.join(name), directory.join(fresh_name));
    let what = || format!("write `{}`", path.display());
    let mut file = File::create(&fresh).with_context(what)?;
    file.write_all(octets).with_context(what)?;
    file.sync_all().with_context(what)?;
    fs::rename(&fresh, &path).with_context(what)?;
    // The rename itself must reach the disk too.
    File::open(directory).and_then(|directory| directory.sync_all()).with_context(what)
}

/// Makes the directory when it is missing.
pub(super) fn make(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("make `{}`: create it, or give the daemon's user the right to", directory.display()))
}

/// Whether this file is one of the store's own: their changes are none of the configuration's, even in the same directory.
pub(super) fn is_own(path: &Path) -> bool {
    let own = [FILE, FRESH_FILE, super::seen::FILE, super::seen::FRESH_FILE, super::cluster::DISK_FILE, super::history::FOLDER];
    path.file_name().is_some_and(|name| own.iter().any(|own| name == *own))
}

fn read(path: &Path) -> anyhow::Result<Left> {
    let what = || format!("read `{}`", path.display());
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Left::default()),
        Err(error) => return Err(error).with_context(what),
        Ok(metadata) => anyhow::ensure!(metadata.len() <= FILE_OCTETS_MAX, "{}: it has {} octets", what(), metadata.len()),
    }
    let octets = fs::read(path).with_context(what)?;
    serde_json::from_slice(&octets).with_context(what)
}

#[cfg(test)]
mod tests {
    use portolan_core::{model::time::Timestamp, node::saved::FORM};

    use super::*;

    fn node() -> SavedNode {
        SavedNode {
            form: FORM,
            at: Timestamp(7),
            checks: Vec::new(),
            rotation: BTreeMap::from([("a".to_owned(), None)]),
            overrides: Vec::new(),
            frozen: Vec::new(),
            proofs: Vec::new(),
            beats: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let (store, left) = Store::open(Some(directory.path())).unwrap();
        assert!(left.node.is_none() && left.plan.is_none());
        let plan = PlanSource { text: "version: 1\n".to_owned(), zone_files: BTreeMap::from([("a.zone".to_owned(), "x".to_owned())]) };
        store.write(&node(), &plan).unwrap();
        let (_, left) = Store::open(Some(directory.path())).unwrap();
        assert_eq!((left.node, left.plan), (Some(node()), Some(plan)));
    }

    #[test]
    fn a_broken_file_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{", "[]", r#"{"node": 5}"#] {
            fs::write(directory.path().join(FILE), text).unwrap();
            let (_, left) = Store::open(Some(directory.path())).unwrap();
            assert!(left.node.is_none(), "{text}");
        }
    }
}

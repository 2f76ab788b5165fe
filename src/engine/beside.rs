//! Directories that an agent makes beside a database's own: what they are called, and how what is left of them goes.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use super::Trouble;

/// Nobody had it before: not this process, and no lost one whose program may still write.
pub(super) fn own_name() -> Result<String, Trouble> {
    let mut octets = [0; 8];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| Trouble("the system gives no randomness for the name of a copy".to_owned()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(octets)))
}

/// Where copies for drills stand, and how their names begin.
pub(super) fn sandboxes(data: &Path) -> Result<(PathBuf, String), Trouble> {
    let found = data.parent().zip(data.file_name().and_then(|name| name.to_str()));
    let (parent, name) =
        found.ok_or_else(|| Trouble(format!("`{}` has no directory around it, so that no copy can stand beside it", data.display())))?;
    Ok((parent.to_owned(), format!(".{name}.sandbox-")))
}

/// What stands there under names that begin so.
pub(super) fn leftovers(parent: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// What somebody else removes meanwhile is as good.
pub(super) fn remove(found: &[PathBuf]) -> io::Result<()> {
    found.iter().try_for_each(|path| match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

/// All copies for drills that stand beside a data directory.
pub(super) fn all_sandboxes(data: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let (parent, prefix) = sandboxes(data)?;
    match leftovers(&parent, &prefix) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        found => found.map_err(|error| Trouble(format!("look for copies of drills in `{}`: {error}", parent.display()))),
    }
}

/// Removes a directory with all that is in it.
pub(super) async fn remove_all(place: &Path) -> Result<(), Trouble> {
    let problem = |error: &dyn std::fmt::Display| Trouble(format!("remove `{}`: {error}", place.display()));
    let path = place.to_owned();
    let removed = tokio::task::spawn_blocking(move || remove(&[path])).await;
    removed.map_err(|error| problem(&error))?.map_err(|error| problem(&error))
}

/// To a tenth of a second: nobody reads what is finer.
pub(super) fn coarse(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / 100 * 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_so_is_found_and_what_is_gone_is_no_trouble() {
        let around = tempfile::tempdir().unwrap();
        let (parent, prefix) = sandboxes(&around.path().join("data")).unwrap();
        for name in ["data", ".data.sandbox-7", ".data.sandbox-9", ".other.sandbox-7", "data.sandbox-7", ".data.copy-7"] {
            fs::create_dir(around.path().join(name)).unwrap();
        }
        let mut found = leftovers(&parent, &prefix).unwrap();
        found.sort();
        assert_eq!(found, [around.path().join(".data.sandbox-7"), around.path().join(".data.sandbox-9")]);
        remove(&found).unwrap();
        remove(&found).unwrap();
        assert_eq!(all_sandboxes(&around.path().join("data")).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 4);
        assert!(sandboxes(Path::new("/")).is_err());
        assert_eq!(all_sandboxes(&around.path().join("nowhere/data")).unwrap(), Vec::<PathBuf>::new());
    }
}

//! A new copy in the place of a directory that nobody may start any more.
//!
//! ```text
//!  data            condemned, marked outside it   --.            .--> data: the copy, whole
//!  .data.copy-N    pg_basebackup writes here      --'- exchanged '--> .data.copy-N: what was condemned, removed
//! ```
//!
//! Invariants: under the name of the data directory stands what was condemned or a copy that is whole and on disk, at every moment, however this
//! process ends: the two change places in one step of the file system, and only a copy that its program said is whole takes part in it. The mark
//! outside goes last, so that whoever is lost before begins again. What only the condemned directory had was put aside before it was condemned.
//!
//! Source: renameat2(2), `RENAME_EXCHANGE`; PostgreSQL, `pg_basebackup`, which syncs what it wrote before it ends.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
    time::Duration,
};

use portolan_core::model::ids::Label;
use rustix::fs::{CWD, RenameFlags, renameat_with, statvfs};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{
    super::beside::{leftovers, own_name, remove},
    Postgres, Trouble,
    connect::{connect, told},
    files::Files,
};

/// For a copy of everything: terabytes over a slow line, and an end.
const COPY: Duration = Duration::from_secs(7 * 24 * 3600);

/// For a question to the primary.
const ANSWER: Duration = Duration::from_secs(10);

/// What must be free beside the size of the databases: the log that is written while they are copied.
const SPARE_OCTETS: u64 = 256 << 20;

/// All databases of the primary, and what of it lies outside its directory.
const SIZE: &str = "select (select sum(pg_database_size(oid))::bigint from pg_database), \
    (select count(*) from pg_tablespace where spcname not in ('pg_default', 'pg_global'))";

/// What begins every refusal of a copy that could not be put in its place.
const NO_COPY: &str = "no new copy is made, so make one by hand (pg_basebackup)";

impl Postgres {
    /// Copies the primary beside the directory, puts the copy in its place, and removes what was there.
    pub(super) async fn reclone(&self, upstream: &Label) -> Result<(), Trouble> {
        let data = self.setup.data_directory.clone();
        let (Some(parent), Some(name)) = (data.parent().map(Path::to_owned), data.file_name().and_then(|name| name.to_str())) else {
            return Err(Trouble(format!("`{}` has no directory around it, so that no copy can stand beside it", data.display())));
        };
        let prefix = prefix_of(name);
        check_copyable(&data, &parent)?;
        remove_leftovers(&parent, &prefix).await?;
        self.check_room(upstream, &parent).await?;
        let fresh = parent.join(format!("{prefix}{}", own_name()?));
        self.make_directory(&fresh)?;
        self.check_exchange(&fresh, &parent.join(format!("{prefix}{}", own_name()?)))?;
        info!(%upstream, into = %fresh.display(), "a new copy is made");
        self.copy_into(upstream, &fresh).await?;
        let files = Files { directory: fresh.clone(), owner: self.setup.owner };
        files.write_mark()?;
        files.set(&[("synchronous_standby_names", "")])?;
        let exchanged = || {
            File::open(&fresh)?.sync_all()?;
            renameat_with(CWD, &fresh, CWD, &data, RenameFlags::EXCHANGE)?;
            File::open(&parent)?.sync_all()
        };
        exchanged().map_err(|error| Trouble(format!("put the copy in the place of `{}`: {error}", data.display())))?;
        // By the settings of the copy, which stands there now.
        self.point(Some(upstream)).await?;
        let done = fs::remove_file(self.rewinding()).and_then(|()| File::open(&self.setup.evidence)?.sync_all());
        done.map_err(|error| Trouble(format!("remove `{}`: {error}", self.rewinding().display())))?;
        info!("the new copy is in its place");
        if let Err(why) = remove_leftovers(&parent, &prefix).await {
            warn!("what the new copy replaced is left: {why}");
        }
        Ok(())
    }

    /// Removes what a copy replaced, where the agent was lost before it did. Which ones that are is settled before anything else begins.
    pub(super) fn remove_replaced(&self) {
        let data = &self.setup.data_directory;
        let (Some(parent), Some(name)) = (data.parent(), data.file_name().and_then(|name| name.to_str())) else { return };
        let found = leftovers(parent, &prefix_of(name)).unwrap_or_default();
        if found.is_empty() {
            return;
        }
        tokio::task::spawn_blocking(move || {
            if let Err(error) = remove(&found) {
                warn!("what a new copy replaced is left: {error}");
            }
        });
    }

    /// Two directories there can change places; found out before hours are spent on a copy. Both are empty.
    fn check_exchange(&self, fresh: &Path, other: &Path) -> Result<(), Trouble> {
        self.make_directory(other)?;
        let tried = renameat_with(CWD, fresh, CWD, other, RenameFlags::EXCHANGE).map_err(io::Error::from);
        let tried = tried.and_then(|()| fs::remove_dir(other));
        tried.map_err(|error| Trouble(format!("{NO_COPY}: directories beside `{}` cannot change places: {error}", fresh.display())))
    }

    /// The old directory stays until the copy is whole, so there must be room for both.
    async fn check_room(&self, upstream: &Label, parent: &Path) -> Result<(), Trouble> {
        let ask = async {
            let row = connect(&self.conninfo(upstream)?).await?.query_one(SIZE, &[]).await.map_err(|error| told(&error))?;
            let octets: i64 = row.try_get(0).map_err(|error| told(&error))?;
            let spaces: i64 = row.try_get(1).map_err(|error| told(&error))?;
            Ok::<_, Trouble>((octets, spaces))
        };
        let (size, spaces) =
            timeout(ANSWER, ask).await.map_err(|_| Trouble("ask the primary for its size: no answer in time".to_owned()))??;
        if spaces > 0 {
            return Err(Trouble(format!("{NO_COPY}: {upstream} has {spaces} tablespaces, which lie outside its directory")));
        }
        let space = statvfs(parent).map_err(|error| Trouble(format!("look for room in `{}`: {error}", parent.display())))?;
        let needed = u64::try_from(size).unwrap_or(u64::MAX).saturating_add(SPARE_OCTETS);
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if needed > free {
            return Err(Trouble(format!(
                "no new copy is made yet: it takes {} MiB, and {} MiB are free in `{}`: make room there",
                needed >> 20,
                free >> 20,
                parent.display()
            )));
        }
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> Result<(), Trouble> {
        let made = || {
            fs::create_dir(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
            match self.setup.owner {
                Some((user, group)) => chown(path, Some(user), Some(group)),
                None => Ok(()),
            }
        };
        made().map_err(|error| Trouble(format!("make `{}`: {error}", path.display())))
    }

    async fn copy_into(&self, upstream: &Label, fresh: &Path) -> Result<(), Trouble> {
        let info = self.conninfo(upstream)?.without("dbname");
        let password = info.get("password").unwrap_or_default().to_owned();
        let mut command = self.program("pg_basebackup");
        command.arg("-D").arg(fresh).arg("-d").arg(info.without("password").text());
        command.args(["--wal-method=stream", "--checkpoint=fast", "--no-password"]).env("PGPASSWORD", &password);
        self.change(command, "pg_basebackup", COPY).await.map(|_| ())
    }
}

/// What stands beside a data directory of this name while it is copied.
fn prefix_of(name: &str) -> String {
    format!(".{name}.copy-")
}

/// A copy is one directory that takes the place of one: what is a link, a file system of its own, or leads out of it is for a person.
fn check_copyable(data: &Path, parent: &Path) -> Result<(), Trouble> {
    let problem = |error: io::Error| Trouble(format!("look at `{}`: {error}", data.display()));
    let own = fs::symlink_metadata(data).map_err(problem)?;
    let around = fs::metadata(parent).map_err(problem)?;
    let log_is_elsewhere = fs::symlink_metadata(data.join("pg_wal")).is_ok_and(|log| log.is_symlink());
    let spaces = fs::read_dir(data.join("pg_tblspc")).map(Iterator::count).unwrap_or_default();
    let why = if own.is_symlink() {
        "is a link".to_owned()
    } else if own.dev() != around.dev() {
        "is a file system of its own".to_owned()
    } else if log_is_elsewhere {
        "has its log elsewhere".to_owned()
    } else if spaces > 0 {
        format!("has {spaces} tablespaces, which lie elsewhere")
    } else {
        return Ok(());
    };
    Err(Trouble(format!("{NO_COPY}: `{}` {why}", data.display())))
}

/// What is there now, and nothing that comes: the removal goes on when the task that wanted it is given up, beside the next one's copy.
async fn remove_leftovers(parent: &Path, prefix: &str) -> Result<(), Trouble> {
    let problem = |error: &dyn std::fmt::Display| Trouble(format!("remove what is left of a copy: {error}"));
    let found = leftovers(parent, prefix).map_err(|error| problem(&error))?;
    let removed = tokio::task::spawn_blocking(move || remove(&found)).await;
    removed.map_err(|error| problem(&error))?.map_err(|error| problem(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_copy_leaves_is_removed() {
        let around = tempfile::tempdir().unwrap();
        for name in ["data", ".data.copy-7-0", ".data.copy-9-1", ".other.copy-7-0", "data.copy-7"] {
            fs::create_dir(around.path().join(name)).unwrap();
        }
        let mut found = leftovers(around.path(), &prefix_of("data")).unwrap();
        found.sort();
        assert_eq!(found, [around.path().join(".data.copy-7-0"), around.path().join(".data.copy-9-1")]);
    }

    #[test]
    fn what_is_no_plain_directory_is_left_to_a_person() {
        let around = tempfile::tempdir().unwrap();
        let (data, link) = (around.path().join("data"), around.path().join("link"));
        fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        assert_eq!(check_copyable(&data, around.path()), Ok(()));
        assert!(check_copyable(&link, around.path()).unwrap_err().0.ends_with("is a link"));
        fs::create_dir(data.join("pg_tblspc/16384")).unwrap();
        assert!(check_copyable(&data, around.path()).unwrap_err().0.contains("has 1 tablespaces"));
        fs::remove_dir(data.join("pg_tblspc/16384")).unwrap();
        std::os::unix::fs::symlink("/", data.join("pg_wal")).unwrap();
        assert!(check_copyable(&data, around.path()).unwrap_err().0.ends_with("has its log elsewhere"));
    }
}

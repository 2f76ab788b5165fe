//! Files that are written whole or not at all, and never over others unless that was asked for.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// For its owner only: keys, backups.
pub(super) const PRIVATE: u32 = 0o600;
/// For everybody to read: certificates.
pub(super) const PUBLIC: u32 = 0o644;

/// A file that has no name yet: dropped, it leaves nothing behind.
pub(super) struct Fresh {
    file: File,
    beside: PathBuf,
    to: PathBuf,
    kept: bool,
}

impl Fresh {
    /// Begins a file that shall be `to`.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn create(to: &Path, mode: u32) -> Result<Self, String> {
        let mut name = to.file_name().ok_or_else(|| format!("`{}` names no file", to.display()))?.to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let beside = to.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
        let file = file.map_err(|error| format!("create `{}`: {error}", beside.display()))?;
        Ok(Self { file, beside, to: to.to_owned(), kept: false })
    }

    /// Gives it its name, on disk; a file that has it already is left alone and is an error.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn keep(mut self) -> Result<(), String> {
        self.sync()?;
        // A hard link fails where the name is taken, so nobody's file is lost even when two do it at once.
        fs::hard_link(&self.beside, &self.to).map_err(|error| format!("name it `{}`: {error}", self.to.display()))?;
        self.sync_folder()
    }

    /// Gives it its name, in the place of a file that has it.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn replace(mut self) -> Result<(), String> {
        self.sync()?;
        fs::rename(&self.beside, &self.to).map_err(|error| format!("name it `{}`: {error}", self.to.display()))?;
        self.kept = true;
        self.sync_folder()
    }

    fn sync(&mut self) -> Result<(), String> {
        self.file.flush().and_then(|()| self.file.sync_all()).map_err(|error| format!("write `{}`: {error}", self.beside.display()))
    }

    fn sync_folder(&self) -> Result<(), String> {
        let folder = self.to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| format!("write the directory `{}`: {error}", folder.display()))
    }
}

impl Write for Fresh {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.file.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.kept {
            // A name that stays behind is no harm, and the error would hide the one that led here.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Writes a new file at once.
///
/// # Errors
/// A sentence that names the file; one that is there already is left alone.
pub(super) fn write_new(to: &Path, octets: &[u8], mode: u32) -> Result<(), String> {
    let mut fresh = Fresh::create(to, mode)?;
    fresh.write_all(octets).map_err(|error| format!("write `{}`: {error}", to.display()))?;
    fresh.keep()
}

/// Writes a file at once, in the place of one that is there.
///
/// # Errors
/// A sentence that names the file.
pub(super) fn write_over(to: &Path, octets: &[u8], mode: u32) -> Result<(), String> {
    let mut fresh = Fresh::create(to, mode)?;
    fresh.write_all(octets).map_err(|error| format!("write `{}`: {error}", to.display()))?;
    fresh.replace()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_never_written_over_unless_that_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("key");
        write_new(&to, b"one", PRIVATE).unwrap();
        assert!(write_new(&to, b"two", PRIVATE).unwrap_err().contains("exists"));
        assert_eq!(fs::read(&to).unwrap(), b"one");
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        write_over(&to, b"three", PRIVATE).unwrap();
        assert_eq!((fs::read(&to).unwrap().as_slice(), names(folder.path())), (&b"three"[..], vec!["key".to_owned()]));
    }

    #[test]
    fn what_is_not_finished_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut fresh = Fresh::create(&folder.path().join("backup"), PRIVATE).unwrap();
        fresh.write_all(b"half").unwrap();
        drop(fresh);
        assert!(names(folder.path()).is_empty());
    }
}

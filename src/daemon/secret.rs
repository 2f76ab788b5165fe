//! A secret, from a file that nobody else can change.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context as _, bail, ensure};
use nix::unistd::geteuid;

/// A longer secret is none.
const OCTETS_MAX: u64 = 64 * 1024;

/// Group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Reads the secret of this name. What it holds is in no error.
pub(in crate::daemon) fn read(directory: &Path, name: &str) -> anyhow::Result<String> {
    let path = directory.join(name);
    let shown = path.display();
    let meta = fs::metadata(&path).with_context(|| format!("read secret `{name}` from `{shown}`"))?;
    ensure!(meta.is_file(), "secret `{name}`: `{shown}` is no file");
    ensure!(meta.len() <= OCTETS_MAX, "secret `{name}`: `{shown}` is longer than {OCTETS_MAX} octets");
    if meta.uid() != 0 && meta.uid() != geteuid().as_raw() {
        bail!("secret `{name}`: `{shown}` belongs to user {}; give it to root or to the user that runs this: chown", meta.uid());
    }
    ensure!(meta.mode() & WRITABLE_BY_OTHERS == 0, "secret `{name}`: others may write `{shown}`; take that away: chmod go-w");
    let text = fs::read_to_string(&path).with_context(|| format!("read secret `{name}` from `{shown}`"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_that_others_may_write_is_refused_and_none_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pg");
        fs::write(&path, "password=hush\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read(directory.path(), "pg").unwrap(), "password=hush");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        let error = format!("{:#}", read(directory.path(), "pg").unwrap_err());
        assert!(error.contains("chmod go-w") && !error.contains("hush"), "{error}");
        assert!(format!("{:#}", read(directory.path(), "other").unwrap_err()).contains("read secret `other`"));
        assert!(read(directory.path(), ".").is_err());
    }
}

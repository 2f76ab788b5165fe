//! A directory of our own that is gone when we are.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// How often another name is tried when one is taken.
const NAMES_MAX: u64 = 16;

/// Removed with everything in it when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a directory below `parent` that only this user may enter, or with another `mode` that others may pass through, too. `seed` is hard to foresee, so that names do not meet.
    pub(super) fn create(parent: &Path, seed: u64, mode: u32) -> io::Result<Self> {
        let mut last = None;
        for draw in 0..NAMES_MAX {
            let path = parent.join(format!("portolan-demo-{:08x}", seed.wrapping_add(draw) & 0xffff_ffff));
            match fs::DirBuilder::new().mode(mode).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
                Err(error) => return Err(io::Error::new(error.kind(), format!("make `{}`: {error}", path.display()))),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody is left to tell; what remains is a few kilobytes below the directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_is_passed_over_and_nothing_remains() {
        let parent = tempfile::tempdir().unwrap();
        let (first, second) = (Scratch::create(parent.path(), 7, 0o700).unwrap(), Scratch::create(parent.path(), 7, 0o711).unwrap());
        assert_ne!(first.path(), second.path());
        fs::write(first.path().join("plan.yaml"), "x").unwrap();
        drop((first, second));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}

//! A wall clock of a member's own, for its agent, its supervisor and its database: libfaketime tells them another time of day. Clocks that only go
//! forward, by which leases run, are those of this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where Debian puts it: below the name of the machine's architecture.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    folders.into_iter().find(|path| path.exists()).expect("libfaketime is installed: make setup")
}

/// The process of this command, and all that it starts, are told what the file says: `+3600`, so many seconds ahead of this machine.
pub(super) fn give(command: &mut Command, file: &Path) {
    command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", file);
    // The file is looked at each time; what is monotonic, and the times of files, are left as they are.
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
}

/// Takes away what the library shared among such a process and those that it started: whoever is killed leaves it.
pub(super) fn take_away(process: u32) {
    for name in [format!("faketime_shm_{process}"), format!("sem.faketime_sem_{process}")] {
        // One that had the machine's clock has none.
        let _ = fs::remove_file(Path::new("/dev/shm").join(name));
    }
}

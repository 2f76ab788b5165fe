//! Directories with real files.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use portolan::backup::directory::{look, look_within};
use portolan_core::{
    model::time::Timestamp,
    recovery::backups::{Pattern, Proof},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

/// The age of everything is told from here.
const NOW: Timestamp = Timestamp(1_795_316_600_000);

/// A file of so many octets, written so many seconds ago.
fn write(root: &Path, name: &str, octets: usize, age: u64) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, vec![b'x'; octets]).unwrap();
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW.0 / 1000).unwrap() - age);
    File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 - seconds * 1000)
}

#[test]
fn what_is_complete_below_it_is_counted() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "old.dump", 10, 7200);
    write(folder.path(), "2026/11/new.dump", 20, 60);
    write(folder.path(), "2026/11/newer.dump.partial", 5, 5);
    write(folder.path(), ".rsync/newer.dump", 5, 5);
    write(folder.path(), "empty.dump", 0, 5);
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    write(folder.path(), "lost+found/newest.dump", 1, 1);
    let path = folder.path().to_str().unwrap();
    let seen = look(path, None, NOW).unwrap();
    let newest = seen.listing.newest.as_ref().unwrap();
    assert_eq!((newest.name.as_str(), newest.at, seen.listing.oldest), ("2026/11/new.dump", ago(60), Some(ago(7200))));
    assert_eq!((seen.listing.n_complete, seen.listing.octets, seen.listing.is_whole, seen.at), (2, 40, true, NOW));
    assert!(matches!((&seen.encryption, &seen.versioning), (Proof::Unknown(_), Proof::Unknown(_))), "a directory proves nothing: {seen:?}");
    let marks = look(path, Some(&Pattern("*/empty.dump".to_owned())), NOW).unwrap().listing;
    assert_eq!((marks.n_complete, marks.newest), (0, None), "a pattern is for the whole name");
    let marks = look(path, Some(&Pattern("empty*".to_owned())), NOW).unwrap().listing;
    assert_eq!((marks.n_complete, marks.oldest), (1, Some(ago(5))), "an end mark may be empty");
}

#[test]
fn nothing_leads_out_of_it() {
    let (folder, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(outside.path(), "secret.dump", 10, 1);
    write(folder.path(), "inside.dump", 10, 60);
    symlink(outside.path(), folder.path().join("out")).unwrap();
    symlink(outside.path().join("secret.dump"), folder.path().join("latest.dump")).unwrap();
    symlink(folder.path(), folder.path().join("round")).unwrap();
    mknodat(CWD, folder.path().join("pipe.dump"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let listing = look(folder.path().to_str().unwrap(), None, NOW).unwrap().listing;
    assert_eq!((listing.n_complete, listing.newest.unwrap().name.as_str()), (1, "inside.dump"));
    let link = outside.path().join("place");
    symlink(folder.path(), &link).unwrap();
    assert_eq!(look(link.to_str().unwrap(), None, NOW).unwrap().listing.n_complete, 1, "the plan may name a link on purpose");
}

#[test]
fn a_huge_or_endless_one_is_cut_and_says_so() {
    let folder = TempDir::new().unwrap();
    for n in 0..30 {
        write(folder.path(), &format!("{n}.dump"), 1, n);
    }
    let path = folder.path().to_str().unwrap();
    let cut = look_within(path, None, NOW, 10).unwrap().listing;
    assert_eq!((cut.n_complete, cut.is_whole), (10, false));
    let whole = look_within(path, None, NOW, 30).unwrap().listing;
    assert_eq!((whole.n_complete, whole.is_whole), (30, true));
    let deep = (0..40).map(|_| "d").collect::<Vec<_>>().join("/");
    write(folder.path(), &format!("{deep}/deep.dump"), 1, 1);
    let cut = look(path, None, NOW).unwrap().listing;
    assert_eq!((cut.n_complete, cut.is_whole), (30, false));
}

#[test]
fn one_that_is_not_there_is_told_by_its_name() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    let error = look(missing.to_str().unwrap(), None, NOW).unwrap_err().to_string();
    assert!(error.starts_with(&format!("read `{}`: No such file", missing.display())), "{error}");
    write(folder.path(), "file", 1, 1);
    let error = look(folder.path().join("file").to_str().unwrap(), None, NOW).unwrap_err().to_string();
    assert!(error.contains("Not a directory"), "{error}");
}

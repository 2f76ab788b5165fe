//! Room on the disk: a drill never takes what the database itself needs.

use std::{path::Path, time::Duration};

use rustix::fs::statvfs;
use tokio::time::sleep;

use super::super::Trouble;

/// What stays free for the database itself, which grows while it is copied: a drill never fills its disk.
pub(super) const LEFT_OCTETS: u64 = 1 << 30;

/// Between two looks for room: a disk takes some gigabytes in that time at the most.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// What a process that may not write as root may still write there.
pub(super) fn free(parent: &Path) -> Result<u64, Trouble> {
    let space = statvfs(parent).map_err(|error| Trouble(format!("look for room in `{}`: {error}", parent.display())))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Returns when too little is left.
pub(super) async fn full(parent: &Path) -> Trouble {
    loop {
        sleep(LOOK_FOR_ROOM).await;
        match free(parent) {
            Ok(free) if free < LEFT_OCTETS => {
                let (free, left) = (free >> 20, LEFT_OCTETS >> 20);
                return Trouble(format!("{free} MiB are free in `{}`, and {left} must stay so: make room there", parent.display()));
            }
            Ok(_) => {}
            Err(trouble) => return trouble,
        }
    }
}

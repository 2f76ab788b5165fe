//! What the system grants this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::probe::scheduler::IN_FLIGHT_MAX;

/// Descriptors beside those of probes: listeners, DNS over TCP, the API, files.
const OTHERS: u64 = 2048;

/// Allows itself as many descriptors as it may: the usual soft limit of 1,024 is for programs that use `select`, which this one does not.
pub(super) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum {
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => info!("descriptors: {} at most", limit.maximum.map_or_else(|| "no limit".to_owned(), |n| n.to_string())),
            Err(error) => warn!("raise the limit on descriptors from {:?} to {:?}: {error}; it stays", limit.current, limit.maximum),
        }
    }
    let enough = u64::try_from(IN_FLIGHT_MAX).unwrap_or(u64::MAX) + OTHERS;
    if let Some(few) = limit.maximum.filter(|maximum| *maximum < enough) {
        warn!("this process may open {few} descriptors; with many endpoints that hang, {enough} are needed: raise LimitNOFILE");
    }
}

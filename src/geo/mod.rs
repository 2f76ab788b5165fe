//! Files that say where clients are: geo databases in MaxMind's format, and tables of round-trip times.
//!
//! Reads and checks; what the data means is [`portolan_core::geo`]'s business. Files come from elsewhere, so nothing in them is trusted:
//! every size, depth and count is bounded, and a file that is not whole is refused, never half used. Absent on purpose: watching files
//! for changes (the daemon reloads), and memory maps (a file that shrinks under one kills the process).

mod latency;
mod mmdb;
#[cfg(test)]
mod mmdb_writer;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use latency::{MILLISECONDS_MAX, PROBLEMS_MAX, Problem, parse_latency};
pub use mmdb::fuzz_mmdb;
use portolan_core::geo::{LatencyTable, PlaceSource};

/// The largest geo database: four times the size of the largest city database sold in 2026.
pub const DATABASE_BYTES_MAX: u64 = 512 << 20;

/// The largest latency file: a million figures of 64 bytes each.
pub const LATENCY_BYTES_MAX: u64 = 64 << 20;

/// Enough that no two databases of one node are taken for each other.
const FINGERPRINT_OCTETS: usize = 8;

/// Why a file cannot be used. What was loaded before should stay in force.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// It cannot be read.
    #[error("read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is beyond [`DATABASE_BYTES_MAX`] or [`LATENCY_BYTES_MAX`].
    #[error("read `{}`: the file is larger than {limit} bytes; use a smaller one", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// What is allowed.
        limit: u64,
    },
    /// It is not a whole MaxMind DB.
    #[error("read geo database `{}`: {reason}; install an intact file", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is a MaxMind DB of another kind, such as ASN.
    #[error("read geo database `{}`: a database of type `{kind}` holds no countries; use one of type City or Country", path.display())]
    NoCountries {
        /// Which file.
        path: PathBuf,
        /// What it says it is.
        kind: String,
    },
    /// Lines of a latency file are wrong. All of them are told.
    #[error("read latency table `{}`: {}", path.display(), listed(problems))]
    Latency {
        /// Which file.
        path: PathBuf,
        /// In the order of lines, at least one.
        problems: Vec<Problem>,
    },
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Loads a geo database: City, Country or Enterprise shapes of MaxMind's format, also those of other makers. Blocks; takes the file's size
/// in memory for as long as the result lives.
///
/// # Errors
/// [`GeoError`]. Damage deep inside is found when the database is read whole, by
/// [`GeoMap::build`](portolan_core::geo::GeoMap::build).
pub fn load_database(path: &Path) -> Result<Arc<dyn PlaceSource>, GeoError> {
    let bytes = read(path, DATABASE_BYTES_MAX)?;
    let database = mmdb::Database::open(bytes, &path.display().to_string()).map_err(|error| match error {
        mmdb::OpenError::Broken(reason) => GeoError::Broken { path: path.to_owned(), reason },
        mmdb::OpenError::NoCountries(kind) => GeoError::NoCountries { path: path.to_owned(), kind },
    })?;
    Ok(Arc::new(database))
}

/// Loads a table of round-trip times; the format is described at [`parse_latency`]. Blocks.
///
/// # Errors
/// [`GeoError`], with every wrong line.
pub fn load_latency(path: &Path) -> Result<LatencyTable, GeoError> {
    let bytes = read(path, LATENCY_BYTES_MAX)?;
    parse_latency(&String::from_utf8_lossy(&bytes)).map_err(|problems| GeoError::Latency { path: path.to_owned(), problems })
}

/// A short digest of the octets of a geo database or latency table, to tell whether two are the same. Blocks.
///
/// # Errors
/// [`GeoError`]: it cannot be read.
pub fn fingerprint(path: &Path) -> Result<String, GeoError> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &read(path, DATABASE_BYTES_MAX)?);
    Ok(digest.as_ref().iter().take(FINGERPRINT_OCTETS).map(|octet| format!("{octet:02x}")).collect())
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, GeoError> {
    let failed = |source| GeoError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // The size is only a hint: a file may grow while it is read, and a device has none.
    let hint = file.metadata().map_or(0, |metadata| metadata.len()).min(limit);
    let mut bytes = Vec::with_capacity(usize::try_from(hint).unwrap_or_default());
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size <= limit) {
        Ok(bytes)
    } else {
        Err(GeoError::TooLarge { path: path.to_owned(), limit })
    }
}

//! Places where backups lie: a directory, a folder of a bucket in an S3-compatible store, or what a service or a program lists.
//!
//! ```text
//!  place --look--> names, times, octets --> Listing (core)   and what the store proves: encryption, versioning
//! ```
//!
//! A look changes nothing, reads no backup, and is bounded in names, octets and time; what does not fit is told as a listing that is not whole.
//! Invariants: nothing outside the place is followed or listed; no credential and no signed URL is in an error.

pub mod directory;
pub mod http;
pub mod s3;
pub mod told;
mod web;

/// Why a place could not be looked at, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// The file system refuses.
    #[error("read `{path}`: {problem}")]
    Directory {
        /// What was to be read.
        path: String,
        /// Why it was not.
        problem: String,
    },
    /// The credentials cannot be used at all.
    #[error("credentials: {0}")]
    Credentials(String),
    /// The store cannot be asked so.
    #[error("{0}")]
    Endpoint(String),
    /// The store was not reached, or its answer is none.
    #[error("ask {store}: {problem}")]
    Unanswered {
        /// Its host.
        store: String,
        /// What went wrong.
        problem: String,
    },
    /// The store says no.
    #[error("{store} refuses: {problem}")]
    Refused {
        /// Its host.
        store: String,
        /// What it says, and what would help.
        problem: String,
    },
}

/// Feeds octets to everything here that reads what a store, a service or a program says. For fuzzing: it must return, whatever the octets are.
pub fn fuzz_stores(octets: &[u8]) {
    s3::fuzz_stores(octets);
    let _ = told::read(octets, None, portolan_core::model::time::Timestamp(0));
    let _ = http::Credentials::parse(&String::from_utf8_lossy(octets));
}

//! Zones: what a name means in the zones that are answered for, and how zone files are read.
//!
//! [`index`] finds a name by the rules of RFC 1034 section 4.3.2 and RFC 4592; [`mod@file`] turns a zone file into records; [`mod@check`] says what
//! is wrong with the records of a zone as a whole.
//!
//! Absent on purpose: steering (a steered name is found here, but answered by [`crate::answer`]), the following of aliases, wire formats.

pub mod check;
pub mod file;
pub mod index;
mod key;

pub use check::{Finding, Severity, check};
pub use file::parse_data;
pub use index::{Found, IndexedZone, ZoneIndex};

//! The plan: what the world shall be, as people write it, and the proof that it makes sense.
//!
//! ```text
//! document --decode--> Plan (as written) --check--> findings --resolve--> Topology (every name an index, every default filled in)
//! ```
//!
//! Sections ([`Plan`] and below) say what may be written; their tables are also the schema and the key documentation. [`check()`] says what
//! is wrong or unwise in a plan whose form is right. [`resolve()`] makes the [`Topology`](crate::model::topology::Topology) of a plan
//! without errors, [`policies()`] what its data groups are judged by.
//!
//! Invariant: a plan for which [`check()`] finds no error resolves; nothing is decided in [`resolve()`] that was not checked.
//!
//! Absent on purpose: files. The plan names secrets, hooks and zone files; who reads them hands their content in.

pub mod check;
mod follow;
mod groups;
mod later;
mod overlay;
mod prove;
mod rdata;
mod resolve;
pub mod sections;
mod validation;

#[cfg(test)]
pub(crate) mod tests;

pub use check::{Context, Finding, Findings, check};
pub use groups::{policies, restore};
pub use prove::prove;
pub use rdata::{RdataError, parse as parse_rdata};
pub use resolve::{Serial, resolve, zone_files};
pub use sections::Plan;
pub use validation::{Figure, Means, Trigger, ValidationStep, region_triggers, returning, triggers, validation};

/// The JSON schema of the plan (draft 2020-12): keys, types, defaults and docs.
#[must_use]
pub fn schema() -> serde_json::Value {
    crate::document::document_schema::<Plan>("Portolan plan, version 1")
}

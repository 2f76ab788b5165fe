//! Recovery figures: what would be lost, and how long it takes, all the time and not only afterwards.
//!
//! Invariants: unknown is never zero; what is said brackets what is true.

pub mod archive;
pub mod aside;
pub mod backups;
pub mod class_exposure;
pub mod drill;
mod drilled;
pub mod exposure;
pub mod incident;
pub mod observation;
pub mod observed;
pub mod outlook;
pub mod readiness;
pub mod report;
pub mod traffic_return;

//! The local machine: events in, effects out.

pub mod report;

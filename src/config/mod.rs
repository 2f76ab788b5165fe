//! The documents that rule a process: the plan, and the config of a node or of an agent.
//!
//! ```text
//! text --yaml--> document (core) --decode--> sections --check--> LoadedPlan / NodeConfig / AgentConfig, or Problems with every line
//! ```
//!
//! Invariant: a document is taken whole or not at all; every problem is reported at once, with line, path and fix, and no input panics.
//!
//! Absent on purpose: the content of secrets. Both documents name files; who needs one reads it.

pub mod agent;
pub mod node;
pub mod plan;
pub mod render;
mod yaml;

#[cfg(test)]
mod tests;

pub use plan::{LoadedPlan, fuzz_plan};
pub use render::Problems;
pub use yaml::{parse, to_json};

//! The agent config: which database stands beside an agent, and where it and its supervisor keep things. Both processes read the same file.
//!
//! Absent on purpose: everything that the plan says of the group, which the agent hears from the cluster.

mod rules;
pub mod sections;

use portolan_core::document::Reader;
pub use sections::AgentConfig;

use super::{
    render::{Loading, Problems},
    yaml,
};

/// An agent config that can be used.
#[derive(Clone, Debug)]
pub struct LoadedAgent {
    /// As written, defaults filled in.
    pub config: AgentConfig,
    /// What somebody should look at.
    pub warnings: Problems,
}

/// Loads an agent config. `file` is how problems name it.
///
/// # Errors
/// Every problem of the text, with line, path and fix.
pub fn load(text: &str, file: &str) -> Result<LoadedAgent, Problems> {
    let loading = Loading { file, text };
    let (document, report) = yaml::parse(text);
    let Some(document) = document else { return Err(loading.problems(report)) };
    let mut reader = Reader::new(&document, report);
    let config = reader.document_as::<AgentConfig>();
    let mut report = reader.into_report();
    let Some(config) = config else { return Err(loading.problems(report)) };
    rules::check(&config, &document, &mut report);
    if report.errors() > 0 {
        return Err(loading.problems(report));
    }
    Ok(LoadedAgent { config, warnings: loading.problems(report) })
}

/// The JSON schema of the agent config (draft 2020-12).
#[must_use]
pub fn schema() -> serde_json::Value {
    portolan_core::document::document_schema::<AgentConfig>("Portolan agent config, version 1")
}

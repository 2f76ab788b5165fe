//! The node config: who this process is, where it listens, and where its files are.
//!
//! The same file can serve every region: `PORTOLAN_NODE`, `PORTOLAN_REGION` and `PORTOLAN_ROLE` override its first keys. They come in by
//! argument, so that two nodes fit into one test.
//!
//! Absent on purpose: a look at the files that it names. Who opens one reports what is wrong with it.

mod rules;
pub mod sections;

use std::collections::BTreeMap;

use portolan_core::{
    document::{Reader, Severity, Word},
    model::ids::Label,
};
pub use sections::{NodeConfig, Role};

use super::{
    render::{Loading, Problems},
    yaml,
};

/// The variables that override keys.
pub const ENVIRONMENT: [&str; 3] = ["PORTOLAN_NODE", "PORTOLAN_REGION", "PORTOLAN_ROLE"];

/// Who this process is, with the environment taken in.
#[derive(Clone, Debug)]
pub struct LoadedNode {
    /// Its name; unique in the cluster.
    pub node: Label,
    /// Where it runs.
    pub region: Label,
    /// What it does in the cluster; [`Role::Auto`] is resolved by the address book.
    pub role: Role,
    /// Everything else, as written, defaults filled in.
    pub config: NodeConfig,
    /// What somebody should look at.
    pub warnings: Problems,
}

/// Loads a node config. `file` is how problems name it; `environment` holds the variables that are set, others are ignored.
///
/// # Errors
/// Every problem of the text and of the variables, with line, path and fix.
pub fn load(text: &str, file: &str, environment: &BTreeMap<String, String>) -> Result<LoadedNode, Problems> {
    let loading = Loading { file, text };
    let (document, report) = yaml::parse(text);
    let Some(document) = document else { return Err(loading.problems(report)) };
    let mut reader = Reader::new(&document, report);
    let config = reader.document_as::<NodeConfig>();
    let mut report = reader.into_report();
    let variable = |name: &str| environment.get(name).map(|value| (name.to_owned(), value.clone()));
    let mut wrong = Vec::new();
    let node = read::<Label>(variable(ENVIRONMENT[0]), &mut wrong);
    let region = read::<Label>(variable(ENVIRONMENT[1]), &mut wrong);
    let role = read::<Role>(variable(ENVIRONMENT[2]), &mut wrong);
    for (name, message, fix) in wrong {
        report.outside(Severity::Error, &name, message, fix);
    }
    let Some(config) = config else { return Err(loading.problems(report)) };
    let who = rules::Identity {
        node: node.or_else(|| config.node.clone()),
        region: region.or_else(|| config.region.clone()),
        role: role.unwrap_or(config.role),
    };
    rules::check(&config, &who, &document, &mut report);
    let (Some(node), Some(region), 0) = (who.node, who.region, report.errors()) else { return Err(loading.problems(report)) };
    let role = match who.role {
        Role::Auto if config.peers.is_empty() || config.peers.iter().any(|peer| peer.node == node) => Role::Voter,
        Role::Auto => Role::Observer,
        role => role,
    };
    Ok(LoadedNode { node, region, role, config, warnings: loading.problems(report) })
}

/// Entry for fuzzing: octets that may be a node config are loaded and dropped.
///
/// # Panics
/// Never, for any input; it panics itself where a promise is broken: a refusal without a problem, or a problem outside the text.
pub fn fuzz_node(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match load(text, "fuzz.yaml", &BTreeMap::new()) {
        Ok(loaded) => loaded.warnings.prove(text),
        Err(problems) => {
            assert!(problems.errors() > 0, "a node config was refused without a reason");
            problems.prove(text);
        }
    }
}

/// The JSON schema of the node config (draft 2020-12).
#[must_use]
pub fn schema() -> serde_json::Value {
    portolan_core::document::document_schema::<NodeConfig>("Portolan node config, version 1")
}

/// The value of a variable, if it is set and can be one.
fn read<T: Word>(variable: Option<(String, String)>, wrong: &mut Vec<(String, String, String)>) -> Option<T> {
    let (name, value) = variable?;
    match T::read(&value) {
        Ok(value) => Some(value),
        Err(problem) => {
            let fix = T::suggest(&value).unwrap_or_else(|| format!("set {name} to {}, {}", T::WHAT, T::EXAMPLES));
            wrong.push((name, format!("{} {problem}", portolan_core::document::quote(&value)), fix));
            None
        }
    }
}

//! What must hold between the keys of an agent config.

use portolan_core::document::{Document, Path, Report, Severity};

use super::sections::AgentConfig;

/// Judges the config.
pub(super) fn check(config: &AgentConfig, document: &Document<'_>, report: &mut Report) {
    let top = |key: &str| Path::root().key(key);
    let postgresql = |key: &str| Path::root().key("postgresql").key(key);
    let paths = [
        (top("data_dir"), &config.data_dir),
        (top("secrets_dir"), &config.secrets_dir),
        (top("socket"), &config.socket),
        (postgresql("bin_dir"), &config.postgresql.bin_dir),
        (postgresql("data_directory"), &config.postgresql.data_directory),
    ];
    for (path, value) in paths {
        if !value.0.starts_with('/') {
            let message = format!("`{}` is relative to where the process is started", value.0);
            report.at_path(Severity::Error, document, &path, message, "write an absolute path");
        }
    }
    if config.voters.is_empty() {
        let message = "an agent without voters is led by nobody".to_owned();
        report.at_path(Severity::Error, document, &top("voters"), message, "name the nodes of `peers` in the node config");
    }
    let (ours, theirs) = (config.data_dir.as_path(), config.postgresql.data_directory.as_path());
    if ours.starts_with(theirs) {
        let message = format!("`{}` lies inside the database's directory, which a rewind overwrites", config.data_dir.0);
        report.at_path(Severity::Error, document, &top("data_dir"), message, "choose a directory outside it");
    }
}
